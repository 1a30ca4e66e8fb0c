"""Bring a mug into a microwave from wherever it stands or lies.

It is taken by its handle, by a hand that leans away from the microwave if need be, and put in as it is. What
keeps the hand from the handle is removed first: the door is opened further, the mug is put aside, pushed or
dragged away from the microwave, rolled off its handle, or swept by the door out of the corner beside it. One
that is partly inside is pushed in.
"""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.aside import FreePlace
from lit_distill.teachers.clearance import Obstacle
from lit_distill.teachers.destinations import Destination, Placement
from lit_distill.teachers.door import CloseDoor, OpenWide, at_door
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.grasp_choice import reachable, wrist_aside
from lit_distill.teachers.hand import (
    BLOCKED_OPENING_M,
    CLOSE,
    FINGERTIP_M,
    FIRM_COMMAND,
    OPEN,
    Hand,
)
from lit_distill.teachers.hand_box import Boxes, hits, pointing_down
from lit_distill.teachers.microwave import FRONT_M
from lit_distill.teachers.mug_grasps import mug_grasps
from lit_distill.teachers.mug_holds import cup_centre, leans, lies, mug_hold
from lit_distill.teachers.pick_place import ALIGN_HIGH_M
from lit_distill.teachers.push_mug import PushAway, PushIn, Roll
from lit_distill.teachers.pushing import Push
from lit_distill.teachers.put_in_microwave import AT_GRASP_M, LEANS_RAD, WAY_M, CarryByDoor, PutInMicrowave
from lit_distill.teachers.skills import Skill
from lit_distill.teachers.vectors import orientation

PUT_ASIDE_STEPS, DRAG_STEPS, PUSH_IN_STEPS = 90.0, 60.0, 60.0
REACHES_M = np.arange(0.6, 0.75, 0.03)
"""Distances from the robot's base at which a mug is put aside: beyond the door, well within reach."""
HAND_ROOM_M = 0.05
"""Room around a mug that is put aside, so that the hand can take it by its handle."""
ASIDE_ANGLES_RAD = np.radians([0.0, 45.0, -45.0, 90.0, -90.0, 135.0, -135.0])
"""Where on the rim a mug may be taken that is put aside, from the point opposite the handle."""
CLEAR_OF_FRONT_M, ON_TOP_M, SLIPPED_M = 0.06, 0.04, 0.06
LOWEST_TIP_M, PRESS_M, DRAG_M = 0.03, 0.01, 0.02
"""Dragging: how far the hand stays before the front, how far beside the middle of the mug a hand comes down
on it that something stops, and from where on one that presses on it has slipped off; how low the fingertips
go, how far below where they touch it the hand is sent, and how far ahead."""
BY_END_M, ALONG = 0.015, 0.5
"""So far from its middle a lying mug is pressed on, and the share of its direction that leads out of the
microwave where it is dragged along it."""
ABOVE_M = 0.005
DRAG_TO_M, DRAG_ANGLES_RAD = np.array([0.0, -0.4, 0.0]), np.radians([0.0, 30.0, -30.0, 60.0, -60.0, 90.0])
"""Where to, in the microwave's frame, and the directions there along which the closed fingers may lie."""
IN_THE_OPEN_M, ROLLS_M = 0.18, 0.06
"""A mug whose middle is so far before the front need not be dragged on, or can be rolled."""
OPEN_ENOUGH_RAD = -1.85
"""A door that is open further is not opened for more room: whatever comes over it knocks it back so far."""
BACK_OUT_M, LOWER_M = 0.05, 0.03
CORNER_M, SWEPT_M, CORNER_DEPTH_M, NARROW_RAD = -0.1, -0.06, 0.2, -0.8
"""Where, to the right, a mug beside the door is in the corner, and where it no longer is; how far before the
front; and how far the door is shut at most to bring it out."""
IN_THE_AIR_M = 0.06
"""A mug that is so high above the table and touches a finger hangs on it."""
HIT_COST_RAD, FAR_COST_RAD_M = 3.0, 3.0
OPENED_M = 0.06
"""Fingers at a grasp that are so far apart are about to close: whatever they touch, they go on."""
JAMMED_RAD = 0.75
"""A hand that is tilted so far, further than it leans, and touches the microwave backs out first."""
ALIGNED_RAD = 0.2
"""Up to which missing turn the hand comes down on a mug to drag it."""
TURN_BEFORE_M, TURN_RAD = 0.08, 0.5
"""So far before the place where it drags a hand stays that has more to turn: the microwave would catch it."""


