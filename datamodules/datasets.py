"""Two data sets that give the same batches: streamed from the shards, or resident in RAM."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from datamodules.order import Batching, BatchOrder, SampleOrder
from datamodules.selection import Selection
from lit_distill.errors import LitDistillError
from lit_distill.manifest import MANIFEST_NAME, remedy
from lit_distill.samples import decode_in_shard, raw_samples
from lit_distill.schema import ChunkBatch, ChunkTransition

_OBSERVATION_KEYS = ("agentview", "wrist", "proprio")
_CHUNK_KEYS = ("actions", "mask", "teacher_actions")
BATCH_KEYS = (*_OBSERVATION_KEYS, *_CHUNK_KEYS)


def batch_arrays(transition: ChunkTransition) -> dict[str, np.ndarray]:
    """The arrays of a transition that a batch holds; `mask` is that of eq. (1), see ChunkBatch.

    Raises:
        LitDistillError: it has no label.
    """
    if transition.teacher_actions is None:
        raise LitDistillError(f"{transition.key}: has no teacher_actions, so nothing to imitate")
    observation = {key: getattr(transition.observation, key) for key in _OBSERVATION_KEYS}
    chunk = {key: getattr(transition, key) for key in _CHUNK_KEYS}
    if not transition.terminal:  # fewer rows were executed because the actor looked again, not as padding
        chunk["mask"] = np.ones_like(transition.mask)
    return {**observation, **chunk}


def arriving_samples(
    selection: Selection, shards: Sequence[int] | np.ndarray, wanted: set[int] | None = None
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(shard, sample number, undecoded sample) of the wanted samples, shard after shard.

    Raises:
        LitDistillError: a shard is damaged, or lacks a sample that the manifest names.
    """
    ends = np.cumsum([len(shard.keys) for shard in selection.shards])
    for index in shards:
        shard = selection.shards[index]
        first = int(ends[index]) - len(shard.keys)
        numbers = {key: first + place for place, key in enumerate(shard.keys)}
        if wanted is not None:
            numbers = {key: number for key, number in numbers.items() if number in wanted}
        if not numbers:
            continue
        # the loop variable is bound now: the stream is consumed within this turn
        for sample in raw_samples(shard.path, lambda name, keys=numbers: name.split(".", 1)[0] in keys):  # type: ignore[misc]
            yield int(index), numbers.pop(sample["__key__"]), sample
        if numbers:
            raise LitDistillError(
                f"{shard.path}: lacks {next(iter(numbers))}, which {MANIFEST_NAME} names; "
                f"{remedy(shard.path)}"
            )


