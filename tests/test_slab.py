"""A slab: its frame, where a hand can hold it, and which way it is turned onto its foot, by numbers."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lit_distill.sim.scene import Scene
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.destinations import Placement
from lit_distill.teachers.embedded import EmbeddedTeacher
from lit_distill.teachers.hand import CLOSE, FINGERTIP_M, FIRM_COMMAND, OPEN, TURN_SPEED_RAD, Hand
from lit_distill.teachers.hand_box import hits
from lit_distill.teachers.planner import make_plan
from lit_distill.teachers.slab import Slab, find_slab, slab_grasps
from lit_distill.teachers.slab_pick_place import SlabPickPlace
from lit_distill.teachers.topple import Topple
from lit_distill.teachers.uprighting import FORBIDDEN_ROLL_RAD, IMPOSSIBLE_STEPS, Uprighting, roll, tilt
from lit_distill.teachers.vectors import orientation

HALF = np.array([0.014, 0.055, 0.067])
UPRIGHT = Slab(np.array([0.5, 0.0, 0.1]), np.eye(3), HALF)
DOWN = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
"""A hand that points down and closes along x."""


def corners(half: np.ndarray, middle: np.ndarray) -> np.ndarray:
    return middle + half * np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T


def test_the_frame_of_a_slab_goes_from_its_foot_to_its_head():
    # Body axes: 11 cm along x, 2.8 cm along y, 13.4 cm along z; the origin lies at the foot.
    scene: Any = SimpleNamespace(
        rotation=lambda name: np.eye(3),
        position=lambda name: np.array([1.0, 2.0, 3.0]),
        corners=lambda name: corners(HALF[[1, 0, 2]], np.array([1.0, 2.0, 3.05])),
    )
    slab = find_slab(scene, "book")
    np.testing.assert_allclose(slab.centre, [1.0, 2.0, 3.05])
    np.testing.assert_allclose(slab.half, HALF)
    np.testing.assert_allclose(slab.frame[:, 0], [0.0, 1.0, 0.0])
    np.testing.assert_allclose(slab.frame[:, 2], [0.0, 0.0, 1.0])
    assert np.linalg.det(slab.frame) == pytest.approx(1.0)


def test_the_part_next_to_the_foot_ends_where_asked():
    lower = UPRIGHT.lower_part(0.04)
    np.testing.assert_allclose(lower.min(axis=0), UPRIGHT.centre - HALF)
    assert lower[:, 2].max() == pytest.approx(0.1 - 0.067 + 0.04)
    np.testing.assert_allclose(UPRIGHT.top, [0.5, 0.0, 0.167])


def test_every_hold_closes_on_the_slab_and_leaves_it_between_the_fingers():
    grasps = slab_grasps(UPRIGHT)
    local = np.abs(grasps.position - UPRIGHT.centre)
    # One finger may come 1.5 cm nearer than the other; along the slab every hold is inside its outline.
    assert (local <= HALF + np.array([0.004, 0.0, 0.0])).all()
    np.testing.assert_allclose(np.linalg.det(grasps.rotation), 1.0)
    approach, closing = grasps.rotation[:, :, 2], grasps.rotation[:, :, 0]
    across_thickness = np.abs(closing[:, 0]) > 0.99
    assert (np.abs(approach[across_thickness, 0]) < 1e-9).all(), "the palm does not meet a face"
    corner = ~across_thickness
    np.testing.assert_allclose(np.abs(approach[corner, 0]), 1.0)
    assert corner.sum() == 4 and across_thickness.sum() > 20


def test_beside_a_wall_the_hand_can_come_obliquely_over_a_corner():
    approach = slab_grasps(UPRIGHT).rotation[:, :, 2]
    tilts = np.round(np.arccos(-approach[:, 2]), 2)
    assert {0.0, 0.5, 0.9} <= set(tilts.tolist())
    oblique = np.abs(tilts - 0.5) < 0.01
    assert {-1.0, 1.0} == set(np.sign(approach[oblique, 1]).tolist()), "over either corner"


def test_half_turns_exchange_the_fingers():
    grasps = slab_grasps(UPRIGHT)
    both = grasps.with_half_turns()
    n = len(grasps.position)
    np.testing.assert_allclose(both.rotation[n:, :, 0], -grasps.rotation[:, :, 0])
    np.testing.assert_allclose(both.rotation[n:, :, 2], grasps.rotation[:, :, 2])


def test_the_way_round_that_joint_7_allows():
    turned = roll(np.full(3, 2.5), np.array([0.0, 1.5, -2.0]), limit=2.6)
    np.testing.assert_allclose(turned, [2.5, 2.5 - 2 * np.pi, 2.5])
    assert roll(np.array([0.5]), np.array([2.3]), limit=0.1)[0] == FORBIDDEN_ROLL_RAD


def test_a_turn_that_is_nearly_made_may_end_beyond_the_limit_of_what_is_planned():
    """Else the hand, arriving there, would leave for another grasp."""
    ends = 2.6
    nearly, planned = (
        float(roll(np.array([way]), np.array([ends - way]), limit=2.5)[0]) for way in (0.1, 1.0)
    )
    assert (nearly, planned) == (0.1, FORBIDDEN_ROLL_RAD)
    assert roll(np.array([0.1]), np.array([2.8]), limit=2.5)[0] != 0.1, "not beyond the hard limit"


def uprighting(axis: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> Uprighting:
    placement = Placement(np.array([0.5, 0.0, 0.0]), 0.3, 0.01, 0.1, np.array(axis))
    return Uprighting(SimpleNamespace(base=np.zeros(3)), placement)  # type: ignore[arg-type]


def test_a_slab_that_stands_as_it_should_needs_no_turn_and_one_across_a_quarter():
    hands = UPRIGHT.centre + np.array([[0.0, 0.0, 0.06]]), DOWN[None], np.zeros(1)
    np.testing.assert_allclose(uprighting().steps(UPRIGHT, *hands).min(), 0.0, atol=1e-6)
    quarter = uprighting((0.0, 1.0, 0.0)).steps(UPRIGHT, *hands).min()
    assert quarter == pytest.approx(0.5 * np.pi / TURN_SPEED_RAD)


def test_a_slab_held_below_its_middle_cannot_be_stood_up():
    low = UPRIGHT.centre - [[0.0, 0.0, 0.06]]
    assert (uprighting().steps(UPRIGHT, low, DOWN[None], np.zeros(1)) >= IMPOSSIBLE_STEPS).all()


def test_a_hand_tilts_over_the_destination_only_as_far_as_it_can():
    lying = Slab(UPRIGHT.centre, np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=float), HALF)
    planned = uprighting()
    rotations = [planned.rotation(lying, upright, DOWN) for upright in planned.uprights]
    assert all(float(tilt(rotation)) <= 1.25 + 1e-6 for rotation in rotations)
    assert min(float(tilt(rotation)) for rotation in rotations) > 0.3, "yet as far as that"


TASK = get_task("custom_libero_10_book_back_caddy")
BOOK = "black_book_1_joint0"
FLAT = [np.sqrt(0.5), 0.0, -np.sqrt(0.5), 0.0]
"""Quaternion of a book that lies on its face, as noise leaves it."""


@pytest.fixture(scope="module")
def study() -> Iterator[Simulator]:
    simulator = Simulator(TASK, image_size=16)
    yield simulator
    simulator.close()


def values(simulator: Simulator, chunks: int) -> tuple[bool, list[float]]:
    """Let the teacher act; return whether it succeeds, and its values."""
    for _ in range(10):
        simulator.step(np.array([0, 0, 0, 0, 0, 0, -1], dtype=np.float32))
    teacher, observation, found = EmbeddedTeacher(), simulator.observe(), []
    for _ in range(chunks):
        answer = teacher.query(observation, simulator)
        found.append(float(answer.value or 0.0))
        result = simulator.step_chunk(answer.actions)
        if result.observation is None:
            return result.outcome == "success", found
        observation = result.observation
    return False, found


@pytest.mark.libero
def test_a_book_that_fell_over_is_stood_up_in_the_caddy(study: Simulator):
    study.reset(load_initial_state(TASK, "dev", 0))
    study.data.joint(BOOK).qpos[:] = [-0.2, 0.22, 0.9, *FLAT]
    succeeded, found = values(study, 20)
    assert succeeded and min(found) > 0.0


@pytest.mark.libero
def test_a_book_in_another_compartment_is_not_toppled_but_taken_out(study: Simulator):
    study.reset(load_initial_state(TASK, "dev", 0))
    study.data.joint(BOOK).qpos[:] = [-0.3956, -0.01, 0.8991, -0.0889, 0.0147, 0.0013, 0.9959]
    assert values(study, 10)[0]


@pytest.mark.libero
def test_a_hand_that_topples_a_book_turns_where_it_would_come_down_on_the_caddy(study: Simulator):
    study.reset(load_initial_state(TASK, "dev", 0))
    study.data.joint(BOOK).qpos[:] = [-0.247, -0.1505, 0.8902, -0.0518, -0.2598, -0.0136, 0.9642]
    study.refresh()
    scene = Scene(study)
    topple, slab = Topple(scene, Hand(scene)), find_slab(scene, "black_book_1")
    away, caddy = np.array([1.0, 0.0, 0.0]), scene.geom_boxes(scene.geoms("desk_caddy_1"))
    tips = slab.top + 0.5 * slab.half[0] * away
    approach, closing = topple._pose(slab, away)

    def in_the_caddy(closing: np.ndarray) -> int:
        return hits(tips - FINGERTIP_M * approach, orientation(closing, approach), 0.0, caddy)

    assert in_the_caddy(np.array([0.0, 1.0, 0.0])), "with the fingers beside each other along the book"
    assert not in_the_caddy(closing) and abs(closing @ away) > 0.9
    assert np.isfinite(topple.steps(slab))


@pytest.mark.libero
def test_a_mug_that_is_being_shoved_is_shoved_further_than_it_has_to(
    study: Simulator, monkeypatch: pytest.MonkeyPatch
):
    """It rocks: else it would make room only as long as it is pushed."""
    study.reset(load_initial_state(TASK, "dev", 0))
    study.data.joint("white_yellow_mug_1_joint0").qpos[:3] = [-0.12, 0.2, 0.885]
    study.refresh()
    (skill,) = make_plan(Scene(study)).skills
    assert isinstance(skill, SlabPickPlace)
    low, high = skill.scene.extent("white_yellow_mug_1").low, skill.scene.extent("white_yellow_mug_1").high
    beside = np.array(
        [low[0] - 0.105 - 0.005, 0.5 * (low[1] + high[1]), high[2] - 0.05]
    )  # 5 mm from the palm
    assert skill._blocking(beside, DOWN) is None
    monkeypatch.setattr(Scene, "eef_position", np.array([-0.2, 0.2, high[2] - 0.02]))
    monkeypatch.setattr(skill.hand, "closed", lambda: True)
    assert skill._blocking(beside, DOWN) is not None


@pytest.mark.libero
def test_a_book_behind_the_caddy_is_lost(study: Simulator):
    """The arm does not fold so far."""
    study.reset(load_initial_state(TASK, "dev", 0))
    study.data.joint(BOOK).qpos[:] = [-0.6444, -0.2085, 0.8999, 0.0964, -0.7005, -0.0964, -0.7005]
    assert values(study, 2)[1] == [0.0, 0.0]


@pytest.mark.libero
def test_a_hand_that_lets_go_of_a_book_does_not_press_again(
    study: Simulator, monkeypatch: pytest.MonkeyPatch
):
    study.reset(load_initial_state(TASK, "dev", 0))
    (skill,) = make_plan(Scene(study)).skills
    assert isinstance(skill, SlabPickPlace)
    monkeypatch.setattr(skill, "_held", lambda: True)
    asked = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, OPEN])
    monkeypatch.setattr(skill, "_place", lambda *_: asked)
    assert skill.scene.closing_command < FIRM_COMMAND
    np.testing.assert_array_equal(skill.act(), asked)
    asked[2], asked[6] = 1.0, CLOSE
    assert skill.act()[2] == 0.0, "but fingers that do not press yet wait"


@pytest.mark.libero
def test_a_book_on_the_floor_is_lost(study: Simulator):
    study.reset(load_initial_state(TASK, "dev", 0))
    study.data.joint(BOOK).qpos[:3] = [0.1, 0.9, 0.1]
    assert values(study, 1)[1] == [0.0]