class PutAside(CarryByDoor):
    """Puts a mug aside; see `skills.Skill`."""

    def _in_place(self, target: Extent, placement: Placement, held: bool) -> bool:
        there = np.linalg.norm(placement.position[:2] - target.centre[:2]) < placement.tolerance
        return bool(held and there and super()._in_place(target, placement, held))

    def has_room(self) -> bool:
        """Whether there is room for the hand at the best grasp, or it is there."""
        best = self._best()
        there = float(np.linalg.norm(best.position - self.scene.eef_position)) < AT_GRASP_M
        at_it = there and self.scene.opening > OPENED_M
        return bool(at_it or not self._hindered(best, self.scene.geom_boxes(self._geoms)))

    def _grasp(
        self, target: Extent, obstacles: dict[str, Obstacle], placement: Placement
    ) -> tuple[Grasp, Push | None]:
        return self._best(), None

    def _best(self) -> Grasp:
        grasps = mug_grasps(self.scene, self.target, ASIDE_ANGLES_RAD)
        leaning = [self._leaning(grasp, lean) for grasp in grasps for lean in LEANS_RAD]
        boxes = self.scene.geom_boxes(self._geoms)
        return min([*grasps, *leaning], key=lambda grasp: self._handicap(grasp, boxes))

    def _handicap(self, grasp: Grasp, boxes: Boxes) -> float:
        """What speaks against a grasp: being in the way of things, turning, being far."""
        effort, way = self.hand.effort(grasp.axis), np.linalg.norm(grasp.position - self.scene.eef_position)
        reached = self.hand.within_reach(grasp.position) and reachable(grasp, self.hand)
        hindered = self._hindered(grasp, boxes) + (not reached)
        effort += float(np.linalg.norm(self.hand.tilt(grasp.approach)))
        return HIT_COST_RAD * hindered + effort + FAR_COST_RAD_M * float(way) + grasp.penalty

    def _hindered(self, grasp: Grasp, boxes: Boxes) -> int:
        """How many of some boxes are in the way of the hand at a grasp; the microwave also of its wrist."""
        microwave, wrist = self.microwave, grasp.position - wrist_aside(grasp)
        caught = microwave.would_catch(grasp.position, orientation(grasp.axis, grasp.approach))
        over = microwave.door_under_wrist(wrist) + microwave.front_under_wrist(wrist)
        return self._hits(grasp, boxes, WAY_M if grasp.leans else WAY_M[:1]) + caught + over


