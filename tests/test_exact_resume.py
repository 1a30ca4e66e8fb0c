"""Killed after any optimizer step and resumed, a training is the one that was not killed, bit for bit.

What Lightning leaves out: from a checkpoint that was written by steps after an epoch's last batch it resumes
without that epoch's validation. Our files in conf/ write checkpoints when a validation ends.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_training import Kill, tiny_module, tiny_trainer

from callbacks.weight_averaging import ExponentialMovingAverage
from datamodules import ChunkDataModule
from lit_distill.schema import ChunkTransition
from lit_distill.shards import ShardWriter

TASK = "custom_libero_object_ketchup"
EPISODES = 20
EPOCHS = 3
BATCHES = 7
"""Of an epoch; the last one is smaller than the others."""
MakeEpisode = Callable[..., list[ChunkTransition]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_episode: MakeEpisode) -> Path:
    folder = tmp_path_factory.mktemp("data")
    writer = ShardWriter(folder / TASK, TASK, "teacher", {}, episodes_per_shard=4)
    for episode in range(EPISODES):
        writer.add(episode, make_episode(TASK, "teacher", episode, 2 + episode % 3))
    return folder


class Record(Callback):
    """What a training sees and does."""

    def __init__(self) -> None:
        self.steps: list[tuple[bytes, float, float]] = []
        self.epochs: dict[int, dict[str, float]] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.steps.append((batch["proprio"].numpy().tobytes(), outputs["loss"].item(), rate))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer)

    def _note(self, trainer: Trainer) -> None:
        losses = {name: float(value) for name, value in trainer.callback_metrics.items() if "loss" in name}
        self.epochs[trainer.current_epoch] = losses


def train(
    root: Path, folder: Path, *more: Callback, resume: Path | None = None, **options: Any
) -> tuple[Trainer, Record]:
    record = Record()
    callbacks = [
        ExponentialMovingAverage(0.9),
        record,
        *more,
        ModelCheckpoint(folder, filename="best", monitor="val/loss", save_on_train_epoch_end=False),
        ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1),
    ]
    trainer = tiny_trainer(folder, callbacks=callbacks, enable_checkpointing=True, max_epochs=EPOCHS)
    data = ChunkDataModule(TASK, str(root), batch_size=8, shuffle_buffer=10, **options)
    trainer.fit(tiny_module(schedule="cosine"), datamodule=data, ckpt_path=resume, weights_only=True)
    return trainer, record


def final(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Averaged weights, and the optimizer's memory."""
    tensors = dict(trainer.lightning_module.state_dict())
    for index, state in trainer.optimizers[0].state_dict()["state"].items():
        tensors |= {f"{index} {name}": torch.as_tensor(value) for name, value in state.items()}
    return tensors


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Record]:
    return train(root, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("step", "options"),
    [(step, {}) for step in (1, 4, 7, 8, 13, 20)]
    + [(step, {"ram_limit_mb": 0, "num_workers": 2}) for step in (4, 15)],
)
def test_killed_after_any_step(
    root: Path, tmp_path: Path, whole: tuple[Trainer, Record], step: int, options: dict[str, Any]
) -> None:
    trainer, record = whole
    assert len(record.steps) == EPOCHS * BATCHES
    with pytest.raises(RuntimeError, match="killed"):
        train(root, tmp_path, Kill(step), **options)
    last = tmp_path / f"step={step - 1}.ckpt"  # the kill comes before the checkpoint of its step
    resumed, rest = train(root, tmp_path, resume=last if step > 1 else None, **options)
    assert rest.steps == record.steps[step - 1 :]
    for name, tensor in final(trainer).items():
        assert torch.equal(final(resumed)[name], tensor), name
    assert rest.epochs[EPOCHS] == record.epochs[EPOCHS]
    assert all(record.epochs[epoch].items() >= seen.items() for epoch, seen in rest.epochs.items())
