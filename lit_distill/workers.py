"""Runs episodes in worker processes that may crash or hang.

A worker builds its simulator and its behaviour at its first episode and keeps them. A worker that dies or
exceeds the time limit is named in the log and replaced, and its episode is done again; only an episode that
fails in every attempt is reported as an error. Once a teacher elsewhere could not be reached for as long as
its settings allow, the episodes that are left are errors, too, without being tried. What an episode gives
does not depend on the worker.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from pebble import ProcessExpired, ProcessPool

from lit_distill.behaviours import Actor, Behaviour
from lit_distill.errors import InfrastructureError, LitDistillError, TeacherUnavailable
from lit_distill.rollout import Episode, check_execute_steps, rollout
from lit_distill.schema import CHUNK_LENGTH
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.environment import ORIGINAL, check_meshes
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import Task, get_task

logger = logging.getLogger(__name__)

SECONDS_PER_STEP = 0.5
"""A worker that needs more than this for each control step of the horizon hangs (usual: 0.03 s)."""
START_SECONDS = 180.0
MakeSimulator = Callable[[Task, int, str], ChunkSimulator]
"""A simulator's class: takes task, edge of the images in pixels, and meshes."""
ATTEMPTS = 3


@dataclass(frozen=True)
class EpisodeJob:
    """One episode to run: everything that it depends on.

    Attributes:
        task: name in the task table.
        split, index: the initial state.
        source, episode, seed: stored with the transitions.
        actor: recipe of the behaviour.
        image_size: edge of the camera images, pixels.
        meshes: what is looked at, `original` or `simplified`.
        execute_steps: actions executed of each chunk.
        record_every: control steps between two recorded frames, 0 for none.
        patience_s: how long the episode may take beside the computing: waiting for a teacher elsewhere.
        simulator: class of the simulator.
    """

    task: str
    split: str
    index: int
    source: str
    episode: int
    seed: int
    actor: Actor
    image_size: int = 128
    meshes: str = ORIGINAL
    execute_steps: int = CHUNK_LENGTH
    record_every: int = 0
    end_when_lost: bool = False
    patience_s: float = 0.0
    simulator: MakeSimulator = Simulator

    @property
    def name(self) -> str:
        """How the episode is called in messages."""
        return f"{self.task} {self.split}/{self.index}"

    @property
    def limit_s(self) -> float:
        """A worker that needs longer hangs."""
        return START_SECONDS + SECONDS_PER_STEP * get_task(self.task).horizon + self.patience_s


def patience_s(actor: Actor, task: str, execute_steps: int) -> float:
    """`EpisodeJob.patience_s` of an actor that looks again after so many control steps."""
    return actor.longest_wait(math.ceil(get_task(task).horizon / execute_steps))


def _check_workers(workers: int) -> None:
    if workers < 0:
        raise LitDistillError(f"workers: must be 0 (this process) or more, got {workers}")


def check_run_settings(execute_steps: int, image_size: int, meshes: str, workers: int, seed: int) -> None:
    """Raise LitDistillError naming the first setting that no episode could be run with."""
    check_execute_steps(execute_steps)
    check_meshes(meshes)
    if image_size < 2 or image_size % 2:
        raise LitDistillError(f"image_size: must be a positive even number of pixels, got {image_size}")
    _check_workers(workers)
    if seed < 0:
        raise LitDistillError(f"seed: must not be negative, got {seed}")


@dataclass(frozen=True)
class EpisodeError:
    """An episode that no attempt finished; `reason` is one line."""

    reason: str


_simulators: dict[tuple[object, ...], ChunkSimulator] = {}
_behaviours: list[tuple[Actor, str, Behaviour]] = []


def run_episode(job: EpisodeJob) -> Episode:
    """Run one episode in this process, reusing the simulator and the behaviour of the previous one."""
    task = get_task(job.task)
    key = (job.simulator, job.task, job.image_size, job.meshes)
    if key not in _simulators:
        close_simulators()  # one task at a time: a compiled model and a GL context are large
        _simulators[key] = job.simulator(task, job.image_size, job.meshes)
    if not _behaviours or _behaviours[0][:2] != (job.actor, job.task):
        _behaviours[:] = [(job.actor, job.task, job.actor.build(task))]
    return rollout(
        _simulators[key],
        _behaviours[0][2],
        load_initial_state(task, job.split, job.index),
        source=job.source,
        episode=job.episode,
        seed=job.seed,
        execute_steps=job.execute_steps,
        record_every=job.record_every,
        end_when_lost=job.end_when_lost,
    )


