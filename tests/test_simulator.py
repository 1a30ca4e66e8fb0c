"""LIBERO in chunks: the stock trajectory, exact snapshots, resets as good as new, latched ends."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lit_distill.errors import LitDistillError
from lit_distill.schema import IMAGE_CONVENTION
from lit_distill.sim.simulator import CAMERAS, Simulator, fingerprint
from lit_distill.sim.states import InitialState, load_initial_state
from lit_distill.tasks import get_task

pytestmark = pytest.mark.libero

TASK = get_task("custom_libero_object_ketchup")
START = load_initial_state(TASK, "dev", 0)
CHUNK = np.random.default_rng(0).uniform(-0.5, 0.5, (16, 7)).astype(np.float32)
DIVE = np.tile(np.array([0.3, -0.6, -1.0, 0.2, 0.0, 0.3, 1.0], dtype=np.float32), (16, 1))
"""Presses the closing hand down among the objects."""


def digest(simulator: Simulator) -> str:
    return hashlib.sha256(simulator.data.qpos.tobytes() + simulator.data.qvel.tobytes()).hexdigest()


def run(simulator: Simulator, actions: np.ndarray) -> list[str]:
    """A fingerprint of the physics after each step."""
    digests = []
    for action in actions:
        simulator.step(action)
        digests.append(digest(simulator))
    return digests


@pytest.fixture
def task_after(simulator: Simulator) -> Iterator[None]:
    """Give the shared simulator its own task back."""
    yield
    simulator.task = TASK


def with_horizon(simulator: Simulator, horizon: int) -> None:
    simulator.task = dataclasses.replace(TASK, horizon=horizon)


def press_among_objects(simulator: Simulator) -> None:
    """Bring the hand into contact, gripper half closed."""
    simulator.reset(START)
    for _ in range(3):
        simulator.step_chunk(DIVE)
    robot = {
        int(geom) for geom in range(simulator.model.ngeom) if "gripper0" in simulator.model.geom(geom).name
    }
    pairs = simulator.data.contact.geom
    assert len(pairs) > 0 and any(int(geom) in robot for pair in pairs for geom in pair)


# -- the physics ---------------------------------------------------------------------------------------


def test_stepping_equals_stock_libero(simulator: Simulator):
    from lit_distill.sim.environment import make_environment

    simulator.reset(START)
    stock: Any = make_environment(TASK.bddl, image_size=64)
    try:
        stock.sim.set_state_from_flattened(simulator.env.sim.get_state().flatten())
        stock.sim.data.qacc_warmstart[:] = simulator.data.qacc_warmstart
        stock.sim.forward()
        robot = stock.robots[0]
        robot.controller.new_update = True
        robot.controller.goal_ori = simulator.controller.goal_rotation.copy()
        robot.gripper.current_action = simulator.controller.gripper_command.copy()
        start = simulator.data.qpos.copy()
        actions = CHUNK.copy()
        actions[6:9, 3:6] = 0.0  # no commanded rotation keeps the old goal
        actions[9, 6] = 0.0  # and no commanded gripper keeps its place
        for action in actions:
            stock.step(action)
            simulator.step(action)
            np.testing.assert_allclose(simulator.data.qpos, stock.sim.data.qpos, rtol=0, atol=1e-6)
        assert np.abs(simulator.data.qpos - start).max() > 0.02  # something did move
    finally:
        stock.close()


def test_restore_repeats_a_contact_rich_chunk_bit_for_bit(simulator: Simulator):
    press_among_objects(simulator)
    snapshot = simulator.snapshot()
    actions = CHUNK.copy()
    actions[:, 2] -= 0.5
    first = run(simulator, actions)
    for _ in range(5):
        simulator.step(-DIVE[0])
    simulator.observe()
    simulator.restore(snapshot)
    assert simulator.timestep == 48
    assert run(simulator, actions) == first


def test_restore_brings_back_clock_success_and_looks(simulator: Simulator):
    simulator.reset(START)
    snapshot = simulator.snapshot()
    simulator.step_chunk(CHUNK)
    simulator.success = True
    simulator.model.site_rgba[:] = 0.5
    simulator.restore(snapshot)
    assert (simulator.timestep, simulator.success) == (0, False)
    np.testing.assert_array_equal(simulator.model.site_rgba, snapshot.site_rgba)


FRESH = f"""
import sys
sys.path.insert(0, {str(__import__("pathlib").Path(__file__).parent)!r})
from test_simulator import CHUNK, START, TASK, Simulator, run
simulator = Simulator(TASK, image_size=64)
simulator.reset(START)
print(" ".join(run(simulator, CHUNK)))
if sys.argv[1] == "close":
    simulator.close()
