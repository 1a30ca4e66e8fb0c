"""`serve teacher` and its client: any teacher elsewhere is the teacher here, bit for bit."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from policy_servers import running
from tiny_training import tiny_network

from lit_distill.asking import ask
from lit_distill.collection import CollectSettings, collect_from
from lit_distill.errors import InfrastructureError, LitDistillError
from lit_distill.manifest import Manifest
from lit_distill.networks.checkpoint import save_student, student_sha256
from lit_distill.schema import Observation, TeacherChunk
from lit_distill.serving.server import RequestError
from lit_distill.serving.teacher import TeacherService, serve_teacher
from lit_distill.serving.wire import pack, unpack
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.fake import FakeSimulator, FakeTeacher
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.base import Refusal, Teacher
from lit_distill.teachers.embedded import EmbeddedTeacher
from lit_distill.teachers.openpi import OpenPiTeacher
from lit_distill.teachers.served import ServedTeacher
from lit_distill.teachers.spec import TeacherSpec
from lit_distill.teachers.student import CheckpointTeacher

TASK = get_task("custom_libero_object_milk")
START = load_initial_state(TASK, "dev", 2)
SERVED = "lit_distill.teachers.served.ServedTeacher"
OPENPI = "lit_distill.teachers.openpi.OpenPiTeacher"


class FarTeacher(FakeTeacher):
    """Also tells how long it would take."""

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        return dataclasses.replace(super().query(observation, simulator), steps_to_success=np.int64(7).item())


class RefusingTeacher(FakeTeacher):
    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        raise Refusal(simulator.task.bddl, "has no skill for it")


@contextlib.contextmanager
def served(
    teacher: Teacher,
    simulator: Any = FakeSimulator,
    depends_on: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[tuple[Any, int]]:
    service = TeacherService(teacher, simulator, depends_on)
    with running(service.infer, service.metadata, close=service.close, **options) as port:
        yield ServedTeacher(f"ws://127.0.0.1:{port}", cache=None, outage_s=2.0), port


def settings(teacher: dict[str, Any]) -> CollectSettings:
    return CollectSettings(episodes=3, teacher=teacher, image_size=16, workers=0)


def test_a_privileged_teacher_gets_the_simulators_state_and_no_images(tmp_path: Path):
    with served(FarTeacher()) as (teacher, port):
        assert isinstance(teacher, Teacher)
        assert (teacher.identity, teacher.looks_at_images, teacher.image_size) == ("fake/1", False, None)
        simulator = FakeSimulator(TASK, image_size=16)
        observation: Observation | None = simulator.reset(START)
        while observation is not None:
            assert not {"agentview", "wrist"} & teacher.request(observation, simulator)["observation"].keys()
            answer, expected = (t.query(observation, simulator) for t in (teacher, FarTeacher()))
            assert np.array_equal(answer.actions, expected.actions)
            assert (answer.value, answer.steps_to_success) == (expected.value, 7)
            observation = simulator.step_chunk(answer.actions[:4]).observation
        init_args = {"server": f"ws://127.0.0.1:{port}", "cache": None}
        far = collect_from(
            FakeSimulator,
            TASK.name,
            str(tmp_path / "far"),
            settings({"class_path": SERVED, "init_args": init_args}),
        )
    near = collect_from(
        FakeSimulator, TASK.name, str(tmp_path / "near"), settings({"class_path": f"{__name__}.FarTeacher"})
    )
    for path in near.glob("*.tar"):
        assert path.read_bytes() == (far / path.name).read_bytes()
    assert Manifest.load(far).sources["teacher"].identity["teacher"] == "fake/1"


def test_a_checkpoint_teaches_as_itself_and_is_known_by_its_hash(tmp_path: Path):
    path = tmp_path / "big.ckpt"
    save_student(tiny_network(), path, TASK.name)
    teacher = CheckpointTeacher(str(path))
    assert isinstance(teacher, Teacher)
    assert teacher.identity == f"checkpoint/{student_sha256(path)}"
    simulator = FakeSimulator(TASK, image_size=64)
    observation = simulator.reset(START)
    here = ask(teacher, observation, simulator).label  # shown at the size that it was built for
    here.validate()
    assert here.value is None
    with served(teacher) as (elsewhere, _):
        assert elsewhere.identity == teacher.identity
        assert elsewhere.image_size == teacher.image_size == 16
        there = ask(elsewhere, observation, simulator).label
    assert np.array_equal(here.actions, there.actions) and there.value is None
    save_student(tiny_network(seed=1), path, TASK.name)
    assert CheckpointTeacher(str(path)).identity != teacher.identity
    spec = TeacherSpec("lit_distill.teachers.student.CheckpointTeacher", {"checkpoint": str(path)})
    assert spec.identity()["teacher_spec"]["init_args"] == {}  # a moved file is the same teacher
    with pytest.raises(LitDistillError, match=r"none\.ckpt: no such checkpoint"):
        CheckpointTeacher("none.ckpt")


def test_another_tasks_student_does_not_teach(tmp_path: Path):
    path = tmp_path / "ketchup.ckpt"
    save_student(tiny_network(), path, "custom_libero_object_ketchup")
    simulator = FakeSimulator(TASK, image_size=16)
    line = rf"^{TASK.bddl}: the teacher is a student that was trained on custom_libero_object_ketchup; choose"
    with pytest.raises(Refusal, match=line):
        CheckpointTeacher(str(path)).query(simulator.reset(START), simulator)
    save_student(tiny_network(), path)  # nobody knows of which task
    CheckpointTeacher(str(path)).query(simulator.reset(START), simulator)


def test_what_a_checkpoint_commands_beyond_the_limits_is_clipped_and_counted(tmp_path: Path):
    network = tiny_network()
    save_student(network, tmp_path / "big.ckpt", TASK.name)
    teacher = CheckpointTeacher(str(tmp_path / "big.ckpt"))
    teacher._policy_for = lambda task: SimpleNamespace(act=lambda _: np.full((16, 7), 1.5, np.float32))  # type: ignore
    simulator = FakeSimulator(TASK, image_size=16)
    label, cost = ask(teacher, simulator.reset(START), simulator)
    assert label.actions.max() == 1.0
    assert (cost.queries, cost.clipped) == (1, 16 * 7)


@pytest.mark.parametrize(
    ("training", "refused"),
    [
        ({"data": {"meshes": "simplified"}}, "original"),
        ({"data": {"meshes": "original"}}, "simplified"),
        (None, None),
    ],
)
def test_a_checkpoint_is_shown_the_meshes_that_it_learnt_from(
    tmp_path: Path, training: dict[str, Any] | None, refused: str | None
):
    save_student(tiny_network(), tmp_path / "big.ckpt", TASK.name, training)
    spec = TeacherSpec(
        "lit_distill.teachers.student.CheckpointTeacher", {"checkpoint": str(tmp_path / "big.ckpt")}
    )
    for meshes in ("original", "simplified"):
        refusal = pytest.raises(LitDistillError, match=f"learnt from .*, not {meshes}$")
        with refusal if meshes == refused else contextlib.nullcontext():
            spec.check_meshes(meshes)


def test_a_refusal_is_a_refusal_there_and_here():
    with served(RefusingTeacher()) as (teacher, _):
        simulator = FakeSimulator(TASK)
        with pytest.raises(Refusal, match="has no skill for it") as caught:
            teacher.query(simulator.reset(START), simulator)
        assert caught.value.bddl == TASK.bddl


def recipe(**init_args: Any) -> dict[str, Any]:
    return {"class_path": "some.Teacher", "init_args": init_args}


def test_what_the_teacher_there_depends_on_is_in_the_data_and_in_the_kept_answers(tmp_path: Path):
    cache = str(tmp_path / "answers.sqlite")
    simulator = FakeSimulator(TASK, image_size=16)
    observation = simulator.reset(START)
    cached = []
    for steps, refused in ((5, False), (5, False), (6, True)):
        with served(FakeTeacher(), depends_on=recipe(steps=steps)) as (_, port):
            init_args = {"server": f"ws://127.0.0.1:{port}", "cache": cache}
            spec = TeacherSpec(SERVED, init_args)
            assert spec.identity() == {"teacher": "fake/1", "teacher_spec": recipe(steps=steps)}
            cached.append(ask(ServedTeacher(**init_args), observation, simulator).cost.cached)
            refusal = pytest.raises(LitDistillError, match=r"init_args.steps = 5, now it is 6")
            with refusal if refused else contextlib.nullcontext():
                chosen = settings({"class_path": SERVED, "init_args": init_args})
                collect_from(FakeSimulator, TASK.name, str(tmp_path / "data"), chosen)
    assert cached == [0, 1, 0]


def test_a_server_that_comes_back_as_another_teacher_is_named():
    simulator = FakeSimulator(TASK, image_size=16)
    observation = simulator.reset(START)
    with served(FakeTeacher(), depends_on=recipe(steps=5)) as (teacher, port):
        teacher.query(observation, simulator)
    again = TeacherService(FakeTeacher(), FakeSimulator, recipe(steps=5))
    with running(again.infer, again.metadata, at=port):
        teacher.query(observation, simulator)
    other = TeacherService(FakeTeacher(), FakeSimulator, recipe(steps=6))
    expected = r"^server: ws://\S+ was fake/1 .*5}} and is fake/1 .*6}} now; start the former again"
    with running(other.infer, other.metadata, at=port), pytest.raises(LitDistillError, match=expected):
        teacher.query(observation, simulator)


def test_whether_0_means_lost_and_which_meshes_it_knows_come_from_the_teacher_there():
    class Seeing(FakeTeacher):
        looks_at_images, zero_is_lost, meshes = True, False, "simplified"

    with served(FakeTeacher()) as (teacher, _):
        assert teacher.zero_is_lost
    with served(Seeing()) as (teacher, port):
        assert (teacher.zero_is_lost, teacher.meshes) == (False, "simplified")
        spec = TeacherSpec(SERVED, {"server": f"ws://127.0.0.1:{port}", "cache": None})
        spec.check_meshes("simplified")
        with pytest.raises(LitDistillError, match="learnt from those of simplified meshes; use simplified"):
            spec.check_meshes("original")
    service = TeacherService(FakeTeacher(), FakeSimulator)
    silent = {key: value for key, value in service.metadata.items() if key != "zero_is_lost"}
    with running(service.infer, silent) as port:
        assert not ServedTeacher(f"ws://127.0.0.1:{port}", cache=None).zero_is_lost


def test_a_question_that_the_server_refuses_is_bad_input_and_not_asked_again():
    class Picky(FakeTeacher):
        queries = 0

        def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
            Picky.queries += 1
            raise LitDistillError("steps: no such task\nhere")

    simulator = FakeSimulator(TASK, image_size=16)
    with served(Picky()) as (teacher, port):
        expected = rf"^ws://127.0.0.1:{port}: refuses the request: steps: no such task here$"
        with pytest.raises(LitDistillError, match=expected):
            teacher.query(simulator.reset(START), simulator)
    assert Picky.queries == 1 and teacher.counts.retried == 0


def test_a_teacher_that_would_have_to_act_in_the_simulator_is_not_served():
    def few(request: dict[str, Any]) -> dict[str, Any]:
        return {"actions": np.zeros((10, 7))}

    with running(few) as port:
        server = {"server": f"ws://127.0.0.1:{port}", "name": "few", "cache": None}
        with pytest.raises(
            LitDistillError, match="^teacher: it gives fewer than 16 rows .*; ask it directly"
        ):
            serve_teacher({"class_path": OPENPI, "init_args": {**server, "replan_steps": 10}})
        simulator = FakeSimulator(TASK, image_size=64)
        with served(OpenPiTeacher(**server)) as (teacher, _):
            expected = "refuses the request: it gives fewer than 16 rows .*; ask it directly"
            with pytest.raises(LitDistillError, match=expected):
                teacher.query(simulator.reset(START), simulator)


def request() -> dict[str, Any]:
    simulator = FakeSimulator(TASK, image_size=16)
    with served(FakeTeacher()) as (teacher, _):
        whole: dict[str, Any] = teacher.request(simulator.reset(START), simulator)
    return unpack(pack(whole))


STATE = FakeSimulator(TASK).export_state()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"task": 3}, "task: expected a task's name"),
        ({"task": "/etc/passwd.bddl"}, "task: expected a task's name"),
        ({"task": "../x"}, "task: expected a task's name"),
        ({"task": "custom_libero_object_mlik"}, "task: unknown task"),
        ({"bddl_sha256": "0"}, "is defined otherwise here"),
        ({"observation": None}, "observation: missing"),
        ({"observation": {}}, "proprio: expected a numpy array"),
        ({"state": None}, "state: missing"),
        ({"state": {}}, "state.clock: is missing"),
        ({"state": STATE | {"more": np.zeros(1)}}, "state.more: no such array"),
        (
            {"state": STATE | {"hand": np.zeros(3)}},
            r"state.hand: this task needs float64\[2\], got float64\[3\]",
        ),
        ({"state": STATE | {"hand": np.zeros(2, np.float32)}}, "state.hand: this task needs float64"),
        ({"state": STATE | {"hand": np.full(2, np.nan)}}, "state.hand: holds a value that is not finite"),
        ({"state": STATE | {"hand": "x"}}, "state.hand: this task needs .* no array"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(changes: dict[str, Any], named: str):
    service = TeacherService(FakeTeacher(), FakeSimulator)
    with pytest.raises(RequestError, match=named):
        service.infer(request() | changes)
    service.infer(request())


def test_another_kind_of_server_is_named_and_a_token_is_sent(monkeypatch: pytest.MonkeyPatch):
    expected = pytest.raises(LitDistillError, match="is no `serve teacher` of schema version")
    with running(lambda request: {}, {"reset_pose": [0.0]}) as port, expected:
        ServedTeacher(f"ws://127.0.0.1:{port}", cache=None)
    service = TeacherService(FakeTeacher(), FakeSimulator)
    with running(service.infer, service.metadata, token="right") as port:
        with pytest.raises(LitDistillError, match="^token_env: .* refuses the token"):
            ServedTeacher(f"ws://127.0.0.1:{port}", cache=None)
        monkeypatch.setenv("TEACHER_TOKEN", "right")
        ServedTeacher(f"ws://127.0.0.1:{port}", cache=None, token_env="TEACHER_TOKEN")


def test_a_served_teacher_may_itself_be_elsewhere_and_keep_its_answers(tmp_path: Path):
    """A server asks its teacher in another thread than the one that built it, with its file of answers."""
    with served(FakeTeacher()) as (_, port):
        relayed = ServedTeacher(f"ws://127.0.0.1:{port}", cache=str(tmp_path / "answers.sqlite"))
        with served(relayed) as (teacher, _):
            simulator = FakeSimulator(TASK)
            observation = simulator.reset(START)
            first, again = (teacher.query(observation, simulator) for _ in range(2))
    assert np.array_equal(first.actions, again.actions)
    assert (relayed.counts.queries, relayed.counts.cached) == (2, 1)


def test_an_answer_that_breaks_the_contract_is_the_servers_fault():
    class Wrong(FakeTeacher):
        def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
            return TeacherChunk(np.zeros((3, 7), np.float32))

    with served(Wrong()) as (teacher, _):
        simulator = FakeSimulator(TASK)
        with pytest.raises(InfrastructureError, match="bad answer: internal error"):
            teacher.query(simulator.reset(START), simulator)


@pytest.mark.libero
def test_the_embedded_teacher_answers_from_elsewhere_bit_for_bit():
    """Two episodes, so that the fixtures differ, and a server that has been in other states in between."""
    task = get_task("custom_libero_10_moka_pot_stove")
    here = EmbeddedTeacher()
    simulator = Simulator(task, image_size=64)
    with served(EmbeddedTeacher(), Simulator) as (there, _):
        for index in (0, 1):
            observation: Observation | None = simulator.reset(load_initial_state(task, "dev", index))
            for _ in range(3):
                assert observation is not None
                theirs, ours = (teacher.query(observation, simulator) for teacher in (there, here))
                assert ours.actions.tobytes() == theirs.actions.tobytes()
                assert ours.value == theirs.value
                observation = simulator.step_chunk(ours.actions).observation
        state = simulator.export_state()
        simulator.reset(load_initial_state(task, "dev", 0))
        simulator.import_state(state)
        assert all(np.array_equal(state[key], array) for key, array in simulator.export_state().items())
    simulator.close()


def test_the_command_serves_openpis_own_client(tmp_path: Path):
    path = tmp_path / "big.ckpt"
    save_student(tiny_network(), path, TASK.name)
    command = [
        *(sys.executable, "-m", "lit_distill", "serve", "teacher", "--port", "0"),
        *("--teacher.class_path", "lit_distill.teachers.student.CheckpointTeacher"),
        *("--teacher.init_args", f"{{checkpoint: {path}}}"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"teacher checkpoint/{student_sha256(path)}: serving at ws://127.0.0.1:")
        port = int(line.rsplit(":", 1)[1])
        client = WebsocketClientPolicy("127.0.0.1", port)
        assert client.get_server_metadata()["looks_at_images"] is True
        simulator = FakeSimulator(TASK, image_size=16)
        observation = simulator.reset(START)
        asked = ServedTeacher(f"ws://127.0.0.1:{port}", cache=None).request(observation, simulator)
        expected = CheckpointTeacher(str(path)).query(observation, simulator)
        assert np.array_equal(client.infer(asked)["actions"], expected.actions)
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    finally:
        process.terminate()
    started = time.monotonic()
    assert process.wait(timeout=20) == 0
    assert time.monotonic() - started < 20
