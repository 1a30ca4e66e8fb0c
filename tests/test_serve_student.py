"""`serve student`: openpi's own client, its LIBERO keys and ours, wrong requests in one line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_student import SIZE, TASK, observation, write_folder
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from policy_servers import running
from scipy.spatial.transform import Rotation
from tiny_training import tiny_network

from lit_distill.cli import main
from lit_distill.errors import LitDistillError
from lit_distill.networks.checkpoint import save_student
from lit_distill.runtime import Policy
from lit_distill.serving import student
from lit_distill.serving.server import RequestError
from lit_distill.serving.student import (
    HOME_HAND,
    StudentService,
    load_policy,
    metadata,
    proprio_of_state,
    smaller,
)
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("served") / "folder")


@pytest.fixture(scope="module")
def policy(folder: Path) -> Policy:
    return load_policy(str(folder))


def ours(**changes: Any) -> dict[str, Any]:
    agentview, wrist, proprio = observation()
    request = {"agentview": agentview, "wrist": wrist, "proprio": proprio} | changes
    return {key: value for key, value in request.items() if value is not None}


def theirs(**changes: Any) -> dict[str, Any]:
    """The same observation as openpi's LIBERO client would send it."""
    agentview, wrist, proprio = observation()
    hand = Rotation.from_rotvec(proprio[3:6]) * HOME_HAND
    fingers = [proprio[6] / 2, -proprio[6] / 2]
    request = {
        "observation/image": agentview[:, ::-1],
        "observation/wrist_image": wrist[:, ::-1],
        "observation/state": np.concatenate([proprio[:3], hand.as_rotvec(), fingers]),
        "prompt": get_task(TASK).language,
    } | changes
    return {key: value for key, value in request.items() if value is not None}


def test_openpis_own_client_gets_the_students_chunk(policy: Policy) -> None:
    with running(StudentService(policy).infer, metadata(policy)) as port:
        client = WebsocketClientPolicy("127.0.0.1", port)
        told = client.get_server_metadata()
        assert (told["task"], told["image_size"], told["chunk_length"]) == (TASK, SIZE, 16)
        expected = policy(*observation())
        for request in (ours(), theirs()):
            actions = client.infer(request)["actions"]
            assert (actions.dtype, actions.shape) == (np.float32, (16, 7))
            np.testing.assert_allclose(actions, expected, atol=1e-5)
        with pytest.raises(RuntimeError, match="observation/state: is missing"):
            client.infer(theirs(**{"observation/state": None}))
        np.testing.assert_array_equal(client.infer(ours())["actions"], expected)


def test_a_checkpoint_is_served_as_its_exported_folder_is(policy: Policy, tmp_path: Path) -> None:
    save_student(tiny_network(), tmp_path / "best.ckpt", task=TASK)
    checkpoint = load_policy(str(tmp_path / "best.ckpt"))
    np.testing.assert_allclose(checkpoint(*observation()), policy(*observation()), atol=1e-5)
    assert metadata(checkpoint)["language"] == get_task(TASK).language


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ours(wrist=None), "wrist: is missing"),
        (ours(wrist="text"), "wrist: must be an array"),
        (ours(agentview=np.zeros((SIZE, SIZE, 3))), "agentview: expected uint8 [H, H, 3], got float64"),
        (ours(agentview=np.zeros((8, 8, 3), np.uint8)), "agentview: must be square and of 16 pixels or more"),
        (ours(agentview=np.zeros((16, 32, 3), np.uint8)), "agentview: must be square .* got 16 x 32"),
        (ours(proprio=np.zeros(8)), r"proprio: expected 7 finite numbers, got float64 \[8\]"),
        (ours(proprio=np.full(7, np.inf)), "proprio: expected 7 finite numbers"),
        (ours(proprio=np.full(7, 1e300)), "proprio: holds a value that is not finite"),
        (theirs(prompt="fold the towel"), "prompt: this student does one task, 'Put the bottle of ketchup"),
        (theirs(**{"observation/state": np.zeros(7)}), "observation/state: expected 8 finite numbers"),
        ({}, "observation/image: is missing"),
    ],
)
def test_a_wrong_request_is_answered_in_one_line(
    policy: Policy, request_: dict[str, Any], message: str
) -> None:
    pattern = message if "\\" in message or ".*" in message else re.escape(message)
    with pytest.raises(RequestError, match=pattern) as caught:
        StudentService(policy).infer(request_)
    assert "\n" not in str(caught.value)


