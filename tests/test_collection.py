"""Collection: the same bytes however it was done, nothing lost or repeated, errors keep what is done."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from tiny_training import tiny_network

from lit_distill.behaviours import ActionNoise
from lit_distill.collection import CollectSettings, Rollouts, collect, collect_from, collect_missing
from lit_distill.errors import LitDistillError
from lit_distill.manifest import Manifest
from lit_distill.networks.checkpoint import load_student, save_student
from lit_distill.networks.log_std import LOG_STD_MAX, LOG_STD_MIN, LogStdHead
from lit_distill.query_log import stored_cost
from lit_distill.remote_shards import LocalFolder
from lit_distill.schema import ChunkTransition, Observation, TeacherChunk
from lit_distill.shards import discard, read_shard, verify
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.fake import FakeSimulator, FakeTeacher
from lit_distill.sim.states import InitialState, states_file
from lit_distill.tasks import Task, get_task

TASK = "custom_libero_object_milk"
SETTINGS = CollectSettings(
    episodes=7,
    teacher={"class_path": "lit_distill.sim.fake.FakeTeacher"},
    noise=ActionNoise(0.5),
    image_size=16,
    episodes_per_shard=3,
    workers=0,
)


def stored(folder: Path) -> dict[str, bytes]:
    """Every visible file of a finished folder, but for the times in `queries.json`."""
    paths = sorted(folder.glob("[!.]*.*"))
    return {path.name: path.read_bytes() for path in paths if path.name != "queries.json"}


def run(root: Path, simulator: Callable[[Task, int], FakeSimulator] = FakeSimulator, **changes: Any) -> Path:
    return collect_from(simulator, TASK, str(root), dataclasses.replace(SETTINGS, **changes))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process writes that nobody disturbs."""
    return stored(run(tmp_path_factory.mktemp("data")))


class SlowSimulator(FakeSimulator):
    """Takes a while for each episode."""

    def reset(self, initial_state: InitialState) -> Observation:
        time.sleep(0.2)
        return super().reset(initial_state)


class BrokenSimulator(FakeSimulator):
    """Fails on one initial state."""

    def reset(self, initial_state: InitialState) -> Observation:
        if initial_state.name == "teacher/4":
            raise RuntimeError("broken")
        return super().reset(initial_state)


class CountedSimulator(FakeSimulator):
    """Notes the states it was reset to."""

    seen: list[str]

    def reset(self, initial_state: InitialState) -> Observation:
        type(self).seen.append(initial_state.name)
        return super().reset(initial_state)


def forbidden(task: Task, image_size: int, meshes: str) -> FakeSimulator:
    raise AssertionError("a simulator was started")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(CountedSimulator, "seen", seen, raising=False)
    return seen


def test_what_is_stored_is_whole_and_comes_from_the_teacher_states(tmp_path: Path):
    folder = run(tmp_path)
    assert folder == tmp_path / TASK
    reports = verify(folder)
    assert [report.episodes for report in reports] == [3, 3, 1]
    transitions = [t for report in reports for t in read_shard(folder / report.name)]
    assert sorted({t.episode for t in transitions}) == list(range(7))
    for transition in transitions:
        assert transition.initial_state == f"teacher/{transition.episode}"
        assert (transition.source, transition.seed) == ("teacher", transition.episode)
        assert transition.teacher_actions is not None
    assert {t.behaviour for t in transitions} == {"teacher", "teacher+noise"}
    assert not (folder / "parts").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_do_not_depend_on_the_number_of_workers(
    tmp_path: Path, uninterrupted: dict[str, bytes], workers: int
):
    assert stored(run(tmp_path, workers=workers)) == uninterrupted


def test_another_seed_gives_other_bytes(tmp_path: Path, uninterrupted: dict[str, bytes]):
    other = stored(run(tmp_path, seed=1))
    assert other.keys() == uninterrupted.keys()
    assert all(other[name] != content for name, content in uninterrupted.items())


KILLED = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_collection import SlowSimulator, run
if __name__ == "__main__":
    run(Path(sys.argv[1]), SlowSimulator, workers=int(sys.argv[2]))
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_nothing_is_lost_or_repeated(
    tmp_path: Path, uninterrupted: dict[str, bytes], counted: list[str], workers: int
):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    root = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, str(script), str(root), str(workers)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(root.glob(f"{TASK}/*-00000.tar")):  # the first shard: at least three episodes
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= workers
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run(root, CountedSimulator)
    assert 1 <= len(counted) <= 4  # the rest
    assert len(set(counted)) == len(counted)
    assert stored(root / TASK) == uninterrupted
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []  # the workers of a killed process end by themselves


