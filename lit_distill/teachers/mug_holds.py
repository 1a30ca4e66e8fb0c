"""How a hand that stays outside holds a mug that goes into a microwave: by its handle, from above.

A mug that stands, on its base or on its rim, is taken by the upper half of the handle; the fingers close
across it. Of one that lies they take the whole handle, closing along the mug's axis. Either way the mug is
beside the hand, not under it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.grasp import DOWN, Grasp
from lit_distill.teachers.mug_grasps import HANDLE_WIDTH_M, MUGS, handle_direction
from lit_distill.teachers.vectors import cross

LYING, STRAIGHT = 0.74, 0.985
"""Upward component of the axis of a mug, either way up, from which on it does not lie, and from which on it
stands straight: in between the hand leans as the mug does."""
LEANING = 0.93
"""The same below which a mug leans: one that is on the table, on its handle."""
HANDLE_LENGTH_M = 0.052
"""Of a handle, along the mug's axis, where the fingers take all of it."""
LOWEST_M = 0.018
"""Height above the table of a grip site whose fingertips just stay clear of it."""
AT_HANDLE_M = 0.02
HANDLE_ENDS = (0.15, 0.95)
"""Which part of a mug's height has the handle beside it."""
ALONG = 0.7
"""Share of the closing direction along the mug's axis from which on the fingers have the whole handle."""
LOWEST_RAD, HIGHEST_RAD = -0.6, 0.8
"""Elevations of a lying mug's handle between which it can be taken."""


@dataclass(frozen=True)
class MugHold:
    """How a mug is held by its handle.

    Attributes:
        grasp: where to close the fingers.
        outwards: level unit vector [3] from the mug towards the hand: out of the microwave, once it is in.
        lying: whether the mug lies on its side.
    """

    grasp: Grasp
    outwards: np.ndarray
    lying: bool


def mug_hold(scene: Scene, name: str) -> MugHold | None:
    """How to take hold of a mug in its present pose, None where the hand would be above it."""
    shape, rotation, origin = MUGS[scene.category(name)], scene.rotation(name), scene.position(name)
    outwards, lying = handle_direction(scene, name), lies(scene, name)
    towards_handle = np.array([*np.subtract(shape.handle[:2], shape.axis_xy), 0.0])
    if not lying:
        grip = np.array(shape.grip)
        if rotation[2, 2] < 0.0:
            grip[2] = 2.0 * shape.handle[2] - grip[2]
        approach = DOWN if abs(rotation[2, 2]) > STRAIGHT else -np.sign(rotation[2, 2]) * rotation[:, 2]
        across = cross(approach, rotation @ towards_handle)
        across /= np.linalg.norm(across)
        grasp = Grasp(origin + rotation @ grip, across, HANDLE_WIDTH_M, approach=approach)
        return MugHold(grasp, outwards, lying=False)
    along = np.array([*rotation[:2, 2], 0.0])
    along /= np.linalg.norm(along)
    handle = rotation @ towards_handle
    elevation = float(np.arctan2(handle[2], handle @ outwards))
    if not LOWEST_RAD < elevation < HIGHEST_RAD:
        return None
    position = mug_handle(scene, name)
    position[2] = max(position[2], scene.surface + LOWEST_M)
    return MugHold(Grasp(position, along, HANDLE_LENGTH_M), outwards, lying=True)


def lies(scene: Scene, name: str) -> bool:
    """Whether a mug lies on its side."""
    return bool(abs(scene.rotation(name)[2, 2]) < LYING)


def leans(scene: Scene, name: str) -> bool:
    """Whether a mug neither lies nor stands nearly straight, either way up."""
    return not lies(scene, name) and bool(abs(scene.rotation(name)[2, 2]) < LEANING)


def held_by_handle(scene: Scene, name: str) -> bool:
    """Whether a hand that holds a mug has it as `mug_hold` would."""
    hold = mug_hold(scene, name)
    if hold is None:
        return False
    shape, rotation = MUGS[scene.category(name)], scene.rotation(name)
    grip = rotation.T @ (scene.eef_position - scene.position(name))
    low, high = np.multiply(HANDLE_ENDS, shape.rim_height)
    at_handle = np.linalg.norm(grip[:2] - shape.grip[:2]) < AT_HANDLE_M and low < grip[2] < high
    along = abs(float(scene.eef_rotation[:, 0] @ rotation[:, 2])) > ALONG
    return bool(at_handle and along == hold.lying)


def cup_centre(scene: Scene, name: str) -> np.ndarray:
    """Point [3] on a mug's axis half way up."""
    shape = MUGS[scene.category(name)]
    return scene.position(name) + scene.rotation(name) @ np.array([*shape.axis_xy, 0.5 * shape.rim_height])


def mug_handle(scene: Scene, name: str) -> np.ndarray:
    """Point [3] in the middle of a mug's handle."""
    return scene.position(name) + scene.rotation(name) @ np.array(MUGS[scene.category(name)].handle)
