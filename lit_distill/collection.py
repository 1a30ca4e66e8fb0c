"""Collection: somebody acts in the simulator, the episodes become shards (§3.2, §3.3).

One function for every source: the teacher's own rollouts, a student's with the teacher's labels, DAgger's
mixtures. Idempotent: what is stored already is not made again, so a killed collection goes on where it
stopped. For the same settings, machine and GL backend the shards are the same byte for byte, whatever the
number of workers and processes.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lit_distill.behaviours import (
    ActionNoise,
    MixtureActor,
    StudentActor,
    TeacherActor,
    check_beta,
)
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import torch_threads_kept
from lit_distill.manifest import MANIFEST_NAME, Manifest, SourceEntry, check_one_teacher
from lit_distill.progress import closing_line, never_succeeds, rate
from lit_distill.query_log import add_cost
from lit_distill.ranks import Ranks, run_shared
from lit_distill.remote_shards import HOW_TO_FILL, LocalFolder, RemoteFolder, refuse_to_write
from lit_distill.schema import CHUNK_LENGTH, STUDENT, TEACHER
from lit_distill.shard_writer import ShardWriter, check_made_alike
from lit_distill.sim.environment import ORIGINAL
from lit_distill.sim.simulator import Simulator, fingerprint
from lit_distill.sim.states import OFFICIAL_SPLIT, SPLITS, check_task, files_sha256
from lit_distill.tasks import Task, embedding_row, get_task
from lit_distill.teachers.spec import EMBEDDED_TEACHER, TeacherSpec
from lit_distill.workers import EpisodeError, EpisodeJob, MakeSimulator, check_run_settings, patience_s


@dataclass(frozen=True)
class CollectSettings:
    """How rollouts are collected.

    Attributes:
        episodes: how many, from the first states of the `teacher` split, or of the `official` one for a task
            of an official suite (the paper: 50); with `student`, of the `student` split (the paper: 100).
        teacher: which teacher: `class_path` and, if it takes any, `init_args`.
        student: checkpoint of a student that acts while the teacher labels every state; null: the teacher
            acts.
        beta: with a student: probability, per chunk, that the teacher acts in its place, so that at the
            states it gets itself into the outcomes of both's actions are seen; 0: the student alone acts.
        sample_actions: with a student: its chunks are sampled from its Gaussian, not its mean; it must
            be a checkpoint of AWAC, the only one with a log-std head.
        noise: perturbs what the teacher, or the student, executes, never the label; off by default, as in the
            paper.
        execute_steps: actions executed of each chunk before whoever acts looks again; 16 as in the paper, 4
            gives four times as many labelled observations per episode.
        label_every: with a student: the teacher labels, and a sample is stored, every so many control steps,
            also while a chunk is executed; a divisor of execute_steps, 0: only between chunks.
        end_when_lost: end an episode as a timeout once the teacher has labelled a state with value 0: from
            there the goal can no longer be reached. A teacher without values never ends one, nor does one
            whose 0 is only a low value, as Cosmos Policy's.
        stop_after_failures: stop once the teacher, acting, has not succeeded in any of so many episodes:
            nothing can be learnt from it; what there is is kept. 0 never stops. Not for a student's rollouts.
        image_size: edge of the stored camera images, pixels.
        meshes: what they show: `original`, or `simplified`, which renders in less than half the time.
        seed: seed of everything random in the episodes.
        episodes_per_shard: whole episodes in one tar.
        workers: simulator processes, 0 for this process; the shards do not depend on it.
    """

    episodes: int = 50
    teacher: dict[str, Any] = field(default_factory=lambda: {"class_path": EMBEDDED_TEACHER})
    student: str | None = None
    beta: float = 0.0
    sample_actions: bool = False
    noise: ActionNoise = field(default_factory=ActionNoise)
    execute_steps: int = CHUNK_LENGTH
    label_every: int = 0
    end_when_lost: bool = True
    stop_after_failures: int = 10
    image_size: int = 128
    meshes: str = ORIGINAL
    seed: int = 0
    episodes_per_shard: int = 10
    workers: int = 2

    def __post_init__(self) -> None:
        split = TEACHER if self.student is None else STUDENT
        if not 1 <= self.episodes <= SPLITS[split]:
            raise LitDistillError(
                f"episodes: the {split!r} split has {SPLITS[split]} initial states, got {self.episodes}"
            )
        check_run_settings(self.execute_steps, self.image_size, self.meshes, self.workers, self.seed)
        if self.episodes_per_shard < 1:
            raise LitDistillError(f"episodes_per_shard: must be at least 1, got {self.episodes_per_shard}")
        if self.stop_after_failures < 0:
            raise LitDistillError(
                f"stop_after_failures: must be 0 (never) or more, got {self.stop_after_failures}"
            )
        if self.label_every < 0 or (self.label_every and self.execute_steps % self.label_every):
            raise LitDistillError(
                f"label_every: must be 0 or a divisor of execute_steps ({self.execute_steps}), "
                f"got {self.label_every}"
            )
        check_beta(self.beta)
        self.teacher_spec()

    def teacher_spec(self) -> TeacherSpec:
        """The recipe of the teacher.

        Raises:
            LitDistillError: a key that is not `class_path` or `init_args`.
        """
        return TeacherSpec.of(self.teacher)

    def mixture(self, student: str, beta: float) -> MixtureActor:
        """The teacher with probability `beta`, else the student in a checkpoint; the teacher labels."""
        hold = self.execute_steps if self.label_every else 0
        return MixtureActor(
            self.teacher_spec(),
            StudentActor(student, sample_actions=self.sample_actions),
            beta,
            hold,
            self.noise,
        )

    def rollouts(self, task: Task) -> Rollouts:
        """The teacher's on `teacher` (or `official`) states, or the student's on `student` states.

        Raises:
            LitDistillError: settings of one for the other, or a task that no student can be trained on.
        """
        if self.student is not None:
            embedding_row(task)
            return Rollouts(STUDENT, STUDENT, self.mixture(self.student, self.beta), self)
        if self.label_every:
            raise LitDistillError(
                "label_every: is for a student's rollouts; the teacher labels every `execute_steps` steps"
            )
        if self.beta:
            raise LitDistillError("beta: is for a student's rollouts; here the teacher acts anyway")
        if self.sample_actions:
            raise LitDistillError("sample_actions: is for a student's rollouts; a teacher has no Gaussian")
        split = OFFICIAL_SPLIT if task.suite else TEACHER
        actor = TeacherActor(self.teacher_spec(), self.noise)
        return Rollouts(TEACHER, split, actor, self, files=files_sha256(task))


@dataclass(frozen=True)
class Rollouts:
    """One source of a task's data: which episodes, and everything that they depend on.

    Attributes:
        source: `teacher`, `student` or `dagger-k`.
        split: where the initial states come from.
        actor: who acts and labels.
        settings: everything else.
        first_state: the state of episode 0; those of the others follow it, in the `student` split from 0
            again after the last.
        files: see `files_sha256`.
    """

    source: str
    split: str
    actor: TeacherActor | MixtureActor
    settings: CollectSettings
    first_state: int = 0
    files: dict[str, str] = field(default_factory=dict)

    def state(self, episode: int) -> int:
        """Index of an episode's initial state."""
        index = self.first_state + episode
        return index % SPLITS[STUDENT] if self.split == STUDENT else index

    def last_state(self) -> int:
        """Highest index of an initial state of theirs."""
        return max(self.state(episode) for episode in range(self.settings.episodes))

    def job(self, task: str, episode: int, simulator: MakeSimulator) -> EpisodeJob:
        """One episode, a pure function of the rollouts and its index."""
        return EpisodeJob(
            task,
            self.split,
            self.state(episode),
            source=self.source,
            episode=episode,
            seed=self.settings.seed + self.first_state + episode,
            actor=self.actor,
            image_size=self.settings.image_size,
            meshes=self.settings.meshes,
            execute_steps=self.settings.label_every or self.settings.execute_steps,
            end_when_lost=self.settings.end_when_lost,
            simulator=simulator,
        )

    def identity(self) -> dict[str, Any]:
        """Everything that the stored bytes depend on; what is off is left out."""
        settings = self.settings
        optional = {
            "label_every": settings.label_every,
            "first_state": self.first_state,
            "files": dict(self.files),
        }
        return {
            **self.actor.identity(),
            "execute_steps": settings.execute_steps,
            "end_when_lost": settings.end_when_lost and self.actor.teacher.build().zero_is_lost,
            "seed": settings.seed,
            "split": self.split,
            "fingerprint": fingerprint(settings.image_size, settings.meshes),
            **{key: value for key, value in optional.items() if value},
        }