class LosingTeacher(FakeTeacher):
    """Calls every state lost."""

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        return TeacherChunk(super().query(observation, simulator).actions, 0.0)


class SeeingTeacher(FakeTeacher):
    """Knows LIBERO's own meshes only."""

    looks_at_images = True


def test_a_teacher_that_looks_at_images_is_not_shown_simplified_meshes(tmp_path: Path):
    teacher = {"class_path": "test_collection.SeeingTeacher"}
    expected = r"^meshes: test_collection\.SeeingTeacher looks at images .*; use original, not simplified$"
    with pytest.raises(LitDistillError, match=expected):
        run(tmp_path, teacher=teacher, meshes="simplified")
    assert not (tmp_path / TASK).exists()
    run(tmp_path, teacher=teacher, meshes="original", episodes=1)


def test_a_students_rollouts_are_not_labelled_by_another_teacher_than_those_beside_them(tmp_path: Path):
    folder = run(tmp_path, episodes=1)
    settings = CollectSettings(student="none.ckpt", teacher={"class_path": "test_collection.SeeingTeacher"})
    line = (
        rf"^{folder}: teacher episodes have teacher_spec .*FakeTeacher.*, student episodes .*SeeingTeacher"
        r".*; one teacher only: set data\.init_args\.collect_student\.teacher to theirs$"
    )
    with pytest.raises(LitDistillError, match=line):
        collect_missing(TASK, str(tmp_path), LocalFolder(str(tmp_path), TASK), settings)


class UnsureTeacher(LosingTeacher):
    """Gives every state the lowest value, and means no more than that."""

    zero_is_lost = False


def test_a_low_value_of_a_teacher_that_never_calls_a_state_lost_ends_no_episode(tmp_path: Path):
    teacher = {"class_path": "test_collection.UnsureTeacher"}
    folder = run(tmp_path, teacher=teacher, noise=ActionNoise(), end_when_lost=True, episodes=2)
    source = Manifest.load(folder).sources["teacher"]
    assert source.identity["end_when_lost"] is False  # which is how they were made
    assert {episode.outcome for episode in source.episodes()} == {"success"}


@pytest.mark.parametrize("end_when_lost", [True, False])
def test_an_episode_ends_once_the_teacher_has_labelled_a_lost_state(tmp_path: Path, end_when_lost: bool):
    teacher = {"class_path": "test_collection.LosingTeacher"}
    folder = run(tmp_path, teacher=teacher, noise=ActionNoise(), end_when_lost=end_when_lost, episodes=2)
    source = Manifest.load(folder).sources["teacher"]
    assert source.identity["end_when_lost"] is end_when_lost
    for episode in source.episodes():
        assert (episode.samples == 1) is end_when_lost
        assert episode.outcome == ("timeout" if end_when_lost else "success")


def test_a_student_whose_first_action_is_not_finite_is_told_with_episode_and_chunk(tmp_path: Path):
    network = tiny_network()
    torch.nn.init.constant_(network.head[2].bias, float("nan"))  # type: ignore[arg-type]
    save_student(network, tmp_path / "spoilt.ckpt", TASK)
    line = f"^{TASK} student/0: chunk 0 commands an action that is not finite, so nothing can be stored of"
    with pytest.raises(LitDistillError, match=line):
        run(tmp_path / "data", student=str(tmp_path / "spoilt.ckpt"), noise=ActionNoise(), episodes=2)


def test_a_teacher_that_never_succeeds_ends_its_collection_in_one_line(tmp_path: Path):
    line = (
        rf"^{tmp_path / TASK}: the teacher has succeeded in none of 3 episodes, so nothing can be learnt "
        r"from it; they are kept\. --settings\.stop_after_failures 0 goes on$"
    )
    with pytest.raises(LitDistillError, match=line):
        run(tmp_path, UnreachableMark, stop_after_failures=3)
    assert Manifest.load(tmp_path / TASK).sources["teacher"].counts()["timeout"] == 3
    with pytest.raises(LitDistillError, match=line):  # nor is it begun again
        run(tmp_path, forbidden, stop_after_failures=3)
    run(tmp_path, UnreachableMark, stop_after_failures=0)
    assert Manifest.load(tmp_path / TASK).sources["teacher"].counts()["timeout"] == 7


