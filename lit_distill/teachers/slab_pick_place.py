"""Pick up a slab such as a book, however it lies, and put it on its foot at its destination.

The hand takes hold of it with a turn of its own choice and brings the slab, not the hand, into the pose that
the destination asks for.
"""

from __future__ import annotations

import mujoco
import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.destinations import Destination, Placement
from lit_distill.teachers.hand import (
    CLOSE,
    FIRM_COMMAND,
    JOINT_7_LIMIT_RAD,
    MAX_OPENING_M,
    OPEN,
    SPEED_M,
    TURN_SPEED_RAD,
    Hand,
    twist,
)
from lit_distill.teachers.slab import Slab, find_slab, slab_grasps

# How far the hand may tilt, measured with the arm over the desk caddy: away from the base joint 4 stops it.
OUTWARD_TILT_RAD, TILT_RAD = 0.35, 1.25
PICK_TILT_RAD = 1.0
LEAN_RAD = 0.35
"""A slab may lean this much when it is put on its foot."""

# Grasp.
STANDOFF_M = 0.07
NEAR_M = 0.045
"""Nearer to its grasp than this the fingers can touch the slab."""
ALIGN_HIGH_M, ALIGN_LOW_M, ALIGN_GRASP_M = 0.012, 0.02, 0.008
CLOSING_PLAY_M = 0.02
ALIGN_RAD = 0.1
GRASP_TOLERANCE_M = 0.008
TRAVEL_SIDEWAYS_M = 0.05

# Place.
INSERTED_M = 0.04
"""The part of the slab next to its foot that has to fit in."""
RISEN_M = 0.03
"""Lower below its carrying height than this, the slab rises before it travels or turns."""
NEAR_PLACE_M = 0.05
FALLEN_M = 0.05
SET_DOWN_BESIDE_M, SET_DOWN_ABOVE_SURFACE_M = 0.25, 0.03

# Cost of a grasp and potential, in control steps.
IMPOSSIBLE_STEPS = 1000.0
CLOSE_STEPS = 10.0
RELEASE_STEPS = 4.0


