"""Open and shut a microwave's door: closed fingers push it near its top, from inside or from outside.

Where it is shut, or ajar so little that they do not fit in, they first pull it by the upper end of its bar.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.hand import (
    BLOCKED_OPENING_M,
    CLOSE,
    FINGERTIP_M,
    OPEN,
    SPEED_M,
    Hand,
)
from lit_distill.teachers.microwave import DOOR_OUTSIDE_M, FRONT_M, Microwave

# LIBERO's microwave is open below -1.3 rad; at 0 it is shut, and it stops at -2.09 rad.
OPEN_RAD, PUSH_OPEN_RAD = -1.25, -1.5
"""A door that stands at the first angle leaves room for the hand; one that is being pushed goes further."""
CLEAR_RAD, WIDE_RAD = -1.97, -2.0
"""How far a door is opened at least that was in the way, and at most; it stops a little further."""
PUSH_AT_M = 0.065
"""Distance from the hinge of the place that is pushed: the bar of the door begins at 0.227 m."""
PULL_AT_M, GAP_M = (0.11, 0.2), 0.065
"""The same inside, where the open door leaves the fingers that much room before the front."""
BELOW_TOP_M = 0.03
"""How far the fingertips reach below the door's upper edge."""
OVER_TOP_M = 0.014
CLEAR_BELOW_TOP_M, BESIDE_M = 0.05, 0.1
"""From so far below the door's upper edge on a rising hand goes sideways too, up to so far from the door."""
STANDOFF_M = 0.025
"""Distance between the grip site and the side of the door that is pushed, before the fingers come down."""
ALONG_M, FAR_M = 0.13, 0.2
"""So far along the door from where it is pushed, and so far off it, a hand outside need not come over it."""
WEDGED_RAD = 0.65
"""A hand beside the door that tilts more than this is wedged."""
LEAD_M = 0.045
AJAR_RAD, PULLED_RAD = -0.28, -0.45
"""A door that is open less is pulled by its bar, and how far."""
BAR_AT_M, BAR_OUT_M, BAR_BELOW_TOP_M = 0.238, 0.064, 0.028
"""Where the grip site holds the bar: so far along the door, off the plane through its hinge and below its
top; a centimetre beyond the middle of the bar, since the palm has to clear the door, which is higher."""
BAR_PLAY_M, BAR_TURN_RAD, OFF_BAR_M = 0.012, 0.15, 0.03
"""How far off that and up to which missing turn the hand comes down and closes, how far off it may be that
holds the bar."""
BAR_STEPS = 25.0
BACK_OUT_M, RISE_M = 0.05, 0.1
CLOSED_M = 0.02
AWAY_M, PUT_DOWN_M = 0.15, 0.03
"""So far before the front a hand puts down what it holds, and from what height it lets go."""
ALIGNED_M = 0.015

# Potential.
COME_STEPS = 25.0
RADIAN_STEPS = 10.0


class _PushDoor(ABC):
    """What opening and closing have in common: closed fingers push the door from one side.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that pushes.
        name: LIBERO's name of the microwave.
    """

    outside: bool
    """Whether the door is pushed from outside, which shuts it."""

    def __init__(self, scene: Scene, hand: Hand, name: str) -> None:
        self.scene, self.hand, self.name = scene, hand, name
        self.microwave = Microwave(scene, name)

    def act(self) -> np.ndarray:
        """See `Skill`."""
        if held := next((name for name in self.scene.objects if self._grips(name)), None):
            return self._put_down(held)
        if self.hand.stranded(WEDGED_RAD):
            if self.microwave.door_touches_arm():
                rise = np.array([0.0, 0.0, RISE_M]) + BACK_OUT_M * _away(self.microwave, self.outside)
                return self.hand.reach(rise, np.zeros(3), OPEN)
            return self.hand.go_home(OPEN)
        return self._move()

    def _move(self) -> np.ndarray:
        """Action [7] of a hand that is free to turn the door."""
        return push_door(self.scene, self.hand, self.microwave, self.outside)

    def remaining(self) -> float:
        """See `Skill`."""
        return _remaining(self.scene, self.microwave, self._angle(), self.outside)

    def _grips(self, name: str) -> bool:
        """Whether something of an object is between closed fingers, whether or not they press on it now."""
        between = self.scene.opening > BLOCKED_OPENING_M and self.hand.around(self.scene.extent(name))
        return self.hand.holds(name) or (between and self.hand.closed())

    def _put_down(self, name: str) -> np.ndarray:
        """Action [7] that puts an object in the hand on the table, away from the microwave."""
        height = self.scene.extent(name).bottom - self.scene.surface
        if height < PUT_DOWN_M or self.hand.at_rest():
            return self.hand.wait(OPEN)
        depth = float(self.microwave.inside(self.scene.eef_position)[1])
        offset = min(0.0, FRONT_M - AWAY_M - depth) * self.microwave.inwards
        return self.hand.servo(offset - [0.0, 0.0, height], 0.0, CLOSE)

    @abstractmethod
    def _angle(self) -> float:
        """How far (rad) the door still has to turn."""


