"""The protocol: what is counted, the interval, the results file; the same for any number of workers."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import tiny_network

from lit_distill.behaviours import ActionNoise, StudentActor, TeacherActor, TeacherSpec
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Evaluation, Protocol, evaluate, wilson_interval
from lit_distill.networks.checkpoint import save_student
from lit_distill.results import ResultName, read_result, write_result
from lit_distill.schema import Observation
from lit_distill.sim.fake import FakeSimulator
from lit_distill.sim.simulator import fingerprint
from lit_distill.sim.states import InitialState

TASK = "custom_libero_object_butter"
TEACHER = TeacherActor(TeacherSpec("lit_distill.sim.fake.FakeTeacher"), ActionNoise(0.5))
PROTOCOL = Protocol(split="dev", episodes=6, image_size=16, workers=0, seed=5)

DESIGN_KEYS = [
    "study",
    "task",
    "method",
    "split",
    "n",
    "train_seed",
    "noise",
    "render",
    "carried",
    "success",
    "failure",
    "timeout",
    "error",
    "success_rate",
    "ci95",
    "steps_mean",
    "latency_ms",
    "hardware",
    "fingerprint",
    "commit",
    "config",
    "episodes",
]
"""Section 2 of the design, in its order."""


class FragileSimulator(FakeSimulator):
    """Crashes on one state and never meets the goal on another."""

    def reset(self, initial_state: InitialState) -> Observation:
        if initial_state.name == "dev/1":
            raise RuntimeError("no more memory")
        super().reset(initial_state)
        if initial_state.name == "dev/2":
            self.mark[:] = 1.5
        return self.observe()


def run(protocol: Protocol = PROTOCOL, actor: Any = TEACHER, simulator: Any = FakeSimulator) -> Evaluation:
    return evaluate(TASK, actor, protocol, "test", simulator=simulator)


@pytest.fixture
def student(tmp_path: Path) -> StudentActor:
    """An untrained student."""
    save_student(tiny_network(), tmp_path / "student.ckpt", TASK)
    return StudentActor(str(tmp_path / "student.ckpt"))


# -- the interval --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (47, 50, 0.8378, 0.9794)],
)
def test_the_interval_is_wilsons(successes: int, n: int, low: float, high: float):
    found = wilson_interval(successes, n)
    assert found == pytest.approx((low, high), abs=1e-4)
    # (p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n)
    z, p = 1.959964, successes / n
    spread = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = [(p + z**2 / (2 * n) + sign * spread) / (1 + z**2 / n) for sign in (-1, 1)]
    assert found == pytest.approx(expected, abs=1e-6)


# -- what is counted -----------------------------------------------------------------------------------


def test_a_teacher_is_evaluated_on_the_first_states_of_the_split():
    evaluation = run()
    assert [episode["state"] for episode in evaluation.episodes] == [f"dev/{index}" for index in range(6)]
    assert evaluation.counts == {"success": 6, "failure": 0, "timeout": 0, "error": 0}
    assert evaluation.success_rate == 1.0
    assert evaluation.interval == wilson_interval(6, 6)
    assert evaluation.steps_mean == np.mean([episode["steps"] for episode in evaluation.episodes])
    assert 0 < evaluation.latency_ms["p50"] <= evaluation.latency_ms["p95"] <= evaluation.latency_ms["p99"]
    assert evaluation.videos == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_result_does_not_depend_on_the_number_of_workers(workers: int):
    alone, many = run(), run(dataclasses.replace(PROTOCOL, workers=workers))
    assert many.episodes == alone.episodes


def test_a_student_gets_the_same_result_in_a_worker(student: StudentActor):
    protocol = dataclasses.replace(PROTOCOL, episodes=2)
    alone = run(protocol, student)
    assert run(dataclasses.replace(protocol, workers=1), student).episodes == alone.episodes
    assert alone.latency_ms.keys() == {"p50", "p95", "p99"}


def test_a_student_in_this_process_leaves_torchs_threads_as_they_were(student: StudentActor):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        run(dataclasses.replace(PROTOCOL, episodes=1), student)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_the_seed_of_the_protocol_reaches_the_episodes():
    other = run(dataclasses.replace(PROTOCOL, seed=6))
    assert [e["steps"] for e in other.episodes] != [e["steps"] for e in run().episodes]


def test_the_first_episodes_are_recorded():
    evaluation = run(dataclasses.replace(PROTOCOL, videos=2))
    assert list(evaluation.videos) == [f"{TASK} dev/0", f"{TASK} dev/1"]
    frames = evaluation.videos[f"{TASK} dev/0"]
    assert frames[0].shape == (16, 32, 3)
    assert len(frames) == 1 + evaluation.episodes[0]["steps"] // 4
    assert evaluation.episodes == run().episodes  # recording changes nothing


def test_an_error_is_neither_a_failure_nor_left_out(tmp_path: Path):
    protocol = dataclasses.replace(PROTOCOL, workers=1, episodes=4)
    evaluation = run(protocol, simulator=FragileSimulator)
    assert evaluation.counts == {"success": 2, "failure": 0, "timeout": 1, "error": 1}
    assert evaluation.success_rate == 2 / 4  # an error never makes the rate better
    assert evaluation.describe() == "2/4 = 0.50 [0.15, 0.85], 1 errors: INCOMPLETE"
    assert evaluation.episodes[1] == {
        "state": "dev/1",
        "outcome": "error",
        "steps": 0,
        "clipped": 0,
        "reason": "the worker failed with RuntimeError: no more memory",
    }
    ended = [episode["steps"] for episode in evaluation.episodes if episode["outcome"] != "error"]
    assert evaluation.steps_mean == np.mean(ended)
    path = write_result(ResultName("s", TASK, "teacher", str(tmp_path)), protocol, evaluation, config={})
    assert read_result(path)["complete"] is False


# -- the results file ----------------------------------------------------------------------------------


def test_the_results_file_holds_what_the_design_says(tmp_path: Path):
    evaluation = run()
    name = ResultName("study", TASK, "bc", str(tmp_path))
    path = write_result(name, PROTOCOL, evaluation, config={"lr": 0.1}, noise={"p": 1}, train_seed=3)
    assert path == tmp_path / "study" / f"{TASK}-bc-dev6.json"
    result = read_result(path)
    assert [key for key in result if key not in ("complete", "teacher_queries")] == DESIGN_KEYS
    assert result["teacher_queries"]["queries"] > 6 and result["teacher_queries"]["seconds"] > 0.0
    assert result["complete"] is True
    assert (result["study"], result["task"], result["method"]) == ("study", TASK, "bc")
    assert (result["split"], result["n"], result["train_seed"], result["noise"]) == ("dev", 6, 3, {"p": 1})
    assert (result["success"], result["success_rate"], result["carried"]) == (6, 1.0, False)
    assert result["ci95"] == list(wilson_interval(6, 6))
    assert result["render"] == {"image_size": 16, "meshes": "original"}
    assert result["fingerprint"] == fingerprint(16, "original")
    assert result["episodes"] == evaluation.episodes
    assert result["config"]["lr"] == 0.1
    assert result["config"]["protocol"]["seed"] == 5
    assert {"cpu", "cores", "cpu_percent", "gpu_utilization_percent"} <= result["hardware"].keys()
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no temporary file stays


def test_the_results_file_does_not_depend_on_the_workers(tmp_path: Path):
    evaluation = run()
    written = []
    for workers in (0, 2):
        name = ResultName(str(workers), TASK, "bc", str(tmp_path))
        protocol = dataclasses.replace(PROTOCOL, workers=workers)
        result = read_result(write_result(name, protocol, evaluation, config={}))
        written.append({key: value for key, value in result.items() if key != "study"})
    assert written[0] == written[1]


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"task": "x"}', "\x00\xff"])
def test_what_is_not_a_results_file_is_told_in_one_line(tmp_path: Path, content: str):
    path = tmp_path / "result.json"
    path.write_bytes(content.encode("latin1"))
    with pytest.raises(LitDistillError) as caught:
        read_result(path)
    assert str(caught.value) == f"{path}: not a results file; delete it or evaluate again"


def test_a_missing_results_file_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(LitDistillError, match="not a results file"):
        read_result(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"split": "test"}, "split"),
        ({"episodes": 21}, "episodes"),
        ({"episodes": 0}, "episodes"),
        ({"workers": -1}, "workers"),
        ({"execute_steps": 17}, "execute_steps"),
        ({"image_size": 33}, "image_size"),
        ({"meshes": "coarse"}, "meshes"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_protocol_that_cannot_be_right_is_refused(changes: dict[str, Any], key: str):
    with pytest.raises(LitDistillError, match=f"^{key}: "):
        dataclasses.replace(PROTOCOL, **changes)


def test_results_are_plain_json(tmp_path: Path):
    path = write_result(ResultName("s", TASK, "bc", str(tmp_path)), PROTOCOL, run(), config={})
    json.loads(path.read_text(), parse_constant=lambda constant: pytest.fail(f"holds {constant}"))
