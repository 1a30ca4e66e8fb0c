"""Renders only what a camera can see: software rendering costs per face, in view or not.

Exact: a geom whose bounding sphere lies outside the camera's pyramid colours no pixel, and no light of
LIBERO's casts shadows. A mirror shows what is outside; with one in view nothing is left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import mujoco
import numpy as np

HIDDEN_GROUP = 5
"""A geom group that robosuite does not show."""
SHOWN_GROUP = 1
"""The geom group of what is shown."""
MIRRORS = (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX)
"""The geoms on which MuJoCo renders reflections, if their material has a reflectance."""


@contextlib.contextmanager
def only_what_is_seen(model: mujoco.MjModel, data: mujoco.MjData, camera: int) -> Iterator[None]:
    """Hide the geoms that a camera of a square picture does not see, within the block.

    Args:
        camera: the camera's number; its pose and the geoms' must be up to date.
    """
    group = model.geom_group.copy()
    unseen = outside_view(model, data, camera)
    if not (_mirrors(model) & ~unseen).any() and not model.light_castshadow.any():
        model.geom_group[unseen] = HIDDEN_GROUP
    try:
        yield
    finally:
        model.geom_group[:] = group


def outside_view(model: mujoco.MjModel, data: mujoco.MjData, camera: int) -> np.ndarray:
    """bool [ngeom]: whether a geom's bounding sphere is wholly outside a camera's square pyramid of view."""
    half = 0.5 * np.radians(model.cam_fovy[camera])
    # Camera frame: x right, y up, -z where it looks.
    place = (data.geom_xpos - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
    beyond_side = np.abs(place[:, :2]).max(axis=1) * np.cos(half) + place[:, 2] * np.sin(half)
    return (beyond_side > model.geom_rbound) & (model.geom_rbound > 0.0)  # a plane has no bound


def _mirrors(model: mujoco.MjModel) -> np.ndarray:
    reflectance = np.where(model.geom_matid >= 0, model.mat_reflectance[model.geom_matid], 0.0)
    return (reflectance > 0.0) & np.isin(model.geom_type, MIRRORS) & (model.geom_group == SHOWN_GROUP)
