"""What the Panda's elbow and wrist do where the hand is, without solving for the joints.

The arm is taken to lie in the vertical plane through the hand, as it nearly does: shoulder, elbow and wrist
are then a triangle with two known sides. All lengths are metres, all angles radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WRIST_ABOVE_M, WRIST_BEHIND_M, SHOULDER_M = 0.21, 0.088, 0.333
"""The wrist's centre is this far above and behind the grip site of a hand that points down, the shoulder this
far above the base."""
UPPER_ARM_M, FOREARM_M = np.hypot(0.316, 0.0825), np.hypot(0.384, 0.0825)
"""Straight lines between the joints: shoulder to elbow, elbow to wrist."""
UPPER_ARM_RAD, FOREARM_RAD = np.arctan2(0.0825, 0.316), np.arctan2(0.0825, 0.384)
"""Angles between these lines and the links, whose ends are offset by 8.25 cm at the elbow."""
REACH_M, LEAST_REACH_M = 0.713, 0.212
"""Distances from shoulder to wrist with the elbow nearly straight, and with joint 4 nearly at its limit."""

COMFORTABLE_REACH_M = 0.24
OUTWARDS_M = np.linspace(0.0, 0.3, 16)


@dataclass(frozen=True)
class Posture:
    """The arm for n poses of the hand.

    Attributes:
        stretch: distances [n] from shoulder to wrist, m.
        forearm: unit vectors [n, 3] from elbow to wrist along the forearm, which joint 5 turns about.
        in_line: angles [n] between forearm and hand, rad; at 0 joints 5 and 7 turn the hand alike.
    """

    stretch: np.ndarray
    forearm: np.ndarray
    in_line: np.ndarray

    @property
    def within_reach(self) -> np.ndarray:
        """Whether the elbow bends so far and no further: bool [n]."""
        return np.asarray((self.stretch > LEAST_REACH_M) & (self.stretch < REACH_M))


def posture(base: np.ndarray, points: np.ndarray, approaches: np.ndarray) -> Posture:
    """Return the arm's posture for hands at grip site positions [n, 3] that point along unit vectors [n, 3].

    Args:
        base: position [3] of the robot's base.
        points: m, world.
        approaches: the directions.
    """
    up = np.array([0.0, 0.0, 1.0])
    outwards = (points - base) * [1.0, 1.0, 0.0]
    ahead = outwards - (outwards * approaches).sum(axis=1, keepdims=True) * approaches
    wrist = points - base - WRIST_ABOVE_M * approaches - WRIST_BEHIND_M * _unit(ahead)
    shoulder_to_wrist = wrist - SHOULDER_M * up
    stretch = np.linalg.norm(shoulder_to_wrist, axis=1)
    bent = np.clip(stretch, abs(FOREARM_M - UPPER_ARM_M) + 1e-6, UPPER_ARM_M + FOREARM_M - 1e-6)
    pitch = np.arctan2(np.linalg.norm(shoulder_to_wrist[:, :2], axis=1), shoulder_to_wrist[:, 2])
    at_wrist = _angle(bent, FOREARM_M, UPPER_ARM_M)
    forearm_pitch = pitch + at_wrist + FOREARM_RAD
    level = _unit(wrist * [1.0, 1.0, 0.0])
    forearm = level * np.sin(forearm_pitch)[:, None] + up * np.cos(forearm_pitch)[:, None]
    in_line = np.arccos(np.clip((forearm * approaches).sum(axis=1), -1.0, 1.0))
    return Posture(stretch, forearm, in_line)


def not_too_near(base: np.ndarray, point: np.ndarray, approach: np.ndarray) -> np.ndarray:
    """Level offset [3] outwards from a grip site position [3] to where the elbow need not fold too far.

    Args:
        base: position [3] of the robot's base.
        point: m, world.
        approach: unit vector [3] in which the hand points there.
    """
    outwards = _unit(((point - base) * [1.0, 1.0, 0.0])[None])
    ways = OUTWARDS_M[:, None] * outwards
    stretch = posture(base, point + ways, np.broadcast_to(approach, ways.shape)).stretch
    return np.asarray(ways[int(np.argmax(stretch > COMFORTABLE_REACH_M))])


def _angle(adjacent: np.ndarray, other: float, opposite: float) -> np.ndarray:
    """Angle [n] of triangles between sides [n] and `other`, by the law of cosines."""
    return np.arccos(np.clip((adjacent**2 + other**2 - opposite**2) / (2 * adjacent * other), -1.0, 1.0))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [n, 3] of length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))
