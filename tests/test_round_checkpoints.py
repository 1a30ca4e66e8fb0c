"""The best checkpoint of each round is kept, and each round has a best of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_training import TinyDataModule, tiny_module, tiny_network, tiny_trainer

from callbacks.round_checkpoints import RoundCheckpoints
from lit_distill.algorithms.bc import BehaviorCloning
from lit_distill.errors import LitDistillError
from lit_distill.networks.checkpoint import load_saved_student, save_student


def checkpoint(folder: Path, **options: Any) -> ModelCheckpoint:
    defaults = {"filename": "best", "monitor": "val/loss", "save_on_train_epoch_end": False}
    return ModelCheckpoint(folder, enable_version_counter=False, **(defaults | options))


def rounds(folder: Path, *callbacks: Callback) -> RoundCheckpoints:
    trainer = tiny_trainer(folder, callbacks=[*callbacks, checkpoint(folder)], enable_checkpointing=True)
    return RoundCheckpoints(trainer)


def save(path: Path, number: int, seed: int = 0) -> bytes:
    save_student(tiny_network(seed), path, training={"round": number})
    return path.read_bytes()


def test_the_best_of_a_round_is_copied(tmp_path: Path) -> None:
    content = save(tmp_path / "best.ckpt", 2)
    assert rounds(tmp_path).keep(2) == tmp_path / "round-2.ckpt"
    assert (tmp_path / "round-2.ckpt").read_bytes() == content


def test_a_copy_that_is_there_stands_once_the_next_rounds_best_is_written(tmp_path: Path) -> None:
    content = save(tmp_path / "round-1.ckpt", 1)
    save(tmp_path / "best.ckpt", 2, seed=1)
    assert rounds(tmp_path).keep(1) == tmp_path / "round-1.ckpt"
    assert (tmp_path / "round-1.ckpt").read_bytes() == content


@pytest.mark.parametrize("other", [None, 3])
def test_a_round_of_which_nothing_is_left_is_refused(tmp_path: Path, other: int | None) -> None:
    save(tmp_path / "best.ckpt", 2)
    if other is not None:
        save(tmp_path / "round-1.ckpt", other)  # of another fit
    with pytest.raises(
        LitDistillError, match=r"best.ckpt: is not of round 1, nor is round-1.ckpt; begin anew$"
    ):
        rounds(tmp_path).keep(1)


def test_another_checkpoint_can_become_the_best_and_old_rounds_go(tmp_path: Path) -> None:
    kept = rounds(tmp_path / "new")
    content = save(tmp_path / "elsewhere.ckpt", 1)
    kept.take(tmp_path / "elsewhere.ckpt")  # also where nothing was written yet
    assert kept.best.read_bytes() == content
    kept.take(kept.best)
    assert kept.best.read_bytes() == content
    save(kept.kept(4), 4)
    kept.clear()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["best.ckpt"]


class Scripted(BehaviorCloning):
    """Its validation losses are these, epoch by epoch."""

    scores = (1.0, 5.0, 4.0, 6.0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.scores[self.current_epoch], batch_size=len(batch["proprio"]))


class ForgetAfter(Callback):
    """Begins a round after the first epoch."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 0:
            RoundCheckpoints(trainer).forget()


@pytest.mark.parametrize(("callbacks", "best"), [([ForgetAfter()], 2), ([], 0)])
def test_forgetting_gives_a_round_a_best_of_its_own(
    tmp_path: Path, callbacks: list[Callback], best: int
) -> None:
    keep = checkpoint(tmp_path, save_last=True)
    trainer = tiny_trainer(tmp_path, callbacks=[*callbacks, keep], enable_checkpointing=True, max_epochs=4)
    trainer.fit(Scripted(tiny_network()), datamodule=TinyDataModule())
    training = load_saved_student(tmp_path / "best.ckpt").training
    assert training is not None and training["epoch"] == best
    assert keep.best_model_score == Scripted.scores[best]
    assert {path.name for path in tmp_path.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}


@pytest.mark.parametrize(
    "callbacks",
    [
        [],
        [ModelCheckpoint(filename="best", monitor="val/loss", save_on_train_epoch_end=False)],
        [ModelCheckpoint("folder", save_on_train_epoch_end=False)],
        [ModelCheckpoint("folder", monitor="val/loss", save_on_train_epoch_end=True)],
        [ModelCheckpoint("folder", monitor="val/loss")],
    ],
    ids=["none", "no folder", "no monitor", "late", "late by default"],
)
def test_a_trainer_without_such_checkpoints_is_refused(tmp_path: Path, callbacks: list[Callback]) -> None:
    trainer = tiny_trainer(tmp_path, callbacks=callbacks, enable_checkpointing=bool(callbacks))
    trainer.strategy.connect(tiny_module())
    with pytest.raises(
        LitDistillError, match=r"^trainer.callbacks: rounds need a ModelCheckpoint with dirpath"
    ):
        RoundCheckpoints(trainer)
