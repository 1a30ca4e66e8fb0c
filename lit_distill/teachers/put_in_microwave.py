"""Put a mug into a microwave by its handle, with a hand that stays outside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.clearance import Obstacle
from lit_distill.teachers.destinations import Destination, Placement
from lit_distill.teachers.door import OPEN_RAD
from lit_distill.teachers.grasp import DOWN, Grasp
from lit_distill.teachers.grasp_choice import reachable, wrist_aside
from lit_distill.teachers.hand import (
    BLOCKED_OPENING_M,
    CLOSE,
    FIRM_COMMAND,
    MAX_OPENING_M,
    OPEN,
    SPEED_M,
    TURN_SPEED_RAD,
    Hand,
)
from lit_distill.teachers.hand_box import Boxes, hits
from lit_distill.teachers.microwave import ALIGNED_M, CEILING_M, FLOOR_M, FRONT_M, REST_M, Microwave
from lit_distill.teachers.mug_grasps import HANDLE_WIDTH_M
from lit_distill.teachers.mug_holds import (
    MugHold,
    cup_centre,
    held_by_handle,
    leans,
    lies,
    mug_handle,
    mug_hold,
)
from lit_distill.teachers.pick_place import AROUND_M, RELEASE_STEPS, PickPlace
from lit_distill.teachers.pushing import Push
from lit_distill.teachers.vectors import orientation, swing, turned

LEAST_INWARDS_M = -0.08
"""A mug whose middle is so deep stays inside when it is let go; the door pushes it further. Less deep, one
whose handle is outside slides, and tips over the edge."""
LEFT_ALONE_M = 0.15
"""A mug that rests there while the hand is so far away stays wherever it is inside."""
REGION_M = -0.072
"""How deep the mug's origin has to be in the end, unless it lies with its base to the door; LIBERO's region
begins a little deeper."""
RIGHT_WALL_M = 0.066
"""A mug that sticks out and reaches further to the right is caught by the front when the door pushes it."""
SHUT_RAD = -0.05
"""A door that is open no further has pushed what it pushes."""
OPEN_ENOUGH_RAD = -1.85
"""A door that is open further is not opened for more room: whatever comes over it knocks it back so far."""
HAND_REST_M = -0.13
"""Where the hand stops, inwards in the microwave's frame: before its front."""
WAIT_M, TURN_M = 0.045, 0.14
"""So far before the front the foremost part of mug and hand waits until the mug can enter, and is turned."""
TURNED_RAD, TURN_AT_M = 0.9, -0.01
"""From which turn on it is turned there, and how far to the right: away from the door."""
AT_LIP_M = 0.02
ROUND_DOOR_M = 0.06
"""So far to the right a hand goes that has run into the end of the door."""
CARRY_M = 0.014
"""Height of the mug's bottom above the floor of the microwave while it enters."""
CARRY_HIGH_M = 0.1
"""The same while it is turned: whatever shakes the hand there, the mug hits neither table nor microwave."""
LOWEST_ENTRY_M, HIGHEST_ENTRY_M, BELOW_FLOOR_M = 0.006, 0.026, -0.003
ASKEW_RAD = 0.35
"""A hand that would be so far from square to the front, once the mug is turned, does not fit before it."""
ENTERS_RAD = 0.5
"""Up to which missing turn a held mug goes on into the microwave; the turn is done on the way."""
RIGHTS_RAD, LEANS_STILL_RAD = (0.15, 0.6), 0.37
"""From where on and how far at most a hand leans to hold upright a mug that turned in it, and how far the mug
may still lean."""
RELEASE_M, LET_GO_M, DROP_LYING_M = 0.006, 0.01, 0.035
"""How near to where it stops the hand goes down, and how high the bottom of a mug may be that is let go: one
that lies may tilt in the hand, so that it goes no lower."""
CLEAR_OF_HOLD_M, PARTED_M = 0.06, 0.015
THIN_TOLERANCES_M = (0.025, 0.016, 0.02)
"""`_tolerances` of a handle that open fingers have far more room for than they need, from the side."""
WAY_M = (0.0, 0.06, 0.12)
"""Distances from where the hand takes hold at which there has to be room for it, as it comes."""
THINNEST_M = 0.004
"""Fingers that hold the wall of a standing mug are further apart; those that press on one that lies part a
little, but hold it only by something thicker."""
LEANS_RAD, LEAN_COST = (0.3, 0.6), 1.0
"""How far a hand may lean away from the microwave, and what a radian of it costs, in radians of turning."""
OVER_MUG = 0.1
"""From which share of its direction on a hand that points away from the mug has its palm over the mug."""
FINGER_CORNER_M = 0.02
"""How much lower one corner of the fingertips gets per sine of the lean, with some play."""
AT_GRASP_M, HELD_UP_RAD_S = 0.05, 0.03
"""How near to a grasp fingers that have begun to close go on, and joint velocity below which a hand that has
not reached it yet is held up."""
PARTING_M_S, HALF_OPEN_M = 0.02, 0.03
"""Fingers that part faster than this, or are nearer to each other, do not begin to close."""
RISE_M, LIFTED_M = 0.05, 0.015
"""How far ahead a rising hand is sent, and how high above the table the mug is that rises with it."""
MARGIN_M, DOOR_MARGIN_M = 0.008, 0.02
"""Distance that the hand keeps from things, and from the door."""


