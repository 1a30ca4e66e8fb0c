"""Pushing a mug with closed fingers before a microwave: away from it, into it, or off its handle."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent
from lit_distill.teachers.clearance import Obstacle
from lit_distill.teachers.destinations import Placement
from lit_distill.teachers.grasp import DOWN, Grasp
from lit_distill.teachers.hand import FINGERTIP_M
from lit_distill.teachers.hand_box import Boxes, hits, overlapped
from lit_distill.teachers.microwave import CEILING_M, FLOOR_M, FRONT_M
from lit_distill.teachers.mug_grasps import HANDLE_WIDTH_M, MUGS, handle_direction, mug_grasps
from lit_distill.teachers.mug_holds import cup_centre, leans, lies, mug_handle
from lit_distill.teachers.pushing import FINGERS_HALF_DEPTH_M, FINGERS_HALF_M, Push
from lit_distill.teachers.put_in_microwave import WAY_M, CarryByDoor
from lit_distill.teachers.vectors import orientation

ROLL_BEHIND_M, ROLL_BELOW_TOP_M = 0.03, 0.012
"""Where the fingers begin to roll a mug: behind it, below its top."""
RAISE = 1.0
"""How much fingers rise as they right a mug that leans, or push one in: the rim that they press on has to."""
ENTERED_M, IN_OPENING_M = 0.008, (-0.1, 0.02)
"""So far beyond the front a mug is partly in; where, to the right, the middle of one is that fits through."""
DEEP_M, DEEPEST_HAND_M = -0.055, -0.065
"""How far inwards the middle of a mug is that is pushed no further, and how far the hand may get."""
LEAN_IN_RAD, PUSH_IN_AT, BELOW_FLOOR_M = 0.6, 0.3, 0.01
"""How much fingers that push a mug in lean, at which share of its height they begin, and how far its bottom
may be below the floor without having to rise."""
PUSH_IN_BESIDE_M, THROUGH_M = 0.04, 0.14
"""How far beside the straight way they still push it in, and how far from where they begin."""
OVER_AXIS_M = 0.02
"""Fingertips so far above the axis of a lying mug that is on the floor already slip over it."""
ANGLES_RAD = np.radians([0.0, 30.0, -30.0, 60.0, -60.0])
ASIDE_ANGLES_RAD = np.radians([0.0, 30.0, -30.0, 60.0, -60.0, 90.0, -90.0, 120.0, -120.0])
"""Directions in which a mug may be pushed, from straight out of the microwave; away from other things too."""
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
        """Whether some boxes leave the hand room where a push begins, and above it.

        Where its wrist is, and how far it reaches, is taken to be as of a hand that points down.
        """
        microwave, rotation = self.microwave, orientation(plan.axis, plan.approach)
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
        boxes = self.scene.geom_boxes(self._geoms)
        microwave = self.scene.geom_boxes(self.scene.geoms(self.microwave.name))
        aside = self._way_past(boxes, ASIDE_ANGLES_RAD, boxes)
        return aside or self._way_past(microwave, ANGLES_RAD, boxes)

    def _way_past(self, others: Boxes, angles: np.ndarray, boxes: Boxes) -> Push | None:
        """`way` at one of some angles [n] that leads past others, where all boxes leave the hand room."""
        scene = self.scene
        mug = scene.extent(self.target)
        height = max(mug.top - BELOW_TOP_M, scene.surface + ABOVE_TABLE_M) + FINGERTIP_M
        right = scene.rotation(self.microwave.name)[:, 0]
        for angle in angles:
            direction = np.sin(angle) * right - np.cos(angle) * self.microwave.inwards
            ahead = FREE_AHEAD_M * direction
            if overlapped(mug.low + ahead, mug.high + ahead, others):
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


class PushIn(PushByDoor):
    """Pushes a mug in that is partly in the microwave, with fingers that lean in; see `skills.Skill`."""

    def way(self) -> Push | None:
        """Straight inwards, None if the mug is not at the opening or there is no room for the hand."""
        plan = self._plan()
        return plan if plan and self._has_room(plan, self.scene.geom_boxes(self._geoms)) else None

    def has_room_beside_door(self) -> bool:
        """Whether there is room for the hand once the door is out of the way."""
        plan = self._plan()
        return bool(plan and self._has_room(plan, self.scene.geom_boxes(self._but_the_door)))

    def _plan(self) -> Push | None:
        """What `way` makes, whether or not there is room."""
        scene, microwave = self.scene, self.microwave
        corners = microwave.inside(scene.corners(self.target))
        low, high = corners.min(axis=0), corners.max(axis=0)
        right = float(microwave.inside(cup_centre(scene, self.target))[0])
        through = high[2] < CEILING_M and IN_OPENING_M[0] < right < IN_OPENING_M[1]
        if high[1] < FRONT_M + ENTERED_M or not through:
            return None
        inwards, axis = microwave.inwards, scene.rotation(microwave.name)[:, 0]
        approach = np.cos(LEAN_IN_RAD) * DOWN + np.sin(LEAN_IN_RAD) * inwards
        behind = low[1] - BEHIND_M - FINGERS_HALF_DEPTH_M
        contact = microwave.outside(np.array([right, behind, low[2] + PUSH_IN_AT * (high[2] - low[2])]))
        rise = RAISE if low[2] < FLOOR_M - BELOW_FLOOR_M else 0.0
        start = contact - FINGERTIP_M * approach
        return Push(start, inwards, axis, approach, onwards=THROUGH_M, beside=PUSH_IN_BESIDE_M, rise=rise)

    def deep(self) -> bool:
        """Whether the mug is so deep that it is pushed no further."""
        return bool(self.microwave.inside(cup_centre(self.scene, self.target))[1] > DEEP_M)

    def pushes(self) -> bool:
        """Whether the fingers are behind the mug, and the hand can go on."""
        plan = self.way() if self.hand.closed() else None
        if plan is None:
            return False
        level = (plan.start - self.scene.eef_position) * [1.0, 1.0, 0.0]
        forwards = float(level @ plan.direction)
        aside = float(np.linalg.norm(level - forwards * plan.direction))
        behind = -THROUGH_M < forwards < 0.0 and aside < PUSH_IN_BESIDE_M
        before = self.microwave.inside(self.scene.eef_position)[1] < DEEPEST_HAND_M
        over = plan.rise == 0.0 and lies(self.scene, self.target) and self._over_mug()
        return bool(behind and before and not over and self.hand.around(self.scene.extent(self.target)))

    def _over_mug(self) -> bool:
        """Whether the fingertips have risen so far above a lying mug's axis that they slip over it."""
        tips = self.scene.eef_position[2] + FINGERTIP_M * self.scene.eef_rotation[2, 2]
        return bool(tips > cup_centre(self.scene, self.target)[2] + OVER_AXIS_M)


