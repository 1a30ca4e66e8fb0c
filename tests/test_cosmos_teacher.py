"""The Cosmos Policy client against the real server: what it is shown, bad answers, outages, the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cosmos_server import STAND_INS, CosmosServer, serving
from PIL import Image

from lit_distill.asking import ask
from lit_distill.collection import CollectSettings, collect_from
from lit_distill.errors import InfrastructureError, LitDistillError, TeacherUnavailable
from lit_distill.manifest import Manifest
from lit_distill.query_log import stored_cost
from lit_distill.samples import read_shard
from lit_distill.schema import Observation, TeacherChunk
from lit_distill.shards import verify
from lit_distill.sim.fake import FakeSimulator, FakeTeacher
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers import cosmos
from lit_distill.teachers import cosmos_server as shipped
from lit_distill.teachers.base import Teacher, view
from lit_distill.teachers.cosmos import CosmosPolicyTeacher
from lit_distill.teachers.cosmos_server import CONFIG
from lit_distill.teachers.embedded import EmbeddedTeacher
from lit_distill.teachers.spec import TeacherSpec

TASK = get_task("custom_libero_object_milk")
START = load_initial_state(TASK, "dev", 2)
COSMOS = "lit_distill.teachers.cosmos.CosmosPolicyTeacher"
REFERENCE = Path(__file__).parent / "data" / "cosmos-milk-dev0-agentview.png"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CosmosServer]:
    with serving(tmp_path_factory.mktemp("cosmos")) as server:
        yield server


def teacher_of(server: CosmosServer, **options: Any) -> CosmosPolicyTeacher:
    return CosmosPolicyTeacher(server.url, **({"cache": None, "outage_s": 2.0} | options))


def settings(server: CosmosServer, **options: Any) -> CollectSettings:
    init_args = {"server": server.url, "cache": None, "outage_s": 60.0} | options
    teacher = {"class_path": COSMOS, "init_args": init_args}
    return CollectSettings(episodes=4, teacher=teacher, image_size=16, episodes_per_shard=2, workers=0)


def collect(root: Path, server: CosmosServer, workers: int = 0, **options: Any) -> Path:
    chosen = dataclasses.replace(settings(server, **options), workers=workers)
    return collect_from(FakeSimulator, TASK.name, str(root), chosen)


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


# -- what it is shown ----------------------------------------------------------------------------------


def test_it_is_a_teacher_whose_identity_is_the_servers_checkpoint(server: CosmosServer):
    teacher = teacher_of(server)
    assert isinstance(teacher, Teacher)
    assert teacher.identity == "cosmos-policy/nvidia/Cosmos-Policy-LIBERO-Predict2-2B"
    assert (teacher.looks_at_images, teacher.image_size, teacher.zero_is_lost) == (True, 256, False)


def test_it_sees_larger_views_and_raw_proprioception_and_the_student_what_it_always_sees(
    server: CosmosServer,
):
    simulator = FakeSimulator(TASK, image_size=16)
    observation = dataclasses.replace(
        simulator.reset(START),
        gripper_qpos=np.array([0.1, 0.2], np.float32),
        eef_pos=np.array([0.3, 0.4, 0.5], np.float32),
        eef_quat=np.array([0.6, 0.7, 0.8, 0.9], np.float32),
    )
    before = observation.agentview.copy()
    answer, cost = ask(
        teacher_of(server, seed=4, denoising_steps=2, jpeg=False, crop=False), observation, simulator
    )
    answer.validate()
    assert cost.queries == 1 and cost.seconds > 0.0
    seen = np.load(server.questions()[-1])
    assert np.array_equal(seen["primary_image"], simulator.render("agentview", 256))
    assert np.array_equal(seen["wrist_image"], simulator.render("wrist", 256))
    assert seen["proprio"] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert np.array_equal(observation.agentview, before)
    told = json.loads(server.questions()[-1].with_suffix(".json").read_text())
    assert told["prompt"] == TASK.language
    assert (told["seed"], told["steps"], told["jpeg"], told["crop"]) == (4, 2, False, False)


def test_its_value_is_used_as_it_comes(server: CosmosServer):
    simulator = FakeSimulator(TASK, image_size=256)
    answer = teacher_of(server).query(simulator.reset(START), simulator)
    expected = FakeTeacher().query(simulator.observe(), simulator)
    assert answer.value == pytest.approx(expected.value, abs=0.01)  # by sight, to a pixel
    assert answer.actions[:8] == pytest.approx(expected.actions[:8], abs=0.3)


@pytest.mark.libero
def test_the_image_that_it_is_given_is_pinned_to_a_reference_frame(server: CosmosServer):
    """LIBERO's raw rendering flipped vertically only, 256 px, original meshes, whatever the student sees."""
    reference = np.asarray(Image.open(REFERENCE), dtype=np.float64)
    differences = {}
    for meshes in ("original", "simplified"):
        simulator = Simulator(TASK, image_size=64, meshes=meshes)
        student = simulator.reset(load_initial_state(TASK, "dev", 0))
        teacher = teacher_of(server)
        request = teacher.request(view(teacher.image_size, student, simulator), simulator)["observation"]
        image = request["primary_image"]
        assert image.shape == request["wrist_image"].shape == (256, 256, 3) and image.dtype == np.uint8
        differences[meshes] = float(np.abs(image - reference).mean())
        if meshes == "original":
            for other in (image[::-1], image[:, ::-1], image[::-1, ::-1], image[:, :, ::-1]):
                assert np.abs(other - reference).mean() > 8.0
            raw = simulator.env.sim.render(camera_name="agentview", width=256, height=256)
            assert np.array_equal(image, raw[::-1])
            raw = simulator.env.sim.render(camera_name="robot0_eye_in_hand", width=256, height=256)
            assert np.array_equal(request["wrist_image"], raw[::-1])
            again = (
                simulator.observe()
            )  # after the larger picture, the student's is the same, pixel for pixel
            assert np.array_equal(again.agentview, student.agentview)
            assert np.array_equal(again.wrist, student.wrist)
        simulator.close()
    assert differences["original"] < 2.0  # of 255; other GL drivers round otherwise
    assert differences["original"] < 0.5 * differences["simplified"]