class CarryByDoor(PickPlace):
    """Picks and places beside a microwave's open door, over which the hand has to pass.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves it.
        target: LIBERO's name of the object to move.
        destination: where to.
        microwave: LIBERO's name of the microwave.
    """

    def __init__(
        self, scene: Scene, hand: Hand, target: str, destination: Destination, microwave: str
    ) -> None:
        super().__init__(scene, hand, target, destination, None)
        self.microwave = Microwave(scene, microwave)
        self._but_the_door = np.setdiff1d(self._geoms, self.microwave.door_geoms)

    def held(self) -> bool:
        """Whether the hand holds the mug; fingers that have closed on nothing only push or press it."""
        thinnest = BLOCKED_OPENING_M if lies(self.scene, self.target) else THINNEST_M
        return self.hand.holds(self.target) and self.scene.opening > thinnest

    def _held(self) -> bool:
        return self.held()

    def _place(self, target: Extent, placement: Placement, obstacles: dict[str, Obstacle]) -> np.ndarray:
        if self.scene.closing_command < FIRM_COMMAND:
            return self._close()
        if self.microwave.door_touches_arm():
            return self.hand.servo(self.microwave.turned(np.array([ROUND_DOOR_M, 0.0, RISE_M])), 0.0, CLOSE)
        return super()._place(target, placement, obstacles)

    def _close(self) -> np.ndarray:
        """Action [7] of fingers that have met the mug: a hand that leans leans on until they are closed."""
        return self.hand.reach(np.zeros(3), np.zeros(3), CLOSE)

    def _around_mug(self) -> bool:
        """Whether fingers that are not closed surround the mug, which they may just have let go."""
        apart = self.scene.opening > BLOCKED_OPENING_M
        return apart and self.hand.around(self.scene.extent(self.target), AROUND_M)

    def _withdraw(self) -> np.ndarray:
        """Action [7] of fingers that surround the mug: they part, then they rise; off one they lift."""
        if self.scene.closing_command > OPEN:
            return self.hand.wait(OPEN)
        if self.hangs(LIFTED_M):
            closes = self.scene.eef_rotation[:, 0]
            handle = mug_handle(self.scene, self.target) - self.scene.eef_position
            return self.hand.servo((handle @ closes) * closes - [0.0, 0.0, RISE_M], 0.0, OPEN)
        return self.hand.servo(np.array([0.0, 0.0, RISE_M]), 0.0, OPEN)

    def hangs(self, height: float) -> bool:
        """Whether the mug, before the microwave and so high (m) above the table, touches a finger."""
        scene = self.scene
        high = scene.extent(self.target).bottom > scene.surface + height
        return bool(high and self._foremost() < FRONT_M and scene.fingers_touching(self.target))

    def _foremost(self) -> float:
        """How far inwards the mug reaches, in the microwave's frame, m."""
        return float(self.microwave.inside(self.scene.corners(self.target))[:, 1].max())

    def _stopped(self, error: np.ndarray, opened: bool) -> bool:
        """See `PickPlace`: against the door, which yields, it never stands still; closing, it goes on."""
        parting = self.scene.opening_speed > PARTING_M_S or self.scene.opening < HALF_OPEN_M
        closing = self.scene.closing_command > OPEN and not parting
        near = float(np.linalg.norm(error)) < AT_GRASP_M
        return (closing and near) or (opened and self.hand.at_rest(HELD_UP_RAD_S))

    def _in_the_way(self, obstacles: dict[str, Obstacle]) -> list[Extent]:
        around = [self.microwave.door_extent()] if obstacles else []  # there is room around the goal
        return [*super()._in_the_way(obstacles), *around]

    def _leaning(self, grasp: Grasp, lean: float) -> Grasp:
        """The same grasp by a hand that leans away from the microwave, rad."""
        ahead = np.array([-grasp.axis[1], grasp.axis[0], 0.0])
        ahead *= np.copysign(1.0, ahead @ self.microwave.inwards)
        return replace(
            grasp,
            position=grasp.position + np.array([0.0, 0.0, FINGER_CORNER_M * np.sin(lean)]),
            approach=np.cos(lean) * DOWN + np.sin(lean) * ahead,
            penalty=LEAN_COST * lean,
        )

    def _hits(self, grasp: Grasp, boxes: Boxes, way: tuple[float, ...] = WAY_M) -> int:
        """How many of some boxes the open hand would hit at the worst point of its way to a grasp."""
        return hits(grasp.position, orientation(grasp.axis, grasp.approach), MAX_OPENING_M, boxes, way)


