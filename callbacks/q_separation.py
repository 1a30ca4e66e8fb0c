"""Does the critic tell good from bad? Figure 7 of the paper, on held-out transitions."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAUROC

from lit_distill.errors import LitDistillError

LAYOUT = {
    "AWAC": {
        "Q separation": ["Multiline", [r"q/success$", r"q/failure$"]],
        "Q against success": ["Multiline", [r"q/difference$", r"q/auroc$"]],
        "critic": ["Multiline", [r"critic/loss$", r"q/td_error$"]],
        "weights": ["Multiline", [r"weight/effective_sample_size$", r"weight/clipped$"]],
        "evaluation": ["Margin", ["eval/success_rate", "eval/ci95_low", "eval/ci95_high"]],
    }
}
"""TensorBoard's custom scalars: one picture each."""


class QSeparation(Callback):
    """Logs, after every validation and in `test`, over the held-out transitions of all ranks:

    | name           | meaning                                                                          |
    |----------------|----------------------------------------------------------------------------------|
    | `q/success`    | mean min_k Q_target,k(s, a) over transitions of successful episodes              |
    | `q/failure`    | the same over those of failed ones                                               |
    | `q/difference` | the former minus the latter                                                      |
    | `q/auroc`      | probability that Q of a transition of a success exceeds that of one of a failure |
    | `q/td_error`   | mean of abs(min_k Q_k(s, a) - y)                                                 |

    `q/failure`, `q/difference` and `q/auroc` need failed episodes among the held-out ones, and are not logged
    without. It takes what the module's `validation_step` returns: `q`, `error`, `success`, [B] each.
    """

    def __init__(self) -> None:
        self._auroc = BinaryAUROC()
        self._means = {name: MeanMetric() for name in ("success", "failure", "td_error")}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lay out the board."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_custom_scalars(LAYOUT)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last validation."""
        for metric in (self._auroc, *self._means.values()):
            metric.to(pl_module.device).reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch.

        Raises:
            LitDistillError: The model has no critics.
        """
        if not isinstance(outputs, dict) or not {"q", "error", "success"} <= outputs.keys():
            raise LitDistillError(f"QSeparation: needs the model AWAC, got {type(pl_module).__name__}")
        q, success = outputs["q"], outputs["success"]
        self._auroc.update(q.sigmoid(), success.long())  # monotonic, and in the range that it wants
        self._means["td_error"].update(outputs["error"].abs())
        for name, chosen in (("success", success), ("failure", ~success)):
            self._means[name].update(q[chosen])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what there is."""
        if trainer.sanity_checking:
            return
        # Every rank computes every metric: computing gathers from all of them.
        auroc = float(self._auroc.compute())
        means = {name: float(metric.compute()) for name, metric in self._means.items()}
        logged = {f"q/{name}": value for name, value in means.items() if not math.isnan(value)}
        if {"q/success", "q/failure"} <= logged.keys():
            logged |= {"q/difference": means["success"] - means["failure"], "q/auroc": auroc}
        pl_module.log_dict(logged)

    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end