@pytest.mark.libero
def test_in_libero_data_that_it_labelled_are_those_of_whoever_answers(tmp_path: Path):
    """Real LIBERO, client, wire and server; the stand-in answers as the embedded teacher does."""
    simulator, embedded = Simulator(TASK, image_size=32), EmbeddedTeacher()
    said: list[TeacherChunk] = []
    answers: dict[str, Any] = {}
    observation: Observation | None = simulator.reset(load_initial_state(TASK, "teacher", 0))
    while observation is not None:
        shown = view(256, observation, simulator)
        said.append(embedded.query(observation, simulator))
        seen = hashlib.sha256(shown.agentview.tobytes() + shown.wrist.tobytes()).hexdigest()
        answers |= {f"{seen} actions": said[-1].actions, f"{seen} value": said[-1].value}
        observation = simulator.step_chunk(said[-1].actions).observation
    simulator.close()
    np.savez(tmp_path / "answers.npz", **answers)
    with serving(tmp_path / "server", STAND_IN_ANSWERS=str(tmp_path / "answers.npz")) as server:
        chosen = dataclasses.replace(settings(server), episodes=1, image_size=32)
        folder = collect_from(Simulator, TASK.name, str(tmp_path / "data"), chosen)
    (shard,) = folder.glob("*.tar")
    stored = list(read_shard(shard))
    assert {transition.outcome for transition in stored} == {"success"}
    assert len(stored) == len(said) > 3
    for transition, answer in zip(stored, said, strict=True):
        assert np.array_equal(transition.teacher_actions, answer.actions)
        assert np.array_equal(transition.actions, answer.actions)
        assert transition.value == answer.value


# -- how it is reached -----------------------------------------------------------------------------------


