"""One progress bar for a whole training."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm


class TrainingProgress(ProgressBar):
    """A bar over the epochs of `fit`, with the remaining time and the latest losses.

    Our epochs take a second or less, so Lightning's own bar, one per epoch, tells neither. Evaluations in the
    simulator have a bar of their own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: Any = None

    def disable(self) -> None:
        """Show nothing, as on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bar."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin where the run begins, which is not 0 if it is resumed."""
        epochs = trainer.max_epochs
        task = getattr(getattr(trainer, "datamodule", None), "task", None)
        self._bar = tqdm(
            desc=f"{task}: training" if task else "training",
            total=epochs if epochs is not None and epochs >= 0 else None,
            initial=trainer.current_epoch,
            unit="epoch",
            dynamic_ncols=True,
            disable=not self._enabled,
        )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The end may be further away than it was: DAgger's rounds follow one another."""
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            self._bar.total = trainer.max_epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the latest losses."""
        losses = {
            name: f"{trainer.callback_metrics[name]:.3f}"
            for name in ("train/loss", "val/loss")
            if name in trainer.callback_metrics
        }
        self._bar.set_postfix(losses, refresh=False)
        self._bar.update()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the bar as it is."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the bar as it is: Lightning calls no teardown after an error."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
