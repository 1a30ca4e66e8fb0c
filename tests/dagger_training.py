"""DAgger in the toy world, small enough to train within a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_training import tiny_module, tiny_network, tiny_trainer

import lit_distill.collection
from callbacks.dagger import DAggerRounds
from callbacks.weight_averaging import ExponentialMovingAverage
from datamodules import ChunkDataModule
from lit_distill.collection import CollectSettings, collect_from
from lit_distill.networks.checkpoint import save_student
from lit_distill.sim.fake import FakeSimulator

TASK = "custom_libero_object_ketchup"
FAKE_TEACHER = {"class_path": "lit_distill.sim.fake.FakeTeacher"}
EPISODES = 20
EPOCHS = 2
"""Of a round."""
ROLLOUTS = CollectSettings(episodes=3, teacher=FAKE_TEACHER, image_size=16, workers=0)


def make_data(root: Path) -> Path:
    """Teacher episodes and a first student, of no skill, in `root/bc.ckpt`."""
    settings = CollectSettings(EPISODES, FAKE_TEACHER, image_size=16, workers=0)
    collect_from(FakeSimulator, TASK, str(root), settings)
    save_student(tiny_network(seed=9), root / "bc.ckpt", TASK)
    return root


def use_toy_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect in it instead of LIBERO."""
    monkeypatch.setattr(lit_distill.collection, "Simulator", FakeSimulator)


def dagger_data(root: Path, **options: Any) -> ChunkDataModule:
    return ChunkDataModule(TASK, str(root), **{"batch_size": 32, "shuffle_buffer": 50, **options})


def dagger_trainer(
    root: Path,
    folder: Path,
    *more: Callback,
    trainer: dict[str, Any] | None = None,
    keep: dict[str, str] | None = None,
    **options: Any,
) -> Trainer:
    """A trainer with averaged weights, checkpoints in `folder` (the best one as `keep` says) and DAgger."""
    rounds = DAggerRounds(**{"init_from": str(root / "bc.ckpt"), "collect": ROLLOUTS, **options})
    best = ModelCheckpoint(
        folder,
        filename="best",
        **(keep or {"monitor": "val/loss"}),
        save_last=True,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    defaults = {"max_epochs": EPOCHS, "reload_dataloaders_every_n_epochs": 1, "enable_checkpointing": True}
    callbacks = [ExponentialMovingAverage(0.9), best, rounds, *more]
    return tiny_trainer(folder, callbacks=callbacks, **(defaults | (trainer or {})))


def fit_dagger(
    root: Path, folder: Path, *more: Callback, resume: bool = False, module: Any = None, **options: Any
) -> Trainer:
    """Run DAgger; returns the trainer."""
    trainer = dagger_trainer(root, folder, *more, **options)
    trainer.fit(
        module or tiny_module(schedule="cosine"),
        datamodule=dagger_data(root),
        ckpt_path=folder / "last.ckpt" if resume else None,
        weights_only=True,
    )
    return trainer
