"""The openpi client: what it shows, fewer rows than a chunk, an outage."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openpi_client.image_tools import resize_with_pad
from policy_servers import running
from robosuite.utils.transform_utils import quat2axisangle

from lit_distill.collection import CollectSettings, collect_from
from lit_distill.errors import InfrastructureError, LitDistillError
from lit_distill.samples import read_shard
from lit_distill.serving.wire import pack
from lit_distill.shards import verify
from lit_distill.sim.fake import STEP_SIZE, FakeSimulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.base import Teacher
from lit_distill.teachers.openpi import OpenPiTeacher, axis_angle
from lit_distill.teachers.remote import Unreachable
from lit_distill.teachers.spec import TeacherSpec
from lit_distill.teachers.websocket import WebsocketConnection

TASK = get_task("custom_libero_object_milk")
START = load_initial_state(TASK, "dev", 2)
OPENPI = "lit_distill.teachers.openpi.OpenPiTeacher"


class Policy:
    """Goes to the mark by sight, as an openpi policy of the toy world would; remembers what it was shown."""

    def __init__(self, rows: int = 10, change: Callable[[np.ndarray], Any] = lambda actions: actions) -> None:
        self.rows, self.change = rows, change
        self.seen: list[dict[str, Any]] = []

    def infer(self, request: dict[str, Any]) -> dict[str, Any]:
        self.seen.append(request)
        image = request["observation/image"][:, ::-1]
        hand, mark = (self.place(image[:, :, channel]) for channel in (0, 1))
        actions = np.zeros((self.rows, 7))
        for row in actions:
            row[:2] = np.clip((mark - hand) / STEP_SIZE, -1, 1)
            hand = hand + STEP_SIZE * row[:2]
        return {"actions": self.change(actions)}

    @staticmethod
    def place(colour: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(colour > 127)
        return 2 * np.array([rows.mean(), columns.mean()]) / (len(colour) - 1) - 1


def teacher_at(port: int, **options: Any) -> OpenPiTeacher:
    defaults: dict[str, Any] = {"name": "toy", "cache": None, "outage_s": 2.0}
    return OpenPiTeacher(f"ws://127.0.0.1:{port}", **(defaults | options))


def query(policy: Policy, **options: Any) -> tuple[FakeSimulator, Any]:
    simulator = FakeSimulator(TASK, image_size=64)
    with running(policy.infer, {"reset_pose": [0.0]}) as port:
        teacher = teacher_at(port, **options)
        assert isinstance(teacher, Teacher) and teacher.identity == "openpi/toy"
        return simulator, teacher.query(simulator.reset(START), simulator)


def test_it_is_shown_what_openpis_libero_example_shows():
    policy = Policy(rows=16)
    simulator = FakeSimulator(TASK, image_size=256)
    observation = dataclasses.replace(
        simulator.reset(START),
        gripper_qpos=np.array([0.01, -0.02], np.float32),
        eef_pos=np.array([0.3, 0.4, 0.5], np.float32),
        eef_quat=np.array([0.5, -0.5, 0.1, 0.7], np.float32),
    )
    with running(policy.infer) as port:
        teacher_at(port).query(observation, simulator)
    (request,) = policy.seen
    assert set(request) == {"observation/image", "observation/wrist_image", "observation/state", "prompt"}
    for key, ours in (("image", observation.agentview), ("wrist_image", observation.wrist)):
        raw = ours[::-1]  # LIBERO renders upside-down
        expected = resize_with_pad(np.ascontiguousarray(raw[::-1, ::-1]), 224, 224)
        assert np.array_equal(request[f"observation/{key}"], expected)
        assert not np.array_equal(request[f"observation/{key}"][:, ::-1], expected)
    state = request["observation/state"]
    assert state[:3] == pytest.approx([0.3, 0.4, 0.5])
    assert state[3:6] == pytest.approx(quat2axisangle(observation.eef_quat.astype(float)))
    assert state[6:] == pytest.approx([0.01, -0.02])
    assert request["prompt"] == TASK.language


@pytest.mark.parametrize("quaternion", [[0, 0, 0, 1], [0, 0, 0, -1], [1, 0, 0, 0], [0.6, 0, 0, -0.8]])
def test_axis_angle_is_openpis(quaternion: list[float]):
    assert axis_angle(np.array(quaternion)) == pytest.approx(quat2axisangle(np.array(quaternion, float)))


@pytest.mark.parametrize(
    ("rows", "replan", "asked"), [(16, None, 1), (50, None, 1), (10, None, 2), (10, 5, 4), (1, None, 16)]
)
def test_a_chunk_is_what_the_policy_itself_would_do(rows: int, replan: int | None, asked: int):
    policy = Policy(rows)
    simulator, chunk = query(policy, replan_steps=replan)
    chunk.validate()
    assert len(policy.seen) == asked and chunk.value is None and chunk.steps_to_success is None
    fresh = FakeSimulator(TASK, image_size=64)
    fresh.reset(START)
    assert {key: a.tolist() for key, a in simulator.export_state().items()} == {
        key: a.tolist() for key, a in fresh.export_state().items()
    }  # the simulator is where it was
    used = replan or min(rows, 16)
    for position, request in enumerate(policy.seen):
        state = request["observation/state"][:2]
        assert state == pytest.approx(fresh.hand, abs=1e-6)
        for row in chunk.actions[position * used : (position + 1) * used]:
            fresh.step(row)


def test_a_goal_that_is_met_on_the_way_ends_the_imagined_part():
    policy = Policy(rows=4)
    simulator = FakeSimulator(TASK, image_size=64)
    simulator.reset(START)
    simulator.hand = simulator.mark - np.array([0.14, 0.0])
    with running(policy.infer) as port:
        chunk = teacher_at(port).query(simulator.observe(), simulator)
    assert len(policy.seen) == 1
    assert (chunk.actions[3:] == chunk.actions[3]).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda actions: actions[:, :6], r"actions: expected \[n, 7\], got \[10, 6\]"),
        (lambda actions: actions[:0], r"actions: expected \[n, 7\], got \[0, 7\]"),
        (lambda actions: actions * np.inf, "not finite"),
        (lambda actions: "error", "not an array of numbers"),
        (lambda actions: None, "not an array of numbers|not finite|expected"),
    ],
)
def test_bad_answers_are_named(change: Callable[[np.ndarray], Any], named: str):
    with pytest.raises(InfrastructureError, match=f"bad answer: .*({named})"):
        query(Policy(change=change))


def test_what_the_server_says_in_text_is_named():
    def broken(request: dict[str, Any]) -> dict[str, Any]:
        raise ValueError

    policy = Policy()
    policy.infer = broken  # type: ignore[method-assign]
    with pytest.raises(InfrastructureError, match="internal error: the policy failed with ValueError"):
        query(policy)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"server": "http://127.0.0.1:1"}, "^server: expected ws://"),
        ({"name": ""}, "^name: say what the server serves"),
        ({"replan_steps": 17}, r"^replan_steps: must be in 1\.\.16"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(options: dict[str, Any], line: str):
    init_args = {"server": "ws://127.0.0.1:1", "name": "toy", "cache": None} | options
    with pytest.raises(LitDistillError, match=line):
        TeacherSpec(OPENPI, init_args).build()


SERVER = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_openpi_teacher import Policy
from lit_distill.serving.server import serve_policy
import time
policy = Policy()
serve_policy(lambda request: (time.sleep(0.02), policy.infer(request))[1], {{}}, port=int(sys.argv[1]))
"""