class Drag(CarryByDoor):
    """Drags a mug away from the microwave, with fingers that press on it from above; see `skills.Skill`."""

    def act(self) -> np.ndarray:
        """See `Skill`."""
        hand, scene = self.hand, self.scene
        if hand.stranded():
            return hand.go_home(CLOSE)
        if self._around_mug():
            return self._withdraw()
        target, microwave = scene.extent(self.target), self.microwave
        along = self._along()
        point = microwave.inside(cup_centre(scene, self.target) + BY_END_M * along)
        point[1] = min(point[1], FRONT_M - CLEAR_OF_FRONT_M)
        point = microwave.outside(point)
        error = point - scene.eef_position
        aside = float(np.linalg.norm(error[:2]))
        axis = self._axis(np.array([*point[:2], target.top + FINGERTIP_M]))
        yaw = hand.turn_to(axis)
        if self._closed() and aside < SLIPPED_M and self._presses():
            way = (microwave.outside(DRAG_TO_M) - point) * [1.0, 1.0, 0.0]
            if along @ way > ALONG * np.linalg.norm(way):  # along its axis it does not roll
                way = along
            step = DRAG_M * way / np.linalg.norm(way) - [0.0, 0.0, 0.0 if self._low() else PRESS_M]
            return hand.servo(step, yaw, CLOSE, careful=False)
        blocked = microwave.touches_arm() or microwave.door_touches_arm()
        if hand.closed() and aside < (ON_TOP_M if blocked else ALIGN_HIGH_M) and abs(yaw) < ALIGNED_RAD:
            return hand.servo(np.array([*error[:2], -DRAG_M]), yaw, CLOSE)
        over = target.top + FINGERTIP_M + 0.005
        hover = over + ABOVE_M
        if abs(yaw) > TURN_RAD:  # before the microwave, which would catch a hand that turns in front of it
            point = point - TURN_BEFORE_M * microwave.inwards
            hover = max(hover, float(scene.eef_position[2]))
        return hand.servo(self._come(point, hover, over, self._look()), yaw, CLOSE)

    def goes_on(self) -> bool:
        """Whether the fingers press on a mug that is not yet clear of the microwave."""
        point = self.microwave.inside(cup_centre(self.scene, self.target))
        pressed = self.microwave.outside(point) + BY_END_M * self._along()
        aside = float(np.linalg.norm((self.scene.eef_position - pressed)[:2]))
        pressing = self._closed() and aside < SLIPPED_M and self._presses()
        return bool(pressing and point[1] > FRONT_M - IN_THE_OPEN_M)

    def _closed(self) -> bool:
        """Whether the fingers are closed, be it that the mug under them just made them part or shut."""
        together = self.scene.opening < BLOCKED_OPENING_M
        return self.hand.closed() or (together and self.scene.closing_command >= FIRM_COMMAND)

    def _presses(self) -> bool:
        """Whether the fingers are on the mug, or as low as they go."""
        return self._low() or self.scene.fingers_touching(self.target) > 0

    def _low(self) -> bool:
        return bool(self.scene.eef_position[2] < self.scene.surface + LOWEST_TIP_M + FINGERTIP_M)

    def _along(self) -> np.ndarray:
        """Level direction [3] along a lying mug, out of the microwave; zero for one that stands."""
        along = self.scene.rotation(self.target)[:, 2] * [1.0, 1.0, 0.0]
        if not lies(self.scene, self.target):
            return np.zeros(3)
        return along / np.linalg.norm(along) * -np.sign(along @ self.microwave.inwards)

    def _axis(self, point: np.ndarray) -> np.ndarray:
        """Level direction [3] to close along, for pressing at a point [3], that leaves the palm most room."""
        boxes = self.scene.geom_boxes(self._geoms)
        right, inwards = self.scene.rotation(self.microwave.name)[:, 0], self.microwave.inwards
        axes = [np.cos(angle) * right + np.sin(angle) * inwards for angle in DRAG_ANGLES_RAD]
        return min(axes, key=lambda axis: hits(point, pointing_down(axis), 0.0, boxes))


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
        if self.hand.stranded(JAMMED_RAD) and microwave.touches_arm():
            gripper = CLOSE if self.put_in.held() else OPEN
            return self.hand.servo(-BACK_OUT_M * microwave.inwards, 0.0, gripper)
        if not self.put_in.held():
            if self.push_in.pushes() and not (self.put_in.inside() and self.push_in.deep()):
                return self.push_in.act()
            if microwave.catches_hand():
                return self.hand.reach(-BACK_OUT_M * microwave.inwards, np.zeros(3), OPEN)
            if self.put_in.inside():
                return self.hand.wait(OPEN)
            if self._hangs():
                return self.hand.servo(np.array([0.0, 0.0, -LOWER_M]), 0.0, CLOSE)
        return self._next().act()

    def _hangs(self) -> bool:
        """Whether the mug hangs on a finger that does not hold it, or on two that are open inside it."""
        scene, microwave = self.hand.scene, self.put_in.microwave
        foremost = microwave.inside(scene.corners(self.target))[:, 1].max()
        high = scene.extent(self.target).bottom > scene.surface + IN_THE_AIR_M
        return bool(high and foremost < FRONT_M and scene.fingers_touching(self.target))

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
        door_alone = (by_door and not otherwise) or self.push_in.has_room_beside_door()
        if self.make_room.goes_on(door_alone and ajar):
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
        """Whether the mug is in the open, lying on its handle or with the handle up, or leaning."""
        scene = self.hand.scene
        depth = self.put_in.microwave.inside(cup_centre(scene, self.target))[1]
        to_be_rolled = mug_hold(scene, self.target) is None or leans(scene, self.target)
        in_the_open = to_be_rolled and depth < FRONT_M - ROLLS_M
        return bool(in_the_open and self.roll.way() is not None)
