"""The microwave's door: pushed shut from outside, open from inside, as far as is needed."""

from __future__ import annotations

import numpy as np
import pytest

from lit_distill.sim.scene import Scene
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.door import CLEAR_RAD, OPEN_RAD, WIDE_RAD, CloseDoor, OpenDoor, OpenWide
from lit_distill.teachers.hand import OPEN, Hand
from lit_distill.teachers.microwave import Microwave
from lit_distill.teachers.skills import Skill

pytestmark = pytest.mark.libero
TASK = get_task("custom_libero_10_close_microwave")
NAME = "microwave_1"


def begin(simulator: Simulator, angle: float) -> Scene:
    simulator.reset(load_initial_state(TASK, "dev", 0))
    scene = Scene(simulator)
    simulator.data.joint(Microwave(scene, NAME).joint).qpos[0] = angle
    simulator.refresh()
    return scene


def run(simulator: Simulator, skill: Skill, steps: int) -> int | None:
    """Act until done; how many control steps it took, None if it is not done in time."""
    for step in range(steps):
        if skill.done():
            return step
        simulator.step(np.clip(skill.act(), -1.0, 1.0))
        simulator.refresh()
    return None


@pytest.mark.parametrize("angle", [-0.4, -1.2, -1.9])
def test_it_is_pushed_shut_from_wherever_it_stands(kitchen: Simulator, angle: float):
    scene = begin(kitchen, angle)
    skill = CloseDoor(scene, Hand(scene), NAME)
    before = skill.remaining()
    taken = run(kitchen, skill, 130)
    assert taken is not None
    assert scene.met(["close", NAME])
    assert 0.4 * taken < before < 2.5 * taken


@pytest.mark.parametrize("angle", [-0.3, -0.6])
def test_one_that_stands_ajar_is_pushed_open(kitchen: Simulator, angle: float):
    """Far enough from the hinge for the fingers to have room between door and front."""
    scene = begin(kitchen, angle)
    skill = OpenDoor(scene, Hand(scene), NAME)
    assert not skill.done()
    assert run(kitchen, skill, 130) is not None
    assert skill.microwave.angle < OPEN_RAD


@pytest.mark.parametrize("angle", [0.0, -0.08, -0.25])
def test_one_that_is_shut_or_hardly_ajar_is_pulled_open_by_its_bar(kitchen: Simulator, angle: float):
    scene = begin(kitchen, angle)
    skill = OpenDoor(scene, Hand(scene), NAME)
    before = skill.remaining()
    taken = run(kitchen, skill, 130)
    assert taken is not None
    assert skill.microwave.angle < OPEN_RAD
    assert 0.4 * taken < before < 2.5 * taken


def test_fingers_that_missed_the_bar_open_above_it(kitchen: Simulator, monkeypatch: pytest.MonkeyPatch):
    scene = begin(kitchen, -0.08)
    skill = OpenDoor(scene, Hand(scene), NAME)
    monkeypatch.setattr(skill.hand, "closed", lambda: True)
    low = skill.microwave.top
    monkeypatch.setattr(type(scene), "eef_position", property(lambda seen: np.array([0.05, 0.2, low])))
    action = skill.act()
    assert action[2] > 0.5
    assert action[6] == OPEN


def test_a_hand_that_was_pushed_off_outside_comes_back_without_rising(kitchen: Simulator):
    scene = begin(kitchen, -1.9)
    skill = CloseDoor(scene, Hand(scene), NAME)
    while skill.microwave.angle < -1.2:
        run(kitchen, skill, 1)
    for _ in range(10):
        kitchen.step(np.array([*(0.9 * skill.microwave.door()[2][:2]), 0.3, 0.0, 0.0, 0.0, 1.0]))
    kitchen.refresh()
    assert not skill.done()
    away, highest = scene.eef_position.copy(), 0.0
    for _ in range(40):
        if skill.done():
            break
        run(kitchen, skill, 1)
        highest = max(highest, scene.eef_position[2])
    assert skill.done()
    assert highest < away[2] + 0.02


def test_one_in_the_way_is_opened_until_it_is_clear(kitchen: Simulator):
    scene = begin(kitchen, -1.4)
    skill = OpenWide(scene, Hand(scene), NAME)
    assert not skill.goes_on(needed=False)  # nobody pushes yet
    steps = 0
    while skill.goes_on(needed=skill.microwave.angle > -1.5) and steps < 130:
        kitchen.step(np.clip(skill.act(), -1.0, 1.0))
        kitchen.refresh()
        steps += 1
    assert skill.microwave.angle < CLEAR_RAD + 0.05  # further than was asked for: no turning back
    kitchen.data.joint(skill.microwave.joint).qpos[0] = WIDE_RAD - 0.05
    kitchen.refresh()
    assert not skill.goes_on(needed=True)


@pytest.mark.parametrize(
    ("angle", "edge", "normal"),
    [(0.0, [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]), (-np.pi / 2, [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0])],
)
def test_where_a_door_is(kitchen: Simulator, angle: float, edge: list[float], normal: list[float]):
    microwave = Microwave(begin(kitchen, angle), NAME)
    _, along, outside = microwave.door()
    np.testing.assert_allclose(along, edge, atol=1e-6)
    np.testing.assert_allclose(outside, normal, atol=1e-6)
    assert microwave.angle == pytest.approx(angle)