def test_a_prompt_may_differ_in_case_and_spaces(policy: Policy) -> None:
    StudentService(policy).infer(theirs(prompt=" put the Bottle of  ketchup into the basket. "))


def test_larger_views_are_averaged_by_area(policy: Policy) -> None:
    agentview, wrist, _ = observation()
    large = ours(agentview=agentview.repeat(3, 0).repeat(3, 1), wrist=wrist.repeat(2, 0).repeat(2, 1))
    actions = StudentService(policy).infer(large)["actions"]
    np.testing.assert_array_equal(actions, StudentService(policy).infer(ours())["actions"])
    blocks = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    means = blocks.reshape(2, 2, 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(smaller(blocks, 2) - means).max() <= 0.5


@pytest.mark.libero
def test_openpis_state_is_our_proprioception_on_a_floor_and_on_a_table() -> None:
    for task in (TASK, "custom_libero_10_stove_on"):
        simulator = Simulator(get_task(task), 32, "simplified")
        try:
            seen = simulator.reset(load_initial_state(get_task(task), "dev", 0))
        finally:
            simulator.close()
        hand = Rotation.from_quat(seen.eef_quat).as_rotvec()
        state = np.concatenate([seen.eef_pos, hand, seen.gripper_qpos])
        np.testing.assert_allclose(proprio_of_state(state), seen.proprio, atol=2e-4)


def test_what_cannot_be_served_is_told_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_student(tiny_network(), tmp_path / "any.ckpt")
    for options, message in (
        (["none.ckpt"], "none.ckpt: no such checkpoint"),
        ([str(tmp_path)], "config.json: no such file"),
        ([str(tmp_path / "any.ckpt")], "does not say for which task"),
        ([str(tmp_path / "any.ckpt"), "--backend", "openvino"], "backend: .* is a checkpoint"),
        ([str(folder), "--token_env", "NO_SUCH_TOKEN"], "the environment variable NO_SUCH_TOKEN is not set"),
        ([str(folder), "--host", "0.0.0.0"], "needs a token"),
        ([str(folder), "--threads", "0"], "threads: must be a whole number from 1 on"),
    ):
        assert main(["serve", "student", *options]) == 2
        error = capsys.readouterr().err
        assert re.search(message, error) and error.count("\n") == 1
    with pytest.raises(LitDistillError, match="threads"):
        load_policy(str(tmp_path / "any.ckpt"), threads=0)


def test_the_command_serves_until_it_is_interrupted(folder: Path) -> None:
    command = [sys.executable, "-m", "lit_distill", "serve", "student", str(folder), "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        match = re.fullmatch(rf"{TASK}: serving at ws://127\.0\.0\.1:(\d+)\n", said)
        assert match, said
        client = WebsocketClientPolicy("127.0.0.1", int(match[1]))
        assert client.infer(theirs())["actions"].shape == (16, 7)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) in (0, 130)


def test_a_token_is_the_same_with_a_line_break_at_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients strip theirs, so one that is kept here would be refused for ever."""
    served: list[Any] = []
    monkeypatch.setattr(student, "serve_policy", lambda *given, name: served.extend(given))
    monkeypatch.setenv("ROBOT_TOKEN", " right\n")
    student.serve_student(str(folder), token_env="ROBOT_TOKEN")
    infer, told, _, _, token = served
    with running(infer, told, token=token) as port:
        client = WebsocketClientPolicy("127.0.0.1", port, api_key="right")
        assert client.infer(ours())["actions"].shape == (16, 7)
