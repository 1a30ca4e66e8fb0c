"""Pushing a mug with closed fingers before a microwave: away from it, or off the handle that it lies on."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent
from lit_distill.teachers.clearance import Obstacle
from lit_distill.teachers.destinations import Placement
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import FINGERTIP_M, WHOLE_TURN_RAD
from lit_distill.teachers.hand_box import hits, overlapped, pointing_down
from lit_distill.teachers.mug_grasps import HANDLE_WIDTH_M, MUGS, mug_grasps
from lit_distill.teachers.mug_holds import cup_centre
from lit_distill.teachers.pushing import FINGERS_HALF_DEPTH_M, FINGERS_HALF_M, Push
from lit_distill.teachers.put_in_microwave import WAY_M, CarryByDoor

ROLL_BEHIND_M, ROLL_BELOW_TOP_M = 0.03, 0.012
"""Where the fingers begin to roll a mug: behind it, below its top."""
ANGLES_RAD = np.radians([0.0, 30.0, -30.0, 60.0, -60.0])
"""Directions in which a mug may be pushed, from straight out of the microwave."""
BEHIND_M, BELOW_TOP_M, ABOVE_TABLE_M = 0.012, 0.035, 0.005
"""Where they begin to push it: behind it, and as low as the palm, which is above the mug, allows."""
ONWARDS_M = 0.08
"""The box around a mug is larger than the mug: so far beyond its edge they still push."""
FREE_AHEAD_M = 0.06
"""So far ahead of the mug there must be neither microwave nor door."""


class PushByDoor(CarryByDoor):
    """Pushes a mug with closed fingers; see `skills.Skill`."""

    def way(self) -> Push | None:
        """The push to make, None if there is no room for the hand."""
        raise NotImplementedError

    def _meets_it(self, direction: np.ndarray) -> bool:
        """Whether the microwave or its door is in the way of the mug in a level direction [3]."""
        extent, ahead = self.scene.extent(self.target), FREE_AHEAD_M * direction
        boxes = self.scene.geom_boxes(self.scene.geoms(self.microwave.name))
        return overlapped(extent.low + ahead, extent.high + ahead, boxes)

    def _has_room(self, plan: Push) -> bool:
        """Whether there is room for the hand where a push begins, and above it."""
        microwave, rotation = self.microwave, pointing_down(plan.axis)
        if microwave.would_catch(plan.start, rotation) or microwave.door_under_wrist(plan.start):
            return False
        boxes = self.scene.geom_boxes(self._geoms)
        free = not any(hits(plan.start + np.array([0.0, 0.0, up]), rotation, 0.0, boxes) for up in WAY_M)
        return free and self.hand.within_reach(plan.start)

    def _in_place(self, target: Extent, placement: Placement, held: bool) -> bool:
        return False

    def _grasp(
        self, target: Extent, obstacles: dict[str, Obstacle], placement: Placement
    ) -> tuple[Grasp, Push | None]:
        return mug_grasps(self.scene, self.target)[0], self.way()


class PushAway(PushByDoor):
    """Pushes a mug away from the microwave, with closed fingers behind it; see `skills.Skill`."""

    def way(self) -> Push | None:
        """The most direct way out for which there is room for the hand, None if there is none."""
        scene = self.scene
        corners = scene.corners(self.target)
        middle = 0.5 * (corners.min(axis=0) + corners.max(axis=0))
        right = scene.rotation(self.microwave.name)[:, 0]
        for angle in ANGLES_RAD:
            direction = np.sin(angle) * right - np.cos(angle) * self.microwave.inwards
            for axis in (np.array([-direction[1], direction[0], 0.0]), right):
                along = abs(float(axis @ direction))
                fingers = along * FINGERS_HALF_M + (1.0 - along) * FINGERS_HALF_DEPTH_M
                behind = 0.5 * float(np.ptp(corners @ direction)) + BEHIND_M + fingers
                start = middle - behind * direction
                start[2] = max(corners[:, 2].max() - BELOW_TOP_M, scene.surface + ABOVE_TABLE_M) + FINGERTIP_M
                plan = Push(start, direction, axis, turn_after=WHOLE_TURN_RAD, onwards=ONWARDS_M)
                if not self._meets_it(direction) and self._has_room(plan):
                    return plan
        return None


class Roll(PushByDoor):
    """Rolls a mug that lies on its handle or with the handle up; see `skills.Skill`."""

    def way(self) -> Push | None:
        """See `PushByDoor`."""
        scene, name = self.scene, self.target
        axis, shape = scene.rotation(name)[:, 2], MUGS[scene.category(name)]
        direction = np.array([-axis[1], axis[0], 0.0]) / max(float(np.linalg.norm(axis[:2])), 1e-9)
        if direction @ self.microwave.inwards > 0.0:
            direction = -direction
        centre = cup_centre(scene, name)
        behind = shape.rim_radius + ROLL_BEHIND_M
        handle = scene.position(name) + scene.rotation(name) @ np.array(shape.handle)
        if handle[2] > centre[2]:
            centre, behind = handle, 0.5 * HANDLE_WIDTH_M + ROLL_BEHIND_M
        centre[2] = scene.extent(name).top - ROLL_BELOW_TOP_M
        across = np.array([-direction[1], direction[0], 0.0])
        plan = Push(centre - behind * direction, direction, across, turn_after=WHOLE_TURN_RAD)
        return plan if self._has_room(plan) else None
