"""Slabs such as books: where a hand that need not point straight down can take hold of them.

All lengths are metres in the world frame, all angles radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lit_distill.sim.scene import CORNER_SIGNS, Scene
from lit_distill.teachers.vectors import cross, orientation

EDGE_DEPTHS_M = (0.022, 0.006)
"""How far inside an edge the grip site is when the fingers close across the thickness; less where walls
around the slab leave no room for the palm."""
ALONG_EDGE_M, ACROSS_EDGE_M = 0.03, 0.015
"""Where there is no room for the hand at the middle of an edge, it takes hold of it so far to the sides, or
with one finger so much nearer to the slab than the other."""
TOWARDS_HEAD_M = 0.03
"""A slab on its side is taken hold of this much nearer to its head, which comes out on top."""
OBLIQUE_RAD, OBLIQUE_DEPTH_M = (0.5, 0.9), 0.03
"""Angles at which a hand comes in the slab's plane over its corner, beside a wall, and how far beyond the tip
the grip site is."""
OFF_MIDDLE_STEPS = 3.0
"""Control steps that the middle of an edge is worth for each such deviation."""
CORNER_DEPTH_M = 0.022
"""The same for the two sides of a corner, from its tip: the fingers are then 6 cm apart."""
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

    @property
    def top(self) -> np.ndarray:
        """Middle [3] of the edge or side face that is highest, thickness apart."""
        heights = self.frame[2, 1:]
        highest = 1 + int(np.argmax(np.abs(heights) * self.half[1:]))
        sign = np.sign(self.frame[2, highest])
        return np.asarray(self.centre + sign * self.half[highest] * self.frame[:, highest])

    def corners(self) -> np.ndarray:
        """Its corners [8, 3]."""
        return self.lower_part(2.0 * float(self.half[2]))

    def lower_part(self, length: float) -> np.ndarray:
        """Corners [8, 3] of the part up to `length` from the foot."""
        local = CORNER_SIGNS * np.array([self.half[0], self.half[1], 0.5 * length])
        local[:, 2] += 0.5 * length - self.half[2]
        return np.asarray(self.centre + local @ self.frame.T)


@dataclass(frozen=True)
class SlabGrasps:
    """Grasps of a slab in its present pose.

    Attributes:
        position: grip site positions [n, 3].
        rotation: orientations [n, 3, 3] of the hand, as `Scene.eef_rotation`.
        penalty: control steps [n] that it would be worth to have another one instead.
    """

    position: np.ndarray
    rotation: np.ndarray
    penalty: np.ndarray

    def with_half_turns(self) -> SlabGrasps:
        """Each of them also with the fingers exchanged: [2 n]."""
        turned = self.rotation * np.array([-1.0, -1.0, 1.0])
        return SlabGrasps(
            np.concatenate([self.position] * 2),
            np.concatenate([self.rotation, turned]),
            np.concatenate([self.penalty] * 2),
        )


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
    frame = np.stack([across, cross(up, across), up], axis=1)
    return Slab(position + rotation @ middle, frame, half[[thickness, 3 - thickness - length, length]])


def slab_grasps(slab: Slab) -> SlabGrasps:
    """Grasps of a slab, in no particular order.

    Across its thickness, at each edge; and at each corner, from the face that is up, closing on the corner's
    two sides: it takes rubber fingertips, but it is how a slab that lies flat can be lifted.
    """
    across, side, up = slab.frame.T
    half_side, half_up = slab.half[1], slab.half[2]
    face = across if across[2] > 0.0 else -across
    grasps = []
    for end in (up, -up):
        edge = slab.centre + end * half_up
        grasps += [_edge(slab, -end, edge + shift * ALONG_EDGE_M * side, abs(shift)) for shift in (-1, 0, 1)]
        for outwards in (side, -side):
            corner = edge + outwards * half_side
            position = corner - (end + outwards) * (np.sqrt(0.5) * CORNER_DEPTH_M) + face * ABOVE_MIDDLE_M
            rotation = orientation((end - outwards) * np.sqrt(0.5), -face)
            grasps.append((position[None], rotation[None], np.zeros(1)))
            grasps.append(_oblique(slab, corner, end, outwards))
    for outwards in (side, -side):
        edge = slab.centre + outwards * half_side + up * TOWARDS_HEAD_M
        grasps.append(_edge(slab, -outwards, edge, 0))
    return SlabGrasps(*(np.concatenate(parts) for parts in zip(*grasps, strict=True)))


def _edge(
    slab: Slab, approach: np.ndarray, edge: np.ndarray, deviations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grasps [6] at a place [3] on an edge: deep or not, both fingers equally near or one nearer."""
    across = slab.frame[:, 0]
    variants = [(shallow, nearer) for shallow in (0, 1) for nearer in (-1, 0, 1)]
    positions = np.array(
        [
            edge + approach * EDGE_DEPTHS_M[shallow] + across * nearer * ACROSS_EDGE_M
            for shallow, nearer in variants
        ]
    )
    rotations = np.repeat(orientation(across, approach)[None], len(variants), axis=0)
    penalties = [shallow + abs(nearer) + deviations for shallow, nearer in variants]
    return positions, rotations, OFF_MIDDLE_STEPS * np.array(penalties, dtype=float)


def _oblique(
    slab: Slab, corner: np.ndarray, end: np.ndarray, outwards: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grasps [2] across the thickness at a corner [3], between the directions [3] of its two edges."""
    approaches = [-np.cos(angle) * end - np.sin(angle) * outwards for angle in OBLIQUE_RAD]
    positions = np.array([corner + OBLIQUE_DEPTH_M * approach for approach in approaches])
    rotations = np.array([orientation(slab.frame[:, 0], approach) for approach in approaches])
    return positions, rotations, np.full(len(approaches), 2.0 * OFF_MIDDLE_STEPS)
