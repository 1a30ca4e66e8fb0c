"""Grasps of objects that have places to hold them by, whichever way they lie: a pot's knob, handle, sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.grasp import DOWN, Grasp

LEAST_DOWN = 0.75
"""Least downward share of the direction in which the hand comes: it leans by up to 41 degrees."""
KNOB_LYING_RAD = 5.0
"""What a hold of a lying pot's knob costs more than one of its body."""
STRAIGHT_DOWN = 0.998
"""From which share on it is straight down: such a hand may lean as its reach demands."""
LEAN_COST_RAD = 8.0
"""What coming horizontally would cost more than from above, in radians of turning."""

Vector = tuple[float, float, float]
X: Vector = (1.0, 0.0, 0.0)
Y: Vector = (0.0, 1.0, 0.0)
DOWNWARDS: Vector = (0.0, 0.0, -1.0)


@dataclass(frozen=True)
class Hold:
    """A grasp in the object's body frame.

    Attributes:
        position: of the grip site, m.
        axis: unit vector along which the fingers close.
        approach: unit vector in which the hand comes, at a right angle to the axis.
        width: what the fingers close on, m.
        penalty: see `Grasp`.
    """

    position: Vector
    axis: Vector
    approach: Vector
    width: float
    penalty: float = 0.0


def _of_knob_beside_lid(level: Vector, axis: Vector) -> list[Hold]:
    """Holds of the knob of a moka pot that lies: the hand comes from a side, the palm beyond the lid.

    Args:
        level: the side, a unit vector across the pot's axis.
        axis: as in `Hold`.
    """
    holds = []
    for sine, before, height in ((0.71, 0.0065, 0.0857), (0.82, 0.008, 0.0854)):
        x, y, _ = level
        position = (-before * x, -before * y - 0.0013, height)
        approach = (sine * x, sine * y, -float(np.sqrt(1.0 - sine**2)))
        holds.append(Hold(position, axis, approach, 0.0119, penalty=KNOB_LYING_RAD))
    return holds


# Positions and widths are read off LIBERO's collision boxes; fingertips reach 13 mm beyond the grip site,
# the palm is 24 mm before it.
MOKA_POT = (
    Hold((0.0, -0.0013, 0.0815), X, DOWNWARDS, 0.0104),  # the lid's knob
    Hold((0.0, -0.0013, 0.0815), Y, DOWNWARDS, 0.0119),
    Hold((0.0, 0.072, 0.046), X, DOWNWARDS, 0.0132, penalty=1.0),  # the handle of a standing pot
    Hold((0.0, 0.072, 0.028), X, (0.0, -1.0, 0.0), 0.0132),  # and of one that lies with its handle up
    Hold((0.0175, 0.0018, -0.038), Y, (-1.0, 0.0, 0.0), 0.0656),  # the body below the handle
    Hold((-0.0175, 0.0018, -0.038), Y, X, 0.0656),
    *_of_knob_beside_lid(X, Y),
    *_of_knob_beside_lid((-1.0, 0.0, 0.0), Y),
    *_of_knob_beside_lid(Y, X),
    *_of_knob_beside_lid((0.0, -1.0, 0.0), X),
)
FRYPAN = (
    Hold((0.15, 0.0, 0.042), Y, DOWNWARDS, 0.0254),  # the handle, near the pan
    Hold((0.15, 0.0, 0.044), Y, (0.0, 0.0, 1.0), 0.0254),  # and of a pan that lies upside down
    *(  # the rim, away from the handle
        Hold((0.088 * c, 0.088 * s, 0.035), (c, s, 0.0), DOWNWARDS, 0.009, penalty=2.0)
        for c, s in ((np.cos(angle), np.sin(angle)) for angle in np.arange(1, 8) * np.pi / 4)
    ),
)


def hold_grasps(scene: Scene, name: str, holds: Sequence[Hold]) -> list[Grasp]:
    """Grasps of an object in its present pose: the holds to which the hand has to lean little enough."""
    rotation, origin = scene.rotation(name), scene.position(name)
    grasps = []
    for hold in holds:
        approach = rotation @ np.array(hold.approach)
        if -approach[2] < LEAST_DOWN:
            continue
        grasps.append(
            Grasp(
                origin + rotation @ np.array(hold.position),
                rotation @ np.array(hold.axis),
                hold.width,
                penalty=hold.penalty + LEAN_COST_RAD * (1.0 + float(approach[2])),
                approach=DOWN if -approach[2] > STRAIGHT_DOWN else approach,
            )
        )
    return grasps
