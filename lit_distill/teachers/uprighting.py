"""Which way a hand has to turn so that the slab that it holds stands on its foot, and whether it can.

All angles are radians.
"""

from __future__ import annotations

import mujoco
import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.destinations import Placement
from lit_distill.teachers.hand import JOINT_7_HARD_LIMIT_RAD, TURN_SPEED_RAD
from lit_distill.teachers.slab import Slab
from lit_distill.teachers.vectors import cross, twist

OUTWARD_TILT_RAD, TILT_RAD = 0.35, 1.25
"""How far the hand may tilt over the destination, measured over the desk caddy: pointing away from the base
joint 4 stops it."""
LEAN_RAD = 0.35
"""A slab may lean this much when it is put on its foot."""
PLANNED_JOINT_7_RAD = 2.5
"""Limit of joint 7 in what is only planned: what is under way must not change sides."""
UNDER_WAY_RAD = 0.4
"""A turn that is nearly made is under way: it may end beyond that limit, by less the longer it still is."""
FORBIDDEN_ROLL_RAD = 100.0
IMPOSSIBLE_STEPS = 1000.0


class Uprighting:
    """Turns of a held slab towards standing on its foot at a placement.

    Args:
        scene: view of the simulator's present state.
        placement: where; its axis is the one across the slab's thickness.
    """

    def __init__(self, scene: Scene, placement: Placement) -> None:
        assert placement.axis is not None
        up = np.array([0.0, 0.0, 1.0])
        self.uprights = np.array(
            [np.stack([axis, cross(up, axis), up], axis=1) for axis in (placement.axis, -placement.axis)]
        )
        away = placement.position[:2] - scene.base[:2]
        self.outwards = np.array([*away / np.linalg.norm(away), 0.0])
        self._base, self._azimuth = scene.base, float(np.arctan2(away[1], away[0]))

    def steps(
        self,
        slab: Slab,
        positions: np.ndarray,
        rotations: np.ndarray,
        joint_7: np.ndarray,
        limit: float = PLANNED_JOINT_7_RAD,
    ) -> np.ndarray:
        """Control steps [2, n] for each of `uprights`, at least `IMPOSSIBLE_STEPS` if a hand cannot do it.

        Args:
            slab: the slab.
            positions: where hands [n, 3] hold it.
            rotations: their orientations [n, 3, 3].
            joint_7: joint 7 [n] then.
            limit: joint 7 must not go further.
        """
        held = self.uprights[:, None] @ slab.frame.T @ rotations
        turn = rotations.transpose(0, 2, 1) @ held
        ahead = self.ahead(positions)
        turned = roll(twist(turn), joint_7 + ahead, limit)
        steps = np.maximum(angle(turn), np.abs(turned)) / TURN_SPEED_RAD
        below = (positions - slab.centre) @ slab.frame[
            :, 2
        ] < 0.0  # the hand would be under the slab's middle
        impossible = below | (np.abs(turned) > 2 * np.pi) | (tilt(held) - self._limit(held) > LEAN_RAD)
        return np.where(impossible, 2 * IMPOSSIBLE_STEPS, steps)

    def rotation(
        self, slab: Slab, upright: np.ndarray, present: np.ndarray, limit: float = TILT_RAD
    ) -> np.ndarray:
        """Orientation [3, 3] of the hand in which the slab is as near to `upright` as can be.

        Args:
            slab: the slab.
            upright: one of `uprights`.
            present: the hand's orientation [3, 3] now.
            limit: the hand must not tilt more.
        """
        rotation = upright @ slab.frame.T @ present
        excess = float(tilt(rotation) - np.minimum(self._limit(rotation), limit))
        if excess <= 0.0:
            return np.asarray(rotation)
        axis = np.array([-rotation[1, 2], rotation[0, 2], 0.0])
        quaternion, back = np.empty(4), np.empty(9)
        mujoco.mju_axisAngle2Quat(quaternion, axis / np.linalg.norm(axis), excess)
        mujoco.mju_quat2Mat(back, quaternion)
        return np.asarray(back.reshape(3, 3) @ rotation)

    def ahead(self, positions: np.ndarray) -> np.ndarray:
        """What joint 1 still turns from hands at [..., 3] to the placement, and joint 7 with it."""
        away = positions - self._base
        return self._azimuth - np.arctan2(away[..., 1], away[..., 0])

    def _limit(self, rotations: np.ndarray) -> np.ndarray:
        """How far hands [..., 3, 3] may tilt in the direction in which they do."""
        outwards = rotations[..., 2] @ self.outwards
        return np.where(outwards > 0.5 * np.sin(tilt(rotations)), OUTWARD_TILT_RAD, TILT_RAD)


def roll(twists: np.ndarray, joint_7: np.ndarray | float, limit: float = PLANNED_JOINT_7_RAD) -> np.ndarray:
    """The shortest way round [...] for twists [...] that joint 7 allows, else `FORBIDDEN_ROLL_RAD`."""
    ways = np.stack([twists, twists - 2 * np.pi, twists + 2 * np.pi])
    limits = np.maximum(limit, np.minimum(limit + UNDER_WAY_RAD - np.abs(ways), JOINT_7_HARD_LIMIT_RAD))
    length = np.where(np.abs(joint_7 + ways) < limits, np.abs(ways), np.inf)
    chosen = np.take_along_axis(ways, np.argmin(length, axis=0)[None], axis=0)[0]
    return np.where(np.isinf(length.min(axis=0)), FORBIDDEN_ROLL_RAD, chosen)


def angle(rotations: np.ndarray) -> np.ndarray:
    """Angles [...] of rotations [..., 3, 3]."""
    return np.arccos(np.clip(0.5 * (np.trace(rotations, axis1=-2, axis2=-1) - 1.0), -1.0, 1.0))


def tilt(rotations: np.ndarray) -> np.ndarray:
    """Angles [...] of hands [..., 3, 3] from pointing down."""
    return np.arccos(np.clip(-rotations[..., 2, 2], -1.0, 1.0))