def test_in_process_it_answers_as_over_the_wire(
    server: CosmosServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with pytest.raises(
        LitDistillError, match=r"^server: cosmos_policy cannot be imported here; start cosmos_server"
    ):
        CosmosPolicyTeacher()
    monkeypatch.syspath_prepend(str(STAND_INS))
    here = CosmosPolicyTeacher(embeddings=str(server.embeddings), cache=None)
    simulator = FakeSimulator(TASK, image_size=256)
    observation = simulator.reset(START)
    ours, theirs = (teacher.query(observation, simulator) for teacher in (here, teacher_of(server)))
    assert np.array_equal(ours.actions, theirs.actions) and ours.value == theirs.value
    assert (here.identity, here.depends_on) == (teacher_of(server).identity, teacher_of(server).depends_on)
    with pytest.raises(LitDistillError, match="embed` makes it"):
        CosmosPolicyTeacher(embeddings=str(tmp_path / "none.pkl"), cache=None).identity  # noqa: B018


def test_in_process_the_policy_is_loaded_once_and_its_failures_are_told_in_a_line(
    server: CosmosServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(STAND_INS))
    cosmos._loaded.cache_clear()
    loaded: list[object] = []

    class Counted(shipped.CosmosPolicy):
        def __init__(self, **options: Any) -> None:
            loaded.append(options)
            super().__init__(**options)

        def act(self, request: dict[str, Any]) -> dict[str, Any]:
            if request["seed"] == 13:
                raise RuntimeError("CUDA out of memory\nby far")
            return super().act(request)

    monkeypatch.setattr(shipped, "CosmosPolicy", Counted)
    spec = TeacherSpec(COSMOS, {"embeddings": str(server.embeddings), "cache": None})
    spec.check_meshes("original")
    assert loaded == []  # what does not need the model does not load it
    spec.identity()
    spec.longest_wait(3)
    simulator = FakeSimulator(TASK, image_size=256)
    observation = simulator.reset(START)
    spec.build().query(observation, simulator)
    assert len(loaded) == 1
    unlucky = dataclasses.replace(spec, init_args=spec.init_args | {"seed": 13}).build()
    with pytest.raises(
        InfrastructureError, match=r"^cosmos_policy: bad answer: .*CUDA out of memory by far$"
    ):
        unlucky.query(observation, simulator)

    def fail(**options: Any) -> None:
        raise ImportError("no CUDA\nhere")

    monkeypatch.setattr(shipped, "CosmosPolicy", fail)
    cosmos._loaded.cache_clear()
    with pytest.raises(LitDistillError, match=r"^cosmos_policy: cannot be loaded here: .*no CUDA here$"):
        spec.identity()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"server": "127.0.0.1:8777"}, "^server: expected http://HOST:PORT"),
        ({"server": "http://127.0.0.1:abc"}, "^server: expected http://HOST:PORT$"),
        ({"server": "http://127.0.0.1:99999"}, "^server: expected http://HOST:PORT$"),
        ({"server": "ws://me:secret@127.0.0.1:8777"}, "^server: holds credentials"),
        ({"server": "ws://127.0.0.1:8777"}, "^server: expected http://HOST:PORT"),
        (
            {"server": "http://me:secret@127.0.0.1:8777"},
            "^server: holds credentials; name an environment variable",
        ),
        ({"server": "http://127.0.0.1:1", "seed": -1}, "^seed must not be negative"),
        ({"server": "http://127.0.0.1:1", "denoising_steps": 0}, "denoising_steps at least 1"),
        ({"server": "http://127.0.0.1:1", "timeout_s": 0}, "^timeout_s, attempts: must be positive"),
        ({"server": "http://127.0.0.1:1", "checkpoint": "x"}, "^checkpoint: is the server's business"),
        (
            {"server": "http://127.0.0.1:1", "token_env": "NOT_SET_HERE"},
            "^token_env: .* NOT_SET_HERE is not set",
        ),
        (
            {"server": "http://127.0.0.1:1", "cache": "/proc/none/x.sqlite"},
            "^cache: /proc/none/x.sqlite cannot be used",
        ),
    ],
)
def test_settings_that_cannot_be_right_are_refused(options: dict[str, Any], line: str):
    with pytest.raises(LitDistillError, match=line) as caught:
        TeacherSpec(COSMOS, {"cache": None} | options).build()
    assert "secret" not in str(caught.value)


def test_a_prompt_without_an_embedding_is_bad_input_not_an_outage(server: CosmosServer):
    simulator = FakeSimulator(dataclasses.replace(TASK, language="fly to the moon"), image_size=256)
    with pytest.raises(
        LitDistillError, match=r"refuses the request: prompt 'fly to the moon' has no embedding"
    ):
        teacher_of(server).query(simulator.reset(START), simulator)


def test_another_kind_of_server_is_named(tmp_path: Path):
    import http.server

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'"error"')

        def log_message(self, *arguments: Any) -> None:
            pass

    other = http.server.HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{other.server_address[1]}"
    with pytest.raises(LitDistillError, match=f"^server: {url} is not of the kind .*'error'"):
        TeacherSpec(COSMOS, {"server": url, "cache": None}).build().identity  # noqa: B018
    other.shutdown()
    other.server_close()


