"""The verb `evaluate`: the teacher, on the toy world."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lit_distill.cli import main
from lit_distill.evaluation import Evaluation
from lit_distill.schema import Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.fake import FakeSimulator, FakeTeacher
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import InitialState, states_file
from lit_distill.tasks import TASKS, get_task
from lit_distill.tasks.official import suite_tasks
from lit_distill.teachers.base import Refusal

TASK = "custom_libero_object_ketchup"
RESULT = Path(f"experiments/results/runs/{TASK}-teacher-teacher4.json")


@pytest.fixture(autouse=True)
def toy_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lit_distill.study.evaluate.Simulator", FakeSimulator)


def evaluate(*options: str, task: str = TASK, episodes: int = 4) -> int:
    teacher = ["--teacher", '{"class_path": "lit_distill.sim.fake.FakeTeacher"}']
    protocol = ["--protocol.split", "teacher", "--protocol.episodes", str(episodes)]
    small = ["--protocol.image_size", "32", "--protocol.workers", "0"]
    return main(["evaluate", "--task", task, *teacher, *protocol, *small, *options])


def test_the_teacher_gets_a_results_file_as_a_student_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate() == 0
    result = json.loads(RESULT.read_text())
    assert (result["method"], result["split"], result["n"], result["success"]) == ("teacher", "teacher", 4, 4)
    assert result["config"]["teacher"]["identity"] == "fake/1"
    assert result["noise"] is None
    assert result["train_seed"] is None
    assert set(result["latency_ms"]) == {"p50", "p95", "p99"}
    assert [episode["state"] for episode in result["episodes"]] == [f"teacher/{index}" for index in range(4)]
    assert f"{TASK} teacher: success 4/4 = 1.00 [0.51, 1.00]; {RESULT}\n" in capsys.readouterr().out


def test_a_result_is_reused_only_for_the_same_teacher_noise_and_protocol(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measured(*options: str) -> bool:
        capsys.readouterr()
        assert evaluate(*options) == 0
        said = capsys.readouterr().out
        assert (f"{RESULT} is there: reused" in said) != (f"{TASK} teacher: success" in said)
        return "reused" not in said

    assert measured()
    assert not measured()
    assert not measured("--protocol.workers", "0", "--videos", "elsewhere")
    noise = ("--noise.probability", "0.5")
    assert measured(*noise)
    assert json.loads(RESULT.read_text())["noise"] == {
        "probability": 0.5,
        "position": 0.3,
        "rotation": 0.1,
        "gripper": 0.0,
    }
    assert not measured(*noise)
    assert measured(*noise, "--protocol.seed", "9")
    assert measured(*noise, "--protocol.seed", "9", "--protocol.meshes", "simplified")
    assert json.loads(RESULT.read_text())["render"]["meshes"] == "simplified"
    assert measured(*noise, "--protocol.seed", "9")
    older = json.loads(RESULT.read_text())
    del older["config"]["protocol"]["meshes"]  # from before there was a choice
    RESULT.write_text(json.dumps(older))
    assert not measured(*noise, "--protocol.seed", "9")
    for change in ({"complete": False}, {"fingerprint": {"mujoco": "another"}}):
        RESULT.write_text(json.dumps(json.loads(RESULT.read_text()) | change))
        assert measured(*noise, "--protocol.seed", "9")


@pytest.mark.parametrize(
    ("task", "expected"),
    [("all", list(TASKS)), (f"[{TASK}, custom_libero_object_milk]", [TASK, "custom_libero_object_milk"])],
)
def test_it_runs_over_all_tasks_or_a_list(task: str, expected: list[str]) -> None:
    assert evaluate(task=task, episodes=1) == 0
    files = {path.name for path in Path("experiments/results/runs").iterdir()}
    assert files == {f"{name}-teacher-teacher1.json" for name in expected}


def test_an_unknown_task_in_a_list_is_named_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(task=f"[{TASK}, custom_libero_object_mlk]") == 2
    assert "did you mean 'custom_libero_object_milk'?" in capsys.readouterr().err
    assert not RESULT.exists()


def own_task(name: str = "mine", change: tuple[str, str] = ("", "")) -> Path:
    """A BDDL file of a user's own in this folder, with states: the table's task, changed."""
    bddl = Path(f"{name}.bddl")
    bddl.write_text(get_task(TASK).bddl.read_text().replace(*change))
    shutil.copy(states_file(get_task(TASK)), bddl.with_suffix(".npz"))
    return bddl


def test_a_class_that_libero_has_not_is_named_before_any_rollout_of_a_task_before_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = own_task(change=("- ketchup", "- catchup"))
    bad.with_suffix(".npz").unlink()  # what is wrong with the file comes first
    assert evaluate(task=f"[{TASK}, {bad}]") == 2
    assert "LIBERO has no object class 'catchup'" in capsys.readouterr().err
    assert not RESULT.exists()
    good = own_task()
    good.with_suffix(".npz").unlink()
    assert evaluate(task=f"[{TASK}, {good}]") == 2
    assert "draw_states --task mine.bddl" in capsys.readouterr().err
    assert not RESULT.exists()


def test_a_bddl_file_or_states_that_changed_under_their_name_are_measured_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measured() -> bool:
        assert evaluate(task="mine.bddl") == 0
        return "reused" not in capsys.readouterr().out

    own_task()
    assert measured() and not measured()
    own_task(change=("(:goal", "; another\n(:goal"))
    assert measured() and not measured()
    shutil.copy(states_file(get_task("custom_libero_object_milk")), "mine.npz")
    assert measured() and not measured()


def test_it_is_parsed_in_a_process_that_has_parsed_nothing_before() -> None:
    command = [sys.executable, "-m", "lit_distill", "evaluate", "--task", "custom_libero_object_mlk"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "did you mean 'custom_libero_object_milk'?" in result.stderr


def test_videos_and_filmstrips_of_the_first_episodes() -> None:
    assert evaluate("--protocol.videos", "2", "--videos", "films") == 0
    folder = Path("films") / TASK
    names = [
        "teacher-0-success.mp4",
        "teacher-0-success.png",
        "teacher-1-success.mp4",
        "teacher-1-success.png",
    ]
    assert sorted(path.name for path in folder.iterdir()) == names
    with Image.open(folder / names[1]) as strip:
        assert strip.size == (8 * 32, 2 * 32)
    (folder / "teacher-0-timeout.mp4").write_bytes(b"of an earlier run")
    RESULT.unlink()
    assert evaluate("--protocol.videos", "2", "--videos", "films") == 0
    assert sorted(path.name for path in folder.iterdir()) == names


def test_episodes_left_in_error_end_with_one_line_and_an_incomplete_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any, **options: Any) -> Evaluation:
        episodes = [{"state": f"teacher/{index}", "outcome": "error", "steps": 0} for index in range(4)]
        return Evaluation(episodes, {}, {})

    monkeypatch.setattr("lit_distill.study.evaluate.evaluate", broken)
    assert evaluate() == 2
    assert capsys.readouterr().err.startswith(f"error: {RESULT}: 4 episodes ended in an error")
    assert json.loads(RESULT.read_text())["complete"] is False


class RefusingTeacher(FakeTeacher):
    """Can do nothing."""

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        raise Refusal(simulator.task.bddl, "has no skill for (Stack a b)")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_task_that_the_teacher_refuses_gets_a_result_that_says_why_and_is_asked_again(
    capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    refusing = ("--teacher", '{"class_path": "test_evaluate_verb.RefusingTeacher"}')
    assert evaluate(*refusing, "--protocol.workers", workers) == 0
    result = json.loads(RESULT.read_text())
    assert result["refused"] == "has no skill for (Stack a b)"
    assert (result["n"], result["success"], result["episodes"]) == (4, 0, [])
    assert result["success_rate"] is result["ci95"] is result["steps_mean"] is None
    assert str(Path(__file__).parent.parent) not in RESULT.read_text()
    said = f"{TASK} teacher: refused: it has no skill for (Stack a b); {RESULT}\n"
    assert said in capsys.readouterr().out
    assert evaluate(*refusing) == 0
    assert said in capsys.readouterr().out


class SeeingTeacher(FakeTeacher):
    """Knows LIBERO's own meshes only."""

    looks_at_images = True


