"""The data set 𝒟 of AWAC, eq. (2): chunk transitions of the teacher's and of the students' rollouts.

Minibatches are drawn with replacement, half of each from the teacher's rollouts and half from the students',
whatever their numbers (§3.4). A chunk counts with the action that was executed: where collection perturbed
the teacher's chunk, that is the perturbed one, whose consequences the stored rewards and next state are. From
every look one transition over up to `execute_steps` executed steps is made, see `datamodules.multistep`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.datasets import ChunkLoader
from datamodules.imitation import Imitated, to_imitate
from datamodules.multistep import multistep
from datamodules.order import Batching, BatchOrder
from datamodules.selection import (
    ALL_ROUNDS,
    Selection,
    all_rounds,
    check_sources,
    missing_source,
    split,
)
from lit_distill.errors import LitDistillError
from lit_distill.manifest import MANIFEST_NAME, Manifest
from lit_distill.remote_shards import data_folder
from lit_distill.samples import read_shard
from lit_distill.schema import CHUNK_LENGTH, STUDENT, TEACHER, ChunkBatch, ChunkTransition, ReplayBatch
from lit_distill.tasks import embedding_row, get_task

if TYPE_CHECKING:
    from lit_distill.collection import CollectSettings

Draw = Literal["transition", "episode"]
"""What is drawn alike."""
ENCODE_BATCH = 64
"""Observations per batch where every one is computed once."""


class Side(NamedTuple):
    """The transitions that one half of each batch is drawn from.

    Attributes:
        numbers: int64 [n].
        shares: float64 [n], with which probability each is drawn; they add up to 1.
    """

    numbers: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, episodes: Sequence[range], draw: Draw) -> Side:
        """All transitions of these episodes, each alike, or each episode alike."""
        numbers = np.array([number for episode in episodes for number in episode], np.int64)
        lengths = np.array([len(episode) for episode in episodes], np.int64)
        weights = np.repeat(1.0 / lengths if draw == "episode" else np.ones(len(lengths)), lengths)
        return cls(numbers, weights / weights.sum())

    def drawn(self, count: int, random: np.random.Generator) -> np.ndarray:
        """So many of them, int64 [count], with replacement."""
        places = np.searchsorted(np.cumsum(self.shares), random.random(count), side="right")
        return self.numbers[np.minimum(places, len(self.numbers) - 1)]  # a sum may end just below 1


def balanced_indices(teacher: Side, student: Side, batch_size: int, seed: int, step: int) -> np.ndarray:
    """The samples of global batch `step`: a pure function of its arguments.

    Args:
        teacher, student: either side.
        batch_size: B, even.

    Returns:
        int64 [B], drawn with replacement, the two sides taking turns.
    """
    random = np.random.default_rng([seed, step])
    sides = [side.drawn(batch_size // 2, random) for side in (teacher, student)]
    return np.stack(sides, axis=1).ravel()


def commanded_rows(held: int, label_every: int) -> int:
    """Rows of a chunk from the last label within it on: what is stored there beyond them is padding.

    Args:
        held: actions that are executed of it.
        label_every: control steps between two labels, 0: one label a chunk.
    """
    return CHUNK_LENGTH - (held - (label_every or held))


class ReplayDataModule(LightningDataModule):
    """Balanced batches of chunk transitions (`lit_distill.schema.ReplayBatch`) of one task, kept in RAM.

    Args:
        task: name in the task table.
        root: folder that holds a folder of shards per task, or its URL, from which they are fetched.
        students: which rollouts are the students': student, dagger-1, ...; dagger: all of its rounds.
        batch_size: transitions per training step, over all processes together; even for each of them.
        draw: either side's half of a batch: `transition`, every transition alike, or `episode`, every episode
            alike and of it every transition: a rollout that is stuck until the horizon has many.
        steps_per_epoch: batches that make an epoch: data drawn with replacement have no end.
        execute_steps: most control steps of one transition: the actions executed of each chunk (paper: 16).
        held_out: share of the episodes of each source that is kept for validation.
        seed: of the drawing.
        imitate: what a control beside AWAC imitates, see `datamodules.imitation`: ChunkBatches; null: AWAC.
        collect_teacher: how missing teacher episodes are collected before training; null: they must be there.
        collect_student: the same of the source `student`; names the checkpoint of the student that acts.

    Raises:
        LitDistillError: a value that cannot be right, missing or damaged data.
    """

    def __init__(
        self,
        task: str,
        root: str = "data",
        students: list[str] = ["student"],  # noqa: B006 (never changed; a list is what YAML gives)
        batch_size: int = 64,
        draw: Draw = "transition",
        steps_per_epoch: int = 100,
        execute_steps: int = CHUNK_LENGTH,
        held_out: float = 0.1,
        seed: int = 0,
        imitate: Imitated | None = None,
        collect_teacher: CollectSettings | None = None,
        collect_student: CollectSettings | None = None,
    ) -> None:
        super().__init__()
        for name, allowed, range_text, value in (
            ("batch_size", batch_size >= 2 and batch_size % 2 == 0, "even, at least 2", batch_size),
            ("draw", draw in get_args(Draw), " or ".join(get_args(Draw)), draw),
            ("steps_per_epoch", steps_per_epoch >= 1, "at least 1", steps_per_epoch),
            ("execute_steps", 1 <= execute_steps <= CHUNK_LENGTH, f"in 1..{CHUNK_LENGTH}", execute_steps),
            ("held_out", 0.0 < held_out <= 0.5, "above 0 and at most 0.5", held_out),
            ("seed", seed >= 0, "at least 0", seed),
            ("imitate", imitate in (None, *get_args(Imitated)), "null, executed, all or teacher", imitate),
        ):
            if not allowed:
                raise LitDistillError(f"{name}: must be {range_text}, got {value}")
        if not students or TEACHER in students or len(set(students)) < len(students):
            raise LitDistillError(f"students: name at least one source but {TEACHER}, got {students}")
        check_sources("students", students)
        if collect_student is not None and collect_student.student is None:
            raise LitDistillError("collect_student.student: name the checkpoint of the student that acts")
        if collect_student is not None and STUDENT in students:
            held, labelled = collect_student.execute_steps, collect_student.label_every
            if execute_steps > commanded_rows(held, labelled):
                raise LitDistillError(
                    f"collect_student.label_every: every {labelled} of {held} executed actions only "
                    f"{commanded_rows(held, labelled)} rows follow the last label, and the critics "
                    f"see execute_steps {execute_steps}; label every {held}, or execute fewer"
                )
        if collect_teacher is not None and collect_teacher.student is not None:
            raise LitDistillError("collect_teacher.student: must be left out, the teacher acts")
        self._collect = [settings for settings in (collect_teacher, collect_student) if settings is not None]
        self._collected = [STUDENT if settings.student else TEACHER for settings in self._collect]
        self.task = get_task(task).name
        self._task_index = embedding_row(get_task(task))
        self.root, self._place = root, data_folder(root, self.task)
        self.prepare_data_per_node = self._place.remote  # nodes share a folder, each fetches from a URL
        self._students = list(students)
        self._batch_size, self._steps = batch_size, steps_per_epoch
        self.execute_steps, self._held_out, self._seed = execute_steps, held_out, seed
        self._arrays: dict[str, Tensor] = {}
        self._draw: Draw = draw
        self._imitate: Imitated | None = imitate
        self._sides: dict[str, Side] = {}
        self._validation: dict[str, np.ndarray] = {}
        self._ends: list[int] = []

    @property
    def sources(self) -> list[str]:
        """Which data it gives."""
        return [TEACHER, *self._students]

    @property
    def folder(self) -> Path:
        """The task's folder of shards; of a remote one its copy."""
        return self._place.path

    def check_ingredients(self) -> None:
        """Before anything is collected: are the rollouts there that `prepare_data` does not collect?

        Raises:
            LitDistillError: they are not; names the command that makes them.
        """
        with self._place.named():
            there = Manifest.load(self.folder).sources if (self.folder / MANIFEST_NAME).is_file() else {}
            for source in (TEACHER, *self._students):
                if source in self._collected:
                    continue
                if source == ALL_ROUNDS and there:
                    all_rounds(self.folder, [source])
                elif source not in there:
                    raise missing_source(self.folder, source)

    def prepare_data(self) -> None:
        """Collect what is missing, where settings for that were given; otherwise it must be there."""
        if self._collect:
            from lit_distill.collection import collect_missing

            for settings, source in zip(self._collect, self._collected, strict=True):
                if source in (TEACHER, *self._students):
                    collect_missing(self.task, self.root, self._place, settings)
        self._place.fetch([TEACHER, *self._students])
        Manifest.load(self.folder)

    def setup(self, stage: str | None = None) -> None:
        """Check the shards' hashes and decode every transition once.

        Raises:
            LitDistillError: missing or damaged data, or `imitate` does not suit the learner.
        """
        learner = getattr(self.trainer, "lightning_module", None)
        if learner is not None and hasattr(learner, "critic") == (self._imitate is not None):
            raise LitDistillError(
                f"imitate: null is for AWAC, executed, all or teacher for BehaviorCloning; "
                f"{type(learner).__name__} got {self._imitate}"
            )
        if not self._arrays:
            with self._place.ready([TEACHER, *self._students]):
                self._read()

    def _read(self) -> None:
        self._check_commanded()
        parts: list[dict[str, np.ndarray]] = []
        members: dict[str, list[list[range]]] = {TEACHER: [[], []], STUDENT: [[], []]}
        selections = split(self.folder, [TEACHER, *self._students], self._held_out, False)
        for held_out, selection in enumerate(selections):
            for episode in _episodes(self.folder, selection):
                first, side = len(parts), TEACHER if episode[0].source == TEACHER else STUDENT
                self._check_length(episode)
                parts += multistep(episode, first, self.execute_steps)
                members[side][held_out].append(range(first, len(parts)))
                self._ends.append(len(parts))
        for side, (training, _) in members.items():
            if not training:
                raise LitDistillError(
                    f"{self.folder}: no {side} episode to train on (held_out {self._held_out}); collect more"
                )
        self._arrays = {key: torch.from_numpy(np.stack([part[key] for part in parts])) for key in parts[0]}
        self._sides = {side: Side.of(both[0], self._draw) for side, both in members.items()}
        self._validation = {side: Side.of(both[1], "transition").numbers for side, both in members.items()}
        if self._imitate is None:
            self._say_what_is_unshaped()
        elif self._imitate == "teacher" and not self._arrays["labelled"].all():
            raise LitDistillError(
                f"{self.folder}: some rollouts have no labels of the teacher; "
                "imitate: executed or all needs none"
            )

    def _check_commanded(self) -> None:
        """Where a student's chunk goes on between two labels, the rows beyond its end are padding.

        They would tell the critics that the episode ends: no chunk goes on so far unless it did.
        """
        sources = Manifest.load(self.folder).sources
        for source in all_rounds(self.folder, [TEACHER, *self._students]):
            if source not in sources:
                raise missing_source(self.folder, source)
            identity = sources[source].identity
            held = int(identity.get("execute_steps", CHUNK_LENGTH))
            labelled = int(identity.get("label_every", 0))
            commanded = commanded_rows(held, labelled)
            if self.execute_steps > commanded:
                raise LitDistillError(
                    f"execute_steps: {source} episodes in {self.folder} execute {held} actions of a chunk "
                    f"and are labelled every {labelled}, so only {commanded} rows follow the last label; set "
                    f"it to {commanded} at most, or collect them anew with label_every {held}"
                )

    def _check_length(self, episode: Sequence[ChunkTransition]) -> None:
        """The critics see `execute_steps` rows of a chunk; what was executed must not be more."""
        longest = max(transition.executed for transition in episode)
        if longest > self.execute_steps:
            raise LitDistillError(
                f"execute_steps: is {self.execute_steps}, but {episode[0].source} episodes in {self.folder} "
                f"executed {longest} actions of a chunk; set it to {longest}, or collect them anew with fewer"
            )

    def _say_what_is_unshaped(self) -> None:
        """A chunk's reward needs V* at both of its ends; a teacher need not give any."""
        missing = int((self._arrays["value"] + self._arrays["next_value"]).isnan().sum())
        total = len(self._arrays["value"])
        if missing == total:
            rank_zero_warn(
                f"{self.folder}: the teacher gave no values: AWAC runs unshaped, lambda_tpr has no effect"
            )
        elif missing:
            rank_zero_warn(f"{self.folder}: {missing} of {total} chunks have no value: they stay unshaped")

    def observations(self) -> Iterator[tuple[Tensor, ...]]:
        """Every observation once, in the order of its number: (agentview, wrist, proprio, task_index)."""
        keys = ("agentview", "wrist", "proprio")
        for batch in zip(*(self._arrays[key].split(ENCODE_BATCH) for key in keys), strict=True):
            yield (*batch, self._task_indices(len(batch[0])))

    def train_dataloader(self) -> DataLoader:
        """Balanced batches, `steps_per_epoch` of them."""
        world_size = self.trainer.world_size if self.trainer else 1
        if self._batch_size % (2 * world_size):
            raise LitDistillError(
                f"batch_size: {self._batch_size} must be divisible by twice the {world_size} processes"
            )
        batching = self._batching(self._steps * self._batch_size)
        dataset = _BalancedBatches(self, batching)
        return ChunkLoader(dataset, batch_size=None, sampler=BatchOrder(dataset, batching))

    def val_dataloader(self) -> DataLoader:
        """Every held-out transition once."""
        held_out = np.concatenate(list(self._validation.values()))
        batching = self._batching(len(held_out), keep_all=True)
        dataset = _EveryBatch(self, held_out, batching)
        return DataLoader(dataset, batch_size=None, sampler=BatchOrder(dataset, batching, fixed=True))

    def test_dataloader(self) -> DataLoader:
        """The held-out transitions, as in validation."""
        return self.val_dataloader()

    def held_out_potentials(self, key: str = "value") -> list[tuple[bool, np.ndarray]]:
        """Of every held-out episode: whether it succeeded, and V* at its looks, float32 [n] (NaN: none).

        Args:
            key: `value`, or `steps_to_success` for the control steps that V* may be made of.
        """
        held_out = {int(number) for numbers in self._validation.values() for number in numbers}
        success, value = (self._arrays[each].numpy() for each in ("success", key))
        return [
            (bool(success[first]), value[first:end])
            for first, end in zip([0, *self._ends], self._ends, strict=False)
            if first in held_out
        ]

    def describe(self) -> dict[str, Any]:
        """What is drawn and how, what it shows, and the transitions of both sides: for results files."""
        return {
            "students": list(self._students),
            "draw": self._draw,
            "execute_steps": self.execute_steps,
            "imitate": self._imitate,
            "meshes": Manifest.load(self.folder).sources[TEACHER].meshes,
            **self.counts(),
        }

    def counts(self) -> dict[str, int]:
        """Transitions of both sides, in training and held out."""
        return {
            f"{part}_{side}_transitions": len(numbers)
            for side, training in self._sides.items()
            for part, numbers in (("train", training.numbers), ("val", self._validation[side]))
        }

    def numbers(self, side: str) -> np.ndarray:
        """Which transitions are of a side (`teacher`, `student`), in training and held out, int64 [n]."""
        return np.concatenate([self._sides[side].numbers, self._validation[side]])

    def draw(self, step: int) -> np.ndarray:
        """The transitions of global batch `step`, int64 [B]."""
        return balanced_indices(
            self._sides[TEACHER], self._sides[STUDENT], self._batch_size, self._seed, step
        )

    def batch(self, numbers: np.ndarray) -> ReplayBatch | ChunkBatch:
        """The batch of these transitions, as the learner takes it."""
        batch = self.gather(numbers)
        return batch if self._imitate is None else to_imitate(batch, self._imitate)

    def gather(self, numbers: np.ndarray) -> ReplayBatch:
        """The batch of these transitions."""
        places = torch.from_numpy(numbers)
        arrays = {key: array[places] for key, array in self._arrays.items()}
        return ReplayBatch(**arrays, task_index=self._task_indices(len(places)))  # type: ignore[typeddict-item]

    def _task_indices(self, count: int) -> Tensor:
        return torch.full((count,), self._task_index, dtype=torch.int64)

    def _batching(self, samples: int, keep_all: bool = False) -> Batching:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return Batching(samples, self._batch_size, keep_all, rank, world_size)


