"""Whether the hand, pointing anywhere, would be inside things: boxes against boxes, by separating axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lit_distill.teachers.vectors import TURNS, orientation

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


def hits(
    position: np.ndarray, rotation: np.ndarray, opening: float, boxes: Boxes, way: Sequence[float] = (0.0,)
) -> int:
    """Count the boxes that the hand overlaps, at the worst point of its way.

    Args:
        position: grip site position [3], m.
        rotation: orientation [3, 3], as `Scene.eef_rotation`.
        opening: distance between the fingers, m.
        boxes: what could be in the way.
        way: how far it is pulled back, against where it points, at each point of the way, m.
    """
    finger = FINGER + np.array([0.5 * opening, 0.0, 0.0])
    parts = np.stack([PALM, BODY, finger, _mirrored(finger)])  # [4, 2, 3]
    back = np.zeros((len(way), 1, 1, 3))
    back[:, 0, 0, 2] = way
    along = (parts - back).reshape(-1, 2, 3)
    overlaps = _overlaps(along, _near(position, rotation, boxes, REACH_M + max(way)))
    return int(overlaps.reshape(len(way), len(parts), -1).any(axis=1).sum(axis=1).max())


def sweep_hits(position: np.ndarray, rotation: np.ndarray, boxes: Boxes) -> tuple[int, int]:
    """Count the boxes that the open hand's palm, and its fingers on their way to closing, overlap.

    Args:
        position: grip site position [3], m.
        rotation: orientation [3, 3], as `Scene.eef_rotation`.
        boxes: what could be in the way.
    """
    parts = np.stack([PALM, BODY, SWEEP, _mirrored(SWEEP)])
    overlaps = _overlaps(parts, _near(position, rotation, boxes))
    return int(overlaps[:2].any(axis=0).sum()), int(overlaps[2:].sum())


def overlapped(low: np.ndarray, high: np.ndarray, boxes: Boxes) -> bool:
    """Whether a world-aligned box, given by its corners [3] each, overlaps any of the boxes."""
    return bool(_overlaps(np.stack([low, high])[None], boxes).any())


def _near(position: np.ndarray, rotation: np.ndarray, boxes: Boxes, reach: float = REACH_M) -> Boxes:
    """Those boxes that the hand may overlap, in its own frame."""
    centres, frames, halves = boxes
    near = np.linalg.norm(centres - position, axis=1) < reach + np.linalg.norm(halves, axis=1)
    return (centres[near] - position) @ rotation, rotation.T @ frames[near], halves[near]


def _mirrored(part: np.ndarray) -> np.ndarray:
    """The same part [2, 3] on the side of negative x."""
    return np.sort(part * np.array([-1.0, 1.0, 1.0]), axis=0)


def _overlaps(parts: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Which boxes [n] axis-aligned ones overlap, given by their corners [m, 2, 3]: bool [m, n]."""
    centres, frames, halves = boxes
    axes = np.empty((len(centres), 15, 3))  # those of both, and each of the one across each of the other
    axes[:, :3], axes[:, 3:6] = np.eye(3), frames.transpose(0, 2, 1)
    axes[:, 6:] = np.einsum("iab,njb->nija", TURNS, axes[:, 3:6]).reshape(-1, 9, 3)
    middles, half = parts.mean(axis=1), 0.5 * (parts[:, 1] - parts[:, 0])
    apart = np.abs(np.einsum("nai,ni->na", axes, centres) - np.einsum("nai,mi->mna", axes, middles))
    reach = np.einsum("nk,nak->na", halves, np.abs(axes @ frames)) + np.einsum(
        "nai,mi->mna", np.abs(axes), half
    )
    return np.asarray((apart <= reach + 1e-9).all(axis=-1))


def pointing_down(axis: np.ndarray) -> np.ndarray:
    """Orientation [3, 3] of a hand that points down and closes along a horizontal direction [3]."""
    down = np.array([0.0, 0.0, -1.0])
    return orientation(axis, down)
