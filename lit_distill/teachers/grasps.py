"""Where to take hold of an object: candidates for a hand that points down, by object category."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.bowl_grasps import bowl_grasps
from lit_distill.teachers.dish_grasps import dish_grasps
from lit_distill.teachers.grasp import DOWN, Grasp
from lit_distill.teachers.hand import HAND_HALF_DEPTH_M, PALM_M
from lit_distill.teachers.holds import FRYPAN, MOKA_POT, hold_grasps
from lit_distill.teachers.mug_grasps import MUGS, mug_grasps
from lit_distill.teachers.vectors import cross

BELOW_TOP_M = 0.022
ABOVE_BOTTOM_M = 0.015
LONG_M, TOWARDS_END_M, OFF_CENTRE_RAD = 0.1, 0.035, 2.0
"""An object longer than this may be taken so far from its middle, which is worth so much turning."""
FROM_END_M = 0.014
"""No finger, which is 2 cm wide, takes an object nearer to its end than this."""
LEAN_RAD, LEAN_PENALTY_RAD = 0.4, 1.5
"""How far a hand leans to take hold of an object beside a wall, and what that would be worth in turning."""
MOST_LEAN_RAD, PALM_REACH_M = 0.5, 0.021
"""How far a hand leans at most across something that leans, and half the palm's depth."""
LEVEL = 0.2
"""Upward component of a long axis from which on it is not level."""
LOWER_EDGE_M = 0.011
"""Half the fingers' depth: so much lower a leaning finger's edge is than its middle, per sine of the lean."""
STANDING = 0.95
"""Upward component of an axis of what stands on that side."""
ROUND_M = 0.004
"""Level widths that differ by less than this are those of something round."""
FOUR_SIDES = [np.array([np.cos(angle), np.sin(angle), 0.0]) for angle in np.deg2rad([90.0, 0.0, 45.0, 135.0])]


def level_axes(scene: Scene, name: str) -> list[np.ndarray]:
    """The two axes of an object's body that are most level, made level: unit vectors [3]."""
    level = sorted(scene.rotation(name).T, key=lambda axis: abs(axis[2]))[:2]
    return [np.array([axis[0], axis[1], 0.0]) / np.linalg.norm(axis[:2]) for axis in level]


def box_grasps(scene: Scene, name: str) -> list[Grasp]:
    """Top-down grasps along each of the two level axes of an object's box.

    They are in its middle and, if it is long, towards both its ends. What leans is taken across it.
    """
    along = scene.long_axis(name)
    if LEVEL < abs(along[2]) < STANDING:
        return slanting_grasps(scene, name, along * np.sign(along[2]))
    extent = scene.extent(name)
    height = max(extent.top - BELOW_TOP_M, extent.bottom + ABOVE_BOTTOM_M)
    position = np.array([*extent.centre[:2], height])
    flats = level_axes(scene, name)
    widths = [scene.width_along(name, flat) for flat in flats]
    grasps = []
    for flat, width, other, length in zip(flats, widths, flats[::-1], widths[::-1], strict=True):
        grasps.append(Grasp(position, flat, width))
        if length > LONG_M:
            ends = (position + side * TOWARDS_END_M * other for side in (-1.0, 1.0))
            grasps += [Grasp(end, flat, width, OFF_CENTRE_RAD) for end in ends]
    return grasps


def slanting_grasps(scene: Scene, name: str, along: np.ndarray) -> list[Grasp]:
    """Grasps of an object whose long axis [3] points upwards at a slant, with a hand that leans like it."""
    level = float(np.linalg.norm(along[:2]))
    flat = np.array([-along[1], along[0], 0.0]) / level
    slope, width = float(np.arctan2(along[2], level)), scene.width_along(name, flat)
    lean = min(slope, MOST_LEAN_RAD)
    approach = np.array([*np.sin(lean) * along[:2] / level, -np.cos(lean)])
    extent, up = scene.extent(name), cross(along, flat)
    left = slope - lean
    above = 0.5 * scene.width_along(name, up) / np.cos(left) - BELOW_TOP_M + PALM_REACH_M * np.tan(left)
    end = min(max(0.5 * scene.width_along(name, along) - FROM_END_M, 0.0), TOWARDS_END_M)
    grasps = []
    for shift in (-end, 0.0, end):
        position = extent.centre + shift * along - above * approach
        position[2] = max(position[2], extent.bottom + ABOVE_BOTTOM_M + LOWER_EDGE_M * np.sin(lean))
        grasps.append(Grasp(position, flat, width, OFF_CENTRE_RAD * (shift != 0.0), approach=approach))
    return grasps


