"""Exponential moving average of the student's weights."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging

from lit_distill.errors import LitDistillError


class ExponentialMovingAverage(EMAWeightAveraging):
    """Averages weights after every optimizer step: average <- decay x average + (1 - decay) x weights.

    Validation, the checkpoint's `state_dict` and the module after `fit` have the averaged weights; training
    goes on with its own, which a checkpoint keeps under `current_model_state`. Buffers (normalisation) are
    copied, not averaged. What this repairs in Lightning 2.6's callback:
    - before the first step the average is what the module's `on_fit_start` made of the weights (warm start,
      statistics), not what they were before it;
    - a second `fit` starts a new average;
    - `test` with a checkpoint after `fit` in one process uses that checkpoint's averaged weights, where
      Lightning's loads its raw ones.

    Args:
        decay: Weight of the past in [0, 1); 0.99 remembers about 100 steps.
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0.0 <= decay < 1.0:
            raise LitDistillError(f"decay: must lie in [0, 1), got {decay}")
        super().__init__(use_buffers=False, decay=decay)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start a new average at `fit`; outside of it there is nothing to average."""
        self._average_model = None
        self._latest_update_step = 0
        super().setup(trainer, pl_module, stage)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation before the first step sees what that step will see."""
        self._begin(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The average begins as the weights that the first step sees."""
        self._begin(pl_module)

    def restart(self, pl_module: LightningModule) -> None:
        """Forget the average: a new one begins as the weights are now."""
        if self._average_model is not None:
            self._average_model.module.load_state_dict(pl_module.state_dict())
            self._average_model.n_averaged.zero_()

    def _begin(self, pl_module: LightningModule) -> None:
        if self._average_model is not None and self._latest_update_step == 0:
            self._average_model.module.load_state_dict(pl_module.state_dict())

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Resume both sets of weights at `fit`; elsewhere the checkpoint's `state_dict` is all there is."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
