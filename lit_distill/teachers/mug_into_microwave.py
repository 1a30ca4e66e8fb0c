"""Bring a mug into a microwave from wherever it stands or lies.

It is taken by its handle, by a hand that leans away from the microwave if need be, and put in as it is. What
keeps the hand from the handle is removed first: the door is opened further, the mug is put aside, pushed or
dragged away from the microwave, rolled off its handle, or swept by the door out of the corner beside it. One
that is partly inside is pushed in.
"""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.aside import FreePlace
from lit_distill.teachers.destinations import Destination
from lit_distill.teachers.door import CloseDoor, OpenWide, at_door
from lit_distill.teachers.drag_mug import Drag
from lit_distill.teachers.hand import CLOSE, OPEN, Hand
from lit_distill.teachers.microwave import FRONT_M
from lit_distill.teachers.mug_grasps import handle_direction
from lit_distill.teachers.mug_holds import cup_centre, leans, lies, mug_hold
from lit_distill.teachers.push_mug import IN_OPENING_M, PushAway, PushIn, Roll
from lit_distill.teachers.put_in_microwave import HAND_REST_M, OPEN_ENOUGH_RAD, PutInMicrowave
from lit_distill.teachers.put_mug_aside import PutAside
from lit_distill.teachers.skills import Skill

PUT_ASIDE_STEPS, DRAG_STEPS, PUSH_IN_STEPS = 90.0, 60.0, 60.0
REACHES_M = np.arange(0.6, 0.75, 0.03)
"""Distances from the robot's base at which a mug is put aside: beyond the door, well within reach."""
HAND_ROOM_M = 0.05
"""Room around a mug that is put aside, so that the hand can take it by its handle."""
ROLLS_M = 0.06
"""A mug whose middle is so far before the front can be rolled."""
BACK_OUT_M, LOWER_M = 0.05, 0.03
CORNER_M, SWEPT_M, CORNER_DEPTH_M, NARROW_RAD = -0.1, -0.06, 0.2, -0.8
"""Where, to the right, a mug beside the door is in the corner, and where it no longer is; how far before the
front; and how far the door is shut at most to bring it out."""
IN_THE_AIR_M = 0.06
"""A mug that is so high above the table and touches a finger hangs on it."""
EDGE_M, BEHIND_M, BESIDE_M, AT_HEIGHT_M, NUDGE_M = (-0.115, -0.075), (0.03, 0.13), 0.05, (0.03, 0.14), 0.05
"""Where the middle of a mug is that stands on the edge and may slip out, how far behind and beside it and at
what height the hand is that just pushes it back in, and how far ahead that is sent."""
JAMMED_RAD = 0.75
"""A hand that is tilted so far, further than it leans, and touches the microwave backs out first."""