def collect(task: str, root: str = "data", settings: CollectSettings = CollectSettings()) -> Path:
    """Let the teacher, or a student, act in LIBERO and make the missing shards of one task in `root/task/`.

    Args:
        task: which task, see `get_task`.
        root: folder of the data sets; the task's is a subfolder.
        settings: how to collect; with `settings.student` that student's rollouts, labelled by the teacher.

    Returns:
        The task's folder, with a manifest beside the shards.

    Raises:
        LitDistillError: unknown task, a folder with data that was collected otherwise, or episodes that
            no worker could finish (what is done is kept: run it again).
    """
    return collect_rollouts(task, root, settings.rollouts(get_task(task)))


def collect_from(simulator: MakeSimulator, task: str, root: str, settings: CollectSettings) -> Path:
    """`collect` from any simulator class (picklable)."""
    return collect_rollouts(task, root, settings.rollouts(get_task(task)), simulator=simulator)


def collect_missing(
    task: str, root: str, folder: LocalFolder | RemoteFolder, settings: CollectSettings
) -> None:
    """`collect`; into a URL nothing is collected, so what is asked for must be there.

    Raises:
        LitDistillError: as `collect`; a student's rollouts would be labelled by another teacher than the
            teacher's are; behind a URL there are other episodes, says in which setting or number.
    """
    if not isinstance(folder, RemoteFolder):
        if settings.student is not None:
            _check_teacher(folder.path, settings)
        collect(task, root, settings)
        return
    rollouts = settings.rollouts(get_task(task))
    remedy = f"{HOW_TO_FILL}, or leave out how they are collected and use what is there"
    with folder.named():
        stored = Manifest.load(folder.path).sources.get(rollouts.source)
        there = 0 if stored is None else stored.counts()["episodes"]
        if stored is None or there != settings.episodes:
            raise LitDistillError(
                f"{folder.url}: holds {there} {rollouts.source} episodes, {settings.episodes} are asked for, "
                f"and a URL is only read; {remedy}"
            )
        identity = json.loads(json.dumps(rollouts.identity()))
        wanted = SourceEntry(identity, settings.episodes_per_shard)
        check_made_alike(folder.path / MANIFEST_NAME, rollouts.source, stored, wanted, remedy)


