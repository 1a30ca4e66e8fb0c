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


def bowl_wall(corners: np.ndarray) -> Wall:
    """Find the wall from the corners [n, 8, 3] of a bowl's collision boxes, in the bowl's frame."""
    rim = corners[..., 2].max()
    top = corners[corners[..., 2].max(axis=1) > rim - 0.005]  # the boxes that reach the rim
    ordered = np.take_along_axis(top, np.argsort(top[..., 2], axis=1)[..., None], axis=1)
    radius = np.linalg.norm(ordered[..., :2], axis=2)
    low, high = radius[:, :4].mean(), radius[:, 4:].mean()
    return Wall((float(low), float(ordered[:, :4, 2].mean())), (float(high), float(ordered[:, 4:, 2].mean())))


def bowl_grasps(scene: Scene, name: str) -> list[Grasp]:
    """Grasps of the wall all around the rim, where it stands upright enough."""
    rotation = scene.rotation(name)
    position = scene.position(name)
    corners = ((scene.corners(name) - position) @ rotation).reshape(-1, 8, 3)
    wall = bowl_wall(corners)
    angles = np.arange(RIM_POINTS) * (2 * np.pi / RIM_POINTS)
    outward = np.stack([np.cos(angles), np.sin(angles), np.zeros(RIM_POINTS)], axis=1) @ rotation.T
    up = rotation[:, 2]
    rise = np.array([wall.high[0] - wall.low[0], wall.high[1] - wall.low[1]])
    rise /= np.linalg.norm(rise)
    along = rise[0] * outward + rise[1] * up  # [points, 3], up the wall
    rims = position + wall.high[0] * outward + wall.high[1] * up
    grasps = []
    for rim, direction, out in zip(rims, along, outward, strict=True):
        normal = np.cross(np.cross(direction, out), direction)
        flat = np.array([normal[0], normal[1], 0.0])
        if direction[2] < STEEPEST_LEAN or np.linalg.norm(flat) < STEEPEST_LEAN:
            continue
        grasps.append(
            Grasp(
                rim - BELOW_RIM_M * direction,
                flat / np.linalg.norm(flat),
                WALL_WIDTH_M,
                LEAN_COST_RAD * (1.0 - float(direction[2])),
            )
        )
    return grasps
