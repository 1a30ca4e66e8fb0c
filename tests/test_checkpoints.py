"""`last.ckpt` is the last one, whatever the monitored value does."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint as LightningModelCheckpoint
from tiny_training import TinyDataModule, tiny_module, tiny_trainer

from callbacks.checkpoints import ModelCheckpoint


def epochs(
    folder: Path,
    kind: type[LightningModelCheckpoint],
    saves: bool | None = False,
    monitor: str | None = "rising",
    until: int = 3,
    **options: Any,
) -> dict[str, int]:
    """The epochs of what is kept of a fit of three epochs whose validation loss rises.

    Args:
        folder: where.
        kind: who keeps it.
        saves: `save_on_train_epoch_end`.
        monitor: what is monitored.
        until: epochs after which the fit breaks off.
        options: of `kind`.
    """
    module = tiny_module()
    whole = module.validation_step

    def rising(*arguments: Any) -> Any:
        whole(*arguments)
        module.log("rising", float(module.current_epoch), batch_size=1)

    module.validation_step = rising  # type: ignore[method-assign]
    keep = kind(
        folder,
        filename="best",
        monitor=monitor,
        save_last=True,
        save_on_train_epoch_end=saves,
        enable_version_counter=False,
        **options,
    )
    trainer = tiny_trainer(folder, callbacks=[BreakOff(until), keep], enable_checkpointing=True, max_epochs=3)
    with contextlib.suppress(BrokenOff):
        trainer.fit(module, datamodule=TinyDataModule())
    kept = {path.stem: torch.load(path, weights_only=True) for path in sorted(folder.glob("*.ckpt"))}
    return {name: checkpoint["epoch"] for name, checkpoint in kept.items()}


class BrokenOff(Exception):
    """As if the process were killed."""


class BreakOff(Callback):
    """Ends a fit as an epoch begins."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            raise BrokenOff


@pytest.mark.parametrize("saves", [False, None, True])
def test_last_goes_on_while_best_stays(tmp_path: Path, saves: bool | None):
    assert epochs(tmp_path, ModelCheckpoint, saves) == {"best": 0, "last": 2}


@pytest.mark.parametrize("saves", [False, None])
def test_last_is_there_before_the_end_where_no_best_is_kept(tmp_path: Path, saves: bool | None):
    """conf/awac.yaml, conf/control.yaml: what a killed run is resumed from."""
    kept = epochs(tmp_path, ModelCheckpoint, saves, monitor=None, until=2, save_top_k=0)
    assert kept == {"last": 1}


def test_lightning_s_own_leaves_an_old_one(tmp_path: Path):
    """Once this fails, `callbacks.checkpoints` is no longer needed."""
    assert epochs(tmp_path, LightningModelCheckpoint) == {"best": 0, "last": 0}


def test_it_resumes_what_lightning_s_left():
    assert ModelCheckpoint(monitor="a").state_key == LightningModelCheckpoint(monitor="a").state_key


@pytest.mark.parametrize("every", [1, 2])
def test_as_often_as_told(tmp_path: Path, every: int):
    assert epochs(tmp_path, ModelCheckpoint, every_n_epochs=every)["last"] == {1: 2, 2: 1}[every]
