"""The data set 𝒟 of imitation: chunk transitions of one task, read from its shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning import LightningDataModule

from datamodules.datasets import ChunkLoader, ResidentChunks, StreamedChunks, worker_context
from datamodules.order import Batching, BatchOrder, SampleOrder
from datamodules.selection import Selection, check_sources, split
from lit_distill.errors import LitDistillError
from lit_distill.manifest import Manifest
from lit_distill.remote_shards import data_folder
from lit_distill.samples import decode_array, raw_samples
from lit_distill.schema import OBSERVATION_SPECS
from lit_distill.tasks import embedding_row, get_task

if TYPE_CHECKING:
    from lit_distill.collection import CollectSettings


def _check(name: str, value: float, allowed: bool, range_text: str) -> None:
    if not allowed:
        raise LitDistillError(f"{name}: must be {range_text}, got {value}")


class ChunkDataModule(LightningDataModule):
    """Batches of chunk transitions (`lit_distill.schema.ChunkBatch`) of one task.

    The order of an epoch depends on `seed`, the epoch and the data, not on the numbers of workers or
    processes, nor on whether the data are streamed or in RAM. Each shard's sha256 is checked once.

    Args:
        task: name in the task table, for instance custom_libero_object_ketchup.
        root: folder that holds a folder of shards per task, or its URL, from which they are fetched.
        sources: which data: teacher, student, dagger-1, ...; dagger: all of its rounds.
        batch_size: samples per training step, over all processes together.
        num_workers: processes that read and decode; not used for data that are kept in RAM.
        held_out: share of the episodes that is kept for validation: one of each round(1 / held_out).
        successes_only: leave out the episodes that did not succeed (§3.2), but of relabelled ones (dagger-k,
            student) none: what the teacher says about a state holds whatever became of the episode (§3.3).
        ram_limit_mb: data up to this size (MB, per process) are decoded once and kept in RAM; larger
            ones are streamed from the shards in every epoch; 0 always streams.
        shuffle_buffer: samples among which the next one is drawn; larger shuffles better, and needs up
            to this many samples of memory when streaming.
        seed: of the shuffling.
        collect: how missing teacher episodes are collected before training; null: they must be there.

    Raises:
        LitDistillError: a value that cannot be right, missing or damaged data, or too few episodes.
    """

    def __init__(
        self,
        task: str,
        root: str = "data",
        sources: list[str] = ["teacher"],  # noqa: B006 (never changed; a list is what YAML gives)
        batch_size: int = 64,
        num_workers: int = 0,
        held_out: float = 0.1,
        successes_only: bool = True,
        ram_limit_mb: int = 2048,
        shuffle_buffer: int = 2000,
        seed: int = 0,
        collect: CollectSettings | None = None,
    ) -> None:
        super().__init__()
        _check("batch_size", batch_size, batch_size >= 1, "at least 1")
        _check("num_workers", num_workers, num_workers >= 0, "at least 0")
        _check("held_out", held_out, 0.0 < held_out <= 0.5, "above 0 and at most 0.5")
        _check("ram_limit_mb", ram_limit_mb, ram_limit_mb >= 0, "at least 0")
        _check("shuffle_buffer", shuffle_buffer, shuffle_buffer >= 1, "at least 1")
        _check("seed", seed, seed >= 0, "at least 0")
        if not sources or len(set(sources)) < len(sources):
            raise LitDistillError(f"sources: name at least one, each once, got {sources}")
        check_sources("sources", sources)
        self.task = get_task(task).name
        self._task_index = embedding_row(get_task(task))
        self.root, self._place = root, data_folder(root, self.task)
        self.prepare_data_per_node = self._place.remote  # nodes share a folder, each fetches from a URL
        self._sources = list(sources)
        self._first_epoch = 0
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._held_out = held_out
        self._successes_only = successes_only
        self._ram_limit_mb = ram_limit_mb
        self._shuffle_buffer = shuffle_buffer
        self._seed = seed
        self._collect = collect
        self._splits: tuple[Selection, Selection] | None = None
        self._resident: tuple[ResidentChunks, ResidentChunks] | None = None
        self._statistics: dict[str, np.ndarray] | None = None

    @property
    def sources(self) -> list[str]:
        """Which data it gives."""
        return list(self._sources)

    def use_sources(self, sources: list[str], first_epoch: int) -> None:
        """Give other data from the next `..._dataloader()` on, in the orders of a run that begins there.

        Args:
            sources: which data.
            first_epoch: number of the epoch that gets the order of epoch 0.
        """
        self._sources, self._first_epoch = list(sources), first_epoch
        self._splits = self._resident = self._statistics = None

    @property
    def folder(self) -> Path:
        """The task's folder of shards; of a remote one its copy."""
        return self._place.path

    def prepare_data(self) -> None:
        """Collect what is missing, if settings for that were given; otherwise it must be there."""
        if self._collect is not None:
            from lit_distill.collection import collect_missing

            collect_missing(self.task, self.root, self._place, self._collect)
        self._place.fetch(self._sources)
        Manifest.load(self.folder)

    def setup(self, stage: str | None = None) -> None:
        """Choose the samples, check their shards' hashes, and decode them if they fit in RAM."""
        if self._splits is None:
            with self._place.ready(self._sources):
                self._read()

    def _read(self) -> None:
        training, validation = split(self.folder, self._sources, self._held_out, self._successes_only)
        shards = {shard.entry.name: shard.entry for side in (training, validation) for shard in side.shards}
        for entry in shards.values():
            entry.check_file(self.folder)
        if training.bytes + validation.bytes <= self._ram_limit_mb * 1_000_000:
            index = self._task_index
            self._resident = (ResidentChunks(training, index), ResidentChunks(validation, index))
        self._splits = (training, validation)

    def train_dataloader(self) -> ChunkLoader:
        """Training episodes, in another order each epoch."""
        return self._loader(0, SampleOrder.of(self._ready()[0], self._seed, self._shuffle_buffer))

    def val_dataloader(self) -> ChunkLoader:
        """Held-out episodes, every sample once, always in the same order."""
        return self._loader(1, SampleOrder.of(self._ready()[1]))

    def test_dataloader(self) -> ChunkLoader:
        """The held-out episodes, as in validation."""
        return self.val_dataloader()

    def statistics(self) -> dict[str, np.ndarray]:
        """`proprio_mean` and `proprio_std`, float32 [7], over the training samples.

        A dimension that never changes has standard deviation 0: who divides by it takes care.
        """
        if self._statistics is None:
            proprio = self._training_proprio().astype(np.float64)
            self._statistics = {
                "proprio_mean": proprio.mean(axis=0).astype(np.float32),
                "proprio_std": proprio.std(axis=0).astype(np.float32),
            }
        return self._statistics

    def describe(self) -> dict[str, Any]:
        """Episodes and samples of both sides, whether they are in RAM, what they show: for the log."""
        training, validation = self._ready()
        return {
            "train_episodes": training.episodes,
            "train_samples": training.samples,
            "val_episodes": validation.episodes,
            "val_samples": validation.samples,
            "in_ram": int(self._resident is not None),
            "meshes": Manifest.load(self.folder).sources[self._sources[0]].meshes,
        }

    def _ready(self) -> tuple[Selection, Selection]:
        self.setup()
        assert self._splits is not None
        return self._splits

    def _loader(self, side: int, order: SampleOrder) -> ChunkLoader:
        selection = self._ready()[side]
        batching = Batching(
            selection.samples,
            self._batch_size,
            keep_all=side == 1,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )
        dataset: ResidentChunks | StreamedChunks
        if self._resident is not None:
            dataset, workers = self._resident[side].cut(order, batching), 0
        else:
            dataset = StreamedChunks(selection, order, batching, self._task_index)
            workers = self._num_workers
        return ChunkLoader(
            dataset,
            batch_size=None,
            sampler=BatchOrder(dataset, batching, fixed=side == 1, first_epoch=self._first_epoch),
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=worker_context() if workers else None,
        )

    def _training_proprio(self) -> np.ndarray:
        training = self._ready()[0]
        if self._resident is not None:
            return self._resident[0].proprio
        rows = []
        for shard in training.shards:
            names = {f"{key}.proprio.npy" for key in shard.keys}
            for sample in raw_samples(shard.path, names.__contains__):
                array = decode_array(sample["proprio.npy"])
                OBSERVATION_SPECS["proprio"].check(f"{shard.path}: {sample['__key__']}: proprio", array)
                rows.append(array)
        return np.stack(rows)