class CloseDoor(_PushDoor):
    """Shuts a microwave; see `skills.Skill`."""

    outside = True

    def done(self) -> bool:
        """Whether LIBERO takes it as closed; see `Skill`."""
        return self.scene.met(["close", self.name])

    def _angle(self) -> float:
        return abs(self.microwave.angle)


class OpenDoor(_PushDoor):
    """Opens a microwave that stands ajar; see `skills.Skill`."""

    outside = False

    def done(self) -> bool:
        """Whether it leaves room for the hand; see `Skill`."""
        pushing = at_door(self.scene, self.microwave, outside=False)
        return self.microwave.angle < (PUSH_OPEN_RAD if pushing else OPEN_RAD)

    def remaining(self) -> float:
        """See `Skill`."""
        return super().remaining() + BAR_STEPS * (self.microwave.angle > AJAR_RAD)

    def _move(self) -> np.ndarray:
        holding = _holds_bar(self.scene, self.hand, self.microwave)
        if self.microwave.angle > (PULLED_RAD if holding else AJAR_RAD):
            return pull_door(self.scene, self.hand, self.microwave)
        return super()._move()

    def _angle(self) -> float:
        return self.microwave.angle - OPEN_RAD


class OpenWide(OpenDoor):
    """Opens a microwave as far as it goes, where the door is still in the way; see `skills.Skill`."""

    def done(self) -> bool:
        """Whether it goes no further; see `Skill`."""
        return self.microwave.angle < WIDE_RAD

    def goes_on(self, needed: bool) -> bool:
        """Whether to open it further: where it is in the way, or where the hand is at it already."""
        begun = at_door(self.scene, self.microwave, outside=False) and self.microwave.angle > CLEAR_RAD
        return not self.done() and (needed or begun)

    def _angle(self) -> float:
        return self.microwave.angle - WIDE_RAD


def push_door(scene: Scene, hand: Hand, microwave: Microwave, outside: bool) -> np.ndarray:
    """Action [7] that comes over the door to one side of it, goes down and pushes.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that pushes.
        microwave: whose door.
        outside: whether to push from outside, which shuts it.
    """
    if microwave.catches_hand():
        return hand.reach(-BACK_OUT_M * microwave.inwards, np.zeros(3), OPEN)
    position, low = scene.eef_position, microwave.top - BELOW_TOP_M + FINGERTIP_M
    hinge, edge, _ = microwave.door()
    away = _away(microwave, outside)
    along, off = _off_door(scene, microwave, outside)
    push_at = _push_at(microwave, outside)
    if at_door(scene, microwave, outside):
        offset = (push_at - along) * edge - LEAD_M * away
        offset[2] = low - position[2]
        return hand.servo(offset, 0.0, CLOSE, careful=False)
    offset = hinge + push_at * edge + (_surface(outside) + STANDOFF_M) * away - position
    over = microwave.top + OVER_TOP_M + FINGERTIP_M
    beside = outside and off > STANDOFF_M - ALIGNED_M and abs(along - push_at) < ALONG_M
    closed = scene.opening < CLOSED_M
    if beside or (closed and float(np.linalg.norm(offset[:2])) < ALIGNED_M):
        offset[2] = low - position[2] if closed else 0.0
        return hand.servo(offset, 0.0, CLOSE, careful=False)
    if position[2] < over - 0.01:
        offset[2] = over - position[2]
        clear = position[2] >= microwave.top - CLEAR_BELOW_TOP_M
        free = max(0.0, -_off_door(scene, microwave, outside)[1] - BESIDE_M) if clear else 0.0
        offset[:2] *= min(1.0, free / max(float(np.linalg.norm(offset[:2])), 1e-9))
        return hand.servo(offset, 0.0, OPEN, careful=False)
    offset[2] = over - position[2]
    return hand.servo(offset, 0.0, CLOSE, careful=False)


