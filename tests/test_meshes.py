"""Simplified meshes: fewer faces, the same look, and not one bit of the physics."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import pytest
from test_simulator import CHUNK, START, TASK, press_among_objects, run

from lit_distill.errors import LitDistillError
from lit_distill.sim.environment import check_meshes
from lit_distill.sim.meshes import CELLS_PER_MESH, simplify_visual_meshes, visual_meshes
from lit_distill.sim.simulator import Simulator

GRID = 120


def cloth_model() -> mujoco.MjModel:
    """A waved cloth of GRID x GRID vertices, 0.2 m wide, once to look at and once to touch."""
    spec = mujoco.MjSpec()
    x, y = np.meshgrid(np.linspace(0, 0.2, GRID), np.linspace(0, 0.2, GRID))
    vertices = np.stack([x, y, 0.01 * np.sin(40 * x) * np.cos(40 * y)], axis=-1).reshape(-1, 3)
    corner = (np.arange(GRID - 1)[:, None] * GRID + np.arange(GRID - 1)).reshape(-1, 1)
    faces = np.concatenate([corner + np.array(triangle) for triangle in ([0, 1, GRID], [1, GRID + 1, GRID])])
    for name in ("seen", "touched"):
        mesh = spec.add_mesh(name=name)
        mesh.uservert, mesh.userface = vertices.ravel(), faces.ravel()
        mesh.usertexcoord = (vertices[:, :2] / 0.2).ravel()
        geom = spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name)
        geom.contype = geom.conaffinity = int(name == "touched")
    return spec.compile()


def corners(model: mujoco.MjModel, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    """Position [F, 3, 3] and place in the texture [F, 3, 2] of the corners of a mesh's faces."""
    faces = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
    place = model.mesh_texcoord[model.mesh_texcoordadr[mesh] + model.mesh_facetexcoord[faces]]
    return model.mesh_vert[model.mesh_vertadr[mesh] + model.mesh_face[faces]], place


def test_only_what_nothing_touches_is_simplified():
    model = cloth_model()
    seen, touched = model.mesh("seen").id, model.mesh("touched").id
    assert visual_meshes(model) == [seen]
    before = [array.copy() for array in corners(model, touched)]
    faces = model.mesh_facenum[seen]
    simplify_visual_meshes(model)
    assert 0.02 * faces < model.mesh_facenum[seen] < 0.25 * faces
    for now, earlier in zip(corners(model, touched), before, strict=True):
        np.testing.assert_array_equal(now, earlier)


def test_faces_keep_their_area_their_side_and_their_place_in_the_texture():
    model = cloth_model()
    mesh = model.mesh("seen").id
    cell = np.ptp(corners(model, mesh)[0], axis=(0, 1)).max() / CELLS_PER_MESH
    simplify_visual_meshes(model)
    position, place = corners(model, mesh)
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.mesh_quat[mesh])
    position = position @ rotation.reshape(3, 3).T + model.mesh_pos[mesh]  # as it was defined
    normal = np.cross(position[:, 1] - position[:, 0], position[:, 2] - position[:, 0])
    assert np.linalg.norm(normal, axis=1).min() > 0
    assert 0.5 * normal[:, 2].sum() == pytest.approx(0.2**2, rel=0.1)  # the whole cloth, once
    assert normal[normal[:, 2] < 0, 2].sum() > -0.01 * normal[:, 2].sum()  # hardly a face is turned over
    assert np.abs(position[..., :2] / 0.2 - place).max() * 0.2 < cell  # a texture slides by less than a cell
    assert np.ptp(position, axis=(0, 1))[2] == pytest.approx(0.02, rel=0.1)  # its waves


def test_unknown_meshes_are_refused_by_name():
    with pytest.raises(LitDistillError, match="^meshes: must be one of original, simplified, got 'coarse'$"):
        check_meshes("coarse")


@pytest.fixture(scope="module")
def simplified() -> Iterator[Simulator]:
    made = Simulator(TASK, 64, meshes="simplified")
    yield made
    made.close()


@pytest.mark.libero
def test_the_physics_is_the_same_bit_for_bit(simulator: Simulator, simplified: Simulator):
    trajectories = []
    for one in (simulator, simplified):
        press_among_objects(one)
        trajectories.append(run(one, CHUNK - np.array([0, 0, 0.5, 0, 0, 0, 0], dtype=np.float32)))
    assert trajectories[0] == trajectories[1]
    for name in ("body_mass", "body_inertia", "geom_aabb", "geom_rbound", "geom_pos", "mesh_graph"):
        np.testing.assert_array_equal(getattr(simulator.model, name), getattr(simplified.model, name))


@pytest.mark.libero
def test_the_pictures_look_the_same_with_a_fraction_of_the_faces(simulator: Simulator, simplified: Simulator):
    def faces(model: mujoco.MjModel) -> int:
        shown = model.geom_dataid[(model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & (model.geom_group == 1)]
        return int(model.mesh_facenum[shown].sum())

    assert faces(simplified.model) < 0.5 * faces(simulator.model)
    plain, simple = (one.reset(START) for one in (simulator, simplified))
    for view in ("agentview", "wrist"):
        difference = np.abs(getattr(plain, view).astype(int) - getattr(simple, view))
        assert 0.0 < difference.mean() < 3.0
        assert np.mean(difference > 40) < 0.02
