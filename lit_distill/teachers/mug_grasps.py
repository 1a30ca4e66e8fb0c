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
    """

    axis_xy: tuple[float, float]
    rim_height: float
    rim_radius: float
    wall: float
    handle: tuple[float, float, float]
    grip: tuple[float, float, float]


MUGS = {
    "porcelain_mug": MugShape(
        (0.0153, -0.001), 0.1085, 0.0415, 0.005, (-0.0595, 0.0, 0.056), (-0.064, 0.0, 0.078)
    ),
    "white_yellow_mug": MugShape(
        (-0.018, -0.001), 0.103, 0.0424, 0.008, (0.0641, 0.0, 0.056), (0.066, 0.0, 0.08)
    ),
    "red_coffee_mug": MugShape(
        (-0.0153, -0.0035), 0.131, 0.0318, 0.007, (0.0547, 0.001, 0.0944), (0.058, 0.001, 0.108)
    ),
}

HANDLE_WIDTH_M = 0.017
BELOW_RIM_M = 0.02
RIM_ANGLES_RAD = np.array([0.0, 0.5 * np.pi, -0.5 * np.pi])
"""Where on the rim, from the point opposite the handle."""


def rim_grasps(scene: Scene, name: str, shape: MugShape) -> list[Grasp]:
    """Grasps of a standing mug by its wall, one finger inside, away from the handle."""
    rotation, origin = scene.rotation(name), scene.position(name)
    opposite = np.arctan2(-shape.handle[1], -shape.handle[0])
    grasps = []
    for angle in opposite + RIM_ANGLES_RAD:
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        on_rim = np.array([*shape.axis_xy, shape.rim_height - BELOW_RIM_M]) + shape.rim_radius * outward
        axis = rotation @ outward
        axis[2] = 0.0
        grasps.append(Grasp(origin + rotation @ on_rim, axis / np.linalg.norm(axis), shape.wall))
    return grasps


def mug_grasps(scene: Scene, name: str) -> list[Grasp]:
    """Grasps of a mug in its present pose."""
    return rim_grasps(scene, name, MUGS[scene.category(name)])


def handle_direction(scene: Scene, name: str) -> np.ndarray:
    """Horizontal unit vector [3] from the axis of a standing mug to its handle."""
    shape = MUGS[scene.category(name)]
    direction = scene.rotation(name) @ np.array([*(np.subtract(shape.handle[:2], shape.axis_xy)), 0.0])
    direction[2] = 0.0
    return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-9))


def handle_grasp(scene: Scene, name: str, turn_after: float = 0.0) -> Grasp:
    """The grasp of a standing mug by its handle, from above; `turn_after` as in `Grasp`."""
    shape, outwards = MUGS[scene.category(name)], handle_direction(scene, name)
    position = scene.position(name) + scene.rotation(name) @ np.array(shape.grip)
    axis = np.array([-outwards[1], outwards[0], 0.0])
    return Grasp(position, axis, HANDLE_WIDTH_M, turn_after=turn_after)
