"""A reactive controller: pick an object up from above and place it into a container.

The phase is decided from the state alone, never from time or memory, so that the controller can be asked
in any state that a student got itself into, and recovers: a missed grasp is seen as fingers closed
below the object's width, a dropped object simply has to be picked up again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lit_distill.schema import ACTION_DIM
from lit_distill.sim.osc import POSITION_SCALE_M, ROTATION_SCALE_RAD
from lit_distill.sim.scene import Extent, Scene

OPEN, CLOSE = -1.0, 1.0
POSITION_GAIN, ROTATION_GAIN = 1.6, 1.2
MAX_OPENING_M = 0.08
SPEED_M = 0.0145
"""Distance that the saturated position command covers in one control step."""
SLOW_WITHIN_M, SLOWEST = 0.12, 0.3
"""Closer to where it is going than this, the hand moves slower, down to this share of its top speed."""

# The hand, measured from the grip site along the approach direction and across it.
FINGERTIP_M = 0.013
PALM_M = 0.024
HAND_HALF_WIDTH_M = 0.11
HAND_HALF_DEPTH_M = 0.035

# Grasp.
GRASP_BELOW_TOP_M = 0.022
GRASP_ABOVE_BOTTOM_M = 0.015
TRAVEL_CLEARANCE_M = 0.05
ALIGN_HIGH_M, ALIGN_LOW_M, ALIGN_GRASP_M = 0.012, 0.02, 0.008
CLOSING_PLAY_M = 0.02
ALIGN_YAW_RAD = 0.1
GRASP_HEIGHT_TOLERANCE_M = 0.008
FIRM_COMMAND = 0.7
JOINT_7_LIMIT_RAD = 2.6
MAX_GRASP_WIDTH_M = 0.072
WIDTH_WORTH_A_RADIAN_M = 0.01
"""How much thinner an axis must be to be worth a turn by a radian."""

# Place.
CARRY_CLEARANCE_M = 0.035
OVER_CONTAINER_M = 0.025
RELEASE_ABOVE_RIM_M = 0.01

# Recovery.
MAX_TILT_RAD = 0.6
JOINT_MARGIN_RAD = 0.05
REACH_M = 0.78
HOMING_GAIN = 1.0

# Potential.
GRASP_STEPS = 10.0
RELEASE_STEPS = 4.0
FULL_PLAN_STEPS = 160.0
"""Control steps of the longest plan worth a potential above 0: V* = 1 - remaining / full."""


@dataclass(frozen=True)
class Grasp:
    """Where to close the fingers.

    Attributes:
        position: grip site position [3], m, world.
        axis: unit vector [3] along which the fingers close, horizontal.
        width: the object's width along the axis, m.
    """

    position: np.ndarray
    axis: np.ndarray
    width: float


class PickPlace:
    """Moves `target` into `container`.

    Args:
        scene: view of the simulator's present state.
        target: LIBERO's name of the object to move.
        container: LIBERO's name of the open-topped container.
    """

    def __init__(self, scene: Scene, target: str, container: str) -> None:
        self.scene, self.target, self.container = scene, target, container
        self.others = [name for name in scene.objects if name not in (target, container)]

    # -- the plan ----------------------------------------------------------------------------------

    def act(self) -> np.ndarray:
        """Return the action [7] for the present state."""
        if self._stranded():
            return self._go_home()
        target = self.scene.extent(self.target)
        if self._in_opening(target):
            return self._servo(np.zeros(3), 0.0, OPEN)
        if self._held():
            return self._place(target)
        return self._pick(target, self._grasp(target))

    def progress(self) -> float:
        """Potential of the present state in [0, 1]: 1 - remaining control steps / a full plan's."""
        target = self.scene.extent(self.target)
        if self._lost(target):
            return 0.0
        remaining = self._place_steps(target) if self._held() else self._pick_steps(target)
        return float(np.clip(1.0 - remaining / FULL_PLAN_STEPS, 0.0, 1.0))

    def _pick(self, target: Extent, grasp: Grasp) -> np.ndarray:
        position = self.scene.eef_position
        error = grasp.position - position
        sideways = float(np.linalg.norm(error[:2]))
        yaw = self._yaw_error(grasp)
        high = self._travel_height()
        at_height = error[2] > -GRASP_HEIGHT_TOLERANCE_M
        if self.scene.closing_command >= FIRM_COMMAND:
            # Closed and not holding: a miss. Open; rise once the fingers no longer surround the object.
            return self._servo(np.array([0.0, 0.0, 0.03]), 0.0, OPEN)
        # Fingers that started to close may push the object or the hand aside by their play.
        play = CLOSING_PLAY_M if self.scene.closing_command > -1.0 else ALIGN_GRASP_M
        if at_height and sideways < play and abs(yaw) < 2 * ALIGN_YAW_RAD:
            return self._servo(error, yaw, CLOSE)
        opened = self.scene.opening > min(grasp.width + 0.01, MAX_OPENING_M - 0.005)
        near = position[2] < target.top + FINGERTIP_M + 0.005
        if near:
            if sideways < ALIGN_LOW_M and opened and abs(yaw) < 2 * ALIGN_YAW_RAD:
                # Among the object: centre first, then go down.
                return self._servo(error if sideways < ALIGN_GRASP_M else error * [1, 1, 0.3], yaw, OPEN)
            return self._servo(np.array([0.0, 0.0, high - position[2]]), 0.0, OPEN)
        if sideways < ALIGN_HIGH_M and abs(yaw) < ALIGN_YAW_RAD and opened:
            return self._servo(error, yaw, OPEN)
        above = np.array([error[0], error[1], high - position[2]])
        if position[2] < high - 0.02 and sideways > 0.05:
            above[:2] *= 0.2  # rise before travelling
            yaw = 0.0
        return self._servo(above, yaw, OPEN)

    def _place(self, target: Extent) -> np.ndarray:
        container = self.scene.extent(self.container)
        offset = container.centre - target.centre
        sideways = float(np.linalg.norm(offset[:2]))
        if self.scene.closing_command < FIRM_COMMAND:
            return self._servo(np.zeros(3), 0.0, CLOSE)
        if sideways < OVER_CONTAINER_M:
            drop = container.top + RELEASE_ABOVE_RIM_M - self.scene.eef_position[2]
            return self._servo(np.array([offset[0], offset[1], drop]), 0.0, CLOSE)
        rise = container.top + CARRY_CLEARANCE_M - target.bottom
        if rise > 0.03 and sideways > 0.15:
            return self._servo(np.array([0.2 * offset[0], 0.2 * offset[1], rise]), 0.0, CLOSE)
        if rise > 0.015:  # near the wall: rise first
            return self._servo(np.array([0.0, 0.0, rise]), 0.0, CLOSE)
        return self._servo(np.array([offset[0], offset[1], rise]), 0.0, CLOSE)

    def _in_opening(self, target: Extent) -> bool:
        """Whether the object, if let go now, falls into the container (held as low as the hand can go)."""
        container = self.scene.extent(self.container)
        over = np.linalg.norm((container.centre - target.centre)[:2]) < 2.0 * OVER_CONTAINER_M
        low = self.scene.eef_position[2] < container.top + RELEASE_ABOVE_RIM_M + 0.01
        return bool(over and target.bottom < container.top + 0.02 and (low or not self._held()))

    # -- the grasp ---------------------------------------------------------------------------------

    def _grasp(self, target: Extent) -> Grasp:
        """Top-down grasp at the centre, along the horizontal axis that costs least."""
        height = max(target.top - GRASP_BELOW_TOP_M, target.bottom + GRASP_ABOVE_BOTTOM_M)
        position = np.array([*target.centre[:2], height])
        rotation = self.scene.rotation(self.target)
        horizontal = sorted(rotation.T, key=lambda axis: abs(axis[2]))[:2]
        candidates = []
        for axis in horizontal:
            flat = np.array([axis[0], axis[1], 0.0])
            flat /= np.linalg.norm(flat)
            grasp = Grasp(position, flat, self.scene.width_along(self.target, flat))
            candidates.append((self._grasp_cost(grasp), grasp))
        return min(candidates, key=lambda candidate: candidate[0])[1]

    def _grasp_cost(self, grasp: Grasp) -> float:
        """Prefer the thinnest axis (the most play for an imprecise hand), a small turn, free space."""
        cost = grasp.width / WIDTH_WORTH_A_RADIAN_M + abs(self._yaw_error(grasp))
        cost += 100.0 * max(0.0, grasp.width - MAX_GRASP_WIDTH_M) / WIDTH_WORTH_A_RADIAN_M
        cost += 5.0 * sum(self._hand_would_hit(grasp, name) for name in self.others)
        return cost

    def _hand_would_hit(self, grasp: Grasp, name: str) -> bool:
        """Whether the hand's box above the grasp overlaps another object."""
        corners = self.scene.corners(name)
        corners = corners[corners[:, 2] > grasp.position[2] + PALM_M]
        if not len(corners):
            return False
        across = np.array([-grasp.axis[1], grasp.axis[0], 0.0])
        relative = corners - grasp.position
        along_axis, across_axis = relative @ grasp.axis, relative @ across
        return bool(
            along_axis.min() < HAND_HALF_WIDTH_M
            and along_axis.max() > -HAND_HALF_WIDTH_M
            and across_axis.min() < HAND_HALF_DEPTH_M
            and across_axis.max() > -HAND_HALF_DEPTH_M
        )

    def _yaw_error(self, grasp: Grasp) -> float:
        """Turn (rad, about world z) to the grasp, of the two half turns the one joint 7 allows."""
        closes = self.scene.eef_rotation[:, 0]
        error = np.arctan2(grasp.axis[1], grasp.axis[0]) - np.arctan2(closes[1], closes[0])
        error = (error + np.pi / 2) % np.pi - np.pi / 2
        # The hand points down: turning by +yaw about world z turns joint 7 by -yaw. Of two equal turns take
        # the one that leaves joint 7 nearer its middle, so that the same scene always gets the same answer.
        joint_7 = self.scene.joints[6]
        allowed = [
            turn for turn in (error, error - np.pi, error + np.pi) if abs(joint_7 - turn) < JOINT_7_LIMIT_RAD
        ]
        return float(min(allowed or [error], key=lambda turn: abs(turn) + 0.5 * abs(joint_7 - turn)))

    def _travel_height(self) -> float:
        tops = [self.scene.extent(name).top for name in [*self.others, self.target]]
        reachable = [top for top in tops if top < 0.4]
        return max(reachable, default=0.2) + TRAVEL_CLEARANCE_M

    def _held(self) -> bool:
        return self.scene.closing_command > 0.0 and self.scene.fingers_touching(self.target) == 2

    # -- recovery ----------------------------------------------------------------------------------

    def _stranded(self) -> bool:
        """Tilted, at a joint limit, or out of reach: the servo cannot be trusted from here."""
        scene = self.scene
        tilt = np.arccos(np.clip(-scene.eef_rotation[2, 2], -1.0, 1.0))
        joints = scene.joints
        margin = np.minimum(joints - scene.joint_limits[:, 0], scene.joint_limits[:, 1] - joints)
        reach = np.linalg.norm(scene.eef_position[:2] - scene.base[:2])
        return bool(tilt > MAX_TILT_RAD or margin.min() < JOINT_MARGIN_RAD or reach > REACH_M + 0.05)

    def _go_home(self) -> np.ndarray:
        """Towards the home joints, along J (q_home - q)."""
        twist = self.scene.jacobian() @ (self.scene.home - self.scene.joints) * HOMING_GAIN
        gripper = CLOSE if self._held() else OPEN
        return _action(twist[:3], twist[3:], gripper)

    def _lost(self, target: Extent) -> bool:
        """Whether the object is beyond the arm's reach."""
        reach = np.linalg.norm(target.centre[:2] - self.scene.base[:2])
        return bool(reach > REACH_M or target.bottom < -0.05)

    # -- potential ---------------------------------------------------------------------------------

    def _pick_steps(self, target: Extent) -> float:
        grasp = self._grasp(target)
        position = self.scene.eef_position
        high = self._travel_height()
        sideways = np.linalg.norm(grasp.position[:2] - position[:2])
        detour = 2.0 * max(0.0, high - position[2]) if sideways > ALIGN_LOW_M else 0.0
        path = sideways + abs(position[2] - grasp.position[2]) + detour
        closing = GRASP_STEPS * (1.0 - max(0.0, self.scene.closing_command) * float(path < 0.03))
        return path / SPEED_M + closing + self._place_steps(target)

    def _place_steps(self, target: Extent) -> float:
        container = self.scene.extent(self.container)
        sideways = float(np.linalg.norm((container.centre - target.centre)[:2]))
        rise = max(0.0, container.top + CARRY_CLEARANCE_M - target.bottom)
        if sideways < OVER_CONTAINER_M:
            path = max(0.0, target.bottom - container.bottom)
        else:
            path = sideways + rise + container.top + CARRY_CLEARANCE_M
        return path / SPEED_M + RELEASE_STEPS

    # -- motion ------------------------------------------------------------------------------------

    def _servo(self, offset: np.ndarray, yaw: float, gripper: float) -> np.ndarray:
        """Move by `offset` (m) and turn by `yaw` (rad), keeping the hand pointing down.

        It slows down on arrival, which gives whoever imitates it more looks where precision counts.
        """
        rotation = self.scene.eef_rotation
        upright = np.cross(rotation[:, 2], np.array([0.0, 0.0, -1.0]))
        speed = float(np.clip(np.linalg.norm(offset) / SLOW_WITHIN_M, SLOWEST, 1.0))
        return _action(offset, upright + np.array([0.0, 0.0, yaw]), gripper, speed)


def _action(offset: np.ndarray, turn: np.ndarray, gripper: float, speed: float = 1.0) -> np.ndarray:
    """Action [7] for a displacement (m) and an axis-angle turn (rad), each scaled down as a vector."""
    action = np.empty(ACTION_DIM)
    action[:3] = offset * (POSITION_GAIN / POSITION_SCALE_M)
    action[3:6] = turn * (ROTATION_GAIN / ROTATION_SCALE_RAD)
    for part, largest in ((slice(0, 3), speed), (slice(3, 6), 1.0)):
        action[part] /= max(1.0, float(np.linalg.norm(action[part])) / largest)
    action[6] = gripper
    return action
