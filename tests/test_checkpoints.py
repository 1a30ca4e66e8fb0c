"""`last.ckpt` is the last one, whatever the monitored value does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint as LightningModelCheckpoint
from tiny_training import TinyDataModule, tiny_module, tiny_trainer

from callbacks.checkpoints import ModelCheckpoint


def epochs(folder: Path, kind: type[LightningModelCheckpoint], **options: Any) -> dict[str, int]:
    """The epochs of what is kept of a fit of three epochs whose validation loss rises."""
    module = tiny_module()
    whole = module.validation_step

    def rising(*arguments: Any) -> Any:
        whole(*arguments)
        module.log("rising", float(module.current_epoch), batch_size=1)

    module.validation_step = rising  # type: ignore[method-assign]
    keep = kind(
        folder,
        filename="best",
        monitor="rising",
        save_last=True,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
        **options,
    )
    tiny_trainer(folder, callbacks=[keep], enable_checkpointing=True, max_epochs=3).fit(
        module, datamodule=TinyDataModule()
    )
    kept = {path.stem: torch.load(path, weights_only=True) for path in sorted(folder.glob("*.ckpt"))}
    return {name: checkpoint["epoch"] for name, checkpoint in kept.items()}


def test_last_goes_on_while_best_stays(tmp_path: Path):
    assert epochs(tmp_path, ModelCheckpoint) == {"best": 0, "last": 2}


def test_lightning_s_own_leaves_an_old_one(tmp_path: Path):
    """Once this fails, `callbacks.checkpoints` is no longer needed."""
    assert epochs(tmp_path, LightningModelCheckpoint) == {"best": 0, "last": 0}


def test_it_resumes_what_lightning_s_left():
    assert ModelCheckpoint(monitor="a").state_key == LightningModelCheckpoint(monitor="a").state_key


@pytest.mark.parametrize("every", [1, 2])
def test_as_often_as_told(tmp_path: Path, every: int):
    assert epochs(tmp_path, ModelCheckpoint, every_n_epochs=every)["last"] == {1: 2, 2: 1}[every]
