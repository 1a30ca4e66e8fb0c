"""Picking up and putting down: what is shoved in, what is dropped is fetched, and what is lost is said."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lit_distill.sim.scene import Extent, Scene
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers import pick_place
from lit_distill.teachers.embedded import EmbeddedTeacher
from lit_distill.teachers.grasps import FROM_END_M, LONG_M, TOWARDS_END_M, box_grasps, tight_grasps
from lit_distill.teachers.hand import CLOSE, OPEN
from lit_distill.teachers.pick_place import PickPlace
from lit_distill.teachers.planner import make_plan
from lit_distill.teachers.shoving import BEHIND_M, FINGERS_HALF_M, along_rim, from_raised_end, shove

TASK = get_task("custom_libero_object_orange_juice_right")
BOTTLE_TASK, BOTTLE = get_task("custom_libero_object_ketchup"), "ketchup_1_joint0"
CARTON, BASKET = "orange_juice_1_joint0", "basket_1_joint0"
MUG = Extent(np.array([0.2, -0.04, 0.0]), np.array([0.28, 0.04, 0.1]))
AWAY, LEVEL = np.array([1.0, 0.0, 0.0]), np.eye(3)


def box(half: tuple[float, float, float], rotation: np.ndarray = LEVEL) -> Any:
    corners = np.array(half) * np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T @ rotation.T
    return SimpleNamespace(
        extent=lambda name: Extent(corners.min(axis=0), corners.max(axis=0)),
        rotation=lambda name: rotation,
        long_axis=lambda name: rotation[:, int(np.argmax(half))],
        width_along=lambda name, axis: float(np.ptp(corners @ axis)),
    )


def test_a_long_box_can_also_be_held_towards_its_ends():
    grasps = box_grasps(box((LONG_M, 0.02, 0.02)), "ketchup")
    across = [grasp for grasp in grasps if abs(grasp.axis[1]) > 0.9]
    assert sorted(grasp.position[0] for grasp in across) == pytest.approx(
        [-TOWARDS_END_M, 0.0, TOWARDS_END_M]
    )
    assert [grasp.penalty > 0.0 for grasp in across] == [False, True, True], "the middle is better"
    assert all(grasp.width == pytest.approx(0.04) for grasp in across)
    assert len(box_grasps(box((0.03, 0.02, 0.02)), "pudding")) == 2


def test_what_leans_is_taken_across_its_long_axis_by_a_hand_that_leans_like_it():
    c, s = np.cos(0.4), np.sin(0.4)
    grasps = box_grasps(box((0.06, 0.02, 0.02), np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])), "milk")
    assert sorted(grasp.penalty > 0.0 for grasp in grasps) == [False, True, True]
    for grasp in grasps:
        np.testing.assert_allclose(np.abs(grasp.axis), [0.0, 1.0, 0.0], atol=1e-9)
        np.testing.assert_allclose(grasp.approach, [s, 0.0, -c], atol=1e-9)
        assert grasp.width == pytest.approx(0.04)
        assert abs(grasp.position @ [-s, 0.0, c]) < 0.02, "within it"


def test_beside_other_things_the_hand_may_lean_to_either_side():
    grasps = tight_grasps(box((0.04, 0.02, 0.009)), "butter")
    along = [grasp for grasp in grasps if abs(grasp.axis[1]) > 0.9]
    assert {float(np.sign(grasp.approach[0])) for grasp in along} == {-1.0, 0.0, 1.0}
    assert max(grasp.position[0] for grasp in along) == pytest.approx(0.04 - FROM_END_M)
    assert all(grasp.axis @ grasp.approach == pytest.approx(0.0) for grasp in grasps)


class Hovering:
    """A hand that reports what it is asked for: offset [3] and gripper."""

    def __init__(self, position: tuple[float, float, float], closed: bool) -> None:
        self.scene = SimpleNamespace(eef_position=np.array(position))
        self.closed_on_nothing = lambda: closed

    def servo(self, offset: np.ndarray, yaw: float, gripper: float, careful: bool = True) -> np.ndarray:
        return np.array([*offset, 0.0, 0.0, yaw, gripper])


def asked(position: tuple[float, float, float], closed: bool = True) -> np.ndarray:
    return shove(Hovering(position, closed), MUG, AWAY)  # type: ignore[arg-type]


def test_a_mug_is_shoved_from_behind():
    behind = 0.2 - BEHIND_M - FINGERS_HALF_M
    above = asked((behind, 0.0, 0.15))
    assert np.linalg.norm(above[:2]) < 1e-9 and above[2] < 0.0, "down beside it"
    pushing = asked((behind, 0.0, 0.095))
    assert pushing[0] > 0.02 and pushing[6] == CLOSE
    beyond = asked((0.4, 0.0, 0.06))
    assert beyond[2] > 0.0 and np.linalg.norm(beyond[:2]) < 1e-9, "up first, then back over it"


def test_open_fingers_around_it_rise_before_they_close():
    assert asked((0.24, 0.0, 0.09), closed=False)[[2, 6]] == pytest.approx([0.053, OPEN])


def test_what_leans_on_a_rim_goes_in_from_its_raised_end():
    leaning = Extent(np.array([0.0, 0.0, 0.05]), np.array([0.12, 0.05, 0.2]))
    axis = np.array([0.8, 0.0, 0.6])
    for direction in (axis, -axis):
        np.testing.assert_allclose(from_raised_end(leaning, direction, rim=0.14), [-1.0, 0.0, 0.0])
    assert from_raised_end(leaning, axis, rim=0.21) is None, "it is in"
    assert from_raised_end(leaning, axis, rim=0.07) is None, "it lies on the rim or is carried over it"
    assert from_raised_end(leaning, np.array([0.1, 0.0, 0.99]), rim=0.14) is None, "it stands"


def test_what_lies_across_a_rim_goes_on_towards_the_end_that_overhangs_more():
    axis = np.array([0.6, 0.0, 0.8])
    for direction in (axis, -axis):
        np.testing.assert_allclose(along_rim(np.array([0.02, 0.1, 0.0]), direction), [1.0, 0.0, 0.0])
        np.testing.assert_allclose(along_rim(np.array([-0.02, 0.1, 0.0]), direction), [-1.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def basket() -> Iterator[Simulator]:
    simulator = Simulator(TASK, image_size=16)
    yield simulator
    simulator.close()


def wait(simulator: Simulator, steps: int) -> None:
    """Open the hand and let things come to rest."""
    for _ in range(steps):
        simulator.step(np.array([0, 0, 0, 0, 0, 0, OPEN], dtype=np.float32))


def run(simulator: Simulator, chunks: int) -> tuple[bool, list[float]]:
    """Let the teacher act; return whether it succeeds, and its values."""
    teacher, observation, values = EmbeddedTeacher(), simulator.observe(), []
    for _ in range(chunks):
        answer = teacher.query(observation, simulator)
        values.append(float(answer.value or 0.0))
        result = simulator.step_chunk(answer.actions)
        if result.observation is None:
            return result.outcome == "success", values
        observation = result.observation
    return False, values


@pytest.mark.libero
def test_a_carton_dropped_on_its_way_is_fetched(basket: Simulator):
    basket.reset(load_initial_state(TASK, "dev", 0))
    assert not run(basket, 3)[0]
    wait(basket, 16)
    succeeded, values = run(basket, 12)
    assert succeeded and values[-1] == 1.0 > values[0]


@pytest.fixture(scope="module")
def bottle() -> Iterator[Simulator]:
    simulator = Simulator(BOTTLE_TASK, image_size=16)
    yield simulator
    simulator.close()


@pytest.mark.libero
@pytest.mark.parametrize("degrees", [-20, 20, 70, 90, 110])
def test_a_bottle_that_lies_across_the_rim_of_its_basket_goes_in(bottle: Simulator, degrees: int):
    bottle.reset(load_initial_state(BOTTLE_TASK, "dev", 0))
    above, joint = bottle.data.joint(BASKET).qpos[:3] + np.array([0.0, 0.0, 0.17]), bottle.data.joint(BOTTLE)
    standing = Rotation.from_quat(joint.qpos[3:], scalar_first=True)
    turn = Rotation.from_euler("yz", [90, degrees], degrees=True)
    joint.qpos[:] = [*above, *(turn * standing).as_quat(scalar_first=True)]
    wait(bottle, 25)
    assert not bottle.success
    assert run(bottle, 8)[0]


@pytest.mark.libero
def test_a_basket_on_its_side_is_stood_up(basket: Simulator):
    basket.reset(load_initial_state(TASK, "dev", 0))
    joint = basket.data.joint(BASKET)
    joint.qpos[2] += 0.08
    joint.qpos[3:] = [np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0]  # its opening points to -y
    wait(basket, 20)
    succeeded, values = run(basket, 16)
    assert succeeded and 0.0 < values[0] < values[-1]


@pytest.mark.libero
@pytest.mark.parametrize(("command", "letting_go"), [(0.3, True), (-1.0, False)])
def test_a_basket_on_its_side_waits_until_what_goes_into_it_is_wholly_let_go(
    basket: Simulator, monkeypatch: pytest.MonkeyPatch, command: float, letting_go: bool
):
    """Fingers that only began to open would else close on it again to push the basket."""
    basket.reset(load_initial_state(TASK, "dev", 0))
    basket.refresh()
    (skill,) = make_plan(Scene(basket)).skills
    assert isinstance(skill, PickPlace)
    monkeypatch.setattr(skill, "_held", lambda: False)
    monkeypatch.setattr(skill.hand, "around", lambda *_: True)
    monkeypatch.setattr(Scene, "closing_command", command)
    monkeypatch.setattr(Scene, "opening", 0.06)
    asked: list[bool] = []
    monkeypatch.setattr(pick_place, "set_right", lambda scene, hand, basket, held: asked.append(held))
    skill.act()
    assert asked == [letting_go]


@pytest.mark.libero
def test_a_carton_out_of_reach_is_lost(basket: Simulator):
    basket.reset(load_initial_state(TASK, "dev", 0))
    basket.data.joint(CARTON).qpos[:2] = [0.6, 0.6]
    wait(basket, 5)
    assert run(basket, 1)[1] == [0.0]


@pytest.mark.libero
def test_a_carton_that_still_flies_is_not_lost_yet(basket: Simulator, monkeypatch: pytest.MonkeyPatch):
    """Far away it is out of reach only once it has come to rest."""
    basket.reset(load_initial_state(TASK, "dev", 0))
    basket.data.joint(CARTON).qpos[:3] = [0.6, 0.6, 20.0]
    assert run(basket, 1)[1][0] > 0.0