class Roll(PushByDoor):
    """Rolls a mug off its handle or from under it, rights one that leans on it; see `skills.Skill`."""

    def way(self) -> Push | None:
        """See `PushByDoor`."""
        scene, name = self.scene, self.target
        shape, rotation = MUGS[scene.category(name)], scene.rotation(name)
        handle = mug_handle(scene, name)
        centre, behind = cup_centre(scene, name), shape.rim_radius + ROLL_BEHIND_M
        leaning = leans(scene, name)
        if leaning or handle[2] > centre[2]:
            centre, behind = handle, 0.5 * HANDLE_WIDTH_M + ROLL_BEHIND_M
        if leaning:
            direction = -handle_direction(scene, name)
            centre[2] += FINGERTIP_M
        else:
            axis = rotation[:, 2]
            direction = np.array([-axis[1], axis[0], 0.0]) / max(float(np.linalg.norm(axis[:2])), 1e-9)
            if direction @ self.microwave.inwards > 0.0:
                direction = -direction
            centre[2] = scene.extent(name).top - ROLL_BELOW_TOP_M
        across = np.array([-direction[1], direction[0], 0.0])
        rise = RAISE if leaning else None
        plan = Push(centre - behind * direction, direction, across, rise=rise)
        return plan if self._has_room(plan, scene.geom_boxes(self._geoms)) else None
