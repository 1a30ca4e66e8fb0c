"""The one order of samples, the same for any number of workers and ranks.

The order of an epoch is a pure function of (seed, epoch) and the manifest: the shards in a permuted
order, each read from front to back, through a shuffle buffer. Global batch t holds the samples
order[t·B : (t+1)·B]; a rank takes its part of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset, DistributedSampler

from datamodules.selection import Selection
from lit_distill.errors import LitDistillError


@dataclass(frozen=True)
class Batching:
    """How an order of samples is cut into batches for one of several ranks.

    Attributes:
        samples: N, length of the order.
        batch_size: B, size of a global batch.
        keep_all: validation keeps every sample, so ranks may differ by one per batch; training gives
            every rank equally many and drops at most world_size - 1 samples of the last batch.
        rank, world_size: which part is ours, of how many.
    """

    samples: int
    batch_size: int
    keep_all: bool = False
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise LitDistillError(
                f"batch_size: {self.batch_size} is the global batch and must be divisible by the "
                f"{self.world_size} processes"
            )
        if self.samples < self.world_size:
            raise LitDistillError(
                f"{self.samples} samples are too few for {self.world_size} processes; collect more episodes"
            )

    def __len__(self) -> int:
        """Batches of each rank: a rest too small to give every rank a sample makes none of its own."""
        full, rest = divmod(self.samples, self.batch_size)
        return full + (rest >= self.world_size)

    def part(self, batch: int) -> slice:
        """The places in the order that this rank takes of global batch `batch`."""
        start = batch * self.batch_size
        stop = min(start + self.batch_size, self.samples)
        if self.keep_all:
            if batch == len(self) - 1:
                stop = self.samples
            first, last = (start + (stop - start) * r // self.world_size for r in (self.rank, self.rank + 1))
            return slice(first, last)
        share = (stop - start) // self.world_size
        return slice(start + self.rank * share, start + (self.rank + 1) * share)


@dataclass(frozen=True)
class SampleOrder:
    """Epoch -> order of samples and of shards; without shuffling the manifest's order in every epoch.

    Attributes:
        shard_samples: selected samples of each shard; samples are numbered through in this order.
        seed: of the shuffling.
        shuffle_buffer: samples that the buffer holds, 0 does not shuffle.
    """

    shard_samples: tuple[int, ...]
    seed: int = 0
    shuffle_buffer: int = 0

    @classmethod
    def of(cls, selection: Selection, seed: int = 0, shuffle_buffer: int = 0) -> SampleOrder:
        """The order of a selection's samples."""
        return cls(tuple(len(shard.keys) for shard in selection.shards), seed, shuffle_buffer)

    def shards(self, epoch: int) -> np.ndarray:
        """int64 [shards]: the order in which shards are read."""
        if not self.shuffle_buffer:
            return np.arange(len(self.shard_samples))
        return np.random.default_rng([self.seed, epoch, 0]).permutation(len(self.shard_samples))

    def samples(self, epoch: int) -> np.ndarray:
        """int64 [N]: the order in which samples are used."""
        ends = np.cumsum(self.shard_samples)
        numbers = [
            np.arange(ends[shard] - self.shard_samples[shard], ends[shard]) for shard in self.shards(epoch)
        ]
        arriving = np.concatenate(numbers)
        if not self.shuffle_buffer:
            return arriving
        return self._shuffled(arriving, np.random.default_rng([self.seed, epoch, 1]))

    def _shuffled(self, arriving: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each place is drawn from the buffer, which then takes in the next arrival."""
        buffer = arriving[: self.shuffle_buffer].copy()
        later = arriving[self.shuffle_buffer :]
        out = np.empty_like(later)
        for place, (drawn, sample) in enumerate(
            zip(rng.integers(len(buffer), size=len(later)), later, strict=True)
        ):
            out[place] = buffer[drawn]
            buffer[drawn] = sample
        return np.concatenate([out, rng.permutation(buffer)])


class BatchOrder(DistributedSampler[tuple[int, int]]):
    """Asks a data set for (epoch, batch) in turn; Lightning tells it the epoch, also after resuming.

    It is a DistributedSampler so that Lightning leaves it as it is under DDP: every rank asks for the
    same batches, and the data set gives each its part.

    Args:
        dataset: who is asked.
        batching: how many batches an epoch has.
        fixed: always the order of epoch 0.
        first_epoch: Lightning's number of the epoch that is our epoch 0.
    """

    def __init__(
        self, dataset: Dataset, batching: Batching, fixed: bool = False, first_epoch: int = 0
    ) -> None:
        super().__init__(dataset, num_replicas=batching.world_size, rank=batching.rank, shuffle=not fixed)
        self._batches = len(batching)
        self._fixed = fixed
        self._first_epoch = first_epoch
        self.first_batch = 0
        """Where an epoch begins that was begun before, in a run that is resumed."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = 0 if self._fixed else self.epoch - self._first_epoch
        return iter([(epoch, batch) for batch in range(self.first_batch, self._batches)])

    def __len__(self) -> int:
        return self._batches
