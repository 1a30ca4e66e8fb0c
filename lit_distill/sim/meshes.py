"""Simplified visual meshes: rendering in software costs per face, and LIBERO's scenes have 300,000.

Vertices are clustered on a grid, within each mesh that is only looked at: the vertices in a cell move to
their mean, and faces that then have no area, or lie on another, go. Each corner keeps its normal and its
place in the texture. Collision geometry, inertia and so the physics are untouched.
"""

from __future__ import annotations

import mujoco
import numpy as np

CELLS_PER_MESH = 30
"""Cells along a mesh's longest edge: parts that are seen from near are small. Chosen, as the bounds below, by
milliseconds and pixel differences in `experiments/benchmarks/meshes.py`."""
SMALLEST_CELL_M, LARGEST_CELL_M = 0.002, 0.010


def simplify_visual_meshes(model: mujoco.MjModel) -> None:
    """Simplify in place, before the model is rendered for the first time."""
    for mesh in visual_meshes(model):
        first = model.mesh_faceadr[mesh]
        faces = slice(first, first + model.mesh_facenum[mesh])
        first = model.mesh_vertadr[mesh]
        vertices = slice(first, first + model.mesh_vertnum[mesh])
        means, cell = _cluster(model.mesh_vert[vertices].astype(np.float64))
        kept = _faces_with_area(cell[model.mesh_face[faces]])
        model.mesh_vert[vertices] = means[cell]
        for corners in (model.mesh_face, model.mesh_facenormal, model.mesh_facetexcoord):
            corners[faces.start : faces.start + len(kept)] = corners[faces][kept]
        model.mesh_facenum[mesh] = len(kept)


def visual_meshes(model: mujoco.MjModel) -> list[int]:
    """Meshes that are shown and that nothing can touch."""
    is_mesh = model.geom_type == mujoco.mjtGeom.mjGEOM_MESH
    touches = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    shown, touched = (set(model.geom_dataid[is_mesh & which].tolist()) for which in (~touches, touches))
    return sorted(shown - touched)


def _cluster(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means float64 [C, 3] of the vertices [V, 3] in each of C cells, and the cell of each vertex [V]."""
    extent = np.ptp(vertices, axis=0).max()
    size = np.clip(extent / CELLS_PER_MESH, SMALLEST_CELL_M, LARGEST_CELL_M)
    place = np.floor((vertices - vertices.min(axis=0)) / size).astype(np.int64)
    numbers = np.ravel_multi_index(tuple(place.T), tuple(place.max(axis=0) + 1))
    _, cell, count = np.unique(numbers, return_inverse=True, return_counts=True)
    sums = [np.bincount(cell, weights=coordinate) for coordinate in vertices.T]
    return np.stack(sums, axis=1) / count[:, None], cell


def _faces_with_area(corners: np.ndarray) -> np.ndarray:
    """Which faces to keep, ascending, of the cells [F, 3] of their corners: each face with area, once."""
    has_area = np.flatnonzero((corners != np.roll(corners, 1, axis=1)).all(axis=1))
    corners = corners[has_area]
    start = corners.argmin(axis=1)[:, None]  # the same face, whichever corner it begins with
    ordered = np.take_along_axis(corners, (start + np.arange(3)) % 3, axis=1)
    numbers = np.ravel_multi_index(tuple(ordered.T), (corners.max(initial=0) + 1,) * 3)
    return has_area[np.sort(np.unique(numbers, return_index=True)[1])]