class ChunkLoader(DataLoader[ChunkBatch | LitDistillError]):
    """A DataLoader over `BatchOrder` that can be stopped and resumed within an epoch.

    Lightning keeps its state in every checkpoint. Its workers' LitDistillErrors stay one line, without
    torch's traceback around them.
    """

    _given = 0
    _first = 0

    def state_dict(self) -> dict[str, int]:
        """How many batches of the epoch were handed out."""
        return {"batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration begins after that many batches, at 0 if those were all; later ones at 0."""
        self._first = state["batches"] % len(self)

    def __iter__(self) -> Iterator[ChunkBatch]:  # type: ignore[override]
        first, self._first = self._first, 0  # now, not when the first batch is asked for
        self._given = first
        return self._from(first)

    def _from(self, first: int) -> Iterator[ChunkBatch]:
        assert isinstance(self.sampler, BatchOrder)
        self.sampler.first_batch = first
        for batch in super().__iter__():
            if isinstance(batch, LitDistillError):
                raise batch
            self._given += 1
            yield batch


class StreamedChunks(Dataset[ChunkBatch | LitDistillError]):
    """Batches decoded as they are read; item (epoch, t) is this rank's part of global batch t.

    Each DataLoader worker produces whole batches, every W-th one, so that batches and their order do
    not depend on W. It holds undecoded what it will need and skips what others need. Items are quick
    when they are asked for in their order, and right in any.
    """

    def __init__(self, selection: Selection, order: SampleOrder, batching: Batching, task_index: int) -> None:
        self._selection = selection
        self._order = order
        self._batching = batching
        self._task_index = task_index
        self._next: tuple[int, int] | None = None
        self._batches: Iterator[ChunkBatch] = iter(())

    def __len__(self) -> int:
        return len(self._batching)

    def __getitem__(self, item: tuple[int, int]) -> ChunkBatch | LitDistillError:
        """The batch, or the error that it ran into: ChunkLoader raises it in the main process."""
        epoch, batch = item
        worker = get_worker_info()
        stride = 1 if worker is None else worker.num_workers
        if item != self._next:
            self._batches = self._read(epoch, range(batch, len(self), stride))
        self._next = (epoch, batch + stride)
        try:
            return next(self._batches)
        except LitDistillError as error:
            return error

    def _read(self, epoch: int, batches: range) -> Iterator[ChunkBatch]:
        order = self._order.samples(epoch)
        parts = [order[self._batching.part(batch)].tolist() for batch in batches]
        wanted = {number for part in parts for number in part}
        arriving = arriving_samples(self._selection, self._order.shards(epoch), wanted)
        held: dict[int, tuple[int, dict[str, Any]]] = {}
        for part in parts:
            for number in part:
                while number not in held:
                    shard, arrived, sample = next(arriving)
                    held[arrived] = (shard, sample)
            yield self._decode([held.pop(number) for number in part])

    def _decode(self, samples: list[tuple[int, dict[str, Any]]]) -> ChunkBatch:
        decoded = [
            batch_arrays(decode_in_shard(self._selection.shards[shard].path, sample))
            for shard, sample in samples
        ]
        stacked: dict[str, torch.Tensor] = {}
        for key in BATCH_KEYS:
            shapes = {arrays[key].shape for arrays in decoded}
            if len(shapes) > 1:
                raise LitDistillError(_two_sizes(self._selection, key, shapes))
            stacked[key] = torch.from_numpy(np.stack([arrays[key] for arrays in decoded]))
        return _typed(stacked, self._task_index)


def worker_context() -> multiprocessing.context.BaseContext:
    """How processes that read and decode are started: not by forking this one.

    It has threads (torch's, the renderer's, a server's), of which a fork takes over the locks and nothing
    else, so that such a process may hang.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # what takes seconds to import is imported once
    return context


class ResidentChunks(Dataset[ChunkBatch | LitDistillError]):
    """The same batches from arrays that were decoded once."""

    def __init__(self, selection: Selection, task_index: int) -> None:
        self._task_index = task_index
        self._arrays = _load(selection)
        self._order: SampleOrder
        self._batching: Batching
        self._epoch = -1
        self._places = torch.empty(0, dtype=torch.int64)

    @property
    def proprio(self) -> np.ndarray:
        """float32 [N, 7], in the order of the selection."""
        return self._arrays["proprio"].numpy()

    def cut(self, order: SampleOrder, batching: Batching) -> ResidentChunks:
        """Choose order and batching; returns itself."""
        self._order, self._batching, self._epoch = order, batching, -1
        return self

    def __len__(self) -> int:
        return len(self._batching)

    def __getitem__(self, item: tuple[int, int]) -> ChunkBatch:
        epoch, batch = item
        if epoch != self._epoch:
            self._epoch, self._places = epoch, torch.from_numpy(self._order.samples(epoch))
        places = self._places[self._batching.part(batch)]
        return _typed({key: array[places] for key, array in self._arrays.items()}, self._task_index)


def _load(selection: Selection) -> dict[str, torch.Tensor]:
    arrays: dict[str, np.ndarray] = {}
    for shard, number, sample in arriving_samples(selection, range(len(selection.shards))):
        decoded = batch_arrays(decode_in_shard(selection.shards[shard].path, sample))
        for key, array in decoded.items():
            if key not in arrays:
                arrays[key] = np.empty((selection.samples, *array.shape), array.dtype)
            if arrays[key].shape[1:] != array.shape:
                raise LitDistillError(_two_sizes(selection, key, {arrays[key].shape[1:], array.shape}))
            arrays[key][number] = array
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


def _two_sizes(selection: Selection, key: str, shapes: set[tuple[int, ...]]) -> str:
    first, second, *_ = sorted(shapes)
    folder = selection.shards[0].path.parent
    return f"{folder}: {key} comes in two shapes, {list(first)} and {list(second)}; collect again in one size"


def _typed(arrays: dict[str, torch.Tensor], task_index: int) -> ChunkBatch:
    return ChunkBatch(
        agentview=arrays["agentview"],
        wrist=arrays["wrist"],
        proprio=arrays["proprio"],
        task_index=torch.full((len(arrays["proprio"]),), task_index, dtype=torch.int64),
        actions=arrays["actions"],
        mask=arrays["mask"],
        teacher_actions=arrays["teacher_actions"],
    )
