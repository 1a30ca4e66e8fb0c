"""Slabs such as books: where a hand that need not point straight down can take hold of them.

All lengths are metres in the world frame, all angles radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lit_distill.sim.scene import Scene

EDGE_DEPTH_M = 0.022
"""How far inside an edge the grip site is when the fingers close across the thickness."""
TOWARDS_HEAD_M = 0.03
"""A slab on its side is taken hold of this much nearer to its head, which comes out on top."""
CORNER_DEPTH_M = 0.018
"""The same for the two sides of a corner, from its tip: the fingers are then 5 cm apart."""
ABOVE_MIDDLE_M = 0.003
"""Of the thickness, so that the fingertips do not touch what a lying slab lies on."""


@dataclass(frozen=True)
class Slab:
    """A box whose thickness fits between the fingers.

    Attributes:
        centre: [3].
        frame: orthonormal columns [3, 3]: through its thickness, along its foot, from foot to head. The foot
            is the face that the body's origin is next to.
        half: half sizes [3] along these.
    """

    centre: np.ndarray
    frame: np.ndarray
    half: np.ndarray

    def lower_part(self, length: float) -> np.ndarray:
        """Corners [8, 3] of the part up to `length` from the foot."""
        signs = np.array(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [0.0, 1.0])).reshape(3, 8).T
        along = -self.half[2] + signs[:, 2] * length
        local = np.stack([signs[:, 0] * self.half[0], signs[:, 1] * self.half[1], along], axis=1)
        return np.asarray(self.centre + local @ self.frame.T)


@dataclass(frozen=True)
class SlabGrasps:
    """Grasps of a slab in its present pose.

    Attributes:
        position: grip site positions [n, 3].
        rotation: orientations [n, 3, 3] of the hand, as `Scene.eef_rotation`.
    """

    position: np.ndarray
    rotation: np.ndarray


def find_slab(scene: Scene, name: str) -> Slab:
    """Return the box of an object in its present pose."""
    rotation, position = scene.rotation(name), scene.position(name)
    local = (scene.corners(name) - position) @ rotation
    low, high = local.min(axis=0), local.max(axis=0)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    thickness = int(np.argmin(half))
    length = int(np.argmax(np.abs(middle) / half))
    up = rotation[:, length] * np.sign(middle[length])
    across = rotation[:, thickness]
    frame = np.stack([across, np.cross(up, across), up], axis=1)
    return Slab(position + rotation @ middle, frame, half[[thickness, 3 - thickness - length, length]])


def slab_grasps(slab: Slab) -> SlabGrasps:
    """Grasps from which the slab can be put on its foot.

    Across its thickness, at the head and at the two sides; and at the two corners of the head, from the
    face that is up, closing on the corner's two sides: it takes rubber fingertips, but it is how a slab
    that lies flat can be lifted.
    """
    across, side, up = slab.frame.T
    half_side, half_up = slab.half[1], slab.half[2]
    face = across if across[2] > 0.0 else -across
    positions = [slab.centre + up * (half_up - EDGE_DEPTH_M)]
    approaches, closings = [-up], [across]
    for sign in (1.0, -1.0):
        positions.append(slab.centre + sign * side * (half_side - EDGE_DEPTH_M) + up * TOWARDS_HEAD_M)
        approaches.append(-sign * side)
        closings.append(across)
        tip = slab.centre + up * half_up + sign * side * half_side
        inwards = -(up + sign * side) * np.sqrt(0.5)
        positions.append(tip + inwards * CORNER_DEPTH_M + face * ABOVE_MIDDLE_M)
        approaches.append(-face)
        closings.append((up - sign * side) * np.sqrt(0.5))
    approach, closing = np.array(approaches * 2), np.array([*closings, *(-closing for closing in closings)])
    rotation = np.stack([closing, np.cross(approach, closing), approach], axis=2)
    return SlabGrasps(np.array(positions * 2), rotation)