class MugIntoMicrowave:
    """Brings the mug `target` into a microwave that is open; see `skills.Skill`.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves it.
        target: LIBERO's name of the mug.
        destination: the region inside.
        microwave: LIBERO's name of the microwave.
    """

    def __init__(
        self, scene: Scene, hand: Hand, target: str, destination: Destination, microwave: str
    ) -> None:
        self.hand, self.target = hand, target
        self.put_in = PutInMicrowave(scene, hand, target, destination, microwave)
        self.drag = Drag(scene, hand, target, destination, microwave)
        self.push_away = PushAway(scene, hand, target, destination, microwave)
        self.roll = Roll(scene, hand, target, destination, microwave)
        self.push_in = PushIn(scene, hand, target, destination, microwave)
        self.make_room = OpenWide(scene, hand, microwave)
        self.sweep = CloseDoor(scene, hand, microwave)
        place = FreePlace(scene, target, self.put_in.microwave.front, HAND_ROOM_M, REACHES_M)
        self.put_aside = PutAside(scene, hand, target, place, microwave)

    def done(self) -> bool:
        """See `Skill`."""
        return self.put_in.done()

    def act(self) -> np.ndarray:
        """See `Skill`."""
        microwave = self.put_in.microwave
        gripper = CLOSE if self.put_in.held() else OPEN
        if self.hand.stranded(JAMMED_RAD) and microwave.touches_arm():
            return self.hand.servo(-BACK_OUT_M * microwave.inwards, 0.0, gripper)
        if self.hand.returning():
            return self.hand.go_home(gripper)
        if not self.put_in.held():
            if self.push_in.pushes() and not (
                self.put_in.inside() and (self.push_in.deep() or microwave.touches_arm())
            ):
                return self.push_in.act()
            if self._slips_out():
                return self.hand.reach(NUDGE_M * microwave.inwards, np.zeros(3), CLOSE)
            if microwave.catches_hand():
                return self.hand.reach(-BACK_OUT_M * microwave.inwards, np.zeros(3), OPEN)
            if self.put_in.inside():
                return self.hand.wait(OPEN)
            if self.put_in.hangs(IN_THE_AIR_M):  # on a finger that does not hold it, or on two inside it
                return self.hand.servo(np.array([0.0, 0.0, -LOWER_M]), 0.0, CLOSE)
        return self._next().act()

    def _slips_out(self) -> bool:
        """Whether the mug stands on the edge of the microwave's floor, with the hand right behind it."""
        scene, microwave = self.hand.scene, self.put_in.microwave
        if lies(scene, self.target) or self.put_in.inside():
            return False
        right, depth, _ = microwave.inside(cup_centre(scene, self.target))
        x, y, z = microwave.inside(scene.eef_position)
        on_edge = EDGE_M[0] < depth < EDGE_M[1] and IN_OPENING_M[0] < right < IN_OPENING_M[1]
        behind = BEHIND_M[0] < depth - y < BEHIND_M[1] and y < HAND_REST_M and abs(x - right) < BESIDE_M
        return bool(on_edge and behind and AT_HEIGHT_M[0] < z < AT_HEIGHT_M[1])

    def remaining(self) -> float:
        """See `Skill`."""
        following = self._next()
        if following is self.push_in:
            return PUSH_IN_STEPS
        if following is self.put_in or following is self.make_room:
            return self.put_in.remaining()
        first = DRAG_STEPS * (following is self.drag or following is self.push_away)
        return self.put_aside.remaining() + PUT_ASIDE_STEPS + first

    def _next(self) -> Skill:
        """What the present state calls for."""
        if self.put_in.held():
            return self.put_in if self.put_in.holds() else self.put_aside
        if self._in_corner(SWEPT_M) and at_door(self.hand.scene, self.put_in.microwave, outside=True):
            return self.sweep
        if self.drag.goes_on():
            return self.drag
        if self.push_in.way() is not None:
            return self.push_in
        by_door, otherwise = self.put_in.blocked()
        ajar = self.put_in.microwave.angle > OPEN_ENOUGH_RAD
        door_alone = ajar and ((by_door and not otherwise) or self.push_in.has_room_beside_door())
        if self.make_room.goes_on(door_alone):
            return self.make_room
        if not by_door and not otherwise:
            return self.put_in
        if self._can_be_rolled():
            return self.roll
        if not self.put_aside.has_room():
            if self.push_away.way() is not None:
                return self.push_away
            return self.sweep if self._in_corner(CORNER_M) else self.drag
        return self.put_aside

    def _in_corner(self, right: float) -> bool:
        """Whether the mug is between the open door and the front, no further to the right than that (m).

        There is no room for the hand; the door, pushed towards the front, brings it out.
        """
        microwave = self.put_in.microwave
        x, y, _ = microwave.inside(cup_centre(self.hand.scene, self.target))
        return bool(microwave.angle < NARROW_RAD and x < right and FRONT_M - CORNER_DEPTH_M < y < FRONT_M)

    def _can_be_rolled(self) -> bool:
        """Whether the mug is in the open, lying on its handle or with the handle up, or leaning on it."""
        scene = self.hand.scene
        depth = self.put_in.microwave.inside(cup_centre(scene, self.target))[1]
        axis, handle = scene.rotation(self.target)[:, 2], handle_direction(scene, self.target)
        on_handle = leans(scene, self.target) and axis[2] * float(axis @ handle) > 0.0
        to_be_rolled = mug_hold(scene, self.target) is None or on_handle
        in_the_open = to_be_rolled and depth < FRONT_M - ROLLS_M
        return bool(in_the_open and self.roll.way() is not None)
