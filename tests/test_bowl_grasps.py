"""A bowl's rim: where it is, and where fingers from above can take it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lit_distill.sim.scene import Scene
from lit_distill.sim.simulator import Simulator
from lit_distill.tasks import get_task
from lit_distill.teachers.bowl_grasps import BELOW_RIM_M, BOWLS, RIM_POINTS, bowl_grasps

WALL = BOWLS["akita_black_bowl"]


def bowl(tilt: float) -> Any:
    """A bowl at (0.1, 0.2, 0.9), turned about x by `tilt` (rad)."""
    c, s = np.cos(tilt), np.sin(tilt)
    return SimpleNamespace(
        category=lambda name: "akita_black_bowl",
        rotation=lambda name: np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        position=lambda name: np.array([0.1, 0.2, 0.9]),
    )


def test_a_standing_bowl_is_taken_all_around_its_rim():
    grasps = bowl_grasps(bowl(0.0), "bowl")
    assert len(grasps) == RIM_POINTS
    for grasp in grasps:
        out = grasp.position - [0.1, 0.2, 0.9]
        assert out[2] == pytest.approx(WALL.high[1] - BELOW_RIM_M * 0.968, abs=1e-3)
        assert np.hypot(*out[:2]) == pytest.approx(0.047, abs=1e-3)
        np.testing.assert_allclose(grasp.axis[:2], out[:2] / np.hypot(*out[:2]), atol=1e-6)
        assert grasp.penalty == pytest.approx(0.06, abs=0.01)


def test_a_tilted_bowl_is_taken_where_its_wall_is_upright():
    grasps = bowl_grasps(bowl(0.8), "bowl")
    assert 0 < len(grasps) < RIM_POINTS
    best = min(grasps, key=lambda grasp: grasp.penalty)
    # The wall leans outwards by 0.25 rad: where the tilt sets it up, 0.55 rad of the tilt are left.
    assert best.penalty == pytest.approx(2.0 * (1.0 - np.cos(0.55)), abs=0.01)
    np.testing.assert_allclose(best.axis, [0.0, 1.0, 0.0], atol=1e-6)
    assert all(abs(grasp.axis[2]) < 1e-9 for grasp in grasps)


def test_a_bowl_upside_down_has_no_rim_to_take():
    assert bowl_grasps(bowl(np.pi), "bowl") == []


@pytest.mark.libero
def test_the_wall_is_where_libero_has_it():
    simulator = Simulator(get_task("custom_libero_10_bowl_bottom_drawer"), image_size=32)
    try:
        simulator.refresh()
        scene, name = Scene(simulator), "akita_black_bowl_1"
        corners = (scene.corners(name) - scene.position(name)) @ scene.rotation(name)
    finally:
        simulator.close()
    at_rim = corners[corners[:, 2] > corners[:, 2].max() - 0.002]
    assert np.linalg.norm(at_rim[:, :2], axis=1).mean() == pytest.approx(WALL.high[0], abs=2e-3)
    assert at_rim[:, 2].mean() == pytest.approx(WALL.high[1], abs=1e-3)
