"""Hardware use during fit and test, in the logs."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_distill.errors import LitDistillError
from lit_distill.hardware import NOT_AVAILABLE, HardwareSampler


class HardwareMonitor(Callback):
    """Logs mean and maximum of `HardwareSampler`'s keys since the stage began.

    `hardware/<key>_mean` and `hardware/<key>_max`, once per training epoch and at the end of `test`, of the
    first rank's machine. What is not available is said once and not logged: never a zero in its place.

    Args:
        interval: Seconds between samples.
    """

    def __init__(self, interval: float = 1.0) -> None:
        if interval <= 0:
            raise LitDistillError(f"interval: must be a positive number of seconds, got {interval}")
        self.interval = interval
        self._sampler: HardwareSampler | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start sampling, on the first rank."""
        self._close()
        if trainer.is_global_zero and stage in ("fit", "test"):
            self._sampler = HardwareSampler(self.interval)
            self._sampler.__enter__()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what was seen so far."""
        self._log(pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what was seen so far."""
        self._log(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop sampling."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop sampling: Lightning calls no teardown after an error."""
        self._close()

    def _log(self, pl_module: LightningModule) -> None:
        if self._sampler is None:
            return
        values = {
            f"hardware/{key}_{statistic}": value
            for key, seen in self._sampler.summary().items()
            if seen != NOT_AVAILABLE
            for statistic, value in seen.items()
        }
        pl_module.log_dict(values, rank_zero_only=True)

    def _close(self) -> None:
        if self._sampler is not None:
            self._sampler.__exit__(None, None, None)
            self._sampler = None