"""


@pytest.mark.parametrize("ending", ["close", "forget"])
def test_a_used_simulator_equals_one_fresh_in_its_own_process_which_ends_silently(
    simulator: Simulator, ending: str
):
    fresh = subprocess.run(
        [sys.executable, "-c", FRESH, ending], capture_output=True, text=True, timeout=180, check=False
    )
    assert (fresh.returncode, fresh.stderr) == (0, "")
    simulator.reset(load_initial_state(TASK, "dev", 1))
    for _ in range(3):
        simulator.step_chunk(DIVE)
    assert simulator.controller.gripper_command[1] == 1.0  # closed: what LIBERO's soft reset forgets
    simulator.reset(START)
    assert " ".join(run(simulator, CHUNK)) == fresh.stdout.strip().splitlines()[-1]


def test_looking_does_not_change_the_trajectory(simulator: Simulator):
    press_among_objects(simulator)
    snapshot = simulator.snapshot()
    unseen = run(simulator, np.concatenate([CHUNK, CHUNK]))
    simulator.restore(snapshot)
    seen = run(simulator, CHUNK)
    first, second = simulator.observe(), simulator.observe()
    np.testing.assert_array_equal(first.agentview, second.agentview)
    np.testing.assert_array_equal(first.proprio, second.proprio)
    assert seen + run(simulator, CHUNK) == unseen


def test_reset_settles_without_using_up_the_horizon(simulator: Simulator):
    simulator.reset(START)
    assert simulator.timestep == 0
    assert simulator.data.time == pytest.approx(START.state[0] + 10 * 25 * 0.002)
    assert np.abs(simulator.data.qvel[9:]).max() < 0.05  # objects rest (m/s, rad/s)


def test_reset_refuses_a_state_of_another_length(simulator: Simulator):
    wrong = InitialState("dev/0", START.state[:-1], START.fixtures)
    with pytest.raises(
        LitDistillError,
        match=r"ketchup.npz: initial state dev/0 has shapes \(109,\) and \(0, 7\) \(fixtures\), .* needs "
        r"\(110,\) and \(0, 7\); `python -m lit_distill draw_states --task .*ketchup` draws them again$",
    ):
        simulator.reset(wrong)
    spoilt = START.state.copy()
    spoilt[3] = np.nan
    with pytest.raises(
        LitDistillError, match="initial state dev/0 holds numbers that are not finite; `python"
    ):
        simulator.reset(InitialState("dev/0", spoilt, START.fixtures))


# -- how chunks end ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("task_after")
def test_the_horizon_ends_an_episode_as_a_timeout_within_a_chunk(simulator: Simulator):
    with_horizon(simulator, 20)
    simulator.reset(START)
    first = simulator.step_chunk(CHUNK)
    assert (first.executed, first.outcome) == (16, None)
    assert first.observation is not None
    last = simulator.step_chunk(CHUNK)
    assert (last.executed, last.outcome, last.observation) == (4, "timeout", None)
    assert last.rewards.dtype == np.float32
    assert last.rewards.tolist() == [0.0] * 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_a_failure_and_not_executed(simulator: Simulator, value: float):
    simulator.reset(START)
    expected = run(simulator, CHUNK[:5])[-1]
    simulator.reset(START)
    actions = CHUNK.copy()
    actions[5, 3] = value
    result = simulator.step_chunk(actions)
    assert (result.executed, result.outcome, result.observation) == (5, "failure", None)
    assert len(result.rewards) == 5
    assert digest(simulator) == expected
    assert simulator.timestep == 5


def drop_into_basket(simulator: Simulator) -> None:
    """Put the ketchup where it falls into the basket."""
    model, data = simulator.model, simulator.data
    joint = data.joint("ketchup_1_joint0")
    joint.qpos[:3] = data.body("basket_1_main").xpos + np.array([0.0, 0.0, 0.1])
    joint.qvel[:] = 0.0
    simulator._mujoco.mj_forward(model, data)


def test_success_ends_the_chunk_at_once_and_is_latched(simulator: Simulator):
    simulator.reset(START)
    drop_into_basket(simulator)
    result = simulator.step_chunk(np.zeros((16, 7), dtype=np.float32))
    assert result.outcome == "success"
    assert result.observation is None
    assert 1 <= result.executed < 16
    assert result.rewards.tolist() == [0.0] * (result.executed - 1) + [1.0]
    joint = simulator.data.joint("ketchup_1_joint0")
    joint.qpos[:3] += [0.0, -0.4, 0.2]  # out again
    assert simulator.step(np.zeros(7))
    assert not simulator.env._check_success()
    simulator.reset(START)
    assert not simulator.success


@pytest.mark.usefixtures("task_after")
def test_success_at_the_last_step_of_the_horizon_is_no_timeout(simulator: Simulator):
    simulator.reset(START)
    drop_into_basket(simulator)
    with_horizon(simulator, simulator.step_chunk(np.zeros((16, 7), dtype=np.float32)).executed)
    simulator.reset(START)
    drop_into_basket(simulator)
    assert simulator.step_chunk(np.zeros((16, 7), dtype=np.float32)).outcome == "success"


@pytest.mark.parametrize("shape", [(17, 7), (0, 7), (16, 6), (7,)])
def test_a_chunk_of_another_shape_is_refused(simulator: Simulator, shape: tuple[int, ...]):
    with pytest.raises(LitDistillError, match="^actions: expected"):
        simulator.step_chunk(np.zeros(shape, dtype=np.float32))


def test_every_step_is_reported_while_it_happens(simulator: Simulator):
    simulator.reset(START)
    seen: list[int] = []
    simulator.step_chunk(CHUNK[:6], lambda: seen.append(simulator.timestep))
    assert seen == [1, 2, 3, 4, 5, 6]


# -- what is seen --------------------------------------------------------------------------------------


def test_images_are_liberos_own_turned_upright(simulator: Simulator):
    observation = simulator.reset(START)
    observation.validate()
    for view, camera in CAMERAS.items():
        image = getattr(observation, view)
        assert image.shape == (64, 64, 3)
        raw = simulator.env.sim.render(camera_name=camera, width=64, height=64)
        np.testing.assert_array_equal(image, raw[::-1])
    # The robot hangs into the top of the picture and the objects stand below it; grey arm, blue-grey floor.
    hand = project(simulator, simulator.data.site_xpos[simulator.controller.site])
    ketchup = project(simulator, simulator.data.body("ketchup_1_main").xpos)
    basket = project(simulator, simulator.data.body("basket_1_main").xpos)
    assert hand[0] < ketchup[0]  # rows count from the top
    assert basket[1] > ketchup[1]  # not mirrored: the basket, at larger y, is on the right
    row, column = np.round(ketchup).astype(int)
    patch = observation.agentview[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3).astype(int)
    redness = patch[:, 0] - patch[:, 1:].max(axis=1)
    assert redness.max() > 40  # and so the picture shows it: the bottle is red


def test_simulators_of_one_process_do_not_disturb_each_others_pictures(simulator: Simulator):
    expected = simulator.reset(START)
    other = Simulator(get_task("custom_libero_object_milk"), image_size=32)
    milk = other.reset(load_initial_state(other.task, "dev", 0))
    np.testing.assert_array_equal(simulator.observe().agentview, expected.agentview)
    np.testing.assert_array_equal(other.observe().wrist, milk.wrist)
    simulator.observe()  # whose context is now the current one
    other.close()
    np.testing.assert_array_equal(simulator.observe().agentview, expected.agentview)
    np.testing.assert_array_equal(simulator.observe().wrist, expected.wrist)


def project(simulator: Simulator, point: np.ndarray) -> np.ndarray:
    """Row and column of a world point in the upright agentview picture."""
    camera = simulator.data.camera("agentview")
    x, y, z = camera.xmat.reshape(3, 3).T @ (point - camera.xpos)
    focal = 32 / np.tan(np.radians(simulator.model.camera("agentview").fovy[0]) / 2)
    return np.array([32 - focal * y / -z, 32 + focal * x / -z])


def test_proprio_is_position_relative_orientation_and_opening(simulator: Simulator):
    home = simulator.reset(START)
    site = simulator.controller.site
    np.testing.assert_allclose(home.proprio[:3], simulator.data.site_xpos[site], atol=1e-6)
    np.testing.assert_array_equal(home.proprio[:3], home.eef_pos)
    assert np.linalg.norm(home.proprio[3:6]) < 0.2  # near home: joint noise alone
    assert home.proprio[6] == pytest.approx(home.gripper_qpos[0] - home.gripper_qpos[1], abs=1e-6)
    assert 0.06 < home.proprio[6] < 0.081
    assert np.linalg.norm(home.eef_quat) == pytest.approx(1.0, abs=1e-5)
    turn = np.tile(np.array([0, 0, 0.5, 0, 0, 0.3, 1], dtype=np.float32), (16, 1))
    result = simulator.step_chunk(turn)
    assert result.observation is not None
    moved = result.observation.proprio - home.proprio
    assert moved[2] > 0.05  # up
    assert moved[5] > 0.1  # turned about the world's z
    assert abs(moved[3]) < 0.1 and abs(moved[4]) < 0.1
    assert result.observation.proprio[6] < 0.01  # closed on nothing


def test_the_fingerprint_tells_versions_and_render_settings():
    found = fingerprint(64, "simplified")
    assert found.keys() == {"mujoco", "robosuite", "libero", "image_size", "image_convention", "meshes"}
    assert (found["image_size"], found["image_convention"]) == (64, IMAGE_CONVENTION)
    assert found["meshes"] == "simplified"