def test_the_credential_comes_from_the_environment_and_is_stored_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COSMOS_TOKEN", "s3cr3t-credential")
    with serving(tmp_path / "server", "--token_env", "COSMOS_TOKEN") as server:
        with pytest.raises(LitDistillError, match=r"^token_env: http://.* refuses the token, or wants one$"):
            collect(tmp_path / "none", server)
        folder = collect(
            tmp_path / "data", server, token_env="COSMOS_TOKEN", cache=str(tmp_path / "a.sqlite")
        )
    files = [path for path in [*folder.rglob("*"), tmp_path / "a.sqlite"] if path.is_file()]
    assert len(files) > 4
    assert not any(b"s3cr3t" in path.read_bytes() for path in files)
    assert "s3cr3t" not in "".join(capfd.readouterr())


# -- bad answers, outages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("rows", r"bad answer: actions: expected \[16, 7\], got \[10, 7\]"),
        ("nan", "bad answer: actions: hold a value that is not finite"),
        ("value", r"bad answer: value_prediction: a potential must lie in \[0, 1\], got 1.5"),
        ("raise", "bad answer: status 500: .*the policy failed with RuntimeError"),
    ],
)
def test_a_bad_answer_is_named_and_asked_for_again_before_it_is_given_up(
    tmp_path: Path, fault: str, named: str, caplog: pytest.LogCaptureFixture
):
    with serving(tmp_path, STAND_IN_FAULT=fault) as server:
        simulator = FakeSimulator(TASK, image_size=256)
        teacher = teacher_of(server, attempts=2)
        with pytest.raises(InfrastructureError, match=named) as caught:
            teacher.query(simulator.reset(START), simulator)
        assert not isinstance(caught.value, LitDistillError)
        assert len(server.questions()) == 2 and "(1 of 2)" in caplog.text
        assert "\n" not in str(caught.value)


def test_one_bad_answer_costs_one_more_question(tmp_path: Path):
    with serving(tmp_path, STAND_IN_FAULT="nan once") as server:
        folder = collect(tmp_path / "data", server)
        cost = stored_cost(folder, "teacher")
        assert cost.retried == 1 and cost.cached == 0
        assert cost.queries == len(server.questions()) - 1


def test_out_of_range_actions_are_clipped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with serving(tmp_path, STAND_IN_FAULT="large") as server:
        folder = collect(tmp_path / "data", server)
    cost = stored_cost(folder, "teacher")
    assert cost.clipped == 7 * cost.queries > 0
    assert f"{cost.clipped} action values clipped" in capsys.readouterr().out
    assert max(t.actions.max() for r in verify(folder) for t in read_shard(folder / r.name)) == 1.0


@pytest.mark.parametrize("workers", [0, 2])
def test_episodes_that_met_bad_answers_are_left_and_done_again_later(
    tmp_path: Path, server: CosmosServer, workers: int
):
    with serving(tmp_path / "bad", STAND_IN_FAULT="nan") as bad:
        expected = r"4 episodes could not be finished .*: 0, 1, 2, 3; the others are kept: run the same"
        with pytest.raises(LitDistillError, match=expected):
            collect(tmp_path / "data", bad, workers, attempts=1)
    folder = collect(tmp_path / "data", server)  # another server, the same teacher: the same data
    assert shards(folder) == shards(collect(tmp_path / "undisturbed", server))


def test_a_server_that_does_not_come_back_leaves_the_rest_untried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with serving(tmp_path / "server", STAND_IN_SECONDS="0.05") as server:
        threading.Timer(0.6, server.kill).start()
        started = time.monotonic()
        with pytest.raises(LitDistillError, match="episodes could not be finished"):
            collect(tmp_path / "data", server, outage_s=1.5)
        assert time.monotonic() - started < 15
        assert "not reached for 2 s" in caplog.text and "no episode is tried any more" in caplog.text
        init_args = {"server": server.url, "outage_s": 0.2, "cache": None}
        with pytest.raises(TeacherUnavailable):
            TeacherSpec(COSMOS, init_args).build().identity  # noqa: B018