def test_one_success_is_enough_to_go_on_and_workers_are_stopped_too(tmp_path: Path):
    run(tmp_path / "one", SometimesReachableMark, stop_after_failures=3)
    with pytest.raises(LitDistillError, match="succeeded in none of [34] episodes"):
        run(tmp_path / "two", UnreachableMark, stop_after_failures=3, workers=2)


def test_a_student_may_fail_as_often_as_it_likes(tmp_path: Path, student: str):
    run(tmp_path, UnreachableMark, student=student, noise=ActionNoise(), episodes=4, stop_after_failures=2)
    with pytest.raises(LitDistillError, match="^stop_after_failures: must be 0"):
        dataclasses.replace(SETTINGS, stop_after_failures=-1)


def test_the_teachers_success_is_shown_with_its_interval_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run(tmp_path, episodes=3)
    shown = capsys.readouterr().err
    for rate in ("1/1 [0.21, 1.00]", "2/2 [0.34, 1.00]", "3/3 [0.44, 1.00]"):
        assert rate in shown


def test_what_the_teacher_cost_is_told_and_added_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = run(tmp_path, episodes=3)
    first = stored_cost(folder, "teacher")
    samples = Manifest.load(folder).sources["teacher"].counts()["samples"]
    assert (first.queries, first.cached, first.retried) == (samples, 0, 0) and first.seconds > 0.0
    assert f"; {samples} teacher queries in {first.seconds:.1f} s\n" in capsys.readouterr().out
    run(tmp_path)
    both = stored_cost(folder, "teacher")
    assert both.queries == Manifest.load(folder).sources["teacher"].counts()["samples"] > samples
    assert both.seconds > first.seconds
    discard(folder, ["teacher"])
    assert stored_cost(folder, "teacher").queries == 0
    (folder / "queries.json").write_text("{")
    with pytest.raises(LitDistillError, match=r"queries\.json: damaged; delete it"):
        run(tmp_path)


def test_an_official_task_is_collected_from_its_official_states(tmp_path: Path):
    settings = dataclasses.replace(SETTINGS, episodes=2)
    folder = collect_from(FakeSimulator, "libero_goal/turn_on_the_stove", str(tmp_path), settings)
    assert folder == tmp_path / "libero_goal_turn_on_the_stove"
    assert Manifest.load(folder).sources["teacher"].identity["split"] == "official"
    (report,) = verify(folder)
    assert {t.initial_state for t in read_shard(folder / report.name)} == {"official/0", "official/1"}


def test_a_second_run_reuses_what_is_there_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = stored(run(tmp_path))
    capsys.readouterr()
    run(tmp_path, forbidden)
    assert capsys.readouterr().out == f"{tmp_path / TASK}: 7 teacher episodes, all there: reused\n"
    assert stored(tmp_path / TASK) == before


def test_fewer_episodes_than_are_there_are_refused_not_silently_all_trained_on(tmp_path: Path):
    before = stored(run(tmp_path))
    with pytest.raises(LitDistillError, match=r"holds 7 teacher episodes, but 5 are asked for; .*--root"):
        run(tmp_path, forbidden, episodes=5)
    assert stored(tmp_path / TASK) == before


def test_more_episodes_are_added_as_if_collected_at_once(
    tmp_path: Path, uninterrupted: dict[str, bytes], counted: list[str]
):
    run(tmp_path, episodes=5)
    run(tmp_path, CountedSimulator)
    assert counted == ["teacher/5", "teacher/6"]
    assert stored(tmp_path / TASK) == uninterrupted


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed = 0, now it is 1"),
        ({"image_size": 32}, "fingerprint.image_size = 16, now it is 32"),
        ({"meshes": "simplified"}, "fingerprint.meshes = 'original', now it is 'simplified'"),
        ({"noise": ActionNoise(0.25)}, "noise.probability = 0.5, now it is 0.25"),
        ({"execute_steps": 4}, "execute_steps = 16, now it is 4"),
        ({"end_when_lost": False}, "end_when_lost = True, now it is False"),
        ({"teacher": {}}, "teacher = 'fake/1', now it is 'embedded/"),
        ({"episodes_per_shard": 4}, "episodes_per_shard = 3, now it is 4"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path, changes: dict[str, Any], named: str):
    before = stored(run(tmp_path, episodes=1))
    with pytest.raises(LitDistillError) as caught:
        run(tmp_path, forbidden, **changes)
    message = str(caught.value)
    assert named in message
    assert str(tmp_path / TASK) in message
    assert "\n" not in message
    assert stored(tmp_path / TASK) == before


