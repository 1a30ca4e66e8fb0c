"""Whether the hand, pointing anywhere, would be inside things: boxes against boxes, by separating axes."""

from __future__ import annotations

import numpy as np

from lit_distill.teachers.vectors import orientation

# The hand's collision geometry in the frame of the grip site (x: fingers close, z: approach), m: low and high
# corners of palm, body and, relative to where its pad is, the finger on the side of positive x.
PALM = np.array([[-0.105, -0.021, -0.07], [0.105, 0.021, -0.026]])
BODY = np.array([[-0.105, -0.032, -0.125], [0.105, 0.032, -0.07]])
FINGER = np.array([[0.0, -0.011, -0.0486], [0.029, 0.011, 0.0125]])
SWEEP = np.array([[0.018, -0.01, -0.023], [0.064, 0.01, 0.011]])
"""An open finger on the side of positive x, with the way that it goes in closing on something thin."""
REACH_M = 0.17
"""No part of the hand is further from the grip site."""

Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Centres [n, 3], frames [n, 3, 3] (columns are axes) and half sizes [n, 3], m."""


def hits(position: np.ndarray, rotation: np.ndarray, opening: float, boxes: Boxes) -> int:
    """Count the boxes that the hand overlaps.

    Args:
        position: grip site position [3], m.
        rotation: orientation [3, 3], as `Scene.eef_rotation`.
        opening: distance between the fingers, m.
        boxes: what could be in the way.
    """
    boxes = _near(position, rotation, boxes)
    finger = FINGER + np.array([0.5 * opening, 0.0, 0.0])
    parts = (PALM, BODY, finger, _mirrored(finger))
    return int(np.any([_overlaps(part, boxes) for part in parts], axis=0).sum())


def sweep_hits(position: np.ndarray, rotation: np.ndarray, boxes: Boxes) -> tuple[int, int]:
    """Count the boxes that the open hand's palm, and its fingers on their way to closing, overlap.

    Args:
        position: grip site position [3], m.
        rotation: orientation [3, 3], as `Scene.eef_rotation`.
        boxes: what could be in the way.
    """
    boxes = _near(position, rotation, boxes)
    palm = _overlaps(PALM, boxes) | _overlaps(BODY, boxes)
    fingers = sum(int(_overlaps(finger, boxes).sum()) for finger in (SWEEP, _mirrored(SWEEP)))
    return int(palm.sum()), fingers


def overlapped(low: np.ndarray, high: np.ndarray, boxes: Boxes) -> bool:
    """Whether a world-aligned box, given by its corners [3] each, overlaps any of the boxes."""
    return bool(_overlaps(np.stack([low, high]), boxes).any())


def inside(boxes: Boxes, points: np.ndarray) -> np.ndarray:
    """Whether points [n, 3] are inside any of the boxes: bool [n]."""
    centres, frames, halves = boxes
    local = np.abs(points @ frames - centres[:, None] @ frames)  # [boxes, n, 3]
    return np.asarray((local < halves[:, None]).all(axis=-1).any(axis=0))


def _near(position: np.ndarray, rotation: np.ndarray, boxes: Boxes) -> Boxes:
    """Those boxes that the hand may overlap, in its own frame."""
    centres, frames, halves = boxes
    near = np.linalg.norm(centres - position, axis=1) < REACH_M + np.linalg.norm(halves, axis=1)
    return (centres[near] - position) @ rotation, rotation.T @ frames[near], halves[near]


def _mirrored(part: np.ndarray) -> np.ndarray:
    """The same part [2, 3] on the side of negative x."""
    return np.sort(part * np.array([-1.0, 1.0, 1.0]), axis=0)


def _overlaps(part: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Which boxes [n] overlap an axis-aligned one, given by its corners [2, 3]."""
    centres, frames, halves = boxes
    offset, half = centres - part.mean(axis=0), 0.5 * (part[1] - part[0])
    crossed = np.cross(np.eye(3)[None, :, None], frames.transpose(0, 2, 1)[:, None]).reshape(-1, 9, 3)
    own = np.broadcast_to(np.eye(3), (len(centres), 3, 3))
    axes = np.concatenate([own, frames.transpose(0, 2, 1), crossed], axis=1)  # [n, 15, 3]
    reach = np.abs(axes) @ half + np.einsum("nk,nak->na", halves, np.abs(axes @ frames))
    return np.asarray((np.abs(np.einsum("nai,ni->na", axes, offset)) <= reach + 1e-9).all(axis=1))


def pointing_down(axis: np.ndarray) -> np.ndarray:
    """Orientation [3, 3] of a hand that points down and closes along a horizontal direction [3]."""
    down = np.array([0.0, 0.0, -1.0])
    return orientation(axis, down)
