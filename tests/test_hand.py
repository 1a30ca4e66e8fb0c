"""The hand: turns that joint 7 allows, grips that are grips, and an elbow that neither locks nor folds up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lit_distill.sim.scene import Extent, Scene
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.grasp import DOWN as STRAIGHT
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.grasp_choice import within_reach
from lit_distill.teachers.hand import (
    BENT_RAD,
    CLOSE,
    JOINT_7_FREE_RAD,
    OPEN,
    PULL_IN_M,
    STRAIGHT_RAD,
    STRETCHED_RAD,
    Hand,
    action,
)
from lit_distill.teachers.vectors import swing, twist

TASK = get_task("custom_libero_10_close_microwave")
DOWN = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
"""A hand that points down and closes along x."""
HOME = np.array([0.0, -0.161, 0.0, -2.445, 0.0, 2.227, 0.785])
LIMITS = np.array(
    [[-2.9, 2.9], [-1.76, 1.76], [-2.9, 2.9], [-3.07, -0.07], [-2.9, 2.9], [-0.02, 3.75], [-2.9, 2.9]]
)


def hand(joints: np.ndarray = HOME, touching: int = 0, **seen: Any) -> Hand:
    scene: Any = SimpleNamespace(
        eef_position=np.array([0.5, 0.0, 0.2]),
        eef_rotation=DOWN,
        base=np.zeros(3),
        joints=joints,
        joint_velocities=np.zeros(7),
        joint_limits=LIMITS,
        home=HOME,
        opening=0.03,
        opening_speed=0.0,
        closing_command=1.0,
        fingers_touching=lambda name: touching,
        extent=lambda name: Extent(np.array([0.48, -0.02, 0.1]), np.array([0.52, 0.02, 0.22])),
    )
    vars(scene).update(seen)
    return Hand(scene)


def with_joints(**joints: float) -> np.ndarray:
    changed = HOME.copy()
    for name, value in joints.items():
        changed[int(name[-1]) - 1] = value
    return changed


def axis(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle), 0.0])


def test_of_two_half_turns_the_one_that_joint_7_allows():
    assert hand().turn_to(axis(0.3)) == pytest.approx(0.3)
    # Turning by +0.3 about world z turns joint 7 by -0.3, which at -2.5 would be beyond its limit.
    assert hand(with_joints(q7=-2.5)).turn_to(axis(0.3)) == pytest.approx(0.3 - np.pi)


@pytest.mark.parametrize(
    ("start", "then", "ends_up", "carried"),
    [(1.6, 0.0, 2.5, 0.05), (0.0, -1.76, 0.7, 0.35)],  # near the limit, and at it after the turn that follows
)
def test_of_two_half_turns_the_one_that_was_begun_is_finished(
    start: float, then: float, ends_up: float, carried: float
):
    """Although joints 1 and 5, which move on the way, carry the place along where joint 7 ends up."""
    joint_7, chosen = start, []
    for _ in range(60):
        closing = axis(joint_7 - (ends_up + carried * joint_7))
        turn = hand(with_joints(q7=joint_7)).turn_to(closing, then)
        chosen.append(joint_7 - turn)
        joint_7 -= np.clip(turn, -0.06, 0.06)
    assert abs(turn) < 0.06
    assert np.ptp(chosen) < 0.5


def test_a_turn_that_joint_7_does_not_allow_is_made_as_far_as_it_goes():
    assert hand(with_joints(q7=2.5)).turn_by(-0.4) == pytest.approx(2.5 - 2.75)  # would end at 2.9
    assert hand(with_joints(q7=2.5)).turn_by(-0.05) == pytest.approx(-0.05)


def test_a_half_turn_that_ends_near_the_limit_either_way_is_made_one_way():
    """Although which of the two looks shorter changes while joint 7 turns."""
    joint_7, wanted = -0.54, 3.0
    for _ in range(60):
        turn = float(np.clip(hand(with_joints(q7=joint_7)).turn_by(wanted), -0.06, 0.06))
        joint_7, wanted = joint_7 - turn, wanted - turn
    assert wanted == pytest.approx(2 * np.pi, abs=0.01)  # turned the other way round
    assert joint_7 == pytest.approx(2 * np.pi - 3.0 - 0.54, abs=0.01)


def test_a_hand_that_need_not_turn_further_takes_the_least_turn():
    """Where joint 7 is near its limit; else it would turn by half a turn, so that there is room to go on."""
    near = hand(with_joints(q7=2.6))
    assert near.nearest_turn(axis(-0.1)) == pytest.approx(-0.1)  # joint 7 ends at 2.7
    assert near.turn_to(axis(-0.1)) == pytest.approx(np.pi - 0.1)
    assert near.nearest_turn(axis(-0.4)) == pytest.approx(np.pi - 0.4)  # 3.0 is beyond the limit


def test_a_hand_turns_by_joint_7_however_it_is_tilted():
    tilted = hand(
        eef_rotation=DOWN
        @ np.array([[1, 0, 0], [0, np.cos(0.6), -np.sin(0.6)], [0, np.sin(0.6), np.cos(0.6)]])
    )
    without = tilted.servo(np.zeros(3), 0.0, OPEN)[3:6]
    turning = tilted.servo(np.zeros(3), 0.1, OPEN)[3:6] - without
    np.testing.assert_allclose(turning / np.linalg.norm(turning), -tilted.scene.eef_rotation[:, 2], atol=1e-6)
    far = tilted.servo(np.zeros(3), 3.0, OPEN)[3:6]
    assert abs(far @ np.eye(3)[0]) > 0.5 * abs(without @ np.eye(3)[0])  # the tilt has its share


def test_a_turn_that_brings_joint_7_near_its_limit_costs_more():
    down = np.array([0.0, 0.0, -1.0])  # about the approach direction joint 7 turns as much
    middle, end = hand(with_joints(q7=0.0)), hand(with_joints(q7=JOINT_7_FREE_RAD))
    assert middle.turn_cost(0.5 * down) == pytest.approx(0.5)
    assert end.turn_cost(0.5 * down) > 2.0 > end.turn_cost(-0.5 * down) == pytest.approx(0.5)


def test_to_an_orientation_the_hand_rolls_the_way_that_joint_7_allows():
    c, s = np.cos(2.5), np.sin(2.5)
    rolled = DOWN @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    short, long = [0.0, 0.0, -2.5], [0.0, 0.0, 2 * np.pi - 2.5]
    np.testing.assert_allclose(hand(with_joints(q7=0.0)).turn_towards(rolled), short, atol=1e-9)
    at_its_end = hand(with_joints(q7=2.6))
    np.testing.assert_allclose(at_its_end.turn_towards(rolled), long, atol=1e-9)
    np.testing.assert_allclose(at_its_end.turn_towards(rolled, ahead=-2.5), short, atol=1e-9)


def test_swing_and_twist_make_up_a_turn():
    np.testing.assert_allclose(swing(np.eye(3)[0], np.eye(3)[1]), [0.0, 0.0, np.pi / 2])
    assert twist(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])) == pytest.approx(np.pi / 2)


def test_a_command_keeps_its_direction_when_it_saturates():
    command = action(np.array([1.0, 0.5, 0.0]), np.zeros(3), OPEN)
    np.testing.assert_allclose(command, [1.0, 0.5, 0.0, 0.0, 0.0, 0.0, -1.0])


@pytest.mark.parametrize(
    ("touching", "seen", "held"),
    [
        (2, {}, True),
        (1, {}, True),  # closed, and something keeps the fingers apart
        (1, {"opening": 0.005}, False),  # closed fingers beside it
        (2, {"closing_command": -1.0}, False),  # opening
        (2, {"eef_position": np.array([0.5, 0.0, 0.24])}, False),  # pressing on its top
        (2, {"eef_position": np.array([0.7, 0.0, 0.2])}, False),  # far beside it
    ],
)
def test_what_is_held(touching: int, seen: dict[str, Any], held: bool):
    assert hand(touching=touching, **seen).holds("milk") is held


def test_fingers_far_beside_an_object_are_not_around_it():
    beside = hand(eef_position=np.array([0.55, 0.0, 0.2]))
    extent = beside.scene.extent("milk")
    assert beside.around(extent) and not beside.around(extent, 0.02)
    assert hand().around(extent, 0.02)


def test_an_arm_that_is_nearly_straight_is_pulled_in_and_one_that_is_bent_is_not():
    offset = np.array([0.0, 0.0, -0.05])
    bent = hand(with_joints(q4=BENT_RAD - 0.1)).servo(offset, 0.0, OPEN, careful=False)
    straight = hand(with_joints(q4=STRETCHED_RAD)).servo(offset, 0.0, OPEN, careful=False)
    assert bent[0] == 0.0
    assert straight[0] / straight[2] == pytest.approx(PULL_IN_M / 0.05)
    assert straight[0] < 0.0, "towards the base"


def test_an_arm_that_is_about_to_be_straight_is_pulled_in_already():
    """Once straight it has to be sent home, and would soon be there again: homing and aligning in turns."""
    offset = np.array([0.0, 0.0, -0.05])
    velocities = np.zeros(7)
    velocities[3] = 2.0
    stretching = hand(with_joints(q4=BENT_RAD - 0.1), joint_velocities=velocities)
    assert stretching.servo(offset, 0.0, OPEN, careful=False)[0] < 0.0
    flexing = hand(with_joints(q4=BENT_RAD - 0.1), joint_velocities=-velocities)
    assert flexing.servo(offset, 0.0, OPEN, careful=False)[0] == 0.0


def test_an_elbow_that_is_bent_the_wrong_way_passes_its_straight_position():
    """There the wrist is furthest out: first out, and up, then in; pulled in at once it would stay so."""
    wrong_way = hand(with_joints(q4=STRAIGHT_RAD + 0.1))
    assert wrong_way.stranded()
    out = wrong_way.go_home(CLOSE)
    assert out[0] > 0.9 and out[2] > 0.9 and out[6] == CLOSE
    nearly_straight = hand(with_joints(q4=STRETCHED_RAD + 0.02))
    assert nearly_straight.stranded()
    inwards = nearly_straight.go_home(OPEN)
    assert inwards[0] < -0.3 and inwards[2] > 0.0 and inwards[6] == OPEN


@pytest.mark.libero
def test_a_stretched_arm_is_soon_bent(kitchen: Simulator):
    """In a state that noise brought the arm to; sent home along the Jacobian it took 52 control steps."""
    kitchen.reset(load_initial_state(TASK, "dev", 0))
    for k, value in enumerate([0.18, 1.07, 0.1, -0.36, -0.22, 1.35, -0.5]):
        kitchen.data.joint(f"robot0_joint{k + 1}").qpos[0] = value
    kitchen.refresh()
    scene = Scene(kitchen)
    real, lowest = Hand(scene), scene.eef_position[2]
    assert real.stranded()
    for step in range(40):  # noqa: B007
        if scene.joints[3] < BENT_RAD and np.linalg.norm(real.tilt()) < 0.4:
            break
        kitchen.step(np.clip(real.go_home(OPEN), -1.0, 1.0))
        kitchen.refresh()
        lowest = min(lowest, scene.eef_position[2])
    assert step < 35 and lowest > 1.0


def test_what_a_turn_costs_changes_gradually_where_joint_7_nears_its_limit():
    """Else the grasp that costs least would change to and fro while the hand turns."""
    costs = [hand(with_joints(q7=angle)).effort(axis(0.3)) for angle in np.linspace(-2.8, 2.8, 200)]
    assert np.abs(np.diff(costs)).max() < 0.35
    assert hand(with_joints(q7=0.0)).effort(axis(0.3)) == pytest.approx(0.3 + 0.5 * 0.3)
    turns = [hand(with_joints(q7=angle)).turn_to(axis(0.3)) for angle in np.linspace(-2.8, 2.8, 200)]
    assert np.abs(np.diff(turns)).max() > 3.0  # as the turn itself does


def test_a_folded_arm_is_not_stranded_and_a_wrist_that_flips_over_is():
    assert not hand().stranded()
    # Near the base the arm is folded; joint 6 follows joints 2 and 4 while the hand points down.
    folded = with_joints(q2=0.2, q4=-2.95, q6=3.15)
    assert not hand(folded).stranded()
    assert hand(with_joints(q6=3.3)).stranded()
    assert hand(with_joints(q5=1.6)).stranded()
    assert not hand(with_joints(q2=0.2, q4=-2.8, q5=1.6, q6=3.0)).stranded(), "in line it only rolls"
    assert hand(with_joints(q4=-3.06)).stranded()


@pytest.mark.parametrize(
    ("joint_5", "velocity", "returning"),
    [(-1.3, 0.3, True), (-1.3, -0.3, False), (-1.3, 0.0, False), (1.3, -0.3, True), (-0.5, 0.3, False)],
)
def test_a_wrist_that_was_nearly_flipped_and_comes_back_is_returning(
    joint_5: float, velocity: float, returning: bool
):
    """Whoever goes home until it is no longer stranded, and then on, is stranded again in the next steps."""
    velocities = np.zeros(7)
    velocities[4] = velocity
    assert hand(with_joints(q5=joint_5), joint_velocities=velocities).returning() is returning


def test_beyond_its_reach_the_hand_leans_outwards():
    near, far = np.array([0.6, 0.0, 0.1]), np.array([0.83, 0.0, 0.1])
    np.testing.assert_allclose(hand().leaning(near), [0.0, 0.0, -1.0])
    leaning = hand().leaning(far)
    assert leaning[0] > 0.1 and np.linalg.norm(leaning) == pytest.approx(1.0)
    assert hand().within_reach(far) and not hand().within_reach(np.array([0.95, 0.0, 0.1]))


def test_a_hand_that_leans_inwards_does_not_reach_as_far_as_one_that_leans_outwards():
    point = np.array([0.78, 0.0, 0.04])
    inwards, outwards = np.array([-0.35, 0.0, -0.94]), np.array([0.35, 0.0, -0.94])
    assert hand().reaches(point, outwards) and not hand().reaches(point, inwards)
    held = [
        Grasp(point, np.array([0.0, 1.0, 0.0]), 0.02, approach=each) for each in (outwards, inwards, STRAIGHT)
    ]
    assert [within_reach(grasp, hand()) for grasp in held] == [True, False, True]


def test_fingers_that_hold_something_are_not_closed_on_nothing():
    assert hand(opening=0.002).closed_on_nothing() and not hand(opening=0.03).closed_on_nothing()
    assert not hand(opening=0.002, opening_speed=-0.1).closed_on_nothing(), "they still close"


def test_too_near_to_its_base_the_hand_leans_inwards():
    near = np.array([0.26, 0.0, 0.05])
    leaning = hand().leaning(near)
    assert leaning[0] < -0.05 and np.linalg.norm(leaning) == pytest.approx(1.0)
    assert hand().within_reach(near) and not hand().reaches_down_to(near)
    assert not hand().within_reach(np.array([0.19, 0.0, 0.05]))