def start(script: Path, port: int) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen([sys.executable, str(script), str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline().rsplit(":", 1)[1])


def test_a_server_that_is_killed_and_comes_back_costs_nothing_but_time(tmp_path: Path):
    (tmp_path / "server.py").write_text(SERVER)
    process, port = start(tmp_path / "server.py", 0)
    init_args = {"server": f"ws://127.0.0.1:{port}", "name": "toy", "cache": None}
    settings = CollectSettings(
        episodes=4, teacher={"class_path": OPENPI, "init_args": init_args}, image_size=16, workers=0
    )
    undisturbed = collect_from(FakeSimulator, TASK.name, str(tmp_path / "undisturbed"), settings)
    revived: list[subprocess.Popen[str]] = []

    def disturb() -> None:
        time.sleep(0.5)
        process.kill()
        process.wait()
        time.sleep(0.5)
        revived.append(start(tmp_path / "server.py", port)[0])

    thread = threading.Thread(target=disturb)
    thread.start()
    folder = collect_from(FakeSimulator, TASK.name, str(tmp_path / "data"), settings)
    thread.join()
    revived[0].kill()
    revived[0].wait()
    for report in verify(folder):
        assert (folder / report.name).read_bytes() == (undisturbed / report.name).read_bytes()
        assert {t.value for t in read_shard(folder / report.name)} == {None}


def test_a_server_that_no_longer_reads_is_given_up_in_time():
    """Sending has the same limit as waiting: a large request fills the buffers of a server that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        hung: list[socket.socket] = []
        thread = threading.Thread(target=lambda: hung.append(greet(listener)))
        thread.start()
        connection = WebsocketConnection(f"ws://127.0.0.1:{port}", timeout_s=0.3)
        assert connection.metadata() == {"reset_pose": [0.0]}
        thread.join()
        started = time.monotonic()
        with pytest.raises(Unreachable):
            connection.ask({"image": np.zeros(32 * 2**20, np.uint8)})
        assert time.monotonic() - started < 10.0
        hung[0].close()


def greet(listener: socket.socket) -> socket.socket:
    """A websocket's handshake and the metadata, after which nothing is read any more."""
    taken, _ = listener.accept()
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += taken.recv(4096)
    (key,) = (line[19:].strip() for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))
    accepted = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    head = (b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade")
    taken.sendall(b"\r\n".join((*head, b"Sec-WebSocket-Accept: " + accepted, b"", b"")))
    metadata = pack({"reset_pose": [0.0]})
    taken.sendall(bytes([0x82, len(metadata)]) + metadata)
    return taken


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one():
    policy = Policy(rows=16)
    late = iter([0.6, 0.0, 0.0])

    def slow(request: dict[str, Any]) -> dict[str, Any]:
        time.sleep(next(late, 0.0))
        policy.seen.append(request)
        return {"actions": np.full((16, 7), len(policy.seen) / 100)}

    simulator = FakeSimulator(TASK, image_size=64)
    with running(slow) as port:
        teacher = teacher_at(port, timeout_s=0.3, outage_s=10.0)
        chunk = teacher.query(simulator.reset(START), simulator)
    assert teacher.counts.retried >= 1
    assert chunk.actions[0, 0] == pytest.approx(len(policy.seen) / 100)