class SlabPickPlace:
    """Moves the slab `target` to `destination`; see `skills.Skill`.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves it.
        target: LIBERO's name of the slab.
        destination: where to; its placement's axis is the one across the slab's thickness.
    """

    def __init__(self, scene: Scene, hand: Hand, target: str, destination: Destination) -> None:
        self.scene, self.hand, self.target, self.destination = scene, hand, target, destination

    def done(self) -> bool:
        """Whether the slab is in its place and let go; see `Skill`."""
        return self.destination.reached() and not self.hand.holds(self.target)

    def act(self) -> np.ndarray:
        """See `Skill`."""
        held = self.hand.holds(self.target)
        if self.hand.stranded(TILT_RAD + 0.15):
            return self.hand.go_home(CLOSE if held else OPEN)
        slab, placement = find_slab(self.scene, self.target), self.destination.placement()
        if not held:
            return self._pick(*self._grasp(slab, placement)[:2])
        if self.destination.reached():
            return self.hand.wait(OPEN)
        if self.scene.closing_command < FIRM_COMMAND:
            return self.hand.reach(np.zeros(3), np.zeros(3), CLOSE)
        return self._place(slab, placement)

    def remaining(self) -> float:
        """See `Skill`."""
        slab, placement = find_slab(self.scene, self.target), self.destination.placement()
        position, _, cost = self._grasp(slab, placement)
        if slab.centre[2] < self.scene.surface - FALLEN_M or not self.hand.within_reach(position):
            return float("inf")
        if self.hand.holds(self.target):
            turning = self._turning_steps(slab, placement, self.scene.eef_rotation[None], self._joint_7())
            cost = float(turning.min())
        return cost + self._carry_steps(slab, placement)

    # -- pick --------------------------------------------------------------------------------------

    def _pick(self, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Come along the approach direction of a grasp and close."""
        scene, hand = self.scene, self.hand
        approach, turn = rotation[:, 2], hand.turn_towards(rotation)
        error = position - scene.eef_position
        along = float(error @ approach)
        sideways, angle = float(np.linalg.norm(error - along * approach)), float(np.linalg.norm(turn))
        if hand.closed():  # and not holding: a miss
            return hand.reach(-0.03 * scene.eef_rotation[:, 2], np.zeros(3), OPEN)
        play = CLOSING_PLAY_M if scene.closing_command > -1.0 else ALIGN_GRASP_M
        if along < GRASP_TOLERANCE_M and sideways < play and angle < 2 * ALIGN_RAD:
            return hand.reach(error, turn, CLOSE)
        opened = scene.opening > MAX_OPENING_M - 0.005
        if along < NEAR_M:
            if sideways < ALIGN_LOW_M and opened and angle < 2 * ALIGN_RAD:
                centred = sideways < ALIGN_GRASP_M
                return hand.reach(error - (0.0 if centred else 0.7 * along) * approach, turn, OPEN)
            return hand.reach(np.array([0.0, 0.0, STANDOFF_M]), np.zeros(3), OPEN)
        if sideways < ALIGN_HIGH_M and angle < ALIGN_RAD and opened:
            return hand.reach(error, turn, OPEN)
        before = error - approach * STANDOFF_M
        if sideways > TRAVEL_SIDEWAYS_M:
            rise = hand.travel_height(scene.objects) - scene.eef_position[2]
            before[2] = max(before[2], rise)
            if rise > 0.02:  # rise before travelling
                before[:2] *= 0.2
                turn = np.zeros(3)
        return hand.reach(before, turn, OPEN)

    def _grasp(self, slab: Slab, placement: Placement) -> tuple[np.ndarray, np.ndarray, float]:
        """Position [3] and rotation [3, 3] of the grasp that costs least, and its cost in control steps."""
        grasps = slab_grasps(slab)
        turn = self.scene.eef_rotation.T @ grasps.rotation
        path = np.linalg.norm(grasps.position - self.scene.eef_position, axis=1)
        cost = path / SPEED_M + _angle(turn) / TURN_SPEED_RAD
        cost += IMPOSSIBLE_STEPS * np.maximum(0.0, _tilt(grasps.rotation) - PICK_TILT_RAD)
        cost += self._turning_steps(slab, placement, grasps.rotation, self._joint_7() + twist(turn)).min(
            axis=0
        )
        best = int(np.argmin(cost))
        return grasps.position[best], grasps.rotation[best], float(cost[best]) + CLOSE_STEPS

    # -- place -------------------------------------------------------------------------------------

    def _place(self, slab: Slab, placement: Placement) -> np.ndarray:
        present = self.scene.eef_rotation
        steps = self._turning_steps(slab, placement, present[None], self._joint_7())[:, 0]
        if steps.min() >= IMPOSSIBLE_STEPS:
            return self._set_down(slab, placement)
        upright = _uprights(placement)[int(np.argmin(steps))]
        turn = self.hand.turn_towards(self._within_tilt(upright @ slab.frame.T @ present, placement))
        lower = slab.lower_part(INSERTED_M)
        middle = 0.5 * (lower.min(axis=0) + lower.max(axis=0))
        bottom = self.scene.extent(self.target).bottom
        offset = placement.position - middle
        sideways, rise = float(np.linalg.norm(offset[:2])), placement.carry_height - bottom
        if sideways < placement.tolerance and np.linalg.norm(turn) < ALIGN_RAD:
            drop = placement.position[2] - bottom
            offset[2] = max(drop, placement.lowest_hand - self.scene.eef_position[2])
            return self.hand.reach(offset, turn, CLOSE)
        offset[2] = rise
        if rise > RISEN_M:
            offset[:2] *= 0.2 if sideways > NEAR_PLACE_M else 0.0
            turn = np.zeros(3)
        return self.hand.reach(offset, turn, CLOSE)

    def _set_down(self, slab: Slab, placement: Placement) -> np.ndarray:
        """Let go of a slab that this hold cannot put on its foot, low and beside the receptacle."""
        bottom = self.scene.extent(self.target).bottom
        offset = placement.position + SET_DOWN_BESIDE_M * self._outwards(placement) - slab.centre
        if np.linalg.norm(offset[:2]) < NEAR_PLACE_M:
            if bottom < self.scene.surface + SET_DOWN_ABOVE_SURFACE_M:
                return self.hand.reach(np.zeros(3), np.zeros(3), OPEN)
            offset[2] = self.scene.surface - bottom
        else:
            offset[2] = placement.carry_height - bottom
            offset[:2] *= 0.2 if offset[2] > RISEN_M else 1.0
        return self.hand.reach(offset, np.zeros(3), CLOSE)

    # -- turning it upright ------------------------------------------------------------------------

    def _turning_steps(
        self, slab: Slab, placement: Placement, rotations: np.ndarray, joint_7: np.ndarray
    ) -> np.ndarray:
        """Control steps [2, n] for putting the slab on its foot, either way round, held by hands [n, 3, 3].

        `joint_7` [n] is where joint 7 is then. At least `IMPOSSIBLE_STEPS` if the hand cannot turn so far.
        """
        held = np.stack([upright @ slab.frame.T @ rotations for upright in _uprights(placement)])
        turn = rotations.transpose(0, 2, 1) @ held
        rolls = twist(turn)[..., None] + 2 * np.pi * np.array([-1.0, 0.0, 1.0])
        allowed = np.abs(joint_7[:, None] + rolls) < JOINT_7_LIMIT_RAD
        roll = np.where(allowed, np.abs(rolls), np.inf).min(axis=-1)
        steps = np.maximum(_angle(turn), roll) / TURN_SPEED_RAD
        excess = _tilt(held) - self._tilt_limit(held, placement)
        return np.where((excess > LEAN_RAD) | np.isinf(roll), 2 * IMPOSSIBLE_STEPS, steps)

    def _tilt_limit(self, rotations: np.ndarray, placement: Placement) -> np.ndarray:
        """How far hands [..., 3, 3] over the destination may tilt in the direction in which they do, rad."""
        outwards = rotations[..., 2] @ self._outwards(placement)
        return np.where(outwards > 0.5 * np.sin(_tilt(rotations)), OUTWARD_TILT_RAD, TILT_RAD)

    def _within_tilt(self, rotation: np.ndarray, placement: Placement) -> np.ndarray:
        """The orientation [3, 3] that the hand can have over the destination that is nearest to one."""
        excess = float(_tilt(rotation) - self._tilt_limit(rotation, placement))
        if excess <= 0.0:
            return rotation
        axis = np.array([-rotation[1, 2], rotation[0, 2], 0.0])
        quaternion, back = np.empty(4), np.empty(9)
        mujoco.mju_axisAngle2Quat(quaternion, axis / np.linalg.norm(axis), excess)
        mujoco.mju_quat2Mat(back, quaternion)
        return back.reshape(3, 3) @ rotation

    def _outwards(self, placement: Placement) -> np.ndarray:
        """Level direction [3] from the arm's base to the destination."""
        away = placement.position[:2] - self.scene.base[:2]
        return np.array([*away / np.linalg.norm(away), 0.0])

    def _joint_7(self) -> np.ndarray:
        return self.scene.joints[6:]

    # -- potential ---------------------------------------------------------------------------------

    def _carry_steps(self, slab: Slab, placement: Placement) -> float:
        sideways = float(np.linalg.norm(placement.position[:2] - slab.centre[:2]))
        bottom = self.scene.extent(self.target).bottom
        if sideways < NEAR_PLACE_M:
            path = max(0.0, bottom - placement.position[2])
        else:
            rise = max(0.0, placement.carry_height - bottom)
            path = sideways + rise + placement.carry_height - placement.position[2]
        return path / SPEED_M + RELEASE_STEPS


def _uprights(placement: Placement) -> list[np.ndarray]:
    """The two orientations [3, 3] (`Slab.frame`) of a slab on its foot, thickness along the axis."""
    assert placement.axis is not None
    up = np.array([0.0, 0.0, 1.0])
    return [np.stack([axis, np.cross(up, axis), up], axis=1) for axis in (placement.axis, -placement.axis)]


def _angle(rotations: np.ndarray) -> np.ndarray:
    """Angles (rad) [...] of rotations [..., 3, 3]."""
    return np.arccos(np.clip(0.5 * (np.trace(rotations, axis1=-2, axis2=-1) - 1.0), -1.0, 1.0))


def _tilt(rotations: np.ndarray) -> np.ndarray:
    """Angles (rad) [...] of hands [..., 3, 3] from pointing down."""
    return np.arccos(np.clip(-rotations[..., 2, 2], -1.0, 1.0))
