"""Moving the Panda's hand: what every skill of the embedded teacher uses.

All lengths are metres in the world frame, all angles radians. Nothing here remembers anything: each answer
depends on the simulator's present state alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lit_distill.schema import ACTION_DIM
from lit_distill.sim.osc import POSITION_SCALE_M, ROTATION_SCALE_RAD
from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.grasp import DOWN
from lit_distill.teachers.posture import (
    LEAST_REACH_M,
    REACH_M,
    SHOULDER_M,
    WRIST_ABOVE_M,
    WRIST_BEHIND_M,
    posture,
)
from lit_distill.teachers.vectors import swing, twist

OPEN, CLOSE = -1.0, 1.0
POSITION_GAIN, ROTATION_GAIN = 1.6, 1.2
UPRIGHT_GAIN, UPRIGHT_FULL_RAD = 0.25, 0.4
"""Share of the gain that sets a slight tilt right, and the tilt from which on all of it does: the arm's own
acceleration tilts the hand a little, its braking tilts it back, and correcting that disturbs the motion."""
MAX_OPENING_M = 0.08
SPEED_M = 0.0127
"""Distance along one axis that the saturated position command covers in one control step (measured)."""
FULL_TURN = 0.7
"""Largest rotation command: beyond, joint 7's torque saturates, the hand turns slower and drifts sideways."""
TURN_SPEED_RAD = 0.06
"""Turn about the vertical that this command gives in one control step (measured)."""
SLOW_WITHIN_M, SLOWEST = 0.045, 0.35
"""Closer to where it is going than this, a careful hand moves slower, down to this share of its top speed."""

# The hand, measured from the grip site along the approach direction and across it.
FINGERTIP_M = 0.013
PALM_M = 0.024
HAND_HALF_WIDTH_M = 0.11
HAND_HALF_DEPTH_M = 0.035

FIRM_COMMAND = 0.7
"""Gripper command from which on the fingers press."""
STILL_CLOSING_M_S = 0.02
"""Fingers that close faster than this have met nothing yet; empty ones take 11 control steps to stop."""
AT_REST_RAD_S = 0.01
BELOW_TOP_M = 0.003
"""Fingertips that hold an object reach at least so far below its top."""
BLOCKED_OPENING_M = 0.012
"""Firmly closed fingers that are still so far apart have something between them."""
JOINT_7_LIMIT_RAD, JOINT_7_HARD_LIMIT_RAD, JOINT_7_FURTHEST_RAD = 2.6, 2.85, 2.75
"""Up to where turns about the vertical are planned, where turns to an orientation may end, and how far turns
go that would have to end beyond the first; the joint stops at 2.9."""
JOINT_7_EASY_RAD, JOINT_7_EASY_COST = 2.3, 4.0
"""No limit decides between the ways round but what each radian from the easy range on costs, where the hand
closes and after the turn that follows: at a limit small errors would change the way, and change it back."""
JOINT_7_FREE_RAD, JOINT_7_COST = 1.9, 4.0
"""The same where the hand turns to an orientation: where joint 7 ends up is then known to 0.3 rad
only."""
TRAVEL_CLEARANCE_M = 0.05

STRETCHED_RAD, BENT_RAD, PULL_IN_M = -0.5, -0.68, 0.04
"""Joint 4 near its straight position (-0.47), where pulling the hand in no longer bends the elbow. From
`BENT_RAD` on, which no point within reach asks for, the servo aims up to `PULL_IN_M` nearer to the base."""

AHEAD_S = 0.15
"""So much later a command takes effect."""

EASY_REACH_M = 0.7
"""From here on the hand leans: up to `REACH_M` would leave no play before the servo pulls it in."""
MAX_LEAN_RAD, LEANS, LEAN_INWARDS_RAD = 0.45, 10, 0.3
"""By how much the hand leans outwards at most, where pointing down does not reach far enough; how many leans
inwards are tried, and up to which, where the arm does not fold so far."""

