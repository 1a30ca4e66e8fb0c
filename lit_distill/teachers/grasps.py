"""Where to take hold of an object: candidates for a hand that points down, by object category."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.bowl_grasps import bowl_grasps
from lit_distill.teachers.dish_grasps import dish_grasps
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.holds import MOKA_POT, hold_grasps
from lit_distill.teachers.mug_grasps import MUGS, mug_grasps

BELOW_TOP_M = 0.022
ABOVE_BOTTOM_M = 0.015


def box_grasps(scene: Scene, name: str) -> list[Grasp]:
    """Top-down grasps at the middle of the object's box, along each of its two level axes."""
    extent = scene.extent(name)
    height = max(extent.top - BELOW_TOP_M, extent.bottom + ABOVE_BOTTOM_M)
    position = np.array([*extent.centre[:2], height])
    level = sorted(scene.rotation(name).T, key=lambda axis: abs(axis[2]))[:2]
    grasps = []
    for axis in level:
        flat = np.array([axis[0], axis[1], 0.0])
        flat /= np.linalg.norm(flat)
        grasps.append(Grasp(position, flat, scene.width_along(name, flat)))
    return grasps


GRASPS: dict[str, Callable[[Scene, str], list[Grasp]]] = {
    **dict.fromkeys(
        (
            "alphabet_soup",
            "bbq_sauce",
            "black_book",
            "butter",
            "chocolate_pudding",
            "cream_cheese",
            "ketchup",
            "milk",
            "orange_juice",
            "salad_dressing",
            "tomato_sauce",
            "wine_bottle",
        ),
        box_grasps,
    ),
    **dict.fromkeys(("akita_black_bowl", "white_bowl"), bowl_grasps),
    "plate": dish_grasps,
    "moka_pot": partial(hold_grasps, holds=MOKA_POT),
    **dict.fromkeys(MUGS, mug_grasps),
}
"""Category of an object -> its grasps in its present pose, in no particular order."""


def grasp_candidates(scene: Scene, name: str) -> list[Grasp]:
    """Return the grasps of an object of a category in `GRASPS` in its present pose, or of its box."""
    return GRASPS[scene.category(name)](scene, name) or box_grasps(scene, name)
