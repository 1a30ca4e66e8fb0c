"""Pushing a mug with closed fingers before a microwave: away from it, or off the handle that it lies on."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent
from lit_distill.teachers.clearance import Obstacle
from lit_distill.teachers.destinations import Placement
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import FINGERTIP_M
from lit_distill.teachers.hand_box import Boxes, hits, overlapped, pointing_down
from lit_distill.teachers.mug_grasps import HANDLE_WIDTH_M, MUGS, handle_direction, mug_grasps
from lit_distill.teachers.mug_holds import cup_centre, leans
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

    def act(self) -> np.ndarray:
        """See `Skill`."""
        return self._withdraw() if self._around_mug() else super().act()

    def way(self) -> Push | None:
        """The push to make, None if there is no room for the hand."""
        raise NotImplementedError

    def _has_room(self, plan: Push, boxes: Boxes) -> bool:
        """Whether some boxes leave the hand room where a push begins, and above it."""
        microwave, rotation = self.microwave, pointing_down(plan.axis)
        if microwave.would_catch(plan.start, rotation) or microwave.door_under_wrist(plan.start):
            return False
        return not hits(plan.start, rotation, 0.0, boxes, WAY_M) and self.hand.within_reach(plan.start)

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
        mug = scene.extent(self.target)
        height = max(mug.top - BELOW_TOP_M, scene.surface + ABOVE_TABLE_M) + FINGERTIP_M
        right, boxes = scene.rotation(self.microwave.name)[:, 0], scene.geom_boxes(self._geoms)
        microwave = scene.geom_boxes(scene.geoms(self.microwave.name))
        for angle in ANGLES_RAD:
            direction = np.sin(angle) * right - np.cos(angle) * self.microwave.inwards
            ahead = FREE_AHEAD_M * direction
            if overlapped(mug.low + ahead, mug.high + ahead, microwave):
                continue
            for axis in (np.array([-direction[1], direction[0], 0.0]), right):
                along = abs(float(axis @ direction))
                fingers = along * FINGERS_HALF_M + (1.0 - along) * FINGERS_HALF_DEPTH_M
                behind = 0.5 * scene.width_along(self.target, direction) + BEHIND_M + fingers
                start = np.array([*(mug.centre - behind * direction)[:2], height])
                plan = Push(start, direction, axis, onwards=ONWARDS_M)
                if self._has_room(plan, boxes):
                    return plan
        return None


class Roll(PushByDoor):
    """Rolls a mug off its handle or from under it, rights one that leans on it; see `skills.Skill`."""

    def way(self) -> Push | None:
        """See `PushByDoor`."""
        scene, name = self.scene, self.target
        shape, rotation = MUGS[scene.category(name)], scene.rotation(name)
        handle = scene.position(name) + rotation @ np.array(shape.handle)
        centre, behind = cup_centre(scene, name), shape.rim_radius + ROLL_BEHIND_M
        if leans(scene, name) or handle[2] > centre[2]:
            centre, behind = handle, 0.5 * HANDLE_WIDTH_M + ROLL_BEHIND_M
        if leans(scene, name):
            direction = -handle_direction(scene, name)
            centre[2] += FINGERTIP_M
        else:
            axis = rotation[:, 2]
            direction = np.array([-axis[1], axis[0], 0.0]) / max(float(np.linalg.norm(axis[:2])), 1e-9)
            if direction @ self.microwave.inwards > 0.0:
                direction = -direction
            centre[2] = scene.extent(name).top - ROLL_BELOW_TOP_M
        across = np.array([-direction[1], direction[0], 0.0])
        plan = Push(centre - behind * direction, direction, across)
        return plan if self._has_room(plan, scene.geom_boxes(self._geoms)) else None
