"""Moving a hand, and what it holds, over what stands in the way."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.clearance import Obstacle, clearance
from lit_distill.teachers.hand import FINGERTIP_M, Hand

NEAR_TARGET_M = 0.05
"""Nearer to the goal than this the empty hand only has to keep clear of the object itself."""
FINGERS_HALF_M = 0.07
PASS_OVER_M = 0.02
FULL_SPEED_M = 0.04
"""An offset from which on the command is saturated."""
NEAR_DESTINATION_M = 0.15
"""From so far away what moves may be over the destination's walls, and rises at the latest."""
PAUSE_BELOW_M = 0.02
"""Sideways motion pauses when the height falls short of what the way demands by this."""


class Traveller:
    """Knows what could be in the way of a hand, and how to pass over it.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves.
        obstacles: LIBERO's names of the objects and fixtures that could be in the way.
    """

    def __init__(self, scene: Scene, hand: Hand, obstacles: list[str]) -> None:
        self.scene, self.hand, self.obstacles = scene, hand, obstacles
        self._geoms = scene.geoms(*obstacles)
        self._owner = np.repeat(np.arange(len(obstacles)), [len(scene.geoms(name)) for name in obstacles])

    def _look(self) -> dict[str, Obstacle]:
        """Every obstacle where it is now."""
        boxes = self.scene.box_corners(self._geoms).reshape(-1, 8, 3)
        return {name: Obstacle(boxes[self._owner == k]) for k, name in enumerate(self.obstacles)}

    def _in_the_way(self, obstacles: dict[str, Obstacle]) -> list[Extent]:
        """What has to be passed over."""
        return [obstacle.extent for name, obstacle in obstacles.items() if name in self.scene.objects]

    def _come(
        self,
        goal: np.ndarray,
        hover: float,
        over: float,
        obstacles: dict[str, Obstacle],
        below: float = FINGERTIP_M,
    ) -> np.ndarray:
        """Offset [3] of the empty hand towards `hover` above a goal [3]; below `over` it rises first.

        What of it is lowest is `below` (m) under the grip site.
        """
        position = self.scene.eef_position
        apart = float(np.linalg.norm(goal[:2] - position[:2]))
        if apart < NEAR_TARGET_M:
            obstacles = {}  # there is room around the goal
        offset = self._travel(position, goal, hover, np.full(2, FINGERS_HALF_M), below, obstacles)
        return self._pass(offset, over - max(0.0, apart - NEAR_DESTINATION_M) - position[2])

    def _travel(
        self,
        position: np.ndarray,
        goal: np.ndarray,
        height: float,
        half: np.ndarray,
        below: float,
        obstacles: dict[str, Obstacle],
    ) -> np.ndarray:
        """Offset [3] towards `height` above `goal` that passes over what is in the way.

        Args:
            position: present position [3] of the point that is moved.
            goal: where it goes to; its height does not count.
            height: at which it arrives.
            half: half the horizontal size [2] of what moves.
            below: how far what moves reaches below the point.
            obstacles: what could be in the way; fixtures are not passed over.
        """
        demand = clearance(position[:2], goal[:2], half, self._in_the_way(obstacles))
        above = below + PASS_OVER_M
        offset = np.array([*(goal[:2] - position[:2]), max(height, demand.way + above) - position[2]])
        if offset[2] > 0.0:  # rise as fast as it goes sideways, not along the straight line
            offset *= min(1.0, FULL_SPEED_M / max(FULL_SPEED_M, float(np.abs(offset[:2]).max())))
            offset[2] = min(max(height, demand.way + above) - position[2], FULL_SPEED_M)
        return self._pass(offset, demand.now + above - position[2])

    @staticmethod
    def _pass(offset: np.ndarray, missing: float) -> np.ndarray:
        """Slow the sideways part of an offset down as height (m) is missing."""
        share = min(max(1.0 - missing / PAUSE_BELOW_M, 0.0), 1.0)
        return offset * np.array([share, share, 1.0])