def test_a_bddl_file_that_changed_under_its_name_is_other_data(tmp_path: Path):
    known, bddl = get_task(TASK), tmp_path / "mine.bddl"
    shutil.copy(states_file(known), tmp_path / "mine.npz")
    settings = dataclasses.replace(SETTINGS, episodes=1)
    bddl.write_text(known.bddl.read_text())
    for simulator in (FakeSimulator, forbidden):
        collect_from(simulator, str(bddl), str(tmp_path / "data"), settings)
    bddl.write_text(known.bddl.read_text() + "; another goal\n")
    with pytest.raises(LitDistillError, match=r"files\.bddl = '[0-9a-f]{64}', now it is '[0-9a-f]{64}'"):
        collect_from(forbidden, str(bddl), str(tmp_path / "data"), settings)


def test_an_episode_that_no_worker_finishes_keeps_the_others(
    tmp_path: Path, uninterrupted: dict[str, bytes], counted: list[str]
):
    with pytest.raises(
        LitDistillError, match="1 episodes could not be finished .* run the same command again"
    ):
        run(tmp_path, BrokenSimulator, workers=2)
    run(tmp_path, CountedSimulator)
    assert counted == ["teacher/4"]
    assert stored(tmp_path / TASK) == uninterrupted


def test_failed_episodes_are_stored_and_flagged(tmp_path: Path):
    folder = run(tmp_path, UnreachableMark)
    counts = Manifest.load(folder).sources["teacher"].counts()
    assert (counts["episodes"], counts["timeout"], counts["success"]) == (7, 7, 0)


class UnreachableMark(FakeSimulator):
    """The goal is beyond the hand's square."""

    def reset(self, initial_state: InitialState) -> Observation:
        super().reset(initial_state)
        self.mark[:] = 1.5
        return self.observe()


