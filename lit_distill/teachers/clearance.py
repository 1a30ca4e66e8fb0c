"""How high something must travel to pass over what stands in its way.

All lengths are metres in the world frame. What moves is a rectangle that goes straight to its goal; along
both horizontal axes and upwards the hand is equally fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lit_distill.sim.scene import Extent

CLIMB = 0.7
"""Height gained for each metre of the way when both are done at once."""


class Obstacle:
    """Something that could be in the way.

    Args:
        boxes: corners [n, 8, 3] of the boxes around its n collision geoms, m.
    """

    def __init__(self, boxes: np.ndarray) -> None:
        self.boxes = boxes

    @property
    def extent(self) -> Extent:
        """World-aligned box around it."""
        return Extent(self.boxes.min(axis=(0, 1)), self.boxes.max(axis=(0, 1)))


@dataclass(frozen=True)
class Clearance:
    """What a way demands of the height (m) at which its obstacles' tops are just passed.

    Attributes:
        now: height that must be reached before going on sideways, -inf if there is nothing in the way.
        way: the highest obstacle of the remaining way, -inf if there is none.
    """

    now: float
    way: float


def clearance(
    start: np.ndarray, goal: np.ndarray, half: np.ndarray, obstacles: Iterable[Extent]
) -> Clearance:
    """Return the heights that the way from `start` [2] to `goal` [2] demands.

    Args:
        start: horizontal position of what moves.
        goal: where it goes to.
        half: half its size [2] along x and y; an obstacle that it touches nowhere is passed beside.
        obstacles: what it could run into.
    """
    way = goal - start
    length = float(np.abs(way).max())
    now = highest = -np.inf
    for obstacle in obstacles:
        entry = _entry(start, way, obstacle.low[:2] - half, obstacle.high[:2] + half)
        if entry is not None:
            now = max(now, obstacle.top - CLIMB * entry * length)
            highest = max(highest, obstacle.top)
    return Clearance(now, highest)


def _entry(start: np.ndarray, way: np.ndarray, low: np.ndarray, high: np.ndarray) -> float | None:
    """Share of the way after which a point enters a rectangle (slab test), None if it never does."""
    enters, leaves = 0.0, 1.0
    for position, step, lower, upper in zip(start, way, low, high, strict=True):
        if abs(step) < 1e-9:
            if not lower < position < upper:
                return None
            continue
        first, last = sorted(((lower - position) / step, (upper - position) / step))
        enters, leaves = max(enters, first), min(leaves, last)
    return float(enters) if enters < leaves else None