def _check_teacher(folder: Path, settings: CollectSettings) -> None:
    """Refuse to label a student's rollouts beside those of another teacher, with which they are used."""
    there = Manifest.load(folder).sources if (folder / MANIFEST_NAME).is_file() else {}
    if TEACHER in there:
        check_one_teacher(
            folder,
            {TEACHER: there[TEACHER].identity, STUDENT: settings.teacher_spec().identity()},
            "set data.init_args.collect_student.teacher to theirs",
        )


@torch_threads_kept()
def collect_rollouts(
    task: str,
    root: str,
    rollouts: Rollouts,
    *,
    simulator: MakeSimulator | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
) -> Path:
    """Make the missing shards of one source in `root/task/`; returns and raises as `collect`.

    Args:
        task: which task, see `get_task`.
        root: folder of the data sets.
        rollouts: which episodes.
        simulator: class of the simulator (picklable); None: LIBERO.
        ranks: processes that share the work; the first one writes.
    """
    refuse_to_write(root)
    known = get_task(task)
    rollouts.actor.teacher.check_meshes(rollouts.settings.meshes)
    check_task(known, rollouts.split, rollouts.last_state())
    folder = Path(root) / known.name
    opened: list[ShardWriter] = []  # held by the first process alone, with its lock
    missing = ranks.first(lambda: _open(folder, known.name, rollouts, opened))
    if not missing:
        return folder
    steps = rollouts.settings.label_every or rollouts.settings.execute_steps
    patience = patience_s(rollouts.actor, task, steps)
    jobs = [
        replace(rollouts.job(task, episode, simulator or Simulator), patience_s=patience)
        for episode in missing
    ]
    finished = run_shared(jobs, rollouts.settings.workers, ranks, lambda: _hopeless(rollouts, opened[0]))
    outcomes: Counter[str] = Counter()
    with tqdm(
        total=rollouts.settings.episodes,
        initial=rollouts.settings.episodes - len(missing),
        desc=f"{known.name}: {rollouts.source} rollouts",
        unit="episode",
        dynamic_ncols=True,
        disable=not ranks.is_first,
    ) as progress:
        for job, result in finished:
            if isinstance(result, EpisodeError):
                outcomes["error"] += 1
                continue
            if not result.transitions:
                raise LitDistillError(
                    f"{job.name}: chunk 0 commands an action that is not finite, so nothing can be stored "
                    f"of this {rollouts.source} episode; whoever acts is spoilt: train the student again"
                )
            opened[0].add(job.episode, result.transitions)
            add_cost(folder, rollouts.source, result.cost)
            outcomes.update({result.outcome: 1, "clipped": result.clipped})
            progress.set_postfix_str(rate(outcomes))
            progress.update()
    ranks.first(lambda: _finish(folder, rollouts, opened[0], outcomes))
    return folder


