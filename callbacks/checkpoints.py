"""Checkpoints to resume from."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint as LightningModelCheckpoint


class ModelCheckpoint(LightningModelCheckpoint):
    """Lightning's, with a `last.ckpt` of every epoch, or of every validation, in which it is to save.

    Lightning 2.6 writes it only together with another file, so that it grows old while the monitored value
    does not improve, and with `save_top_k: 0` there is none before the end; a run that is killed would begin
    again there. Its state is Lightning's: either resumes what the other left.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where Lightning has written nothing, write `last.ckpt`."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same where it saves when a validation ends."""
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def _keep_last(self, trainer: Trainer) -> None:
        due = (trainer.current_epoch + 1) % max(self._every_n_epochs, 1) == 0
        if self.save_last and due and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
