"""Drawers: opened by the handle however far they stand open, shut again, with the hands emptied first."""

from __future__ import annotations

import numpy as np
import pytest

from lit_distill.sim.scene import Scene
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.cabinet import InDrawer
from lit_distill.teachers.drawer import CloseDrawer, OpenDrawer
from lit_distill.teachers.hand import Hand
from lit_distill.teachers.planner import make_plan
from lit_distill.teachers.skills import Skill

pytestmark = pytest.mark.libero
TASK = get_task("custom_libero_10_bowl_bottom_drawer")
START = load_initial_state(TASK, "dev", 0)
CABINET, REGION, BOWL = "white_cabinet_1", "white_cabinet_1_bottom_region", "akita_black_bowl_1"


def begin(simulator: Simulator, opening: float) -> Scene:
    simulator.reset(START)
    simulator.data.joint(f"{CABINET}_bottom_level").qpos[0] = -opening
    simulator.refresh()
    return Scene(simulator)


def run(simulator: Simulator, skill: Skill, steps: int) -> int | None:
    """Act until done; how many control steps it took, None if it is not done in time."""
    for step in range(steps):
        if skill.done():
            return step
        simulator.step(np.clip(skill.act(), -1.0, 1.0))
    return None


@pytest.mark.parametrize("opening", [0.0, 0.05, 0.1])
def test_a_drawer_is_pulled_open_from_wherever_it_stands(kitchen: Simulator, opening: float):
    scene = begin(kitchen, opening)
    skill = OpenDrawer(scene, Hand(scene), REGION)
    before = skill.remaining()
    taken = run(kitchen, skill, 90)
    assert taken is not None
    assert scene.met(["open", REGION])
    assert 0.5 * taken < before < 2.0 * taken


def test_a_drawer_between_others_is_pulled_open(kitchen: Simulator):
    scene = begin(kitchen, 0.0)
    region = f"{CABINET}_middle_region"
    assert run(kitchen, OpenDrawer(scene, Hand(scene), region), 90) is not None
    assert scene.met(["open", region])


def test_a_drawer_is_pushed_shut(kitchen: Simulator):
    scene = begin(kitchen, 0.15)
    assert run(kitchen, CloseDrawer(scene, Hand(scene), REGION), 90) is not None
    assert scene.met(["close", REGION])


def test_a_held_bowl_is_put_aside_before_the_drawer_is_opened(kitchen: Simulator):
    scene = begin(kitchen, 0.15)
    plan = make_plan(scene)
    while not plan.skills[-1].hand.holds(BOWL) or scene.extent(BOWL).bottom < 1.0:  # type: ignore[attr-defined]
        kitchen.step(np.clip(plan.act(), -1.0, 1.0))
    kitchen.data.joint(f"{CABINET}_bottom_level").qpos[0] = 0.0
    kitchen.refresh()
    assert run(kitchen, OpenDrawer(scene, Hand(scene), REGION), 200) is not None
    assert scene.rotation(BOWL)[2, 2] > 0.9  # it stands
    assert scene.extent(BOWL).bottom < scene.surface + 0.01


def test_a_shut_drawer_is_opened_and_the_bowl_put_into_it(kitchen: Simulator):
    scene = begin(kitchen, 0.0)
    plan = make_plan(scene)
    for _ in range(200):
        if kitchen.step(np.clip(plan.act(), -1.0, 1.0)):
            break
    assert kitchen.success


def test_the_plain_task_takes_few_steps(kitchen: Simulator):
    scene = begin(kitchen, 0.15)
    plan = make_plan(scene)
    assert 0.5 < plan.progress() < 0.95
    for _ in range(100):
        if kitchen.step(np.clip(plan.act(), -1.0, 1.0)):
            break
    assert kitchen.success


def test_a_bowl_on_the_floor_is_lost(kitchen: Simulator):
    scene = begin(kitchen, 0.15)
    joint = kitchen.data.joint(f"{BOWL}_joint0")
    joint.qpos[:3] = [0.9, 0.9, 0.05]
    kitchen.refresh()
    assert make_plan(scene).progress() == 0.0


def test_a_drawer_knows_where_its_parts_are(kitchen: Simulator):
    scene = begin(kitchen, 0.1)
    drawer = OpenDrawer(scene, Hand(scene), REGION).drawer
    np.testing.assert_allclose(drawer.outward, [0, -1, 0], atol=1e-6)
    assert drawer.opening == pytest.approx(0.1)
    assert drawer.fully_open == pytest.approx(0.16)
    # From the cabinet's XML: bar from 9.4 to 10.9 cm in front of the body, its top 4.93 cm up.
    assert drawer.bar_outer == pytest.approx(0.1093, abs=1e-3)
    assert drawer.bar_inner == pytest.approx(0.0939, abs=1e-3)
    body = scene.data.body(f"{CABINET}_cabinet_bottom").xpos
    np.testing.assert_allclose(drawer.behind_bar(0.004, 0.002) - body, [-0.0028, -0.0899, 0.0473], atol=1e-3)


def test_a_bowl_goes_where_neither_front_nor_handles_are_in_the_way(kitchen: Simulator):
    scene = begin(kitchen, 0.15)
    placement = InDrawer(scene, BOWL, CABINET, REGION).placement()
    centre, half = scene.region_box(REGION)
    assert (np.abs(placement.position[:2] - centre[:2]) < half[:2]).all()
    handles = min(box[1] for box in scene.box_corners(scene.geoms(CABINET)) if box[2] > placement.lowest_hand)
    assert placement.position[1] < handles - 0.045  # the bowl's radius at the handle's height
    assert placement.axis is not None
    assert abs(placement.axis @ [1.0, 0.0, 0.0]) == pytest.approx(1.0)
