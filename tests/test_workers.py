"""Worker processes that die, hang or fail: named, replaced, their episode done again, never miscounted."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest

from lit_distill import workers
from lit_distill.behaviours import ActionNoise, TeacherActor, TeacherSpec
from lit_distill.errors import InfrastructureError, LitDistillError, TeacherUnavailable
from lit_distill.rollout import Episode
from lit_distill.sim.fake import FakeSimulator
from lit_distill.tasks import Task
from lit_distill.teachers.cosmos import CosmosPolicyTeacher
from lit_distill.workers import EpisodeError, EpisodeJob, close_simulators, run_episode, run_episodes

TASK = "custom_libero_object_milk"
ACTOR = TeacherActor(TeacherSpec("lit_distill.sim.fake.FakeTeacher"), ActionNoise(0.5))
Results = Iterable[tuple[EpisodeJob, Episode | EpisodeError]]


def jobs(
    count: int, task: str = TASK, simulator: Callable[[Task, int], FakeSimulator] = FakeSimulator
) -> list[EpisodeJob]:
    return [
        EpisodeJob(task, "dev", index, "teacher", index, 100 + index, ACTOR, 16, simulator=simulator)
        for index in range(count)
    ]


def digest(episode: Episode | EpisodeError) -> str:
    assert isinstance(episode, Episode)
    content = [t.actions.tobytes() + t.observation.agentview.tobytes() for t in episode.transitions]
    return hashlib.sha256(b"".join(content)).hexdigest()


def by_index(results: Results) -> dict[int, Episode | EpisodeError]:
    found = {}
    for job, result in results:
        assert job.index not in found  # nothing twice
        found[job.index] = result
    return found


def worker_processes() -> list[psutil.Process]:
    """Children that run episodes; multiprocessing's resource tracker stays for the life of the process."""
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


# -- what runs in a worker ---------------------------------------------------------------------------


def first_attempt(job: EpisodeJob, folder: str) -> bool:
    """Whether this is the job's first attempt; leaves the worker's process id behind."""
    marker = Path(folder) / str(job.index)
    if marker.exists():
        return False
    marker.write_text(str(os.getpid()))
    return True


def dies_once(job: EpisodeJob, folder: str) -> Episode:
    if job.index == 1 and first_attempt(job, folder):
        os._exit(7)
    return run_episode(job)


def hangs_once(job: EpisodeJob, folder: str) -> Episode:
    if job.index == 1 and first_attempt(job, folder):
        time.sleep(600)
    return run_episode(job)


def always_raises(job: EpisodeJob, folder: str) -> Episode:
    if job.index == 0:
        attempts = len(list(Path(folder).iterdir()))
        (Path(folder) / f"attempt {attempts}").touch()
        raise RuntimeError("broken\nin two lines")
    return run_episode(job)


def bad_input(job: EpisodeJob) -> Episode:
    if job.index == 0:
        raise LitDistillError("teacher: no such thing")
    time.sleep(600)
    return run_episode(job)


def answers_badly(job: EpisodeJob, folder: str) -> Episode:
    if job.index == 1 and first_attempt(job, folder):
        raise InfrastructureError("http://there: bad answer: actions: not an array")
    return run_episode(job)


def is_gone(job: EpisodeJob, folder: str) -> Episode:
    (Path(folder) / f"{job.index}-{time.monotonic_ns()}").touch()
    if job.index >= 1:
        raise TeacherUnavailable("http://there: not reached for 600 s")
    return run_episode(job)


# -- the promises ------------------------------------------------------------------------------------


def test_the_episodes_do_not_depend_on_the_number_of_workers():
    alone = {index: digest(episode) for index, episode in by_index(run_episodes(jobs(5), 0)).items()}
    assert len(set(alone.values())) == 5
    for count in (1, 2):
        found = by_index(run_episodes(jobs(5), count))
        assert {index: digest(episode) for index, episode in found.items()} == alone


def test_a_worker_that_dies_is_named_and_its_episode_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    expected = by_index(run_episodes(jobs(4), 0))
    found = by_index(run_episodes(jobs(4), 2, functools.partial(dies_once, folder=str(tmp_path))))
    assert {i: digest(episode) for i, episode in found.items()} == {
        i: digest(episode) for i, episode in expected.items()
    }
    pid = (tmp_path / "1").read_text()
    assert f"{TASK} dev/1: worker process {pid} died (exit code 7); doing it again (2 of 3)" in caplog.text
    assert worker_processes() == []