# Recovery.
MAX_TILT_RAD = 0.9
JOINT_MARGIN_RAD = 0.02
JOINT_5_RAD, JOINT_6_RAD = (-0.4, 0.4), (1.9, 2.2)
"""Where the wrist's joints are without any tilt, which adds to both ends; near the base, where the arm is
folded, joint 6 is further. Beyond, the wrist is flipped over: the hand may point down, but soon runs into a
limit."""
RETURNING_RAD, RETURNING_RAD_S = 0.4, 0.05
"""So far from a flipped wrist, and so fast, joint 5 is on its way home."""
IN_LINE_RAD = 0.8
"""A hand that continues the forearm to this angle is turned by joint 5 as well as by joint 7."""
STRAIGHT_RAD, RISE_M = -0.47, 0.02
"""Joint 4 with wrist and shoulder furthest apart, and how far above the hand's place a stretched arm aims."""


class Hand:
    """The hand of one scene.

    Args:
        scene: view of the simulator's present state.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    # -- motion ------------------------------------------------------------------------------------

    def servo(
        self,
        offset: np.ndarray,
        yaw: float,
        gripper: float,
        careful: bool = True,
        approach: np.ndarray = DOWN,
    ) -> np.ndarray:
        """Action [7] that moves by `offset` [3] (m), turns by `yaw` (rad, world z), points along `approach`.

        At the edge of the arm's reach it leans outwards, close to the base inwards.
        A careful hand slows down on arrival, which gives whoever imitates it more looks where precision
        counts.
        """
        if approach is DOWN:
            approach = self.leaning(self.scene.eef_position + offset)
        tilt = self.tilt(approach)
        angle = float(np.linalg.norm(tilt))
        stretched = self._stretched()
        offset = offset - stretched * PULL_IN_M * self.outwards()
        turn = tilt * max(stretched, np.clip(angle / UPRIGHT_FULL_RAD, UPRIGHT_GAIN, 1.0))
        largest = FULL_TURN * ROTATION_SCALE_RAD / ROTATION_GAIN
        turn -= np.clip(yaw, -largest, largest) * self.scene.eef_rotation[:, 2]  # by joint 7, however tilted
        return self.reach(offset, turn, gripper, careful)

    def reach(self, offset: np.ndarray, turn: np.ndarray, gripper: float, careful: bool = True) -> np.ndarray:
        """Action [7] like `servo`, with any turn [3] (axis-angle, rad)."""
        slowing = float(np.linalg.norm(offset)) / SLOW_WITHIN_M if careful else 1.0
        return action(offset, turn, gripper, speed=min(max(slowing, SLOWEST), 1.0))

    def turn_towards(self, rotation: np.ndarray, ahead: float = 0.0) -> np.ndarray:
        """Turn [3] (axis-angle, rad) to an orientation [3, 3]: the approach direction goes the shortest way.

        Rolling about it turns joint 7 by as much, so of the two ways round the one that joint 7 allows, which
        turns by `ahead` anyway until the hand is where it goes to.
        """
        present = self.scene.eef_rotation
        roll = float(twist(present.T @ rotation))
        rolls = (roll, roll - 2 * np.pi, roll + 2 * np.pi)
        joint_7 = self.scene.joints[6] + ahead
        allowed = [turn for turn in rolls if abs(joint_7 + turn) < JOINT_7_HARD_LIMIT_RAD]
        return swing(present[:, 2], rotation[:, 2]) + present[:, 2] * min(allowed or [roll], key=abs)

    def turn_cost(self, turn: np.ndarray) -> float:
        """What a turn [3] (axis-angle) costs, rad: its angle, and more where joint 7 comes near its limit."""
        joint_7 = abs(self.scene.joints[6] + float(turn @ self.scene.eef_rotation[:, 2]))
        return float(np.linalg.norm(turn)) + JOINT_7_COST * max(0.0, joint_7 - JOINT_7_FREE_RAD)

    def tilt(self, approach: np.ndarray = DOWN) -> np.ndarray:
        """Turn [3] (axis-angle, rad) that makes the hand point along a direction [3]."""
        return swing(self.scene.eef_rotation[:, 2], approach)

    def leaning(self, point: np.ndarray) -> np.ndarray:
        """Direction [3] to point in on the way to a point [3]: down, or outwards or inwards to reach it."""
        lean = self.lean(point)
        return np.sin(lean) * self.outwards() - np.array([0.0, 0.0, np.cos(lean)])

    def outwards(self) -> np.ndarray:
        """Level unit vector [3] from the arm's base to the hand."""
        away = (self.scene.eef_position - self.scene.base) * [1.0, 1.0, 0.0]
        return np.asarray(away / max(float(np.linalg.norm(away)), 1e-9))

    def _stretched(self) -> float:
        """How far the elbow is on its way from bent enough for any reachable point to straight, 0 to 1.

        As it will be when a command takes effect.
        """
        joint_4 = self.scene.joints[3] + AHEAD_S * max(0.0, float(self.scene.joint_velocities[3]))
        return float(np.clip((joint_4 - BENT_RAD) / (STRETCHED_RAD - BENT_RAD), 0.0, 1.0))

    def wait(self, gripper: float) -> np.ndarray:
        """Action [7] that stays and opens or closes."""
        return self.servo(np.zeros(3), 0.0, gripper)

    def go_home(self, gripper: float) -> np.ndarray:
        """Action [7] towards the home joints, along J (q_home - q); a stretched arm is bent first."""
        if self.scene.joints[3] > STRETCHED_RAD:
            return self._bend(gripper)
        turn = self.scene.jacobian() @ (self.scene.home - self.scene.joints)
        return action(turn[:3], turn[3:], gripper)

    def _bend(self, gripper: float) -> np.ndarray:
        """Action [7] that bends a stretched elbow.

        One that is bent the wrong way has to pass its straight position, where the wrist is furthest out, so
        the hand goes outwards, and up; from there on pulling it in bends the elbow.
        """
        if self.scene.joints[3] > STRAIGHT_RAD:
            up_and_out = self.outwards() + np.array([0.0, 0.0, 1.0])
            return action(POSITION_SCALE_M * up_and_out, self.tilt(), gripper)
        return self.servo(np.array([0.0, 0.0, RISE_M]), 0.0, gripper)

    def stranded(self, tilted: float = MAX_TILT_RAD) -> bool:
        """Tilted further than `tilted` (rad), overstretched or at a joint limit: do not trust the servo."""
        joints, limits = self.scene.joints, self.scene.joint_limits
        margin = np.minimum(joints - limits[:, 0], limits[:, 1] - joints)
        return bool(
            np.linalg.norm(self.tilt()) > tilted
            or joints[3] > STRETCHED_RAD
            or margin.min() < JOINT_MARGIN_RAD
            or self._flipped(tilted)
        )

    def _flipped(self, tilted: float) -> bool:
        """Whether a wrist joint is where tilting by `tilted` (rad) would not bring it."""
        joints = self.scene.joints
        folded = max(JOINT_6_RAD[1], joints[1] - joints[3])
        free = tilted + self.wrist_play()
        level = JOINT_5_RAD[0] - free < joints[4] < JOINT_5_RAD[1] + free
        return not (level and JOINT_6_RAD[0] - tilted < joints[5] < folded + tilted)

    def returning(self) -> bool:
        """Whether joint 5 is on its way home from where the wrist flips over: left there, it goes back."""
        joint_5, velocity = float(self.scene.joints[4]), float(self.scene.joint_velocities[4])
        free = JOINT_5_RAD[1] + MAX_TILT_RAD + self.wrist_play() - RETURNING_RAD
        return bool(abs(joint_5) > free and velocity * np.sign(joint_5) < -RETURNING_RAD_S)

    def wrist_play(self) -> float:
        """How far (rad) joint 5 may turn beyond a tilt: a hand in line with the forearm only rolls by it."""
        return max(0.0, IN_LINE_RAD - abs(np.pi - float(self.scene.joints[5])))

    def turn_to(self, axis: np.ndarray, then: float = 0.0) -> float:
        """Turn (rad, about world z) that makes the fingers close along a horizontal direction [3].

        Of the two half turns the one that joint 7 allows. The hand points down: turning by +yaw about world
        z turns joint 7 by -yaw. Of two equal turns the one that leaves joint 7 nearer its middle, so that
        the same scene always gets the same answer.

        Args:
            axis: the direction.
            then: a turn that is to follow, which joint 7 has to allow as well, one way round or the other.
        """
        return min(self._half_turns(axis), key=lambda turn: self._effort(turn, then))

    def nearest_turn(self, axis: np.ndarray) -> float:
        """The least turn (rad) that makes the fingers close along `axis` [3], wherever it leaves joint 7.

        For a hand that need not turn further then: near its limit joint 7 stays where it is.
        """
        joint_7 = float(self.scene.joints[6])
        turns = self._half_turns(axis)
        allowed = [turn for turn in turns if abs(joint_7 - turn) < JOINT_7_HARD_LIMIT_RAD]
        return min(allowed, key=abs) if allowed else self.turn_to(axis)

    def effort(self, axis: np.ndarray) -> float:
        """What `turn_to` such a direction [3] costs, rad: the turn, and where it brings joint 7."""
        return min(self._effort(turn, 0.0) for turn in self._half_turns(axis))

    def _half_turns(self, axis: np.ndarray) -> tuple[float, float, float]:
        closes = self.scene.eef_rotation[:, 0]
        error = np.arctan2(axis[1], axis[0]) - np.arctan2(closes[1], closes[0])
        error = float((error + np.pi / 2) % np.pi - np.pi / 2)
        return error, error - np.pi, error + np.pi

    def _effort(self, turn: float, then: float) -> float:
        joint_7 = self.scene.joints[6]
        there = float(abs(joint_7 - turn))
        after = min(abs(joint_7 - turn - each) for each in (then, then - 2 * np.pi, then + 2 * np.pi))
        hard = max(0.0, there - JOINT_7_EASY_RAD) + max(0.0, after - JOINT_7_EASY_RAD)
        return float(abs(turn) + 0.5 * there + JOINT_7_EASY_COST * hard)

    def turn_by(self, turn: float) -> float:
        """The given turn (rad, about world z) or a full turn less or more, as joint 7 allows.

        Where it allows none, as much as it can of the one that asks least of it: pressed against its limit,
        joint 7 would leave the turn to the others, which move the hand by it.
        """
        joint_7 = float(self.scene.joints[6])
        turns = (turn, turn - 2 * np.pi, turn + 2 * np.pi)
        allowed = [each for each in turns if abs(joint_7 - each) < JOINT_7_LIMIT_RAD]
        if allowed:
            return min(allowed, key=abs)
        nearest = min((joint_7 - each for each in turns), key=abs)
        return joint_7 - float(np.clip(nearest, -JOINT_7_FURTHEST_RAD, JOINT_7_FURTHEST_RAD))

    def unwind(self) -> float:
        """Turn (rad, about world z) that brings joint 7 away from its limits, 0 if it is."""
        joint_7 = float(self.scene.joints[6])
        return joint_7 - min(max(joint_7, -JOINT_7_EASY_RAD), JOINT_7_EASY_RAD)

    # -- looking -----------------------------------------------------------------------------------

    def holds(self, name: str) -> bool:
        """Whether the closing fingers touch an object on both sides, or on one and cannot close on it."""
        if self.scene.closing_command <= 0.0:
            return False
        touching = self.scene.fingers_touching(name)
        gripped = touching == 2 or (
            touching == 1 and self.closed() and self.scene.opening > BLOCKED_OPENING_M
        )
        return gripped and self.around(self.scene.extent(name))

    def around(self, extent: Extent, beside: float = MAX_OPENING_M) -> bool:
        """Whether the fingertips are below an object's top, the grip site at most so far `beside` its box."""
        position = self.scene.eef_position
        tips = position[2] + FINGERTIP_M * self.scene.eef_rotation[2, 2]
        near = np.all((position > extent.low - beside) & (position < extent.high + beside))
        return bool(tips < extent.top - BELOW_TOP_M and near)

    def closed(self) -> bool:
        """Whether the fingers have closed as far as they can: whatever they missed, they missed."""
        closing = self.scene.opening_speed < -STILL_CLOSING_M_S
        return self.scene.closing_command >= FIRM_COMMAND and not closing

    def closed_on_nothing(self) -> bool:
        """Whether nothing keeps the closed fingers apart: what they hold they cannot push with."""
        return self.closed() and self.scene.opening < BLOCKED_OPENING_M

    def at_rest(self, slower_than: float = AT_REST_RAD_S) -> bool:
        """Whether no joint moves, or none faster than this (rad/s)."""
        return bool(np.abs(self.scene.joint_velocities).max() < slower_than)

    def within_reach(self, point: np.ndarray) -> bool:
        """Whether the hand, leaning if need be, can bring the grip site to a point [3]."""
        near, far = (self._stretch(point, lean) for lean in (-LEAN_INWARDS_RAD, MAX_LEAN_RAD))
        return near >= LEAST_REACH_M and far <= REACH_M

    def reaches(self, point: np.ndarray, approach: np.ndarray) -> bool:
        """Whether the hand, pointing along `approach` [3], can bring the grip site to a point [3]."""
        return bool(posture(self.scene.base, point[None], approach[None]).within_reach[0])

    def reaches_down_to(self, point: np.ndarray) -> bool:
        """Whether the hand, pointing down, can bring the grip site to a point [3]."""
        return self.lean(point) == 0.0

    def lean(self, point: np.ndarray) -> float:
        """How far (rad) the hand has to lean outwards to bring the grip site to a point [3].

        Negative where it has to lean inwards: so near to the base the arm cannot be folded.
        """
        stretch = self._stretch(point, 0.0)
        if stretch < LEAST_REACH_M:
            leans = np.linspace(0.0, -LEAN_INWARDS_RAD, LEANS)
            enough = (lean for lean in leans if self._stretch(point, lean) > LEAST_REACH_M)
            return float(next(enough, -LEAN_INWARDS_RAD))
        return float(np.clip((stretch - EASY_REACH_M) / WRIST_ABOVE_M, 0.0, MAX_LEAN_RAD))

    def _stretch(self, point: np.ndarray, lean: float) -> float:
        """Distance (m) from shoulder to wrist with the grip site at a point [3]."""
        grip = point - self.scene.base
        behind = WRIST_BEHIND_M * np.cos(lean) + WRIST_ABOVE_M * np.sin(lean)
        above = WRIST_ABOVE_M * np.cos(lean) - WRIST_BEHIND_M * np.sin(lean)
        return float(np.hypot(np.linalg.norm(grip[:2]) - behind, grip[2] + above - SHOULDER_M))

    def travel_height(self, names: Iterable[str], highest: float = 0.4) -> float:
        """Height (m) at which the grip site passes over those of `names` lower than `highest` (m).

        Both are measured from the surface that things stand on.
        """
        surface = self.scene.surface
        tops = [top for name in names if (top := self.scene.extent(name).top) < surface + highest]
        return max(tops, default=surface + highest / 2) + TRAVEL_CLEARANCE_M


def action(offset: np.ndarray, turn: np.ndarray, gripper: float, speed: float = 1.0) -> np.ndarray:
    """Action [7] for a displacement (m) and an axis-angle turn (rad), each scaled down as a vector.

    The largest component saturates: along a diagonal the hand is faster than along an axis.
    """
    command = np.empty(ACTION_DIM)
    command[:3] = offset * (POSITION_GAIN / POSITION_SCALE_M)
    command[3:6] = turn * (ROTATION_GAIN / ROTATION_SCALE_RAD)
    for part, largest in ((slice(0, 3), speed), (slice(3, 6), FULL_TURN)):
        command[part] /= max(1.0, float(np.abs(command[part]).max()) / largest)
    command[6] = gripper
    return command
