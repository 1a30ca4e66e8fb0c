"""Holds: grasps in an object's body frame, standing and lying; the moka pot gets onto the stove from both."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lit_distill.sim.scene import Scene
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.holds import FRYPAN, MOKA_POT, Hold, hold_grasps
from lit_distill.teachers.planner import make_plan

TASK = get_task("custom_libero_10_moka_pot_stove")
POT = "moka_pot_1_joint0"


def grasps_of(rotation: np.ndarray, holds: tuple[Hold, ...]) -> list[Any]:
    scene: Any = SimpleNamespace(
        rotation=lambda name: rotation, position=lambda name: np.array([1.0, 2.0, 3.0])
    )
    return hold_grasps(scene, "moka_pot_1", holds)


def about_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def test_a_hold_moves_with_its_object():
    hold = Hold((0.1, 0.2, 0.3), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0), 0.02, penalty=1.0)
    (upright,) = grasps_of(np.eye(3), (hold,))
    np.testing.assert_allclose(upright.position, [1.1, 2.2, 3.3])
    np.testing.assert_allclose(upright.approach, [0.0, 0.0, -1.0])
    assert (upright.width, upright.penalty) == (0.02, 1.0)
    (leaning,) = grasps_of(about_y(0.5), (hold,))
    np.testing.assert_allclose(leaning.approach, [-np.sin(0.5), 0.0, -np.cos(0.5)])
    np.testing.assert_allclose(leaning.axis @ leaning.approach, 0.0, atol=1e-12)
    assert leaning.penalty > upright.penalty


@pytest.mark.parametrize("angle", [0.8, 1.57, 3.14])
def test_a_hand_leans_no_further_than_the_arm_allows(angle: float):
    assert not grasps_of(about_y(angle), MOKA_POT[:3])


@pytest.mark.parametrize(("angle", "lowest", "highest"), [(0.0, 0.04, 0.09), (np.pi / 2, -0.02, 0.02)])
def test_a_pot_is_held_by_its_top_when_it_stands_and_by_its_body_when_it_lies(
    angle: float, lowest: float, highest: float
):
    heights = [grasp.position[2] - 3.0 for grasp in grasps_of(about_y(angle), MOKA_POT)]
    assert heights
    assert all(lowest < height < highest for height in heights)


def test_a_hand_straight_above_a_hold_may_lean_as_its_reach_demands():
    grasps = grasps_of(np.eye(3), MOKA_POT)
    assert grasps and not any(grasp.leans for grasp in grasps)
    assert all(grasp.leans for grasp in grasps_of(about_y(0.2), MOKA_POT))


def test_a_pot_that_lies_on_its_handle_is_held_by_the_knob_of_its_lid():
    """The body, 8 cm wide across the sides that are level then, does not fit between the fingers."""
    lying = np.array([[1.0, 0.0, 0.0], [0.0, -0.4, -0.9165], [0.0, -0.9165, 0.4]])
    lying[0] *= np.linalg.det(lying)
    grasps = grasps_of(lying, MOKA_POT)
    assert grasps and all(grasp.width < 0.013 for grasp in grasps)
    knob = np.array([1.0, 2.0, 3.0]) + lying @ [0.0, -0.0013, 0.075]
    for grasp in grasps:
        np.testing.assert_allclose(grasp.axis @ grasp.approach, 0.0, atol=1e-12)
        away = knob - grasp.position
        assert np.linalg.norm(away - (away @ grasp.approach) * grasp.approach) < 0.006, "it comes towards it"
        assert 0.0 < away @ grasp.approach < 0.015, "and ends with the fingertips beside it"


def test_a_frying_pan_always_has_a_grasp_that_is_not_at_its_handle():
    assert any(grasp.position[0] < 1.0 for grasp in grasps_of(np.eye(3), FRYPAN))


@pytest.mark.libero
@pytest.mark.parametrize("lying", [False, True])
def test_a_pot_gets_onto_the_burner(kitchen: Simulator, lying: bool):
    kitchen.reset(load_initial_state(TASK, "dev", 0))
    kitchen.data.joint("flat_stove_1_button").qpos[:] = 0.8
    if lying:  # on its side, the handle sideways: it rolls onto a face of its body
        kitchen.data.joint(POT).qpos[2:] = [0.96, np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0]
    for _ in range(20):
        kitchen.step(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]))
    kitchen.refresh()
    scene = Scene(kitchen)
    plan = make_plan(scene)
    tilt = abs(scene.rotation("moka_pot_1")[2, 2])
    assert tilt < 0.5 if lying else tilt > 0.99
    before = plan.progress()
    for _ in range(160):
        kitchen.refresh()
        if kitchen.step(plan.act()):
            break
    assert kitchen.success
    kitchen.refresh()
    assert plan.progress() > before + 0.1


@pytest.mark.libero
@pytest.mark.parametrize(
    "pose",
    [
        [0.1423, 0.0529, 0.9362, -0.5347, 0.6184, 0.3413, 0.464],
        [0.1371, -0.0749, 0.9368, 0.4186, 0.6877, -0.1646, 0.5699],
        [-0.0183, 0.0227, 0.9604, 0.0061, -0.0038, -0.5266, 0.8501],
    ],
    ids=["far off, its handle outwards", "far off, its handle inwards", "on its handle"],
)
def test_a_pot_lying_where_no_hand_can_lean_as_its_body_does_gets_onto_the_burner(
    kitchen: Simulator, pose: list[float]
):
    """Far off it is rolled over towards the robot first; then the hand leans outwards."""
    kitchen.reset(load_initial_state(TASK, "dev", 0))
    kitchen.data.joint("flat_stove_1_button").qpos[:] = 0.8
    kitchen.data.joint(POT).qpos[:] = pose
    kitchen.refresh()
    scene = Scene(kitchen)
    plan = make_plan(scene)
    assert abs(scene.rotation("moka_pot_1")[2, 2]) < 0.5
    for _ in range(200):
        if kitchen.step(plan.act()):
            break
        kitchen.refresh()
    assert kitchen.success


@pytest.mark.libero
def test_a_pot_beside_the_table_is_lost(kitchen: Simulator):
    kitchen.reset(load_initial_state(TASK, "dev", 0))
    kitchen.data.joint(POT).qpos[:3] = [0.0, 0.0, 0.3]
    kitchen.refresh()
    assert make_plan(Scene(kitchen)).progress() == 0.0