def _open(folder: Path, task: str, rollouts: Rollouts, opened: list[ShardWriter]) -> list[int]:
    """Open the writer, into `opened`; which episodes are missing."""
    episodes, source = rollouts.settings.episodes, rollouts.source
    writer = ShardWriter(folder, task, source, rollouts.identity(), rollouts.settings.episodes_per_shard)
    if (there := len(writer.stored)) > episodes:
        raise LitDistillError(
            f"{folder}: holds {there} {source} episodes, but {episodes} are asked for; "
            f"ask for {there}, or choose another --root"
        )
    missing = writer.missing(episodes)
    if missing and (reason := _hopeless(rollouts, writer)):
        raise LitDistillError(reason)
    if not missing:
        writer.finish(episodes)  # a kill may have come between the last episode and this
        print(f"{folder}: {episodes} {source} episodes, all there: reused", flush=True)
    opened.append(writer)
    return missing


def _hopeless(rollouts: Rollouts, writer: ShardWriter) -> str | None:
    """Why there is no use in going on: a teacher that never succeeds; None if there may be."""
    if rollouts.source != TEACHER:
        return None
    return never_succeeds(writer.folder, writer.outcomes, rollouts.settings.stop_after_failures)


def _finish(folder: Path, rollouts: Rollouts, writer: ShardWriter, outcomes: Counter[str]) -> None:
    """Close the last shard and say what was collected."""
    if outcomes["error"]:
        left = ", ".join(map(str, writer.missing(rollouts.settings.episodes)))
        raise LitDistillError(
            f"{folder}: {outcomes['error']} episodes could not be finished (see the log above): {left}; "
            "the others are kept: run the same command again"
        )
    writer.finish(rollouts.settings.episodes)
    counts = Counter(Manifest.load(folder).sources[rollouts.source].counts())
    print(closing_line(folder, rollouts.source, counts, outcomes["clipped"]), flush=True)
