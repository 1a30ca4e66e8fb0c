"""Grasps of a dish such as a plate: the fingers pinch its rim, one of them in the dish.

The rim is shallow, but the fingers' pads (friction 2) do not slip off it.
"""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.grasp import Grasp

WITHIN_EDGE_M = 0.01
"""From the outer edge to the middle of what the fingers close on."""
ABOVE_BOTTOM_M = 0.015
"""Grip site above what the dish stands on: the fingertips 2 mm above it."""
RIM_WIDTH_M = 0.02
RIM_POINTS = 16


def dish_grasps(scene: Scene, name: str) -> list[Grasp]:
    """Grasps all around the rim of a dish that lies flat, in world coordinates."""
    box, origin = scene.extent(name), scene.position(name)
    radius = 0.5 * float((box.high - box.low)[:2].min()) - WITHIN_EDGE_M
    grasps = []
    for angle in np.arange(RIM_POINTS) * (2 * np.pi / RIM_POINTS):
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        position = np.array([*(origin + radius * outward)[:2], box.bottom + ABOVE_BOTTOM_M])
        grasps.append(Grasp(position, outward, RIM_WIDTH_M))
    return grasps