class PutInMicrowave(CarryByDoor):
    """Puts the mug `target` into a microwave that is open; see `skills.Skill`.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves it.
        target: LIBERO's name of the mug.
        destination: the region inside.
        microwave: LIBERO's name of the microwave.
    """

    def done(self) -> bool:
        """Whether the mug is inside, or will be once the door pushes it, and the hand has let go of it."""
        hold = mug_hold(self.scene, self.target)
        away = hold is None or np.linalg.norm(hold.grasp.position - self.scene.eef_position) > CLEAR_OF_HOLD_M
        parted = hold is not None and self.scene.opening > hold.grasp.width + PARTED_M
        let_go = not self.hand.holds(self.target) and (away or parted or self.scene.closing_command <= OPEN)
        return bool(let_go and self.inside())

    def inside(self) -> bool:
        """Whether the mug is in the region, or so far on the floor that the door will push it there."""
        if self.destination.reached() or self.microwave.angle > SHUT_RAD:
            return self.destination.reached()
        corners = self.microwave.inside(self.scene.corners(self.target))
        origin = self.microwave.inside(self.scene.position(self.target))[1]
        centre = self.microwave.inside(cup_centre(self.scene, self.target))[1]
        sticks_out = FRONT_M - corners[:, 1].min()
        pushed = origin + max(0.0, sticks_out)
        opened = self.microwave.angle < OPEN_RAD  # else the hand could not get at the mug any more
        caught = opened and sticks_out > 0.0 and corners[:, 0].max() > RIGHT_WALL_M
        low, high = corners[:, 2].min(), corners[:, 2].max()
        far = np.linalg.norm(self.scene.eef_position - cup_centre(self.scene, self.target)) > LEFT_ALONE_M
        least = FRONT_M if far and self.scene.at_rest(self.target) else LEAST_INWARDS_M
        on_floor = low > FLOOR_M - RELEASE_M and high < CEILING_M and centre > least
        return bool(on_floor and pushed > REGION_M and not caught)

    def holds(self) -> bool:
        """Whether the hand holds the mug so that it can put it in."""
        return self.held() and held_by_handle(self.scene, self.target)

    def blocked(self) -> tuple[bool, bool]:
        """Whether there is no room for the hand to take hold: because of the door, for another reason."""
        hold = mug_hold(self.scene, self.target)
        if hold is None or leans(self.scene, self.target):
            return False, True
        return self._best(hold)[1]

    def _best(self, hold: MugHold) -> tuple[Grasp, tuple[bool, bool]]:
        """How to take hold, by leaning where a hand that points down has no room, and what blocks that."""
        door = self._boxes(self.microwave.door_geoms, DOOR_MARGIN_M)
        others = self._boxes(self._but_the_door, MARGIN_M)
        blocked = self._blocked(hold.grasp, door, others)
        stops = self.microwave.angle < OPEN_ENOUGH_RAD
        if (blocked[1] or (blocked[0] and stops)) and not hold.grasp.leans:
            for lean in LEANS_RAD:
                leaning = self._leaning(hold.grasp, lean)
                over_mug = leaning.approach @ hold.outwards > OVER_MUG
                if not over_mug and not any(self._blocked(leaning, door, others)):
                    return leaning, (False, False)
        return hold.grasp, blocked

    def _blocked(self, grasp: Grasp, door: Boxes, others: Boxes) -> tuple[bool, bool]:
        """`blocked` for one grasp, by the boxes around the door or around anything else."""
        microwave, wrist = self.microwave, grasp.position - wrist_aside(grasp)
        by_door = bool(self._hits(grasp, door)) or microwave.door_under_wrist(wrist)
        otherwise = bool(self._hits(grasp, others)) or microwave.front_under_wrist(wrist)
        if grasp.leans:
            rotation = orientation(grasp.axis, grasp.approach)
            otherwise = otherwise or microwave.would_catch(grasp.position, rotation)
        reached = self.hand.within_reach(grasp.position) and reachable(grasp, self.hand)
        return by_door, otherwise or not reached

    def _boxes(self, geoms: np.ndarray, margin: float) -> Boxes:
        centres, frames, halves = self.scene.geom_boxes(geoms)
        return centres, frames, halves + margin

    def _turn(self, hold: MugHold) -> float:
        """Turn (rad, world z) that makes a hold point out of the microwave."""
        now, goal = hold.outwards, -self.microwave.inwards
        angle = np.arctan2(goal[1], goal[0]) - np.arctan2(now[1], now[0])
        return float((angle + np.pi) % (2 * np.pi) - np.pi)

    # -- pick --------------------------------------------------------------------------------------

    def _grasp(
        self, target: Extent, obstacles: dict[str, Obstacle], placement: Placement
    ) -> tuple[Grasp, Push | None]:
        hold = mug_hold(self.scene, self.target)
        if hold is None:
            return super()._grasp(target, obstacles, placement)
        return replace(self._best(hold)[0], turn_after=self._turn(hold)), None

    def _tolerances(self, grasp: Grasp) -> tuple[float, float, float]:
        return THIN_TOLERANCES_M if grasp.width <= HANDLE_WIDTH_M else super()._tolerances(grasp)

    # -- place -------------------------------------------------------------------------------------

    def _place(self, target: Extent, placement: Placement, obstacles: dict[str, Obstacle]) -> np.ndarray:
        if self.scene.closing_command < FIRM_COMMAND:
            return self._close()
        hold = mug_hold(self.scene, self.target)
        if hold is None:
            return self.hand.wait(CLOSE)
        right, foremost, bottom, left = self._where(target)
        round_door = foremost < -AT_LIP_M and self.microwave.door_touches_arm()
        if self._askew() and not round_door:
            # It turned in the hand and would fall out: set it down, take it anew.
            down = self.microwave.turned(np.array([0.0, min(0.0, -WAIT_M - foremost), 0.0]))
            down[2] = self.scene.surface - target.bottom
            return self.hand.servo(down, 0.0, CLOSE)
        yaw = self._turn_held(hold)
        aligned = abs(REST_M[0] - right) < ALIGNED_M and abs(yaw) < ENTERS_RAD
        if abs(yaw) > TURNED_RAD:
            offset = np.array([TURN_AT_M - right, -TURN_M - foremost, CARRY_HIGH_M - bottom])
        else:
            offset = np.array([REST_M[0] - right, -WAIT_M - foremost, CARRY_M - bottom])
        if round_door:
            offset = np.array([ROUND_DOOR_M, 0.0, max(offset[2], RISE_M)])
        elif foremost > -AT_LIP_M and bottom < BELOW_FLOOR_M:
            offset[0] = yaw = 0.0  # before the step up to the floor: back out and rise, then turn
        elif foremost > -AT_LIP_M and self.microwave.inside(target.high)[2] > CEILING_M:
            offset[0] = offset[2] = yaw = 0.0  # above the opening: back out before it goes down
        elif foremost > 0.0 or (LOWEST_ENTRY_M < bottom < HIGHEST_ENTRY_M and aligned):
            offset[1] = left
            if left < 2 * RELEASE_M:
                offset[2] = -bottom
        offset = self.microwave.turned(offset)
        return self.hand.servo(offset, yaw, CLOSE, careful=foremost < 0.0, approach=self._upright())

    def _askew(self) -> bool:
        """Whether a held mug leans so much that the hand cannot lean to hold it upright."""
        return (
            leans(self.scene, self.target)
            and float(np.linalg.norm(self._to_right(self._upright()))) > LEANS_STILL_RAD
        )

    def _upright(self) -> np.ndarray:
        """Direction [3] in which the hand points: down, or inwards where that holds the mug upright."""
        if lies(self.scene, self.target):
            return DOWN
        upright = turned(DOWN, self._to_right(DOWN))
        lean = float(np.arctan2(upright @ self.microwave.inwards, -upright[2]))
        if lean < RIGHTS_RAD[0]:
            return DOWN
        lean = min(lean, RIGHTS_RAD[1])
        return np.asarray(np.cos(lean) * DOWN + np.sin(lean) * self.microwave.inwards)

    def _to_right(self, approach: np.ndarray) -> np.ndarray:
        """Turn [3] (axis-angle, rad) that makes a mug stand in a hand that points along a direction [3]."""
        axis, present = self.scene.rotation(self.target)[:, 2], self.scene.eef_rotation[:, 2]
        return swing(turned(axis * np.sign(axis[2]), swing(present, approach)), -DOWN)

    def _turn_held(self, hold: MugHold) -> float:
        """Turn (rad, world z) of the hand that makes the mug's handle point out of the microwave.

        If a mug that turned in the fingers leaves the hand askew then, the turn that brings the hand square.
        """
        turn = self.hand.turn_by(self._turn(hold))
        square = self.hand.turn_to(self.scene.rotation(self.microwave.name)[:, 0])
        askew = (square - turn + np.pi / 2) % np.pi - np.pi / 2
        return square if abs(askew) > ASKEW_RAD else turn

    def _where(self, target: Extent) -> tuple[float, float, float, float]:
        """Of the held mug, in the microwave's frame, m.

        Where its middle is to the right, the foremost point of mug and hand beyond the front, the bottom of
        the mug above the floor, and how far the hand can still go inwards.
        """
        scene, microwave = self.scene, self.microwave
        right = float(microwave.inside(cup_centre(scene, self.target))[0])
        left = HAND_REST_M - float(microwave.inside(scene.eef_position)[1])
        bottom = target.bottom - microwave.outside(np.zeros(3))[2] - FLOOR_M
        return right, max(self._foremost(), microwave.foremost_of_hand()) - FRONT_M, float(bottom), left

    def _in_place(self, target: Extent, placement: Placement, held: bool) -> bool:
        _, foremost, bottom, left = self._where(target)
        if self._askew():
            return foremost < 0.0 and target.bottom < self.scene.surface + LET_GO_M
        at_handle = held_by_handle(self.scene, self.target)
        highest = DROP_LYING_M if lies(self.scene, self.target) else LET_GO_M
        return bool(at_handle and left < 2 * RELEASE_M and -0.01 < bottom < highest)

    # -- potential ---------------------------------------------------------------------------------

    def _place_steps(self, target: Extent, placement: Placement) -> float:
        hold = mug_hold(self.scene, self.target)
        right, mug, height = self.microwave.inside(cup_centre(self.scene, self.target))
        way = max(abs(REST_M[0] - right), FRONT_M - WAIT_M - mug, FLOOR_M + 0.05 - height, 0.0)
        turning = abs(self._turn(hold)) / TURN_SPEED_RAD if hold else np.pi / TURN_SPEED_RAD
        enter = REST_M[1] - max(mug, FRONT_M - WAIT_M)
        return max(way / SPEED_M, turning) + (max(0.0, enter) + CARRY_M) / SPEED_M + RELEASE_STEPS
