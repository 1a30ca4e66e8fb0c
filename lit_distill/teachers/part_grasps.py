"""Grasps of objects that have parts to hold them by: a pot's lid knob and handle, a pan's handle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import FINGERTIP_M, HAND_HALF_DEPTH_M, HAND_HALF_WIDTH_M, PALM_M

MAX_WIDTH_M = 0.075
STEEPEST = 0.5
"""Largest vertical share of a direction along which fingers that point down can close."""
FINGER_REACH_M, FINGER_HALF_DEPTH_M = 0.06, 0.012
"""What open fingers come down on: so far to both sides, and half their depth."""
LEAST_DOWN = 0.8
"""Least downward share of the direction in which a leaning hand comes (37 degrees)."""
PLAY_M = 0.0015
LEAST_OVERLAP_M = 0.012
"""How far the fingertips must at least reach below a part's top."""


@dataclass(frozen=True)
class Part:
    """A box in the object's body frame, parallel to its axes, that fingers can close on.

    Attributes:
        low: lower corner [3], m.
        high: upper corner [3], m.
        penalty: see `Grasp`.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    penalty: float = 0.0


# Read off LIBERO's collision boxes.
MOKA_POT = (
    Part((-0.0052, -0.0073, 0.067), (0.0052, 0.0046, 0.0857)),  # the lid's knob
    Part((-0.0068, 0.0537, 0.0000), (0.0068, 0.0912, 0.0684), penalty=1.0),  # the handle
)


@dataclass(frozen=True)
class Sides:
    """Two opposite sides of an object that lies on another side, for a hand that leans as the object does.

    Attributes:
        middle: point [3] half way between them, in the body frame, m.
        across: index of the body axis across them.
        through: index of the body axis along which the hand comes.
        width: distance between them, m.
        half_depth: from the middle to the object's surface that faces the hand, m.
    """

    middle: tuple[float, float, float]
    across: int
    through: int
    width: float
    half_depth: float


MOKA_POT_SIDES = Sides((0.0, 0.0018, -0.038), across=1, through=0, width=0.066, half_depth=0.041)


def moka_pot_grasps(scene: Scene, name: str) -> list[Grasp]:
    """Grasps of a moka pot in its present pose: standing by knob or handle, lying by its body."""
    return part_grasps(scene, name, MOKA_POT) + side_grasps(scene, name, MOKA_POT_SIDES)


def side_grasps(scene: Scene, name: str, sides: Sides) -> list[Grasp]:
    """The grasp of a lying object's sides, if the hand needs not lean too far for it."""
    rotation = scene.rotation(name)
    through, axis = rotation[:, sides.through], rotation[:, sides.across]
    approach = -np.sign(through[2]) * through
    if -approach[2] < LEAST_DOWN:
        return []
    position = scene.position(name) + rotation @ np.array(sides.middle)
    position -= approach * (sides.half_depth - PALM_M + PLAY_M)
    return [Grasp(position, axis, sides.width, approach=approach)]


class _Surroundings:
    """The collision boxes of one object, seen along the fingers' axis."""

    def __init__(self, corners: np.ndarray) -> None:
        self.corners = corners  # [boxes, 8, 3]
        self.centres, self.tops = corners.mean(axis=1), corners[..., 2].max(axis=1)

    def top_within(self, position: np.ndarray, axis: np.ndarray, along: float, across: float) -> np.ndarray:
        """Tops [boxes] of the boxes over the rectangle 2 along x 2 across at a position, else -inf."""
        relative = self.corners - position
        sideways = np.array([-axis[1], axis[0], 0.0])
        over = np.ones(len(self.tops), dtype=bool)
        for direction, half in ((axis, along), (sideways, across)):
            extent = relative @ direction
            over &= (extent.min(axis=1) < half) & (extent.max(axis=1) > -half)
        return np.where(over, self.tops, -np.inf)


def part_grasps(scene: Scene, name: str, parts: tuple[Part, ...]) -> list[Grasp]:
    """Grasps of an object's parts in its present pose: those that a hand from above can reach."""
    rotation, origin = scene.rotation(name), scene.position(name)
    boxes = _Surroundings(scene.corners(name).reshape(-1, 8, 3))
    local = (boxes.centres - origin) @ rotation
    grasps = []
    for part in parts:
        low, high = np.array(part.low), np.array(part.high)
        others = ~np.all((local > low) & (local < high), axis=1)
        middle, half = origin + rotation @ (0.5 * (low + high)), 0.5 * (high - low)
        top = middle[2] + float(np.abs(rotation[2]) @ half)
        for direction in rotation.T:
            if abs(direction[2]) > STEEPEST:
                continue
            axis = np.array([direction[0], direction[1], 0.0]) / np.linalg.norm(direction[:2])
            width = 2.0 * float(np.abs(axis @ rotation) @ half)
            below = boxes.top_within(middle, axis, FINGER_REACH_M, FINGER_HALF_DEPTH_M)[others]
            under_palm = boxes.top_within(middle, axis, HAND_HALF_WIDTH_M, HAND_HALF_DEPTH_M)
            height = max(
                middle[2],
                float(below.max(initial=scene.surface)) + FINGERTIP_M + PLAY_M,
                float(under_palm.max()) - PALM_M + PLAY_M,
            )
            if width <= MAX_WIDTH_M and height - FINGERTIP_M < top - LEAST_OVERLAP_M:
                grasps.append(Grasp(np.array([*middle[:2], height]), axis, width, part.penalty))
    return grasps
