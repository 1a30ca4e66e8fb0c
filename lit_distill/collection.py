"""Collection: the teacher acts in the simulator, its episodes become shards (§3.2).

Idempotent: what is stored already is not made again, so a killed collection goes on where it stopped. For
the same settings, machine and GL backend the shards are the same byte for byte, whatever the number of
workers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lit_distill.behaviours import EMBEDDED_TEACHER, ActionNoise, TeacherActor, TeacherSpec
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import wilson_interval
from lit_distill.manifest import Manifest
from lit_distill.schema import CHUNK_LENGTH, OUTCOMES
from lit_distill.shard_writer import ShardWriter
from lit_distill.sim.environment import ORIGINAL
from lit_distill.sim.simulator import Simulator, fingerprint
from lit_distill.sim.states import OFFICIAL_SPLIT, SPLITS, load_initial_state
from lit_distill.tasks import get_task
from lit_distill.workers import EpisodeError, EpisodeJob, MakeSimulator, check_run_settings, run_episodes

SOURCE = "teacher"
SPLIT = "teacher"


@dataclass(frozen=True)
class CollectSettings:
    """How teacher rollouts are collected.

    Attributes:
        episodes: how many, from the first states of the `teacher` split, or of the `official` one for a task
            of an official suite (the paper: 50).
        teacher: which teacher: `class_path` and, if it takes any, `init_args`.
        noise: perturbs what is executed, never the label; off by default, as in the paper.
        execute_steps: actions executed of each chunk before the teacher is asked again; 16 as in the paper, 4
            gives four times as many labelled observations per episode.
        end_when_lost: end an episode as a timeout once the teacher has labelled a state with value 0: from
            there the goal can no longer be reached. A teacher without values never ends one.
        image_size: edge of the stored camera images, pixels.
        meshes: what they show: `original`, or `simplified`, which renders in less than half the time.
        seed: seed of everything random in the episodes.
        episodes_per_shard: whole episodes in one tar.
        workers: simulator processes, 0 for this process; the shards do not depend on it.
    """

    episodes: int = 50
    teacher: dict[str, Any] = field(default_factory=lambda: {"class_path": EMBEDDED_TEACHER})
    noise: ActionNoise = field(default_factory=ActionNoise)
    execute_steps: int = CHUNK_LENGTH
    end_when_lost: bool = True
    image_size: int = 128
    meshes: str = ORIGINAL
    seed: int = 0
    episodes_per_shard: int = 10
    workers: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.episodes <= SPLITS[SPLIT]:
            raise LitDistillError(
                f"episodes: the {SPLIT!r} split has {SPLITS[SPLIT]} initial states, got {self.episodes}"
            )
        check_run_settings(self.execute_steps, self.image_size, self.meshes, self.workers, self.seed)
        if self.episodes_per_shard < 1:
            raise LitDistillError(f"episodes_per_shard: must be at least 1, got {self.episodes_per_shard}")
        self.teacher_spec()

    def teacher_spec(self) -> TeacherSpec:
        """The recipe of the teacher.

        Raises:
            LitDistillError: a key that is not `class_path` or `init_args`.
        """
        return TeacherSpec.of(self.teacher)


def collect(task: str, root: str = "data", settings: CollectSettings = CollectSettings()) -> Path:
    """Let the teacher act in LIBERO and make the shards of one task that are missing in `root/task/`.

    Args:
        task: which task, see `get_task`.
        root: folder of the data sets; the task's is a subfolder.
        settings: how to collect.

    Returns:
        The task's folder, with a manifest beside the shards.

    Raises:
        LitDistillError: unknown task, a folder with data that was collected otherwise, or episodes that
            no worker could finish (what is done is kept: run it again).
    """
    return collect_from(Simulator, task, root, settings)


def collect_from(simulator: MakeSimulator, task: str, root: str, settings: CollectSettings) -> Path:
    """`collect` from any simulator class (picklable)."""
    known = get_task(task)
    split = OFFICIAL_SPLIT if known.suite else SPLIT
    load_initial_state(known, split, settings.episodes - 1)  # refused before any rollout
    folder = Path(root) / known.name
    identity = _identity(settings, split)
    writer = ShardWriter(folder, known.name, SOURCE, identity, settings.episodes_per_shard)
    if (there := len(writer.stored)) > settings.episodes:
        raise LitDistillError(
            f"{folder}: holds {there} teacher episodes, but {settings.episodes} are asked for; "
            f"ask for {there}, or choose another --root"
        )
    missing = writer.missing(settings.episodes)
    if not missing:
        writer.finish(settings.episodes)  # a kill may have come between the last episode and this
        print(f"{folder}: {settings.episodes} teacher episodes, all there: reused", flush=True)
        return folder
    actor = TeacherActor(settings.teacher_spec(), settings.noise)
    jobs = [
        EpisodeJob(
            task,
            split,
            episode,
            source=SOURCE,
            episode=episode,
            seed=settings.seed + episode,
            actor=actor,
            image_size=settings.image_size,
            meshes=settings.meshes,
            execute_steps=settings.execute_steps,
            end_when_lost=settings.end_when_lost,
            simulator=simulator,
        )
        for episode in missing
    ]
    outcomes: Counter[str] = Counter()
    clipped = 0
    with tqdm(
        total=settings.episodes,
        initial=settings.episodes - len(missing),
        desc=f"{known.name}: teacher rollouts",
        unit="episode",
        dynamic_ncols=True,
    ) as progress:
        for job, result in run_episodes(jobs, settings.workers):
            if isinstance(result, EpisodeError):
                outcomes["error"] += 1
                continue
            writer.add(job.episode, result.transitions)
            outcomes[result.outcome] += 1
            clipped += result.clipped
            progress.set_postfix_str(_rate(outcomes))
            progress.update()
    if outcomes["error"]:
        raise LitDistillError(
            f"{folder}: {outcomes['error']} episodes could not be finished (see the log above); the others "
            "are kept: run the same command again"
        )
    writer.finish(settings.episodes)
    counts = Counter(Manifest.load(folder).sources[SOURCE].counts())
    rate = _rate(Counter({outcome: counts[outcome] for outcome in OUTCOMES}))
    print(f"{folder}: teacher success {rate}; {clipped} action values clipped in this run", flush=True)
    return folder


def _identity(settings: CollectSettings, split: str) -> dict[str, Any]:
    """Everything that the stored bytes depend on."""
    return {
        "teacher": settings.teacher_spec().build().identity,
        "teacher_spec": asdict(settings.teacher_spec()),
        "noise": asdict(settings.noise),
        "execute_steps": settings.execute_steps,
        "end_when_lost": settings.end_when_lost,
        "seed": settings.seed,
        "split": split,
        "fingerprint": fingerprint(settings.image_size, settings.meshes),
    }


def _rate(outcomes: Counter[str]) -> str:
    n = sum(outcomes.values())
    low, high = wilson_interval(outcomes["success"], n)
    return f"{outcomes['success']}/{n} [{low:.2f}, {high:.2f}]"
