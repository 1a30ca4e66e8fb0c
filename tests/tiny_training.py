"""A student and a data module small enough to train within a test."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from lit_distill.algorithms.bc import BehaviorCloning
from lit_distill.networks.student import StudentNetwork

KEYS = ("agentview", "wrist", "proprio", "task_index", "actions", "mask", "teacher_actions")
SIZE = 16


def random_batch(batch: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """A ChunkBatch of random content."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (2, batch, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)
    executed = torch.randint(1, 17, (batch,), generator=generator)
    actions = torch.rand(2, batch, 16, 7, generator=generator) * 2 - 1
    return {
        "agentview": images[0],
        "wrist": images[1],
        "proprio": torch.randn(batch, 7, generator=generator),
        "task_index": torch.full((batch,), 3),
        "actions": actions[0],
        "mask": torch.arange(16) < executed[:, None],
        "teacher_actions": actions[1],
    }


class TinyDataModule(LightningDataModule):
    """Six samples to train on and four held out, in batches of two and three."""

    task = "tiny_task"

    def statistics(self) -> dict[str, Any]:
        return {"proprio_mean": [0.25] * 7, "proprio_std": [0.5] * 7}

    def _loader(self, samples: int, seed: int, batch_size: int) -> DataLoader:
        batch = random_batch(samples, seed)
        dataset = TensorDataset(*(batch[key] for key in KEYS))

        def collate(rows: list[tuple[torch.Tensor, ...]]) -> dict[str, torch.Tensor]:
            return {
                key: torch.stack(column) for key, column in zip(KEYS, zip(*rows, strict=True), strict=True)
            }

        return DataLoader(dataset, batch_size=batch_size, collate_fn=collate)

    def train_dataloader(self) -> DataLoader:
        return self._loader(6, seed=1, batch_size=2)

    def val_dataloader(self) -> DataLoader:
        return self._loader(4, seed=2, batch_size=3)

    def test_dataloader(self) -> DataLoader:
        return self._loader(4, seed=2, batch_size=3)


class Kill(Callback):
    """Ends training by an error after `step` optimizer steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *arguments: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("killed")


def tiny_network(seed: int = 0, **arguments: Any) -> StudentNetwork:
    """The same weights for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return StudentNetwork(**{"channels": [8, 8, 16], "image_size": SIZE, "hidden": 16, **arguments})


def tiny_module(**arguments: Any) -> BehaviorCloning:
    """Behaviour cloning that moves far in a few steps."""
    return BehaviorCloning(**{"network": tiny_network(), "lr": 1e-2, "shift_pixels": 2, **arguments})


def tiny_trainer(root: Any, **arguments: Any) -> Trainer:
    """A silent trainer on one CPU."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": root,
        "log_every_n_steps": 1,
    }
    return Trainer(**(defaults | arguments))