def pull_door(scene: Scene, hand: Hand, microwave: Microwave) -> np.ndarray:
    """Action [7] that comes over the upper end of the door's bar, goes down, takes it and pulls.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that pulls.
        microwave: whose door.
    """
    _, edge, out = microwave.door()
    error = _to_bar(scene, microwave)
    sideways, yaw = float(np.linalg.norm(error[:2])), hand.turn_to(edge)
    if _holds_bar(scene, hand, microwave):
        return hand.servo(error + LEAD_M * out, yaw, CLOSE, careful=False)
    low = scene.eef_position[2] < microwave.top + FINGERTIP_M
    if low and hand.closed():
        return hand.servo(np.array([0.0, 0.0, RISE_M]), 0.0, OPEN)
    there = low and sideways < BAR_PLAY_M and abs(float(error[2])) < BAR_PLAY_M
    if there or (low and sideways < OFF_BAR_M and scene.closing_command > OPEN):
        return hand.servo(error, yaw, CLOSE)
    over = microwave.top + OVER_TOP_M + FINGERTIP_M
    if sideways > BAR_PLAY_M or abs(yaw) > BAR_TURN_RAD:
        error[2] = over - scene.eef_position[2]
        if error[2] > BAR_PLAY_M:
            error[:2] = 0.0
    return hand.servo(error, yaw, OPEN)


def _to_bar(scene: Scene, microwave: Microwave) -> np.ndarray:
    """Offset [3] of the grip site to where it holds the bar, m."""
    hinge, edge, out = microwave.door()
    bar = hinge + BAR_AT_M * edge + BAR_OUT_M * out
    bar[2] = microwave.top - BAR_BELOW_TOP_M
    return np.asarray(bar - scene.eef_position)


def _holds_bar(scene: Scene, hand: Hand, microwave: Microwave) -> bool:
    """Whether closed fingers have the bar between them."""
    near = float(np.linalg.norm(_to_bar(scene, microwave))) < OFF_BAR_M
    return bool(near and hand.closed() and scene.opening > BLOCKED_OPENING_M)


def at_door(scene: Scene, microwave: Microwave, outside: bool) -> bool:
    """Whether the closed fingers are beside one side of the door, where they push it."""
    along, off = _off_door(scene, microwave, outside)
    sunk = scene.eef_position[2] < microwave.top - BELOW_TOP_M + FINGERTIP_M + 0.012
    furthest = FAR_M if outside else STANDOFF_M + 2 * ALIGNED_M
    beside = 0.0 < off < furthest and abs(along - _push_at(microwave, outside)) < 0.05
    return bool(sunk and beside and scene.opening < CLOSED_M)


def _push_at(microwave: Microwave, outside: bool) -> float:
    """Distance from the hinge of the place that is pushed, m."""
    if outside:
        return PUSH_AT_M
    return float(np.clip(GAP_M / max(np.sin(abs(microwave.angle)), 1e-9), *PULL_AT_M))


def _surface(outside: bool) -> float:
    """Distance of one side of the door from the plane through its hinge, m."""
    return DOOR_OUTSIDE_M if outside else 0.0


def _away(microwave: Microwave, outside: bool) -> np.ndarray:
    """Direction [3] away from one side of the door."""
    normal = microwave.door()[2]
    return normal if outside else -normal


def _off_door(scene: Scene, microwave: Microwave, outside: bool) -> tuple[float, float]:
    """Where the grip site is: distance from the hinge along the door, and off one of its sides, m."""
    hinge, edge, _ = microwave.door()
    offset = scene.eef_position - hinge
    return float(offset @ edge), float(offset @ _away(microwave, outside)) - _surface(outside)


def _remaining(scene: Scene, microwave: Microwave, angle: float, outside: bool) -> float:
    along, off = _off_door(scene, microwave, outside)
    pushing = 0.0 < off < STANDOFF_M and scene.eef_position[2] < microwave.top
    way = np.hypot(along - _push_at(microwave, outside), off - STANDOFF_M) / SPEED_M
    return RADIAN_STEPS * max(0.0, angle) + (0.0 if pushing else COME_STEPS + float(way))
