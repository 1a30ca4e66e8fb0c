"""A mug into the microwave: from however it lies, out of awkward places, and lost when it is."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from lit_distill.sim.scene import Scene
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.door import OpenDoor, at_door
from lit_distill.teachers.grasp import DOWN
from lit_distill.teachers.hand import CLOSE, OPEN, Hand
from lit_distill.teachers.hand_box import pointing_down
from lit_distill.teachers.microwave import FRONT_M, Microwave
from lit_distill.teachers.mug_grasps import handle_direction, mug_grasps
from lit_distill.teachers.mug_holds import cup_centre, leans, mug_handle, mug_hold
from lit_distill.teachers.mug_into_microwave import CORNER_M, SWEPT_M, MugIntoMicrowave
from lit_distill.teachers.planner import make_plan
from lit_distill.teachers.put_in_microwave import PutInMicrowave
from lit_distill.teachers.skills import Plan
from lit_distill.teachers.vectors import orientation

pytestmark = pytest.mark.libero
TASK = get_task("custom_libero_10_close_microwave")
MUG = "porcelain_mug_1"
UPSIDE_DOWN = [0.0, 1.0, 0.0, 0.0]
ON_ITS_SIDE = [0.5, 0.5, -0.5, -0.5]
LEANS_BY_THE_DOOR = [-0.0072, 0.1871, 0.9232], [0.6663, -0.3468, -0.4533, 0.48]
OUTSIDE, INSIDE = (
    np.sqrt(0.5) * np.array([1.0, 0.0, 0.0, 1.0]),
    np.sqrt(0.5) * np.array([1.0, 0.0, 0.0, -1.0]),
)
"""Orientations of a standing mug with its handle on the side of the robot, and on that of the microwave."""
IN_THE_CORNER = [-0.1365, 0.1622, 0.9244], [0.6575, -0.3897, -0.4331, 0.4778]
REST = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])


def begin(
    simulator: Simulator, position: list[float], quaternion: list[float], door: float | None = None
) -> tuple[Scene, Plan]:
    """The mug let go in a pose, and at rest; the door at an angle (rad), or where it is."""
    simulator.reset(load_initial_state(TASK, "dev", 0))
    joint = simulator.data.joint(f"{MUG}_joint0")
    joint.qpos[:], joint.qvel[:] = [*position, *quaternion], 0.0
    if door is not None:
        simulator.data.joint("microwave_1_microjoint").qpos[0] = door
    for _ in range(20):
        simulator.step(REST)
    simulator.refresh()
    scene = Scene(simulator)
    return scene, make_plan(scene)


def into(plan: Plan) -> MugIntoMicrowave:
    (skill,) = [skill for skill in plan.skills if isinstance(skill, MugIntoMicrowave)]
    return skill


def empty_microwave(simulator: Simulator) -> Microwave:
    """The microwave, the mug standing on the table."""
    _, plan = begin(simulator, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0])
    return into(plan).put_in.microwave


def run(simulator: Simulator, plan: Plan, steps: int) -> bool:
    """Act until the goal is met; whether it is in time."""
    for _ in range(steps):
        if simulator.step(np.clip(plan.act(), -1.0, 1.0).astype(np.float32)):
            return True
        simulator.refresh()
    return False


@pytest.mark.parametrize(
    ("height", "quaternion", "upwards"), [(1.01, UPSIDE_DOWN, -1.0), (0.96, ON_ITS_SIDE, 0.0)]
)
def test_a_mug_that_does_not_stand_is_put_in_as_it_is(
    kitchen: Simulator, height: float, quaternion: list[float], upwards: float
):
    scene, plan = begin(kitchen, [0.05, -0.05, height], quaternion)
    assert scene.rotation(MUG)[2, 2] == pytest.approx(upwards, abs=0.35)
    before = plan.progress()
    assert 0.3 < before < 0.9
    assert run(kitchen, plan, 280)


def test_progress_grows_while_it_goes_well(kitchen: Simulator):
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0])
    values = []
    for k in range(120):
        if k % 30 == 0:
            values.append(plan.progress())
        kitchen.step(np.clip(plan.act(), -1.0, 1.0).astype(np.float32))
        kitchen.refresh()
    assert (np.diff(values) > 0.0).all()


def test_a_hand_under_the_ceiling_backs_out_before_it_rises(kitchen: Simulator):
    scene, plan = begin(kitchen, [0.0, -0.1, 0.9], [1.0, 0.0, 0.0, 0.0])
    microwave = into(plan).put_in.microwave
    hand = into(plan).hand
    before, low, inside = (
        microwave.outside(np.array(point))
        for point in ([-0.03, -0.25, 0.2], [-0.03, -0.25, 0.043], [-0.03, -0.15, 0.043])
    )
    for point in (before, low, inside):  # closing inwards, so that one end of the palm gets in
        for _ in range(40):
            turn = hand.turn_to(microwave.inwards)
            kitchen.step(np.clip(hand.servo(point - scene.eef_position, turn, -1.0), -1.0, 1.0))
            kitchen.refresh()
    assert microwave.catches_hand(), microwave.inside(scene.eef_position)
    action = into(plan).act()
    assert action[:3] @ microwave.inwards < -0.5
    assert abs(action[2]) < 0.1


def test_a_mug_inside_that_is_not_held_is_only_let_go(kitchen: Simulator):
    scene, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0])
    microwave = into(plan).put_in.microwave
    joint = kitchen.data.joint(f"{MUG}_joint0")
    joint.qpos[:3] = microwave.outside(np.array([-0.035, -0.02, 0.026]))
    kitchen.refresh()
    assert into(plan).put_in.inside()
    assert into(plan).done()
    joint.qpos[:3] = microwave.outside(np.array([-0.035, -0.2, 0.0]))
    kitchen.refresh()
    assert not into(plan).put_in.inside()
    assert scene.met(["open", "microwave_1"])


def test_a_mug_on_the_floor_is_lost(kitchen: Simulator):
    _, plan = begin(kitchen, [0.9, 0.9, 0.1], [1.0, 0.0, 0.0, 0.0])
    assert plan.progress() == 0.0


def test_points_of_the_microwave(kitchen: Simulator):
    scene, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0])
    microwave = into(plan).put_in.microwave
    point = np.array([0.1, -0.2, 0.3])
    np.testing.assert_allclose(microwave.inside(microwave.outside(point)), point, atol=1e-12)
    np.testing.assert_allclose(microwave.inwards, [0.0, 1.0, 0.0], atol=1e-6)
    assert microwave.top == pytest.approx(scene.position("microwave_1")[2] + 0.187)
    front = microwave.front()
    assert microwave.inside(front.high)[1] == pytest.approx(-0.088, abs=1e-6)
    assert microwave.inside(front.low)[1] == pytest.approx(-0.188, abs=1e-6)


def test_fingers_that_press_on_a_lying_mug_do_not_hold_it(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    scene, plan = begin(kitchen, [0.05, -0.05, 0.96], ON_ITS_SIDE)
    put_in = into(plan).put_in
    monkeypatch.setattr(put_in.hand, "holds", lambda name: True)
    fingers = kitchen.controller.finger_qpos_index
    for opening, holds in ((0.008, False), (0.017, True)):
        kitchen.data.qpos[fingers] = 0.5 * opening, -0.5 * opening
        kitchen.refresh()
        assert scene.opening == pytest.approx(opening)
        assert put_in.held() is holds


def test_the_door_is_under_the_wrist_of_a_hand_that_is_low_beside_it(kitchen: Simulator):
    microwave = empty_microwave(kitchen)
    kitchen.data.joint(microwave.joint).qpos[0] = -2.09
    kitchen.refresh()
    assert microwave.door_under_wrist(microwave.outside(np.array([-0.09, -0.23, 0.0])))
    assert not microwave.door_under_wrist(microwave.outside(np.array([-0.09, -0.23, 0.06])))  # passes over it
    assert not microwave.door_under_wrist(microwave.outside(np.array([0.05, -0.35, 0.0])))  # far from it


def test_a_hand_across_the_front_would_be_caught(kitchen: Simulator):
    microwave = empty_microwave(kitchen)
    right, inwards = microwave.turned(np.eye(3)[0]), microwave.inwards
    point = microwave.outside(np.array([-0.03, -0.16, 0.05]))
    assert microwave.would_catch(point, pointing_down(inwards))
    assert not microwave.would_catch(point, pointing_down(right))
    assert not microwave.would_catch(point + 0.2 * np.eye(3)[2], pointing_down(inwards))


def test_a_hand_that_leans_away_from_the_front_is_caught_less(kitchen: Simulator):
    microwave = empty_microwave(kitchen)
    right = microwave.turned(np.eye(3)[0])
    point = microwave.outside(np.array([-0.03, -0.1, 0.05]))
    assert microwave.would_catch(point, pointing_down(right))
    leaning = np.cos(0.6) * DOWN + np.sin(0.6) * microwave.inwards
    assert not microwave.would_catch(point, orientation(right, leaning))


def test_the_front_is_under_the_wrist_of_a_low_hand_close_to_it(kitchen: Simulator):
    microwave = empty_microwave(kitchen)
    assert microwave.front_under_wrist(microwave.outside(np.array([-0.012, -0.17, 0.008])))
    assert not microwave.front_under_wrist(microwave.outside(np.array([-0.012, -0.17, 0.06])))
    assert not microwave.front_under_wrist(microwave.outside(np.array([-0.012, -0.25, 0.008])))


LIES_AT_THE_FRONT = [-0.0195, 0.2421, 0.9397], [0.0819, 0.0654, -0.6981, 0.7083]
LIES_BY_THE_DOOR = [-0.0939, 0.1593, 0.9487], [0.5246, -0.5671, -0.4207, 0.4756]
"""Poses of the mug in which the teacher, in noisy episodes, once pressed on it from above for ever."""


@pytest.mark.parametrize("pose", [LIES_AT_THE_FRONT, LIES_BY_THE_DOOR])
def test_a_mug_that_lies_close_to_the_front_is_taken_by_a_hand_that_leans(
    kitchen: Simulator, pose: tuple[list[float], list[float]]
):
    _, plan = begin(kitchen, *pose, door=-2.09)
    assert run(kitchen, plan, 360)


def test_beside_a_door_that_opens_no_further_the_hand_leans_to_the_handle(kitchen: Simulator):
    """Pointing down its wrist would be over the door: fingers slipped off the mug for hundreds of steps."""
    _, plan = begin(kitchen, *LEANS_BY_THE_DOOR, door=-2.09)
    put_in = into(plan).put_in
    hold = mug_hold(put_in.scene, MUG)
    assert hold is not None
    door, others = (put_in._boxes(geoms, 0.02) for geoms in (put_in.microwave.door_geoms, []))
    assert put_in._blocked(hold.grasp, door, others)[0]
    assert put_in.blocked() == (False, False)
    assert put_in._best(hold)[0].leans
    assert run(kitchen, plan, 300)


def test_a_hand_that_leans_does_not_make_up_for_a_door_that_can_be_opened(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-1.5)
    put_in = into(plan).put_in
    monkeypatch.setattr(put_in, "_blocked", lambda grasp, door, others: (not grasp.leans, False))
    assert put_in.blocked() == (True, False)
    kitchen.data.joint("microwave_1_microjoint").qpos[0] = -2.09
    kitchen.refresh()
    assert put_in.blocked() == (False, False)


def test_a_mug_that_rises_with_an_open_hand_is_let_off_its_finger(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    """The hand goes to where the handle is midway between its fingers, and down; it rose for ever."""
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-2.09)
    roll = into(plan).roll
    closes = roll.scene.eef_rotation[:, 0]
    beside = mug_handle(roll.scene, MUG) - 0.015 * closes
    monkeypatch.setattr(type(roll.scene), "eef_position", property(lambda scene: beside))
    assert roll.act()[2] > 0.5
    monkeypatch.setattr(roll.scene, "fingers_touching", lambda name: 1)
    assert roll.act()[2] > 0.5
    kitchen.data.joint(f"{MUG}_joint0").qpos[2] += 0.04
    kitchen.refresh()
    beside = mug_handle(roll.scene, MUG) - 0.015 * closes
    action = roll.act()
    assert action[2] < -0.5
    assert action[:3] @ closes > 0.3


def test_a_mug_is_pushed_past_what_is_in_its_way(kitchen: Simulator):
    """It was pushed half a metre along the table, the other mug before it."""
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-2.09)
    push_away = into(plan).push_away
    outwards = -push_away.microwave.inwards
    free = push_away.way()
    assert free is not None and free.direction @ outwards > 0.99
    mug, other = (kitchen.data.joint(f"{name}_joint0") for name in (MUG, "white_yellow_mug_1"))
    other.qpos[:3] = mug.qpos[:3] + 0.13 * outwards
    kitchen.refresh()
    past = push_away.way()
    assert past is not None and past.direction @ outwards < 0.9


def test_a_mug_that_hangs_on_open_fingers_is_set_down_by_closing_them(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    """Over the open door, too: raised with them it would never be free."""
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0], door=-2.09)
    skill = into(plan)
    hinge, edge, _ = skill.put_in.microwave.door()
    joint = kitchen.data.joint(f"{MUG}_joint0")
    joint.qpos[:3] = hinge + 0.15 * edge + [0.0, 0.0, 0.3]
    kitchen.refresh()
    monkeypatch.setattr(skill.hand.scene, "fingers_touching", lambda name: 2)
    action = skill.act()
    assert action[2] < 0.0 and action[6] == CLOSE


def test_fingers_that_drag_a_mug_go_on_until_it_is_clear_of_the_front(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    _, plan = begin(kitchen, *LIES_AT_THE_FRONT, door=-2.09)
    drag = into(plan).drag
    assert not drag.goes_on()
    monkeypatch.setattr(drag.hand, "closed", lambda: True)
    monkeypatch.setattr(drag.scene, "fingers_touching", lambda name: 1)
    centre = cup_centre(drag.scene, MUG)
    monkeypatch.setattr(type(drag.scene), "eef_position", property(lambda scene: centre))
    assert drag.goes_on()
    joint = kitchen.data.joint(f"{MUG}_joint0")
    joint.qpos[:3] -= 0.2 * drag.microwave.inwards
    kitchen.refresh()
    moved = cup_centre(drag.scene, MUG)
    monkeypatch.setattr(type(drag.scene), "eef_position", property(lambda scene: moved))
    assert not drag.goes_on()


def test_the_door_brings_a_mug_out_of_the_corner_beside_it(kitchen: Simulator):
    """Where no hand has room; dragging it, the teacher was there for as long as an episode lasts."""
    scene, plan = begin(kitchen, *IN_THE_CORNER, door=-2.09)
    skill = into(plan)
    assert skill._in_corner(CORNER_M)
    assert skill._next() is skill.sweep
    for _ in range(60):
        if at_door(scene, skill.put_in.microwave, outside=True):
            break
        kitchen.step(np.clip(skill.sweep.act(), -1.0, 1.0).astype(np.float32))
        kitchen.refresh()
    swept = 0
    while skill._next() is skill.sweep and swept < 40:
        run(kitchen, plan, 1)
        swept += 1
    assert 5 < swept < 40
    assert not skill._in_corner(SWEPT_M)
    assert run(kitchen, plan, 300)


def test_a_mug_is_not_pushed_into_the_microwave_or_its_door(kitchen: Simulator):
    scene, plan = begin(kitchen, [-0.1083, 0.1788, 0.9412], [0.6038, 0.6779, 0.2006, 0.3683], door=-2.09)
    push = into(plan).push_away.way()
    assert push is not None
    assert push.direction @ into(plan).put_in.microwave.inwards < 0.1
    ahead = scene.extent(MUG).centre + 0.06 * push.direction
    door = scene.box_corners(into(plan).put_in.microwave.door_geoms)
    assert np.linalg.norm(door - ahead, axis=1).min() > 0.04


def test_a_mug_that_stands_nearly_in_its_place_is_let_go(kitchen: Simulator, monkeypatch: pytest.MonkeyPatch):
    """A hand that is some millimetres short of where it stops, and can go no further, still goes down."""
    scene, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0])
    put_in, controller = into(plan).put_in, kitchen.controller
    monkeypatch.setattr(put_in, "_where", lambda target: (-0.035, 0.06, 0.012, 0.008))
    monkeypatch.setattr(controller, "gripper_command", np.ones_like(controller.gripper_command))
    action = put_in._place(scene.extent(MUG), put_in.destination.placement(), {})
    assert action[2] < -0.2


def test_a_mug_that_leans_on_its_handle_is_righted(kitchen: Simulator):
    half = 0.5 * np.radians(33.0)
    scene, plan = begin(kitchen, [0.0, 0.0, 0.92], [np.cos(half), 0.0, -np.sin(half), 0.0], door=-2.09)
    assert leans(scene, MUG)
    assert run(kitchen, plan, 360)


JAMS_ON_ITS_HANDLE = [-0.0131, -0.0528, 0.9071], [-0.7113, 0.1975, 0.1725, 0.6522]
LIES_INSIDE_BASE_OUT = [-0.0797, 0.2604, 1.0072], [0.5683, -0.4732, 0.531, 0.4138]
LEANS_OUT_OVER_THE_LIP = [-0.0179, 0.2496, 0.9252], [0.6463, 0.3017, -0.2966, 0.6351]
STANDS_BEHIND_THE_RIGHT_OF_THE_FRONT = [0.0197, 0.2662, 0.9432], [0.2763, -0.0063, 0.0021, 0.961]
"""Poses from noisy episodes in which the teacher was stuck, or took more than 300 steps."""


@pytest.mark.parametrize(
    "pose",
    [JAMS_ON_ITS_HANDLE, LIES_INSIDE_BASE_OUT, LEANS_OUT_OVER_THE_LIP, STANDS_BEHIND_THE_RIGHT_OF_THE_FRONT],
)
def test_a_mug_that_leans_or_is_partly_inside_is_put_in_without_delay(
    kitchen: Simulator, pose: tuple[list[float], list[float]]
):
    _, plan = begin(kitchen, *pose, door=-2.05)
    assert plan.progress() > 0.4
    assert run(kitchen, plan, 240)


def test_a_mug_that_the_front_would_catch_is_not_left_to_the_door(kitchen: Simulator):
    _, plan = begin(kitchen, *STANDS_BEHIND_THE_RIGHT_OF_THE_FRONT, door=-2.05)
    skill = into(plan)
    assert not skill.put_in.inside()
    joint = kitchen.data.joint(f"{MUG}_joint0")
    joint.qpos[:3] += skill.put_in.microwave.turned(np.array([-0.05, 0.0, 0.0]))
    kitchen.refresh()
    assert skill.put_in.inside()


def test_a_mug_is_pushed_in_only_through_the_opening(kitchen: Simulator):
    _, plan = begin(kitchen, *LIES_INSIDE_BASE_OUT, door=-2.05)
    push_in, joint = into(plan).push_in, kitchen.data.joint(f"{MUG}_joint0")
    found = push_in.way()
    assert found is not None
    np.testing.assert_allclose(found.direction, push_in.microwave.inwards)
    assert found.approach @ found.direction > 0.5
    there = joint.qpos[:3].copy()
    for aside in ([0.15, 0.0, 0.0], [0.0, -0.15, 0.0]):
        joint.qpos[:3] = there + push_in.microwave.turned(np.array(aside))
        kitchen.refresh()
        assert push_in.way() is None


def test_a_hand_that_runs_into_the_end_of_the_door_with_a_mug_goes_round_it(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0], door=-2.05)
    skill = into(plan).put_in
    for _ in range(200):
        if skill.holds() and skill.act()[:3] @ skill.microwave.inwards > 0.5:
            break
        run(kitchen, plan, 1)
    ahead = skill.act()[:3] @ skill.microwave.inwards
    monkeypatch.setattr(skill.microwave, "door_touches_arm", lambda: True)
    to_the_right = skill.act()[:3]
    assert to_the_right @ skill.microwave.turned(np.eye(3)[0]) > 0.5
    assert abs(to_the_right @ skill.microwave.inwards) < 1e-6 < ahead
    assert to_the_right[2] > 0.3  # a hand that went down would take the door along
    monkeypatch.setattr("lit_distill.teachers.put_in_microwave.leans", lambda scene, name: True)
    assert skill.act()[2] > 0.3  # one that rests on the door pressed on it for ever


def test_a_door_that_is_shut_has_pushed_the_mug_as_deep_as_it_goes(kitchen: Simulator):
    microwave = empty_microwave(kitchen)
    just_before_the_region = microwave.outside(np.array([0.0, -0.076, 0.07]))
    _, plan = begin(kitchen, [*just_before_the_region], ON_ITS_SIDE, door=0.0)
    assert not into(plan).put_in.inside()
    assert not plan.skills[-1].done() or not into(plan).done()


def test_fingers_that_have_let_go_of_a_mug_do_not_close_on_it_again(kitchen: Simulator):
    _, plan = begin(kitchen, [-0.05, 0.0, 0.96], [0.5, -0.5, -0.5, 0.5], door=-2.09)
    skill = into(plan)
    for _ in range(40):
        kitchen.step(np.clip(skill.put_aside.act(), -1.0, 1.0))
        kitchen.refresh()
    assert skill.put_in.held()
    kitchen.data.qvel[:] = 0.0
    for _ in range(4):
        kitchen.step(REST)  # the fingers begin to part
    kitchen.refresh()
    for pushing in (skill.roll, skill.push_away, skill.drag):
        assert pushing.act()[6] == OPEN
    assert run(kitchen, plan, 360)


def test_a_hand_that_holds_a_mug_puts_it_down_before_it_opens_the_door(kitchen: Simulator):
    scene, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0])
    for _ in range(200):
        if into(plan).put_in.held() and scene.extent(MUG).bottom > scene.surface + 0.08:
            break
        kitchen.step(np.clip(plan.act(), -1.0, 1.0))
        kitchen.refresh()
    kitchen.data.joint("microwave_1_microjoint").qpos[0] = -0.3
    kitchen.refresh()
    opener = OpenDoor(scene, Hand(scene), "microwave_1")
    for _ in range(60):
        action = opener.act()
        if action[6] == OPEN:
            break
        kitchen.step(np.clip(action, -1.0, 1.0))
        kitchen.refresh()
    assert action[6] == OPEN
    assert scene.extent(MUG).bottom < scene.surface + 0.03


LIES_ACROSS_THE_LIP = [-0.11, 0.1816, 0.9263], [0.3761, 0.4689, 0.3581, 0.7145]
LEANS_INSIDE = [-0.032, 0.2505, 0.9377], [0.6029, 0.3542, -0.362, 0.6164]
"""Poses from noisy episodes that version 10 did not get out of, or only after more than 200 steps."""


@pytest.mark.parametrize(("pose", "door"), [(LIES_ACROSS_THE_LIP, -2.09), (LEANS_INSIDE, -1.38)])
def test_a_mug_over_which_the_fingers_would_slip_is_pushed_in(
    kitchen: Simulator, pose: tuple[list[float], list[float]], door: float
):
    _, plan = begin(kitchen, *pose, door=door)
    assert run(kitchen, plan, 240)


def test_a_door_that_leaves_no_room_to_push_a_mug_in_is_opened(kitchen: Simulator):
    _, plan = begin(kitchen, *LEANS_INSIDE, door=-1.38)
    skill = into(plan)
    assert skill.push_in.way() is None
    assert skill._next() is skill.make_room


@pytest.mark.parametrize(("pose", "leans_over"), [(OUTSIDE, False), (INSIDE, True)])
def test_a_hand_does_not_lean_over_the_mug(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch, pose: np.ndarray, leans_over: bool
):
    """Its palm would stop it before its fingers are at the handle: they closed on nothing for ever."""
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [*pose], door=-2.09)
    put_in = into(plan).put_in
    monkeypatch.setattr(put_in, "_blocked", lambda grasp, door, others: (False, not grasp.leans))
    assert put_in.blocked() == (False, leans_over)


def test_fingers_that_the_mug_parts_go_on_dragging_it(kitchen: Simulator, monkeypatch: pytest.MonkeyPatch):
    _, plan = begin(kitchen, *LIES_AT_THE_FRONT, door=-2.09)
    drag, controller = into(plan).drag, kitchen.controller
    slipping = cup_centre(drag.scene, MUG) + drag.microwave.turned(np.array([0.045, 0.0, 0.0]))
    monkeypatch.setattr(type(drag.scene), "eef_position", property(lambda scene: slipping))
    monkeypatch.setattr(drag.scene, "fingers_touching", lambda name: 1)
    monkeypatch.setattr(drag.hand, "closed", lambda: False)
    monkeypatch.setattr(controller, "gripper_command", np.ones_like(controller.gripper_command))
    for opening, goes_on in ((0.008, True), (0.03, False)):
        kitchen.data.qpos[controller.finger_qpos_index] = 0.5 * opening, -0.5 * opening
        kitchen.refresh()
        assert drag.goes_on() is goes_on


def test_a_hand_that_the_door_holds_up_closes(kitchen: Simulator):
    """The door yields, so that the hand never rests: it stood before the handle for hundreds of steps."""
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0])
    put_in, near, far = into(plan).put_in, np.array([0.0, 0.0, -0.025]), np.array([0.0, 0.0, -0.06])
    for velocity, stopped in ((0.02, True), (0.05, False)):
        kitchen.data.qvel[kitchen.controller.dof_index] = velocity
        kitchen.refresh()
        assert put_in._stopped(near, True) is stopped
        assert not put_in._stopped(near, False)
    kitchen.controller.gripper_command = -0.5 * np.ones_like(kitchen.controller.gripper_command)
    assert put_in._stopped(near, False)
    assert not put_in._stopped(far, True)


@pytest.mark.parametrize("skill", ["put_in", "put_aside"])
def test_a_hand_that_leans_closes_on_a_mug_as_it_leans(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch, skill: str
):
    """It pointed down as soon as its fingers met the mug, and so lost it."""
    scene, plan = begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-2.09)
    carrying, controller = getattr(into(plan), skill), kitchen.controller
    leaning = orientation(scene.eef_rotation[:, 0], np.array([0.0, np.sin(0.5), -np.cos(0.5)]))
    monkeypatch.setattr(type(scene), "eef_rotation", property(lambda scene: leaning))
    for command, still in ((0.2, True), (1.0, False)):
        monkeypatch.setattr(controller, "gripper_command", command * np.ones_like(controller.gripper_command))
        action = carrying._place(scene.extent(MUG), carrying.destination.placement(), {})
        assert bool(np.abs(action[:6]).max() == 0.0) is still
        assert action[6] == CLOSE


def test_closing_fingers_go_on_where_the_hand_is_held_up(kitchen: Simulator):
    """Narrower than a grasp asks for, they opened again, closed again, and so on."""
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-2.09)
    put_aside, controller = into(plan).put_aside, kitchen.controller
    near = np.array([0.0, 0.0, -0.045])
    assert not put_aside._stopped(near, False)
    controller.gripper_command = -0.5 * np.ones_like(controller.gripper_command)
    assert put_aside._stopped(near, False)
    kitchen.data.qvel[controller.finger_dof_index] = 0.1, -0.1  # they part, after they closed on nothing
    kitchen.refresh()
    assert not put_aside._stopped(near, False)


def test_a_mug_that_leans_on_the_front_is_pulled_away_by_fingers_that_cannot_close(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    _, plan = begin(kitchen, *LIES_AT_THE_FRONT, door=-2.09)
    put_aside = into(plan).put_aside
    centre = cup_centre(put_aside.scene, MUG)
    monkeypatch.setattr(type(put_aside.scene), "eef_position", property(lambda scene: centre))
    monkeypatch.setattr(put_aside.hand, "closed", lambda: True)
    monkeypatch.setattr(put_aside.hand, "around", lambda extent, beside: True)
    assert put_aside.scene.opening > 0.05
    action = put_aside.act()
    assert action[:3] @ put_aside.microwave.inwards < -0.9
    assert action[6] == CLOSE
    kitchen.data.joint(f"{MUG}_joint0").qpos[:3] -= 0.1 * put_aside.microwave.inwards
    kitchen.refresh()
    assert put_aside.act()[:3] @ put_aside.microwave.inwards > -0.9


def leaning_in_the_hand(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch, inwards_rad: float
) -> PutInMicrowave:
    """The skill with a mug whose upper end is so far inwards, in a hand that points down."""
    half = -0.5 * inwards_rad
    about_right = np.array([np.cos(half), np.sin(half), 0.0, 0.0])
    scene, plan = begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-2.09)
    turned = np.empty(4)
    mujoco.mju_mulQuat(turned, about_right, OUTSIDE)
    kitchen.data.joint(f"{MUG}_joint0").qpos[3:] = turned
    kitchen.refresh()
    down = orientation(scene.eef_rotation[:, 0], DOWN)
    monkeypatch.setattr(type(scene), "eef_rotation", property(lambda scene: down))
    return into(plan).put_in


@pytest.mark.parametrize(("inwards", "lean"), [(0.3, 0.3), (0.55, 0.55), (-0.3, 0.0)])
def test_a_hand_leans_in_to_hold_a_mug_upright(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch, inwards: float, lean: float
):
    """One that leaned inwards slipped out when it was let go; a palm that leans inwards does not fit in."""
    put_in = leaning_in_the_hand(kitchen, monkeypatch, inwards)
    assert put_in.scene.rotation(MUG)[:, 2] @ put_in.microwave.inwards == pytest.approx(
        np.sin(inwards), abs=0.05
    )
    approach = put_in._upright()
    assert approach @ put_in.microwave.inwards == pytest.approx(np.sin(lean), abs=0.05)
    assert not put_in._askew()


@pytest.mark.parametrize("inwards", [-0.5, 1.1])
def test_a_mug_that_no_hand_holds_upright_is_set_down(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch, inwards: float
):
    """Its palm would have to lean inwards, or the mug leans too far."""
    put_in = leaning_in_the_hand(kitchen, monkeypatch, inwards)
    assert put_in._askew() is (inwards < 0.0)  # the other one lies
    assert put_in._upright() is DOWN or put_in._upright()[2] == pytest.approx(-1.0)


def test_a_mug_that_is_left_alone_inside_stays_there(kitchen: Simulator, monkeypatch: pytest.MonkeyPatch):
    """Less deep than one that is let go: the hand went from the door to the mug and back, for ever."""
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-2.0)
    skill = into(plan)
    microwave, joint = skill.put_in.microwave, kitchen.data.joint(f"{MUG}_joint0")
    joint.qpos[:3] += microwave.outside(np.array([-0.035, -0.083, 0.079])) - cup_centre(skill.hand.scene, MUG)
    kitchen.refresh()
    for depth, at_rest, inside in ((-0.3, True, True), (-0.3, False, False), (-0.16, True, False)):
        hand = microwave.outside(np.array([-0.035, depth, 0.12]))
        monkeypatch.setattr(type(skill.hand.scene), "eef_position", property(lambda scene, hand=hand: hand))
        monkeypatch.setattr(skill.hand.scene, "at_rest", lambda name, at_rest=at_rest: at_rest)
        assert skill.put_in.inside() is inside


def test_a_hand_with_a_mug_that_rests_on_the_door_goes_round_it(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    scene, plan = begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-0.6)
    put_aside, controller = into(plan).put_aside, kitchen.controller
    monkeypatch.setattr(controller, "gripper_command", np.ones_like(controller.gripper_command))
    monkeypatch.setattr(put_aside.microwave, "door_touches_arm", lambda: True)
    action = put_aside._place(scene.extent(MUG), put_aside.destination.placement(), {})
    assert action[:3] @ put_aside.microwave.turned(np.eye(3)[0]) > 0.5
    assert action[2] > 0.5


def test_a_hand_against_the_edge_of_the_ceiling_backs_out(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    """It pressed against it from below until the end."""
    microwave = empty_microwave(kitchen)
    right = microwave.turned(np.eye(3)[0])
    below = microwave.outside(np.array([-0.03, -0.125, 0.05]))
    monkeypatch.setattr(type(microwave.scene), "eef_position", property(lambda scene: below))
    down = pointing_down(right)
    monkeypatch.setattr(type(microwave.scene), "eef_rotation", property(lambda scene: down))
    for touches, velocity, caught in ((False, 0.0, False), (True, 0.0, True), (True, 0.1, False)):
        kitchen.data.qvel[kitchen.controller.dof_index] = velocity
        monkeypatch.setattr(microwave, "touches_arm", lambda touches=touches: touches)
        assert microwave.catches_hand() is caught


@pytest.mark.parametrize(("towards_handle", "rolled"), [(0.55, True), (-0.55, False)])
def test_only_a_mug_that_leans_on_its_handle_is_righted(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch, towards_handle: float, rolled: bool
):
    """Another may stand on the edge of its foot; fingers slipped over it until the end."""
    skill = into(begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-2.09)[1])
    handle = handle_direction(skill.hand.scene, MUG)
    half = 0.5 * towards_handle
    about = np.array([np.cos(half), *(np.sin(half) * np.cross([0.0, 0.0, 1.0], handle))])
    turned = np.empty(4)
    mujoco.mju_mulQuat(turned, about, OUTSIDE)
    kitchen.data.joint(f"{MUG}_joint0").qpos[3:] = turned
    kitchen.refresh()
    monkeypatch.setattr(skill.roll, "way", lambda: "a way")
    assert leans(skill.hand.scene, MUG)
    assert skill._can_be_rolled() is rolled


def test_a_hand_that_leans_already_keeps_to_the_grasp_that_it_leans_for(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    """Leaning changes what turning costs: two grasps took turns."""
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0], door=-2.09)
    put_aside = into(plan).put_aside
    grasp = mug_grasps(put_aside.scene, MUG)[0]
    leaning, boxes = put_aside._leaning(grasp, 0.6), put_aside.scene.geom_boxes(put_aside._geoms)
    before = [put_aside._handicap(each, boxes) for each in (grasp, leaning)]
    monkeypatch.setattr(
        type(put_aside.scene),
        "eef_rotation",
        property(lambda scene: orientation(grasp.axis, leaning.approach)),
    )
    after = [put_aside._handicap(each, boxes) for each in (grasp, leaning)]
    assert (after[1] - after[0]) - (before[1] - before[0]) == pytest.approx(-2.4, abs=0.2)


def held(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch, foremost: float, bottom: float
) -> tuple[PutInMicrowave, np.ndarray]:
    """The skill, and its action with a mug in the hand that reaches so far beyond the front, so high (m)."""
    scene, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0])
    put_in, controller = into(plan).put_in, kitchen.controller
    monkeypatch.setattr(put_in, "_where", lambda target: (-0.035, foremost, bottom, 0.05))
    monkeypatch.setattr(controller, "gripper_command", np.ones_like(controller.gripper_command))
    return put_in, put_in._place(scene.extent(MUG), put_in.destination.placement(), {})


def test_a_mug_held_low_at_the_front_is_taken_back_before_it_is_turned(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    put_in, action = held(kitchen, monkeypatch, foremost=-0.01, bottom=-0.02)
    assert abs(put_in._turn_held(mug_hold(put_in.scene, MUG))) > 0.5
    assert action[:3] @ put_in.microwave.inwards < -0.5
    assert action[2] > 0.2
    assert abs(action[5]) < 0.05


def test_a_mug_held_above_the_opening_is_taken_back_before_it_goes_down(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    """A hand over the top of the microwave pressed on it until the end."""
    scene, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0])
    joint = kitchen.data.joint(f"{MUG}_joint0")
    joint.qpos[:3] = 0.0, 0.0, 1.1
    kitchen.refresh()
    put_in, controller = into(plan).put_in, kitchen.controller
    monkeypatch.setattr(put_in, "_where", lambda target: (-0.035, 0.03, 0.1, 0.0))
    monkeypatch.setattr(controller, "gripper_command", np.ones_like(controller.gripper_command))
    action = put_in._place(scene.extent(MUG), put_in.destination.placement(), {})
    assert action[:3] @ put_in.microwave.inwards < -0.5
    assert abs(action[2]) < 0.1


def test_a_hand_askew_to_the_handle_is_turned_square_to_the_front(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    """The mug goes in askew: a hand that is askew does not fit before the front."""
    scene, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0])
    put_in = into(plan).put_in
    hold = mug_hold(scene, MUG)
    assert hold is not None
    square = put_in.hand.turn_to(put_in.microwave.turned(np.eye(3)[0]))
    for askew, turn in ((0.2, square - 0.2), (0.8, square)):
        monkeypatch.setattr(put_in, "_turn", lambda hold, askew=askew: square - askew)
        assert put_in._turn_held(hold) == pytest.approx(turn)


@pytest.mark.parametrize(("depth", "stays"), [(-0.07, True), (-0.084, False)])
def test_a_mug_is_only_left_where_it_stays(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch, depth: float, stays: bool
):
    """With its handle outside: so little of it stands on the floor of the microwave that it tips over."""
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0], door=-2.0)
    skill = into(plan)
    microwave, joint = skill.put_in.microwave, kitchen.data.joint(f"{MUG}_joint0")
    joint.qpos[3:] = OUTSIDE
    kitchen.refresh()
    offset = np.array([-0.035, depth, 0.085]) - microwave.inside(cup_centre(skill.hand.scene, MUG))
    joint.qpos[:3] += microwave.turned(offset)
    kitchen.refresh()
    hand = microwave.outside(np.array([-0.035, depth - 0.08, 0.11]))
    with monkeypatch.context() as holding:
        holding.setattr(type(skill.hand.scene), "eef_position", property(lambda scene: hand))
        assert skill.put_in.inside() is stays
    for _ in range(60):
        kitchen.step(REST)
    kitchen.refresh()
    assert bool(microwave.inside(cup_centre(skill.hand.scene, MUG))[1] > FRONT_M) is stays


def test_a_mug_on_top_of_the_microwave_is_not_inside(kitchen: Simulator):
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-2.0)
    skill = into(plan)
    microwave, joint = skill.put_in.microwave, kitchen.data.joint(f"{MUG}_joint0")
    joint.qpos[:3] += microwave.outside(np.array([-0.035, -0.03, 0.25])) - cup_centre(skill.hand.scene, MUG)
    kitchen.refresh()
    assert not skill.put_in.inside()
    assert skill.push_in.way() is None


def test_a_mug_that_slips_out_is_pushed_back_by_the_hand_behind_it(
    kitchen: Simulator, monkeypatch: pytest.MonkeyPatch
):
    """Coming to push it properly takes longer than the mug takes to fall."""
    _, plan = begin(kitchen, [0.0, 0.0, 0.9], [*OUTSIDE], door=-2.0)
    skill = into(plan)
    microwave, joint = skill.put_in.microwave, kitchen.data.joint(f"{MUG}_joint0")
    joint.qpos[:3] += microwave.outside(np.array([-0.05, -0.085, 0.079])) - cup_centre(skill.hand.scene, MUG)
    kitchen.refresh()
    for depth, nudges in ((-0.16, True), (-0.3, False)):
        hand = microwave.outside(np.array([-0.05, depth, 0.09]))
        monkeypatch.setattr(type(skill.hand.scene), "eef_position", property(lambda scene, hand=hand: hand))
        action = skill.act()
        assert bool(action[:3] @ microwave.inwards > 0.9 and action[6] == CLOSE) is nudges