def _episodes(folder: Path, selection: Selection) -> Iterator[list[ChunkTransition]]:
    """The selected episodes, whole."""
    samples = 0
    for shard in selection.shards:
        shard.entry.check_file(folder)
        wanted = set(shard.keys)
        chosen = (transition for transition in read_shard(shard.path) if transition.key in wanted)
        for _, episode in itertools.groupby(chosen, key=lambda transition: transition.episode_key):
            transitions = list(episode)
            samples += len(transitions)
            yield transitions
    if samples != selection.samples:
        raise LitDistillError(f"{folder}: holds other transitions than {MANIFEST_NAME} says; verify it")


class _BalancedBatches(Dataset[ReplayBatch | ChunkBatch]):
    """Item (epoch, batch) is this rank's part of a drawn global batch."""

    def __init__(self, data: ReplayDataModule, batching: Batching) -> None:
        self._data, self._batching = data, batching

    def __len__(self) -> int:
        return len(self._batching)

    def __getitem__(self, item: tuple[int, int]) -> ReplayBatch | ChunkBatch:
        epoch, batch = item
        numbers = self._data.draw(epoch * len(self) + batch)
        part = self._batching.part(0)
        return self._data.batch(numbers[part])


class _EveryBatch(Dataset[ReplayBatch | ChunkBatch]):
    """Item (epoch, batch) is this rank's part of the given transitions, in their order."""

    def __init__(self, data: ReplayDataModule, numbers: np.ndarray, batching: Batching) -> None:
        self._data, self._numbers, self._batching = data, numbers, batching

    def __len__(self) -> int:
        return len(self._batching)

    def __getitem__(self, item: tuple[int, int]) -> ReplayBatch | ChunkBatch:
        return self._data.batch(self._numbers[self._batching.part(item[1])])