class SometimesReachableMark(UnreachableMark):
    """The goal of the second state can be reached."""

    def reset(self, initial_state: InitialState) -> Observation:
        if initial_state.name == "teacher/1":
            return FakeSimulator.reset(self, initial_state)
        return super().reset(initial_state)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"episodes": 0}, "episodes"),
        ({"episodes": 51}, "episodes"),
        ({"execute_steps": 0}, "execute_steps"),
        ({"teacher": {"path": "x"}}, "teacher.path"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(changes: dict[str, Any], key: str):
    with pytest.raises(LitDistillError, match=f"^{key}: "):
        dataclasses.replace(SETTINGS, **changes)


@pytest.mark.parametrize(
    "teacher",
    [
        "no.such.Teacher",
        "lit_distill.sim.fake.NoTeacher",
        "lit_distill.sim.fake.FakeSimulator",
        "Teacher",
        "math.pi",
    ],
)
def test_a_teacher_that_cannot_be_built_is_named(tmp_path: Path, teacher: str):
    with pytest.raises(LitDistillError, match="^teacher.class_path: ") as caught:
        run(tmp_path, forbidden, teacher={"class_path": teacher})
    assert "\n" not in str(caught.value)


def test_an_unknown_task_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(LitDistillError, match="did you mean"):
        collect("custom_libero_object_mlik", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# ---- a student's rollouts, and mixtures


@pytest.fixture
def student(tmp_path: Path) -> str:
    """A checkpoint of no skill."""
    path = tmp_path / "student.ckpt"
    save_student(tiny_network(), path, TASK)
    return str(path)


def transitions_of(folder: Path) -> list[ChunkTransition]:
    return [transition for report in verify(folder) for transition in read_shard(folder / report.name)]


def test_a_students_rollouts_are_labelled_by_the_teacher_and_start_from_student_states(
    tmp_path: Path, student: str
):
    folder = run(tmp_path, student=student, noise=ActionNoise(), episodes=4)
    counts = Manifest.load(folder).sources
    assert list(counts) == ["student"]
    assert counts["student"].counts()["timeout"] > 0  # failures are kept
    for transition in transitions_of(folder):
        assert (transition.source, transition.behaviour) == ("student", "student")
        assert transition.initial_state == f"student/{transition.episode}"
        assert transition.teacher_actions is not None and transition.value is not None


def test_noise_changes_what_the_student_executes_and_no_label(tmp_path: Path, student: str):
    folder = run(tmp_path, student=student, noise=ActionNoise(0.5, gripper=1.0), episodes=4)
    assert Manifest.load(folder).sources["student"].identity["noise"]["probability"] == 0.5
    perturbed = [t for t in transitions_of(folder) if t.behaviour == "student+noise"]
    others = [t for t in transitions_of(folder) if t.behaviour == "student"]
    assert perturbed and others
    assert all(len(set(t.actions[:, 6])) == 1 and abs(t.actions[0, 6]) == 1.0 for t in perturbed)
    assert not any(abs(t.actions[0, 6]) == 1.0 for t in others)
    for transition in perturbed:
        assert transition.teacher_actions is not None and not transition.teacher_actions[:, 2:].any()


@pytest.fixture
def gaussian_student(student: str) -> str:
    """The same student, with the log-std head that AWAC leaves in its checkpoint."""
    checkpoint = torch.load(student, weights_only=True)
    head = LogStdHead(load_student(student).feature_dim)
    checkpoint["state_dict"] |= {f"log_std_head.{name}": value for name, value in head.state_dict().items()}
    path = Path(student).with_name("awac.ckpt")
    torch.save(checkpoint, path)
    return str(path)


def test_a_students_chunks_are_sampled_from_its_gaussian_and_labelled_as_ever(
    tmp_path: Path, student: str, gaussian_student: str
):
    changes = {"noise": ActionNoise(), "episodes": 2}
    mean = transitions_of(run(tmp_path / "mean", student=student, **changes))
    folder = run(tmp_path / "sampled", student=gaussian_student, sample_actions=True, **changes)
    sampled = transitions_of(folder)
    assert {t.behaviour for t in sampled} == {"student+sampled"}
    by_state = [next(t for t in found if t.episode == 0 and t.chunk == 0) for found in (mean, sampled)]
    np.testing.assert_array_equal(*(t.teacher_actions for t in by_state))
    difference = by_state[1].actions - by_state[0].actions
    assert 0.5 < difference.std() / np.exp(0.5 * (LOG_STD_MIN + LOG_STD_MAX)) < 1.5
    again = run(tmp_path / "again", student=gaussian_student, sample_actions=True, **changes)
    assert stored(again) == stored(folder)


def test_a_student_that_answers_by_its_mean_is_another_one_than_one_that_is_sampled(
    tmp_path: Path, gaussian_student: str
):
    changes = {"student": gaussian_student, "noise": ActionNoise(), "episodes": 1}
    run(tmp_path, **changes)
    with pytest.raises(LitDistillError, match=r"student episodes here .*log_std_sha256"):
        run(tmp_path, sample_actions=True, **changes)


def test_the_teacher_takes_turns_with_a_student_with_probability_beta(tmp_path: Path, student: str):
    changes = {"student": student, "noise": ActionNoise(), "episodes": 6}
    chunks = transitions_of(run(tmp_path, beta=0.5, **changes))
    acted = [transition.behaviour for transition in chunks]
    assert 0.2 < np.mean([behaviour == "teacher" for behaviour in acted]) < 0.8
    assert set(acted) == {"teacher", "student"}
    for transition in chunks:
        same = np.array_equal(transition.actions, transition.teacher_actions)
        assert same == (transition.behaviour == "teacher")
    with pytest.raises(LitDistillError, match=r"student episodes here .*beta"):
        run(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"beta": 0.5}, "^beta: is for a student's rollouts"),
        ({"beta": 1.5, "student": "x.ckpt"}, r"^beta: a probability, must lie in \[0, 1\], got 1.5"),
    ],
)
def test_a_beta_that_means_nothing_is_refused(tmp_path: Path, changes: dict[str, Any], line: str):
    with pytest.raises(LitDistillError, match=line):
        run(tmp_path, **changes)


def test_only_a_student_with_a_log_std_head_can_be_sampled(tmp_path: Path, student: str):
    line = rf"^{student}: its student has no log-std head .* AWAC trains one"
    with pytest.raises(LitDistillError, match=line):
        run(tmp_path, student=student, noise=ActionNoise(), sample_actions=True)
    with pytest.raises(LitDistillError, match="^sample_actions: is for a student's rollouts"):
        run(tmp_path, sample_actions=True)


