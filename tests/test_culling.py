"""What a camera cannot see is not rendered, and the picture is the same in every pixel."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from test_simulator import START

import lit_distill.sim.culling
from lit_distill.sim.culling import HIDDEN_GROUP, only_what_is_seen, outside_view
from lit_distill.sim.simulator import Simulator

SCENE = """
<mujoco>
  <asset><material name="mirror" reflectance="0.5"/></asset>
  <worldbody>
    <camera name="eye" pos="0 0 0" xyaxes="1 0 0 0 1 0" fovy="90"/>
    <geom name="floor" type="plane" size="9 9 .1" pos="0 0 -9" group="1"/>
    <geom name="ahead" size=".1" pos="0 0 -1" group="1"/>
    <geom name="behind" size=".1" pos="0 0 1" group="1"/>
    <geom name="touching the edge" size=".1" pos="1.14 0 -1" group="1"/>
    <geom name="beyond the edge" size=".1" pos="1.15 0 -1" group="1"/>
    <geom name="above" size=".1" pos="0 2 -1" group="1"/>
    <geom name="box" type="box" size=".1 .1 .1" pos="{box} 0 -1" group="{group}" material="mirror"/>
  </worldbody>
</mujoco>
"""
UNSEEN = {"behind", "beyond the edge", "above"}


def scene(box: float = 3.0, group: int = 1) -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(SCENE.format(box=box, group=group))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def hidden(model: mujoco.MjModel, data: mujoco.MjData) -> set[str]:
    with only_what_is_seen(model, data, 0):
        return {model.geom(geom).name for geom in np.flatnonzero(model.geom_group == HIDDEN_GROUP)}


def test_what_is_wholly_outside_the_view_is_hidden_and_shown_again():
    model, data = scene()
    groups = model.geom_group.copy()
    assert hidden(model, data) == UNSEEN | {"box"}
    np.testing.assert_array_equal(model.geom_group, groups)
    with pytest.raises(KeyError), only_what_is_seen(model, data, 0):
        raise KeyError
    np.testing.assert_array_equal(model.geom_group, groups)


def test_a_mirror_in_view_shows_what_is_outside():
    assert hidden(*scene(box=0.5)) == set()
    assert hidden(*scene(box=0.5, group=0)) == UNSEEN  # it is not shown itself


def test_a_shadow_shows_what_is_outside():
    model, data = scene()
    lit = mujoco.MjModel.from_xml_string(
        SCENE.format(box=3, group=1).replace("<worldbody>", '<worldbody><light castshadow="true"/>')
    )
    assert hidden(lit, data) == set()
    assert hidden(model, data) != set()


@pytest.mark.libero
def test_pictures_are_the_same_in_every_pixel(simulator: Simulator, monkeypatch: pytest.MonkeyPatch):
    simulator.reset(START)
    random = np.random.default_rng(0)
    start = simulator.data.qpos.copy()
    unseen = 0
    for _ in range(3):
        simulator.data.qpos[:7] = start[:7] + random.normal(scale=0.3, size=7)
        culled = simulator.observe()
        unseen += sum(
            outside_view(simulator.model, simulator.data, simulator.model.camera(camera).id).sum()
            for camera in ("agentview", "robot0_eye_in_hand")
        )
        with monkeypatch.context() as patch:
            patch.setattr(
                lit_distill.sim.culling, "outside_view", lambda model, *_: np.zeros(model.ngeom, bool)
            )
            whole = simulator.observe()
        np.testing.assert_array_equal(culled.agentview, whole.agentview)
        np.testing.assert_array_equal(culled.wrist, whole.wrist)
    assert unseen > 30
