"""A toy problem with a known optimum, as replay data: a point on a line has to reach 1.

x starts near 0 and moves by 0.15 a in a chunk whose rows all have the first action dimension a, the others 0.
The episode succeeds when x reaches 1 and times out after 10 chunks, so a = 1 everywhere is optimal. The
data are of mixed quality: half of the episodes mostly go right, half mostly go left. The potential is x.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.datasets import ChunkLoader
from datamodules.order import Batching, BatchOrder
from lit_distill.networks.student import StudentNetwork
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, PROPRIO_DIM, ReplayBatch

IMAGE_SIZE = 8
STEP, CHUNKS = 0.15, 10


def observation(x: np.ndarray) -> dict[str, Tensor]:
    """What is seen of positions [N]: black images, x in the first number of proprioception."""
    images = torch.zeros(len(x), IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)
    proprio = torch.zeros(len(x), PROPRIO_DIM)
    proprio[:, 0] = torch.from_numpy(x)
    index = torch.zeros(len(x), dtype=torch.int64)
    return {"agentview": images, "wrist": images, "proprio": proprio, "task_index": index}


def mean_action(network: StudentNetwork) -> float:
    """Mean over positions in [0, 0.9] of where the student goes; the optimum is 1."""
    seen = observation(np.linspace(0.0, 0.9, 7).astype(np.float32))
    with torch.no_grad():
        chunks = network(seen["agentview"], seen["wrist"], seen["proprio"], seen["task_index"])
    return float(chunks[:, :, 0].mean())


def transitions(episodes: int, seed: int) -> dict[str, Tensor]:
    """Chunk transitions of `episodes` episodes, good and bad in turn."""
    random = np.random.default_rng(seed)
    rows: list[tuple[float, float, int, float, bool, bool, float, float, int]] = []
    for episode in range(episodes):
        drift, x = (0.8 if episode % 2 == 0 else -0.4), float(random.uniform(0.0, 0.1))
        first = len(rows)
        for chunk in range(CHUNKS):
            a = float(np.clip(drift + 0.4 * random.normal(), -1.0, 1.0))
            after = x + STEP * a
            success = after >= 1.0
            terminal = success or chunk == CHUNKS - 1
            potential = float(np.clip(after, 0.0, 1.0))
            rows.append(
                (x, a, len(rows), float(success), terminal, success, max(x, 0.0), potential, len(rows) + 1)
            )
            x = after
            if terminal:
                break
        for place in range(first, len(rows)):
            rows[place] = (*rows[place][:5], rows[-1][5], *rows[place][6:])
    return _arrays(rows)


def _arrays(rows: list[tuple[float, float, int, float, bool, bool, float, float, int]]) -> dict[str, Tensor]:
    x, a, index, reward, terminal, success, value, next_value, following = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    actions = torch.zeros(len(x), CHUNK_LENGTH, ACTION_DIM)
    actions[:, :, 0] = torch.from_numpy(a)[:, None]
    rewards = torch.zeros(len(x), CHUNK_LENGTH)
    rewards[:, -1] = torch.from_numpy(reward)
    ended = np.where(success, 1.0, 0.0)
    return {
        **observation(x.astype(np.float32)),
        "index": torch.from_numpy(index),
        "next_index": torch.from_numpy(np.where(terminal, index, following)),
        "actions": actions,
        "mask": torch.ones(len(x), CHUNK_LENGTH, dtype=torch.bool),
        "executed": torch.full((len(x),), CHUNK_LENGTH),
        "rewards": rewards,
        "terminal": torch.from_numpy(terminal),
        "success": torch.from_numpy(success),
        "value": torch.from_numpy(value).float(),
        "next_value": torch.from_numpy(np.where(terminal, ended, next_value)).float(),
        "steps_to_success": torch.full((len(x),), torch.nan),
        "next_steps_to_success": torch.full((len(x),), torch.nan),
        "teacher_actions": torch.zeros_like(actions),
        "relabelled": torch.zeros(len(x), dtype=torch.bool),
        "perturbed": torch.zeros(len(x), dtype=torch.bool),
    }


class _Drawn(Dataset[ReplayBatch]):
    """Item (epoch, batch) is a drawn batch."""

    def __init__(self, data: LineData, steps: int) -> None:
        self._data, self._steps = data, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, item: tuple[int, int]) -> ReplayBatch:
        return self._data.gather(item[1])


class LineData(LightningDataModule):
    """Batches of the toy's transitions, drawn with replacement: a pure function of (seed, step)."""

    task = "toy_line"

    def __init__(self, steps: int, batch_size: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.arrays = transitions(60, seed)
        self._steps, self._batch_size, self._seed = steps, batch_size, seed

    def observations(self) -> Iterator[tuple[Tensor, ...]]:
        yield tuple(self.arrays[key] for key in ("agentview", "wrist", "proprio", "task_index"))

    def gather(self, step: int) -> ReplayBatch:
        random = np.random.default_rng([self._seed, step])
        places = torch.from_numpy(random.integers(len(self.arrays["index"]), size=self._batch_size))
        return {key: array[places] for key, array in self.arrays.items()}  # type: ignore[return-value]

    def train_dataloader(self) -> DataLoader:
        batching = Batching(self._steps * self._batch_size, self._batch_size)
        drawn: Any = _Drawn(self, self._steps)
        return ChunkLoader(drawn, batch_size=None, sampler=BatchOrder(drawn, batching))

    def val_dataloader(self) -> DataLoader:
        return DataLoader([self.gather(10**6)], batch_size=None)  # type: ignore[arg-type]
