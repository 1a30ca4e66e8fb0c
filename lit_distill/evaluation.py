"""The protocol of an evaluation: which states, how many steps, what is counted; one JSON file for each.

Outcomes: `success`; `timeout` (horizon reached); `failure` (ended by an action that is not finite); `error`
(infrastructure: a worker that crashed in every attempt). A result with errors is incomplete: it is written
and marked, and never published.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from tqdm import tqdm

from lit_distill.behaviours import Actor, ExportedActor, StudentActor
from lit_distill.errors import LitDistillError
from lit_distill.hardware import HardwareSampler, describe_hardware
from lit_distill.latency import measure_latency, synchronizer
from lit_distill.ranks import Ranks, run_shared
from lit_distill.rollout import Episode
from lit_distill.schema import CHUNK_LENGTH, OUTCOMES
from lit_distill.sim.environment import ORIGINAL
from lit_distill.sim.states import OFFICIAL, SPLITS, check_task
from lit_distill.tasks import get_task
from lit_distill.teachers.cost import QueryCost
from lit_distill.workers import EpisodeError, EpisodeJob, check_run_settings, patience_s

VALUE_DIGITS = 4
"""Decimals of a potential in a results file."""
FRAME_STEPS = 4
"""Control steps between two frames of a video: 5 frames per second of robot time."""


@dataclass(frozen=True)
class Protocol:
    """How an evaluation is done.

    Attributes:
        split: initial states; `dev` for whatever is tuned or looked at, `eval` for reporting; `official`
            for the tasks of official suites.
        episodes: the first so many states of the split.
        execute_steps: actions executed of each 16-action chunk before looking again (the paper: 16).
        image_size: edge of the camera images, pixels.
        meshes: what they show, `original` or `simplified`; need not be what the student learnt from.
        workers: simulator processes, 0 for this process; the result does not depend on it.
        seed: seed of everything random in the episodes.
        videos: record the first so many episodes.
    """

    split: str = "dev"
    episodes: int = 20
    execute_steps: int = CHUNK_LENGTH
    image_size: int = 128
    meshes: str = ORIGINAL
    workers: int = 2
    seed: int = 0
    videos: int = 0

    def __post_init__(self) -> None:
        splits = SPLITS | OFFICIAL
        if self.split not in splits:
            raise LitDistillError(f"split: unknown split {self.split!r}; known: {', '.join(splits)}")
        if not 1 <= self.episodes <= splits[self.split]:
            raise LitDistillError(
                f"episodes: split {self.split!r} has {splits[self.split]} states, got {self.episodes}"
            )
        check_run_settings(self.execute_steps, self.image_size, self.meshes, self.workers, self.seed)
        if self.videos < 0:
            raise LitDistillError(f"videos: must not be negative, got {self.videos}")


@dataclass
class Evaluation:
    """What an evaluation gave.

    Attributes:
        episodes: per episode `state` (`split/index`), `outcome`, `steps`, `clipped`, in the states' order;
            and `values`, the teacher's potential at each chunk, if it acted and gave them.
        latency_ms: `p50`, `p95`, `p99` per chunk.
        cost: what asking the teacher cost, in the episodes that ended.
        hardware: the machine, and mean and maximum of what it was busy with.
        videos: state name -> recorded frames, uint8 [H, 2 W, 3].
    """

    episodes: list[dict[str, Any]]
    latency_ms: dict[str, float]
    hardware: dict[str, Any]
    videos: dict[str, list[np.ndarray]] = field(default_factory=dict)
    cost: QueryCost = field(default_factory=QueryCost)

    @property
    def counts(self) -> dict[str, int]:
        """Episodes by outcome, `error` included."""
        counter = Counter(episode["outcome"] for episode in self.episodes)
        return {outcome: counter[outcome] for outcome in (*OUTCOMES, "error")}

    @property
    def success_rate(self) -> float:
        """Successes / n."""
        return self.counts["success"] / len(self.episodes)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return wilson_interval(self.counts["success"], len(self.episodes))

    @property
    def steps_mean(self) -> float:
        """Mean control steps per episode that ended, over all outcomes."""
        return float(np.mean([e["steps"] for e in self.episodes if e["outcome"] != "error"] or [0]))

    def describe(self) -> str:
        """One line: rate, n, interval."""
        low, high = self.interval
        counts = self.counts
        line = f"{counts['success']}/{len(self.episodes)} = {self.success_rate:.2f} [{low:.2f}, {high:.2f}]"
        return line + (f", {counts['error']} errors: INCOMPLETE" if counts["error"] else "")


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a success rate."""
    interval = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