def test_a_worker_that_hangs_is_stopped_and_its_episode_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(workers, "START_SECONDS", 6.0)
    monkeypatch.setattr(workers, "SECONDS_PER_STEP", 0.0)
    found = by_index(run_episodes(jobs(3), 2, functools.partial(hangs_once, folder=str(tmp_path))))
    assert {i: digest(episode) for i, episode in found.items()} == {
        i: digest(episode) for i, episode in by_index(run_episodes(jobs(3), 0)).items()
    }
    assert f"{TASK} dev/1: the worker hung and was stopped; doing it again (2 of 3)" in caplog.text
    assert not psutil.pid_exists(int((tmp_path / "1").read_text()))
    assert worker_processes() == []


def test_an_episode_that_fails_in_every_attempt_is_an_error_and_no_outcome(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    found = by_index(run_episodes(jobs(3), 1, functools.partial(always_raises, folder=str(tmp_path))))
    assert found[0] == EpisodeError("the worker failed with RuntimeError: broken in two lines")
    assert len(list(tmp_path.iterdir())) == 3
    assert isinstance(found[1], Episode) and isinstance(found[2], Episode)
    assert "given up after 3 attempts" in caplog.text


def test_bad_input_is_told_at_once_and_leaves_no_process_behind():
    started = time.monotonic()
    with pytest.raises(LitDistillError, match="^teacher: no such thing$"):
        list(run_episodes(jobs(6), 2, bad_input))
    assert time.monotonic() - started < 60  # neither retried nor waited for the others
    assert worker_processes() == []


def test_processes_start_with_the_first_episode_and_end_with_the_last():
    running = iter(run_episodes(jobs(3), 2))
    assert worker_processes() == []
    next(running)
    assert 1 <= len(worker_processes()) <= 2
    list(running)
    assert worker_processes() == []


def test_whoever_stops_listening_leaves_no_process_behind():
    running = run_episodes(jobs(8), 1)
    next(iter(running))
    running.close()  # type: ignore[attr-defined]
    assert worker_processes() == []


def test_negative_workers_are_refused_and_no_job_is_no_work():
    with pytest.raises(LitDistillError, match="^workers: must be 0"):
        list(run_episodes(jobs(1), -1))
    assert list(run_episodes([], 2)) == []


class CountedSimulator(FakeSimulator):
    """Knows how many of it were made and closed."""

    made = closed = 0

    def __init__(self, task: Task, image_size: int = 32, meshes: str = "original") -> None:
        super().__init__(task, image_size, meshes)
        CountedSimulator.made += 1

    def close(self) -> None:
        CountedSimulator.closed += 1


def test_a_simulator_is_kept_between_episodes_and_only_one_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CountedSimulator, "made", 0)
    monkeypatch.setattr(CountedSimulator, "closed", 0)
    for job in jobs(3, simulator=CountedSimulator):
        run_episode(job)
    assert (CountedSimulator.made, CountedSimulator.closed) == (1, 0)
    run_episode(jobs(1, "custom_libero_object_butter", CountedSimulator)[0])
    assert (CountedSimulator.made, CountedSimulator.closed) == (2, 1)
    close_simulators()
    assert CountedSimulator.closed == 2
    list(run_episodes(jobs(2, simulator=CountedSimulator), 0))
    assert (CountedSimulator.made, CountedSimulator.closed) == (3, 3)


@pytest.mark.parametrize("count", [0, 2])
def test_a_bad_answer_from_elsewhere_is_no_bad_input_its_episode_is_done_again(
    tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture
):
    found = by_index(run_episodes(jobs(3), count, functools.partial(answers_badly, folder=str(tmp_path))))
    assert all(isinstance(result, Episode) for result in found.values())
    assert (
        f"{TASK} dev/1: http://there: bad answer: actions: not an array; doing it again (2 of 3)"
        in caplog.text
    )


@pytest.mark.parametrize("count", [0, 2])
def test_once_a_teacher_is_gone_the_rest_is_not_tried(
    tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture
):
    found = by_index(run_episodes(jobs(12), count, functools.partial(is_gone, folder=str(tmp_path))))
    assert isinstance(found.pop(0), Episode)
    assert set(found.values()) == {EpisodeError("http://there: not reached for 600 s")}
    assert len(found) == 11
    assert len(list(tmp_path.iterdir())) <= 1 + max(1, 2 * count)
    assert "no episode is tried any more" in caplog.text


def test_the_time_limit_grows_with_what_a_teacher_elsewhere_may_take():
    (job,) = jobs(1)
    assert dataclasses.replace(job, patience_s=100.0).limit_s == job.limit_s + 100.0
    far = {"server": "http://127.0.0.1:1", "cache": None, "timeout_s": 7.0, "outage_s": 30.0}
    teacher = CosmosPolicyTeacher(**far)  # type: ignore[arg-type]
    assert teacher.longest_wait(10) == 30.0 + 10 * 3 * 7.0
    assert workers.patience_s(ACTOR, TASK, 4) == 0.0