def test_a_server_that_takes_too_long_is_asked_again_and_not_for_ever(tmp_path: Path):
    with serving(tmp_path, STAND_IN_SECONDS="1") as server:
        simulator = FakeSimulator(TASK, image_size=256)
        observation = simulator.reset(START)
        teacher = teacher_of(server, timeout_s=0.1, outage_s=0.3)
        with pytest.raises(TeacherUnavailable, match="not reached for 0 s: ReadTimeout"):
            teacher.query(observation, simulator)
        assert teacher.counts.retried >= 1 and teacher.counts.queries == 0
        assert teacher_of(server, timeout_s=20.0).query(observation, simulator).actions.shape == (16, 7)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_server_that_is_killed_and_comes_back_in_mid_collection_costs_nothing_but_time(
    tmp_path: Path, server: CosmosServer, workers: int, caplog: pytest.LogCaptureFixture
):
    undisturbed = shards(collect(tmp_path / "undisturbed", server))
    with serving(tmp_path / "server", STAND_IN_SECONDS="0.1", STAND_IN_LOADING="0.5") as disturbed:

        def disturb() -> None:
            while len(disturbed.questions()) < 5:
                time.sleep(0.01)
            disturbed.kill()
            time.sleep(1.0)
            disturbed.start()

        thread = threading.Thread(target=disturb)
        thread.start()
        with caplog.at_level(logging.WARNING):
            folder = collect(tmp_path / "data", disturbed, workers)
        thread.join()
        processes = {path.name.split("-")[0] for path in disturbed.questions()}
        assert len(processes) == 2  # both were asked
        assert shards(folder) == undisturbed
        assert stored_cost(folder, "teacher").retried > 0


# -- the cache -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_does_not_ask_twice(
    tmp_path: Path, server: CosmosServer, workers: int, capsys: pytest.CaptureFixture[str]
):
    cache = str(tmp_path / "answers.sqlite")
    first = collect(tmp_path / "first", server, workers, cache=cache)
    asked = len(server.questions())
    capsys.readouterr()
    second = collect(tmp_path / "second", server, workers, cache=cache)
    assert len(server.questions()) == asked
    assert shards(first) == shards(second)
    costs = [stored_cost(folder, "teacher") for folder in (first, second)]
    assert [cost.cached for cost in costs] == [0, costs[1].queries]
    assert costs[0].queries == costs[1].queries > 0
    assert f"{costs[1].queries} teacher queries in" in capsys.readouterr().out
    other = collect(tmp_path / "other", server, workers, cache=cache, seed=1)
    assert len(server.questions()) == asked + stored_cost(other, "teacher").queries  # another setting


def test_what_data_depend_on_is_in_the_manifest_and_where_the_server_was_is_not(
    tmp_path: Path, server: CosmosServer
):
    folder = collect(tmp_path, server, seed=5)
    identity = Manifest.load(folder).sources["teacher"].identity
    assert identity["teacher"] == "cosmos-policy/nvidia/Cosmos-Policy-LIBERO-Predict2-2B"
    assert identity["teacher_spec"] == {
        "class_path": COSMOS,
        "init_args": {"seed": 5},
        "config": CONFIG,
        **teacher_of(server).depends_on,
    }
    with pytest.raises(LitDistillError, match=r"teacher_spec.init_args.seed = 5, now it is 6"):
        collect(tmp_path, server, seed=6)


@pytest.mark.parametrize("changed", ["config", "dataset_stats_sha256", "embeddings_sha256"])
def test_a_server_with_other_settings_is_another_teacher(tmp_path: Path, server: CosmosServer, changed: str):
    cache = str(tmp_path / "answers.sqlite")
    folder = collect(tmp_path / "data", server, cache=cache)
    words = {"config": ["--config", "another"], "dataset_stats_sha256": ["--dataset_stats", "other.json"]}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "other.json").write_text("{}")
    if changed == "embeddings_sha256":
        embeddings = {TASK.language: np.ones((1, 512, 4), np.float32)}
        (tmp_path / "other" / "embeddings.pkl").write_bytes(pickle.dumps(embeddings))
    with serving(tmp_path / "other", *words.get(changed, [])) as other:
        ours, theirs = teacher_of(server).depends_on, teacher_of(other).depends_on
        assert {key for key in ours if ours[key] != theirs[key]} == {changed}
        with pytest.raises(LitDistillError, match=rf"teacher_spec.{changed} = '\S+', now it is"):
            collect(tmp_path / "data", other, cache=cache)
        anew = collect(tmp_path / "anew", other, cache=cache)
    assert stored_cost(anew, "teacher").cached == 0 < stored_cost(folder, "teacher").queries


def test_the_environment_of_the_tests_names_no_proxy_for_it(
    server: CosmosServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(os.environ, "HTTP_PROXY", "http://127.0.0.1:9")
    assert teacher_of(server).identity
