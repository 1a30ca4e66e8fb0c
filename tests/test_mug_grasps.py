"""Where a mug is held: by its rim, across its foot, by its handle however it stands or lies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lit_distill.teachers.mug_grasps import MUGS, mug_grasps, rim_grasps
from lit_distill.teachers.mug_holds import held_by_handle, mug_hold

MUG = "porcelain_mug"
UPRIGHT = np.eye(3)
UPSIDE_DOWN = np.diag([1.0, -1.0, -1.0])
LYING = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # handle to +y, mouth to -x
HANDLE_UP = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])


def scene(rotation: np.ndarray, height: float, **more: Any) -> Any:
    """A porcelain mug whose origin is at (0, 0, height)."""
    return SimpleNamespace(
        category=lambda name: MUG,
        rotation=lambda name: rotation,
        position=lambda name: np.array([0.0, 0.0, height]),
        surface=0.9,
        **more,
    )


def test_the_rim_is_taken_away_from_the_handle():
    """The cup's axis is at x = 15.3 mm, the rim 41.5 mm beside it and 108.5 mm up; 2 cm below the rim."""
    (grasp,) = rim_grasps(scene(UPRIGHT, 0.9), MUG, MUGS[MUG], np.array([0.0]))
    np.testing.assert_allclose(grasp.position, [0.0568, -0.001, 0.9885], atol=1e-6)
    np.testing.assert_allclose(grasp.axis, [1.0, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(("rotation", "height"), [(UPRIGHT, 0.9), (UPSIDE_DOWN, 1.0085), (LYING, 0.9425)])
def test_a_mug_can_be_taken_however_it_is(rotation: np.ndarray, height: float):
    for grasp in mug_grasps(scene(rotation, height), MUG):
        assert grasp.width < 0.08
        assert np.linalg.norm(grasp.axis) == pytest.approx(1.0)
        assert 0.9 < grasp.position[2] < 1.02


@pytest.mark.parametrize(
    ("rotation", "height", "position", "along"),
    [
        (UPRIGHT, 0.9, [-0.064, 0.0, 0.978], [0.0, 1.0, 0.0]),
        (UPSIDE_DOWN, 1.0, [-0.064, 0.0, 0.966], [0.0, 1.0, 0.0]),  # 34 mm from the origin: mirrored
        (LYING, 0.94, [-0.056, 0.0595, 0.94], [1.0, 0.0, 0.0]),
        (LYING, 0.91, [-0.056, 0.0595, 0.918], [1.0, 0.0, 0.0]),  # the fingertips stay off the table
    ],
)
def test_the_handle_is_taken_across_standing_and_along_lying(
    rotation: np.ndarray, height: float, position: list[float], along: list[float]
):
    hold = mug_hold(scene(rotation, height), MUG)
    assert hold is not None
    np.testing.assert_allclose(hold.grasp.position, position, atol=1e-6)
    assert abs(hold.grasp.axis @ along) == pytest.approx(1.0, abs=1e-3)
    towards = np.array(position)[:2] / np.linalg.norm(position[:2])
    assert hold.outwards[:2] @ towards > 0.7  # from the mug to the hand


def test_a_handle_that_points_up_is_above_the_mug_not_beside_it():
    assert mug_hold(scene(HANDLE_UP, 0.94), MUG) is None


def test_the_hand_leans_as_a_leaning_mug_does():
    tilt = np.radians(30.0)
    leaning = np.array(
        [[np.cos(tilt), 0.0, -np.sin(tilt)], [0.0, 1.0, 0.0], [np.sin(tilt), 0.0, np.cos(tilt)]]
    )
    hold = mug_hold(scene(leaning, 0.92), MUG)
    assert hold is not None
    np.testing.assert_allclose(hold.grasp.approach, -leaning[:, 2], atol=1e-6)
    assert hold.grasp.axis @ hold.grasp.approach == pytest.approx(0.0, abs=1e-6)


def test_a_lying_mug_is_held_by_its_handle_only_along_its_axis():
    at = np.array([-0.056, 0.0595, 0.94])
    down = np.array([0.0, 0.0, -1.0])
    for axis, held in ((np.array([1.0, 0.0, 0.0]), True), (np.array([0.0, 1.0, 0.0]), False)):
        rotation = np.stack([axis, np.cross(down, axis), down], axis=1)
        assert held_by_handle(scene(LYING, 0.94, eef_position=at, eef_rotation=rotation), MUG) is held