@contextlib.contextmanager
def torch_threads_kept() -> Iterator[None]:
    """A student in this process sets torch's threads for itself; whoever trains goes on with its own."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch_threads_kept()
def evaluate(
    task: str,
    actor: Actor,
    protocol: Protocol,
    label: str,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    **job_options: Any,
) -> Evaluation:
    """Run the protocol.

    Args:
        task: which task, see `get_task`.
        actor: recipe of who acts.
        protocol: states, horizon, workers.
        label: what the progress bar calls it.
        ranks: processes that share the episodes; all of them get the result.
        job_options: further fields of the `EpisodeJob`s (the simulator's class, in tests).

    Raises:
        Refusal: the teacher that acts cannot act in this task.
        LitDistillError: no such task or states, or states that do not fit it.
    """
    check_task(get_task(task), protocol.split, protocol.episodes - 1)
    patience = patience_s(actor, task, protocol.execute_steps)
    jobs = [
        EpisodeJob(
            task,
            protocol.split,
            index,
            source="teacher" if not isinstance(actor, StudentActor | ExportedActor) else "student",
            episode=index,
            seed=protocol.seed + index,
            actor=actor,
            image_size=protocol.image_size,
            meshes=protocol.meshes,
            execute_steps=protocol.execute_steps,
            record_every=FRAME_STEPS if index < protocol.videos else 0,
            patience_s=patience,
            **job_options,
        )
        for index in range(protocol.episodes)
    ]
    results: dict[int, Episode | EpisodeError] = {}
    successes = 0
    with (
        HardwareSampler() as sampler,
        tqdm(
            total=len(jobs), desc=label, unit="episode", dynamic_ncols=True, disable=not ranks.is_first
        ) as progress,
    ):
        for job, result in run_shared(jobs, protocol.workers, ranks):
            results[job.index] = result
            successes += isinstance(result, Episode) and result.outcome == "success"
            progress.set_postfix_str(f"success {successes}/{len(results)}")
            progress.update()
    return ranks.first(lambda: _evaluation(actor, jobs, results, sampler.summary()))


def _evaluation(
    actor: Actor,
    jobs: Sequence[EpisodeJob],
    results: dict[int, Episode | EpisodeError],
    busy: dict[str, Any],
) -> Evaluation:
    """Put together what the episodes gave, and measure a student's latency."""
    episodes = [results[job.index] for job in jobs]
    return Evaluation(
        [_describe_episode(job, result) for job, result in zip(jobs, episodes, strict=True)],
        _latency(jobs[0].task, actor, [episode for episode in episodes if isinstance(episode, Episode)]),
        describe_hardware() | busy,
        {
            job.name: result.frames
            for job, result in zip(jobs, episodes, strict=True)
            if isinstance(result, Episode) and result.frames
        },
        sum((episode.cost for episode in episodes if isinstance(episode, Episode)), QueryCost()),
    )


def _describe_episode(job: EpisodeJob, result: Episode | EpisodeError) -> dict[str, Any]:
    state = f"{job.split}/{job.index}"
    if isinstance(result, EpisodeError):
        return {"state": state, "outcome": "error", "steps": 0, "clipped": 0, "reason": result.reason}
    described = {"state": state, "outcome": result.outcome, "steps": result.steps, "clipped": result.clipped}
    values = [transition.value for transition in result.transitions]
    known = [round(value, VALUE_DIGITS) for value in values if value is not None]
    return described | ({"values": known} if known else {})


def _latency(task: str, actor: Actor, episodes: Sequence[Episode]) -> dict[str, float]:
    """Per chunk: of a student alone on the now idle machine, of a teacher as measured in the rollouts."""
    if isinstance(actor, StudentActor | ExportedActor):
        observations = [episode.transitions[0].observation for episode in episodes if episode.transitions]
        if not observations:
            return {}
        behaviour, random = actor.build(get_task(task)), np.random.default_rng(0)
        return measure_latency(
            lambda observation: behaviour.decide(observation, None, random),  # type: ignore[arg-type]
            observations[0],
            synchronize=synchronizer(actor.device),
        )
    times = [ms for episode in episodes for ms in episode.decision_ms[1:]]
    if not times:
        return {}
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}