def test_a_teacher_that_looks_at_images_is_not_shown_simplified_meshes(capsys: pytest.CaptureFixture[str]):
    seeing = ("--teacher", '{"class_path": "test_evaluate_verb.SeeingTeacher"}')
    assert evaluate(*seeing, "--protocol.meshes", "simplified") == 2
    assert capsys.readouterr().err.startswith(
        "error: meshes: test_evaluate_verb.SeeingTeacher looks at images"
    )
    assert not RESULT.exists()


def test_the_values_of_the_teacher_are_in_the_results_file() -> None:
    assert evaluate() == 0
    for episode in json.loads(RESULT.read_text())["episodes"]:
        assert len(episode["values"]) == -(-episode["steps"] // 16)
        assert all(0.0 <= value <= 1.0 for value in episode["values"])


def test_a_suite_stands_for_its_tasks_and_needs_its_own_states(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(task="libero_goal/turn_on_the_stove", episodes=1) == 2
    assert "unknown split 'teacher'; known splits of libero_goal_turn_on_the_stove: official" in (
        capsys.readouterr().err
    )
    assert evaluate("--protocol.split", "official", task="libero_goal", episodes=1) == 0
    files = {path.name for path in Path("experiments/results/runs").iterdir()}
    assert files == {f"{name}-teacher-official1.json" for name in suite_tasks("libero_goal")}


class LosingTeacher(FakeTeacher):
    """Calls every state lost, and goes on."""

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        return TeacherChunk(super().query(observation, simulator).actions, 0.0)


class Unreachable(FakeSimulator):
    """The goal is beyond the hand's square."""

    def reset(self, initial_state: InitialState) -> Observation:
        super().reset(initial_state)
        self.mark[:] = 1.5
        return self.observe()


def test_a_teacher_that_calls_every_state_lost_ends_no_evaluation_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losing = ("--teacher", '{"class_path": "test_evaluate_verb.LosingTeacher"}')
    options = ("--protocol.execute_steps", "8")
    assert evaluate(*losing, *options) == 0
    for episode in json.loads(RESULT.read_text())["episodes"]:
        assert (episode["outcome"], set(episode["values"])) == ("success", {0.0})
        assert episode["steps"] > 16
    monkeypatch.setattr("lit_distill.study.evaluate.Simulator", Unreachable)
    RESULT.unlink()
    assert evaluate(*losing, *options) == 0
    for episode in json.loads(RESULT.read_text())["episodes"]:
        assert (episode["outcome"], episode["steps"]) == ("timeout", get_task(TASK).horizon)


@pytest.mark.libero
def test_a_state_of_the_wrong_length_is_refused_before_any_rollout(
    tmp_path: Path,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Said in one line by `collect` and by `evaluate`, which write no shard and no result."""

    class Kept:
        """The session's LIBERO, which nobody closes or acts in."""

        def __init__(self, *arguments: Any) -> None:
            self.reset = simulator.reset

        def step_chunk(self, *arguments: Any) -> None:
            raise AssertionError("a rollout began")

        def close(self) -> None:
            pass

    with np.load(states_file(get_task(TASK))) as arrays:
        longer = {name: np.pad(array, ((0, 0), (0, 1))) for name, array in arrays.items() if array.ndim == 2}
        np.savez(tmp_path / f"{TASK}.npz", **(dict(arrays) | longer))
    monkeypatch.setattr("lit_distill.sim.states.STATES_FOLDER", tmp_path)
    monkeypatch.setattr("lit_distill.study.evaluate.Simulator", Kept)
    monkeypatch.setattr("lit_distill.collection.Simulator", Kept)
    settings = ["--settings.episodes", "2", "--settings.image_size", "64", "--settings.workers", "0"]
    teacher = ["--settings.teacher", '{"class_path": "lit_distill.sim.fake.FakeTeacher"}']
    for run in (evaluate, lambda: main(["collect", "--task", TASK, "--root", "data", *settings, *teacher])):
        assert run() == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"error: {tmp_path / TASK}.npz: initial state teacher/0 has shapes (")
        assert error.endswith(f"`python -m lit_distill draw_states --task {TASK}` draws them again")
    assert not RESULT.exists() and not list(tmp_path.rglob("*.tar"))