def close_simulators() -> None:
    """Close the simulators that this process keeps between episodes."""
    for simulator in _simulators.values():
        simulator.close()
    _simulators.clear()
    _behaviours.clear()


def run_episodes(
    jobs: Sequence[EpisodeJob],
    workers: int = 2,
    run: Callable[[EpisodeJob], Episode] = run_episode,
) -> Iterator[tuple[EpisodeJob, Episode | EpisodeError]]:
    """Run episodes, yielding each with its job as soon as it is done (any order).

    Args:
        jobs: the episodes.
        workers: worker processes; 0 runs in this process, without protection against a crash or a hang.
        run: runs one episode; picklable.

    Raises:
        LitDistillError: bad input, which no retry mends.
    """
    _check_workers(workers)
    if workers == 0:
        try:
            yield from _run_here(jobs, run)
        finally:
            close_simulators()
        return
    yield from _run_in_pool(jobs, min(workers, len(jobs)), run)


def _run_here(
    jobs: Sequence[EpisodeJob], run: Callable[[EpisodeJob], Episode]
) -> Iterator[tuple[EpisodeJob, Episode | EpisodeError]]:
    gone: str | None = None
    for job in jobs:
        for attempt in range(1, ATTEMPTS + 1):
            if gone is not None:
                yield job, EpisodeError(gone)
                break
            try:
                yield job, run(job)
                break
            except TeacherUnavailable as error:
                gone = str(error)
                logger.error("%s: %s; no episode is tried any more", job.name, gone)
            except InfrastructureError as error:
                if not _again(job, str(error), attempt):
                    yield job, EpisodeError(str(error))


def _again(job: EpisodeJob, reason: str, attempt: int) -> bool:
    """Whether an episode is done again after its `attempt`; says so."""
    if attempt < ATTEMPTS:
        logger.warning("%s: %s; doing it again (%d of %d)", job.name, reason, attempt + 1, ATTEMPTS)
        return True
    logger.error("%s: %s; given up after %d attempts", job.name, reason, ATTEMPTS)
    return False


def _run_in_pool(
    jobs: Sequence[EpisodeJob], workers: int, run: Callable[[EpisodeJob], Episode]
) -> Iterator[tuple[EpisodeJob, Episode | EpisodeError]]:
    waiting = deque((job, 1) for job in jobs)
    running: dict[Future[Episode], tuple[EpisodeJob, int]] = {}
    gone: str | None = None
    if not jobs:
        return
    pool = ProcessPool(max_workers=workers, context=multiprocessing.get_context("spawn"))
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job, attempt = waiting.popleft()
                if gone is not None:
                    yield job, EpisodeError(gone)
                    continue
                running[pool.schedule(run, args=[job], timeout=job.limit_s)] = (job, attempt)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job, attempt = running.pop(future)
                reason = _failure(future)
                if reason is None:
                    yield job, future.result()
                elif isinstance(future.exception(), TeacherUnavailable):
                    gone = reason
                    logger.error("%s: %s; no episode is tried any more", job.name, reason)
                    yield job, EpisodeError(reason)
                elif _again(job, reason, attempt):
                    waiting.append((job, attempt + 1))
                else:
                    yield job, EpisodeError(reason)
    except BaseException:
        pool.stop()
        raise
    else:
        pool.close()
    finally:
        pool.join()


def _failure(future: Future[Episode]) -> str | None:
    """Why an episode was not finished, in one line; None if it was.

    Raises:
        LitDistillError: the worker met bad input, which no retry mends.
    """
    error = future.exception()
    if error is None:
        return None
    if isinstance(error, LitDistillError):
        raise error
    if isinstance(error, InfrastructureError):
        return str(error)
    if isinstance(error, ProcessExpired):
        return f"worker process {error.pid} died (exit code {error.exitcode})"
    if isinstance(error, TimeoutError):
        return "the worker hung and was stopped"
    return f"the worker failed with {type(error).__name__}: {' '.join(str(error).split())[:200]}"
