"""Where to take hold of a mug: by the wall at its rim, standing; across its lower end, lying on its side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.grasp import Grasp


@dataclass(frozen=True)
class MugShape:
    """A mug in its own body frame, whose z axis is the mug's; m. Read off LIBERO's collision boxes.

    Attributes:
        axis_xy: where the axis of the cup is.
        rim_height: of the rim above the body's origin.
        rim_radius: of the middle of the wall, at the rim.
        wall: thickness there.
        handle: middle of the part of the handle that is parallel to the axis.
        grip: grip site of a hand that takes the standing mug by its handle.
        base: height above the origin and width there of the lower end, where a lying mug is taken.
    """

    axis_xy: tuple[float, float]
    rim_height: float
    rim_radius: float
    wall: float
    handle: tuple[float, float, float]
    grip: tuple[float, float, float]
    base: tuple[float, float]


MUGS = {
    "porcelain_mug": MugShape(
        axis_xy=(0.0153, -0.001),
        rim_height=0.1085,
        rim_radius=0.0415,
        wall=0.005,
        handle=(-0.0595, 0.0, 0.056),
        grip=(-0.064, 0.0, 0.078),
        base=(0.015, 0.06),
    ),
    "white_yellow_mug": MugShape(
        axis_xy=(-0.018, -0.001),
        rim_height=0.103,
        rim_radius=0.0424,
        wall=0.008,
        handle=(0.0641, 0.0, 0.056),
        grip=(0.066, 0.0, 0.08),
        base=(0.01, 0.06),
    ),
    "red_coffee_mug": MugShape(
        axis_xy=(-0.0153, -0.0035),
        rim_height=0.131,
        rim_radius=0.0318,
        wall=0.007,
        handle=(0.0547, 0.001, 0.0944),
        grip=(0.058, 0.001, 0.108),
        base=(0.03, 0.066),
    ),
}

HANDLE_WIDTH_M = 0.017
BELOW_RIM_M = 0.02
BELOW_SIDE_M = 0.022
BASE_EDGE_M, HANDLE_UP = 0.004, 0.5
"""Height above the origin where a mug is taken whose handle points up (so much of it): beside the handle
there is no room for the palm."""
LYING = 0.6
"""Upward component of the axis of a mug, either way up, from which on it is not taken as lying."""
STRAIGHT = 0.9
"""The same of a mug that stands on its rim, from which on its lower end is on top; one that leans is taken
like one that lies."""
RIM_ANGLES_RAD = np.array([0.0, 0.5 * np.pi, -0.5 * np.pi])
"""Where on the rim, from the point opposite the handle."""


def rim_grasps(scene: Scene, name: str, shape: MugShape, angles: np.ndarray) -> list[Grasp]:
    """Grasps of a standing mug by its wall, one finger inside, away from the handle."""
    rotation, origin = scene.rotation(name), scene.position(name)
    opposite = np.arctan2(-shape.handle[1], -shape.handle[0])
    grasps = []
    for angle in opposite + angles:
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        on_rim = np.array([*shape.axis_xy, shape.rim_height - BELOW_RIM_M]) + shape.rim_radius * outward
        axis = rotation @ outward
        axis[2] = 0.0
        grasps.append(Grasp(origin + rotation @ on_rim, axis / np.linalg.norm(axis), shape.wall))
    return grasps


def base_grasps(scene: Scene, name: str, shape: MugShape) -> list[Grasp]:
    """The grasp of a lying mug across its lower end, which is narrower than the hand opens."""
    rotation, origin = scene.rotation(name), scene.position(name)
    along = rotation[:, 2]
    axis = np.array([-along[1], along[0], 0.0])
    axis /= max(float(np.linalg.norm(axis)), 1e-9)
    towards_handle = np.subtract(shape.handle[:2], shape.axis_xy)
    handle_up = rotation[2, :2] @ towards_handle > HANDLE_UP * np.linalg.norm(towards_handle)
    position = origin + rotation @ np.array([*shape.axis_xy, BASE_EDGE_M if handle_up else shape.base[0]])
    position[2] += shape.rim_radius - BELOW_SIDE_M
    return [Grasp(position, axis, shape.base[1])]


def foot_grasps(scene: Scene, name: str, shape: MugShape) -> list[Grasp]:
    """Grasps of a mug that stands on its rim, across its lower end, which is on top."""
    rotation, origin = scene.rotation(name), scene.position(name)
    position = origin + rotation @ np.array([*shape.axis_xy, shape.base[0]])
    return [Grasp(position, axis, shape.base[1]) for axis in np.eye(3)[:2]]


def mug_grasps(scene: Scene, name: str, angles: np.ndarray = RIM_ANGLES_RAD) -> list[Grasp]:
    """Grasps of a mug in its present pose; `angles` (rad) on the rim, from the point opposite the handle."""
    shape = MUGS[scene.category(name)]
    upwards = scene.rotation(name)[2, 2]
    if -STRAIGHT < upwards < LYING:
        return base_grasps(scene, name, shape)
    if upwards < 0.0:
        return foot_grasps(scene, name, shape)
    return rim_grasps(scene, name, shape, angles)


def handle_direction(scene: Scene, name: str) -> np.ndarray:
    """Horizontal unit vector [3] from the axis of a standing mug to its handle."""
    shape = MUGS[scene.category(name)]
    direction = scene.rotation(name) @ np.array([*(np.subtract(shape.handle[:2], shape.axis_xy)), 0.0])
    direction[2] = 0.0
    return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-9))