def test_sources_lie_side_by_side_and_another_student_is_refused(tmp_path: Path, student: str):
    changes = {"student": student, "noise": ActionNoise(), "episodes": 2}
    run(tmp_path, episodes=2)
    folder = run(tmp_path, **changes)
    before = stored(folder)
    assert set(Manifest.load(folder).sources) == {"teacher", "student"}
    run(tmp_path, forbidden, **changes)
    moved = Path(student).rename(tmp_path / "moved.ckpt")
    run(tmp_path, forbidden, **(changes | {"student": str(moved)}))  # the same bytes
    save_student(tiny_network(seed=1), student, TASK)
    with pytest.raises(
        LitDistillError, match=r"student episodes here .* student_sha256 = .* --sources student"
    ):
        run(tmp_path, forbidden, **changes)
    with pytest.raises(LitDistillError, match=r"no such checkpoint; `python"):
        run(tmp_path, forbidden, **(changes | {"student": "gone.ckpt"}))
    assert stored(folder) == before


def test_labels_between_chunk_ends_are_samples_of_their_own(tmp_path: Path, student: str):
    changes = {"student": student, "noise": ActionNoise(), "episodes": 2}
    sparse = transitions_of(run(tmp_path / "sparse", **changes))
    dense = transitions_of(run(tmp_path / "dense", label_every=4, **changes))
    assert {t.executed for t in dense if not t.terminal} == {4}
    at_ends = [t for t in dense if t.chunk % 4 == 0]
    assert [t.observation.agentview.tobytes() for t in at_ends] == [
        t.observation.agentview.tobytes() for t in sparse
    ]
    with pytest.raises(LitDistillError, match=r"label_every = 4, now it is None"):
        run(tmp_path / "dense", forbidden, **changes)


def test_rollouts_go_on_with_the_states_where_others_ended_and_from_zero_after_the_last(student: str):
    settings = dataclasses.replace(SETTINGS, noise=ActionNoise(), episodes=3)
    rollouts = Rollouts("dagger-2", "student", settings.mixture(student, 0.5), settings, first_state=98)
    jobs = [rollouts.job(TASK, episode, FakeSimulator) for episode in range(3)]
    assert [job.name for job in jobs] == [f"{TASK} student/{index}" for index in (98, 99, 0)]
    assert [(job.source, job.episode, job.seed) for job in jobs] == [
        ("dagger-2", episode, 98 + episode) for episode in range(3)
    ]
    assert rollouts.identity()["first_state"] == 98
    assert rollouts.last_state() == 99
    assert "first_state" not in dataclasses.replace(rollouts, first_state=0).identity()


def test_a_student_in_this_process_leaves_torchs_threads_alone(tmp_path: Path, student: str):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run(tmp_path, student=student, noise=ActionNoise(), episodes=1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"student": "x.ckpt", "noise": ActionNoise(), "episodes": 101},
            "episodes: the 'student' split has 100",
        ),
        ({"label_every": 5}, "label_every: must be 0 or a divisor of execute_steps .16., got 5"),
        ({"label_every": -4}, "label_every: must be 0"),
    ],
)
def test_settings_of_a_student_that_cannot_be_right_are_refused(changes: dict[str, Any], line: str):
    with pytest.raises(LitDistillError, match=f"^{line}"):
        dataclasses.replace(SETTINGS, **changes)


def test_the_teacher_alone_takes_no_label_every(tmp_path: Path):
    with pytest.raises(LitDistillError, match="^label_every: is for a student's rollouts"):
        run(tmp_path, label_every=4)


@pytest.mark.libero
def test_libero_gives_the_same_shards_in_this_process_and_in_a_worker(tmp_path: Path):
    settings = CollectSettings(episodes=1, image_size=64, workers=0)
    here = collect(TASK, str(tmp_path / "here"), settings)
    there = collect(TASK, str(tmp_path / "there"), dataclasses.replace(settings, workers=1))
    assert stored(here) == stored(there)
    reports = verify(here)
    assert [report.episodes for report in reports] == [1]
    transitions = list(read_shard(here / reports[0].name))
    assert {t.outcome for t in transitions} == {"success"}
    assert {t.observation.agentview.shape for t in transitions} == {(64, 64, 3)}
    assert transitions[0].value is not None
