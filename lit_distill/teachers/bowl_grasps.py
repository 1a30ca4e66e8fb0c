"""Grasps of a bowl: too wide for the fingers, so they take its wall at the rim."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.grasp import Grasp

BELOW_RIM_M = 0.022
RIM_POINTS = 16
WALL_WIDTH_M = 0.012
"""What the fingers close on: the wall, leaning, is thicker than its 3 mm."""
STEEPEST_LEAN = 0.64
"""Least vertical share of the wall's direction (50 degrees) that the fingers can straddle from above."""
LEAN_COST_RAD = 2.0
"""What a wall that lies flat would cost more than an upright one, in radians of turning."""


@dataclass(frozen=True)
class Wall:
    """A bowl's wall below its rim, in the bowl's frame (axis z): it leads from `low` up to `high`.

    Attributes:
        low: radius and height, m.
        high: radius and height of the rim, m.
    """

    low: tuple[float, float]
    high: tuple[float, float]


BOWLS = {
    "akita_black_bowl": Wall((0.0433, 0.0155), (0.0527, 0.0518)),
    "white_bowl": Wall((0.0329, 0.0105), (0.0399, 0.0348)),
}
"""Read off LIBERO's collision boxes."""

_ANGLES = np.arange(RIM_POINTS) * (2 * np.pi / RIM_POINTS)
_AROUND = np.stack([np.cos(_ANGLES), np.sin(_ANGLES), np.zeros(RIM_POINTS)], axis=1)


def bowl_grasps(scene: Scene, name: str) -> list[Grasp]:
    """Grasps of the wall all around the rim, where it stands upright enough."""
    wall = BOWLS[scene.category(name)]
    rotation, position = scene.rotation(name), scene.position(name)
    outward, up = _AROUND @ rotation.T, rotation[:, 2]
    rise = np.array(wall.high) - np.array(wall.low)
    rise /= np.linalg.norm(rise)
    along = rise[0] * outward + rise[1] * up  # [points, 3], up the wall
    positions = position + wall.high[0] * outward + wall.high[1] * up - BELOW_RIM_M * along
    normals = rise[1] * outward - rise[0] * up
    level = np.hypot(normals[:, 0], normals[:, 1])
    axes = normals * [1.0, 1.0, 0.0] / np.maximum(level, 1e-9)[:, None]
    upright = (along[:, 2] >= STEEPEST_LEAN) & (level >= STEEPEST_LEAN)
    return [
        Grasp(positions[k], axes[k], WALL_WIDTH_M, LEAN_COST_RAD * (1.0 - float(along[k, 2])))
        for k in np.flatnonzero(upright)
    ]
