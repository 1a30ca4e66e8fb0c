"""The checkpoints of a fit that trains several times in a row."""

from __future__ import annotations

import shutil
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_distill.atomic import atomic_file
from lit_distill.errors import LitDistillError
from lit_distill.networks.checkpoint import load_saved_student

ROUND = "round"
"""Key in a student's record of training: which round it is of."""


class RoundCheckpoints:
    """Keeps the best checkpoint of each round, `round-k.ckpt`, beside the one that is written over.

    Args:
        trainer: Its ModelCheckpoint with a monitor and a dirpath decides what is best.

    Raises:
        LitDistillError: There is none, or it writes later than when a validation ends.
    """

    def __init__(self, trainer: Trainer) -> None:
        found = [
            callback
            for callback in trainer.checkpoint_callbacks
            if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.dirpath
        ]
        if not found or found[0]._should_save_on_train_epoch_end(trainer):
            raise LitDistillError(
                "trainer.callbacks: rounds need a ModelCheckpoint with dirpath, monitor and "
                "`save_on_train_epoch_end: false`, which has written before a round ends"
            )
        self._callback = found[0]

    @property
    def best(self) -> Path:
        """Where the best one is written."""
        callback = self._callback
        return Path(callback.best_model_path or f"{callback.dirpath}/{callback.filename}.ckpt")

    def kept(self, number: int) -> Path:
        """Where the best one of a round is kept."""
        return self.best.with_name(f"round-{number}.ckpt")

    def keep(self, number: int) -> Path:
        """Copy the best checkpoint of round `number`, which has just ended; returns the copy.

        A fit that was killed after that, and resumed at the end of the round, may find the next round's in
        its place; then the copy is there already.

        Raises:
            LitDistillError: Neither is of that round.
        """
        kept = self.kept(number)
        if _round_of(self.best) == number:
            _copy(self.best, kept)
        elif not kept.is_file() or _round_of(kept) != number:
            raise LitDistillError(f"{self.best}: is not of round {number}, nor is {kept.name}; begin anew")
        return kept

    def take(self, path: Path) -> None:
        """Another checkpoint is the best one."""
        _copy(path, self.best)

    def forget(self) -> None:
        """The next score is the best so far; what was written stays until then."""
        fresh = ModelCheckpoint(monitor=self._callback.monitor, mode=self._callback.mode).state_dict()
        kept = {"dirpath": self._callback.dirpath, "last_model_path": self._callback.last_model_path}
        self._callback.load_state_dict({**fresh, **kept})

    def clear(self) -> None:
        """Delete the rounds of an earlier fit."""
        for path in self.best.parent.glob("round-*.ckpt"):
            path.unlink()


def _round_of(path: Path) -> int | None:
    return (load_saved_student(path).training or {}).get(ROUND)


def _copy(source: Path, target: Path) -> None:
    """Replace `target` by a copy, whole or not at all."""
    if source != target:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(source, "rb") as original, atomic_file(target) as copy:
            shutil.copyfileobj(original, copy)