def tight_grasps(scene: Scene, name: str) -> list[Grasp]:
    """Grasps for an object with other things beside it, besides those from straight above its middle.

    They are in its middle or towards its ends, with a hand that leans to one side or points down.
    """
    extent, flats = scene.extent(name), level_axes(scene, name)
    widths = [scene.width_along(name, flat) for flat in flats]
    sine, cosine = np.sin(LEAN_RAD), np.cos(LEAN_RAD)
    grasps = []
    for flat, width, other, length in zip(flats, widths, flats[::-1], widths[::-1], strict=True):
        end = min(max(0.5 * length - FROM_END_M, 0.0), TOWARDS_END_M)
        for shift in (-end, 0.0, end):
            under_palm = PALM_M * cosine - min(0.5 * length + abs(shift), HAND_HALF_DEPTH_M) * sine
            straight = max(extent.top - BELOW_TOP_M, extent.bottom + ABOVE_BOTTOM_M)
            leaning = max(straight + LOWER_EDGE_M * sine, extent.top - under_palm)
            for side in (-1.0, 0.0, 1.0):
                approach = DOWN if side == 0.0 else side * sine * other + cosine * DOWN
                middle = np.array([*extent.centre[:2], leaning if side else straight])
                penalty = OFF_CENTRE_RAD * abs(shift) / TOWARDS_END_M + LEAN_PENALTY_RAD * abs(side)
                grasps.append(Grasp(middle + shift * other, flat, width, penalty, approach=approach))
    return grasps


def can_grasps(scene: Scene, name: str) -> list[Grasp]:
    """Grasps of a can: like a box's when it lies, from four sides when it stands."""
    grasps = box_grasps(scene, name)
    if abs(scene.rotation(name)[2, int(np.argmax(np.abs(scene.rotation(name)[2])))]) < STANDING:
        return grasps
    widths = [grasp.width for grasp in grasps]
    if max(widths) - min(widths) > ROUND_M:
        return grasps
    return [Grasp(grasps[0].position, axis, max(widths)) for axis in FOUR_SIDES]


GRASPS: dict[str, Callable[[Scene, str], list[Grasp]]] = {
    **dict.fromkeys(
        (
            "bbq_sauce",
            "black_book",
            "butter",
            "chocolate_pudding",
            "cream_cheese",
            "ketchup",
            "milk",
            "orange_juice",
            "salad_dressing",
            "wine_bottle",
        ),
        box_grasps,
    ),
    **dict.fromkeys(("alphabet_soup", "tomato_sauce"), can_grasps),
    **dict.fromkeys(("akita_black_bowl", "white_bowl"), bowl_grasps),
    "plate": dish_grasps,
    "moka_pot": partial(hold_grasps, holds=MOKA_POT),
    "chefmate_8_frypan": partial(hold_grasps, holds=FRYPAN),
    **dict.fromkeys(MUGS, mug_grasps),
}
"""Category of an object -> its grasps in its present pose, in no particular order."""


def grasp_candidates(scene: Scene, name: str) -> list[Grasp]:
    """Return the grasps of an object of a category in `GRASPS` in its present pose, or of its box."""
    return GRASPS[scene.category(name)](scene, name) or box_grasps(scene, name)


def has_box_grasps(scene: Scene, name: str) -> bool:
    """Whether an object is taken hold of by its box: no part of it sticks out."""
    return GRASPS.get(scene.category(name)) in (box_grasps, can_grasps)
