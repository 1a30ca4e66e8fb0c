"""Does the exported file do what the checkpoint does? In numbers, and in the simulator.

In numbers: on every observation of real episodes, the chunks differ by no more than a tolerance. In closed
loop: on the same `dev` states, the exported student succeeds at least as often as the checkpoint. The
trajectories need not be equal: a difference in the last digit may grow in a contact, so an episode may take
other steps, and outcomes are compared by their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_distill.behaviours import Actor, ExportedActor, StudentActor
from lit_distill.errors import LitDistillError
from lit_distill.export.acting import Acting
from lit_distill.networks.checkpoint import student_sha256
from lit_distill.rollout import Episode
from lit_distill.runtime import Policy
from lit_distill.schema import CHUNK_LENGTH, Observation
from lit_distill.sim.environment import ORIGINAL
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import SPLITS, check_task
from lit_distill.tasks import get_task
from lit_distill.workers import EpisodeJob, check_run_settings, run_episodes

SPLIT = "dev"
TOLERANCES = {"f32": 1e-4, "f16": 1e-2, "bf16": 5e-2}
"""Largest difference between two chunks, action units (1 = 0.05 m, 0.5 rad). float32 sums in another order;
bfloat16 has 8 bits (0.4 %) and the answer passes three layers of it: 0.05 is 2.5 mm or 1.4 degrees a step."""


@dataclass(frozen=True)
class Check:
    """How an exported student is compared with its checkpoint.

    Attributes:
        episodes: the first so many `dev` states, in which either acts once; at least 1.
        execute_steps: actions executed of each 16-action chunk before looking again, which the folder's
            model card then says, too; by default as the checkpoint was measured or, where no results file
            says it, trained, else 16.
        meshes: what the simulator shows, `original` or `simplified`; by default as `execute_steps`, else
            `original`.
        workers: simulator processes, 0 for this process.
        seed: seed of everything random in the episodes.
    """

    episodes: int = 3
    execute_steps: int | None = None
    meshes: str | None = None
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.episodes <= SPLITS[SPLIT]:
            raise LitDistillError(f"check.episodes: must be in 1..{SPLITS[SPLIT]}, got {self.episodes}")
        steps = CHUNK_LENGTH if self.execute_steps is None else self.execute_steps
        meshes = ORIGINAL if self.meshes is None else self.meshes
        check_run_settings(steps, 2, meshes, self.workers, self.seed)


def check_agreement(
    checkpoint: str, folder: Path, task: str, precision: str, image_size: int, check: Check, acting: Acting
) -> dict[str, Any]:
    """Compare an exported folder with the checkpoint that it was made from.

    Args:
        checkpoint: The checkpoint.
        folder: What was made of it.
        task: The task.
        precision: Arithmetic of the folder.
        image_size: Edge of the images in pixels.
        check: In how many episodes, and how these are run.
        acting: How the student acts in them.

    Returns:
        What was found, for config.json: `largest_difference` of `observations` chunks (`tolerance`), and
        the episodes (state, outcome, steps) of `checkpoint` and `exported`.

    Raises:
        LitDistillError: They do not agree; says in which, and by how much.
    """
    check_task(get_task(task), SPLIT, check.episodes - 1)
    if student_sha256(folder) != student_sha256(checkpoint):
        raise LitDistillError(f"{checkpoint}: model.safetensors does not hold its weights; report this")
    student, exported = StudentActor(checkpoint), ExportedActor(str(folder), precision=precision)
    episodes = _act([student, exported], task, image_size, check, acting)
    seen = [transition.observation for episode in episodes for transition in episode.transitions]
    difference = largest_difference(student, exported, task, seen)
    tolerance = TOLERANCES[precision]
    if not difference <= tolerance:  # nan included
        raise LitDistillError(
            f"{checkpoint}: the exported file differs by {difference:.2g} on {len(seen)} observations "
            f"(at most {tolerance:g} in {precision}); nothing was written. Try --precision f32, or another "
            "--format"
        )
    ours, theirs = episodes[: check.episodes], episodes[check.episodes :]
    if _successes(theirs) < _successes(ours):
        raise LitDistillError(
            f"{checkpoint}: in closed loop the exported file succeeded in {_successes(theirs)}/{len(theirs)} "
            f"{SPLIT} states, the checkpoint in {_successes(ours)}/{len(ours)}; their chunks differ by "
            f"{difference:.2g}; nothing was written. Try more --check.episodes, or --precision f32"
        )
    return {
        "observations": len(seen),
        "largest_difference": float(f"{difference:.2g}"),
        "tolerance": tolerance,
        "split": SPLIT,
        "episodes": check.episodes,
        "execute_steps": acting.execute_steps,
        "meshes": acting.meshes,
        "seed": check.seed,
        "checkpoint": _describe(ours),
        "exported": _describe(theirs),
    }


def largest_difference(
    student: StudentActor, exported: ExportedActor, task: str, observations: Sequence[Observation]
) -> float:
    """Largest absolute difference of the two chunks (not clipped) over all observations; nan if one is."""
    policy, runtime = student.policy(get_task(task)), exported.policy()
    return max(
        (float(np.abs(policy.act(seen) - _infer(runtime, seen)).max()) for seen in observations),
        key=lambda difference: math.inf if math.isnan(difference) else difference,
        default=math.nan,
    )


def _infer(runtime: Policy, seen: Observation) -> np.ndarray:
    return runtime.infer(seen.agentview, seen.wrist, seen.proprio)


def _act(actors: Sequence[Actor], task: str, image_size: int, check: Check, acting: Acting) -> list[Episode]:
    """The episodes of each actor in turn, in the order of the states."""
    jobs = [
        EpisodeJob(
            task,
            SPLIT,
            index,
            source="student",
            episode=index,
            seed=check.seed + index,
            actor=actor,
            image_size=image_size,
            meshes=acting.meshes,
            execute_steps=acting.execute_steps,
            simulator=Simulator,
        )
        for actor in actors
        for index in range(check.episodes)
    ]
    results = dict(run_episodes(jobs, check.workers))
    for job, result in results.items():
        if not isinstance(result, Episode):
            raise LitDistillError(f"{job.name}: could not be run ({result.reason}); export again")
    return [result for job in jobs if isinstance(result := results[job], Episode)]


def _successes(episodes: Sequence[Episode]) -> int:
    return sum(episode.outcome == "success" for episode in episodes)


def _describe(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    return [
        {"state": f"{SPLIT}/{index}", "outcome": episode.outcome, "steps": episode.steps}
        for index, episode in enumerate(episodes)
    ]
