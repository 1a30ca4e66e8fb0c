"""Whether an open hand, pointing anywhere, would be inside other things."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.hand import PALM_M

# Points on the hand, from the grip site: along the closing direction, across it, along the approach.
_FINGERS = [(x, y, z) for x in (0.042, 0.053, 0.064) for y in (-0.011, 0.011) for z in (-0.008, 0.012)]
_PALM = [(x, y, -PALM_M) for x in (0.0, 0.05, 0.1) for y in (-0.032, 0.032)]
HAND_M = np.array([(sign * x, y, z) for x, y, z in (*_FINGERS, *_PALM) for sign in (-1.0, 1.0)])


def points_inside(
    scene: Scene, names: list[str], positions: np.ndarray, rotations: np.ndarray
) -> np.ndarray:
    """How many of the points `HAND_M` of hands at [n, 3], [n, 3, 3] are inside the boxes of things: int [n]."""
    boxes = [scene.boxes(name) for name in names]
    centres, frames, halves = (np.concatenate(parts) for parts in zip(*boxes, strict=True))
    points = positions[:, None] + HAND_M @ rotations.transpose(0, 2, 1)  # [n, points, 3]
    local = np.einsum("npbi,bij->npbj", points[:, :, None] - centres, frames)
    return np.asarray((np.abs(local) < halves).all(axis=-1).any(axis=-1).sum(axis=-1))
