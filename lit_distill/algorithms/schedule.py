"""How the learning rate falls over a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from lit_distill.errors import LitDistillError

Schedule = Literal["constant", "cosine"]


def check_schedule(schedule: str) -> None:
    """Raise LitDistillError unless it is one of `Schedule`."""
    if schedule not in get_args(Schedule):
        raise LitDistillError(f"schedule: must be {' or '.join(get_args(Schedule))}, got {schedule!r}")


def cosine_factor(step: int, total: int) -> float:
    """Learning rate after `step` of `total` optimizer steps as a share of the first: 1 falling to 0."""
    return 0.5 * (1.0 + math.cos(math.pi * min(step / total, 1.0)))


def scheduled(
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    trainer: Trainer,
    total: Callable[[], int],
    starts: Sequence[int] = (0,),
) -> OptimizerLRScheduler:
    """What `configure_optimizers` returns: the optimizer, with a factor for every optimizer step.

    Args:
        optimizer: each of its groups has the learning rate of step 0.
        schedule: `constant`, or `cosine`, from there to 0.
        trainer: whose run has to have an end.
        total: optimizer steps of the run; called only once there was a step, when the data are there. Nothing
            of it is kept, so a run resumed with more epochs follows the longer curve.
        starts: for each group the step at which its learning rate begins to fall.

    Raises:
        LitDistillError: cosine, and a run without end.
    """
    if schedule == "constant":
        return optimizer
    if trainer.max_epochs == -1 and trainer.max_steps == -1:
        raise LitDistillError("schedule: cosine needs an end: set trainer.max_epochs or max_steps")

    def factor_from(start: int) -> Callable[[int], float]:
        return lambda step: cosine_factor(step - start, total() - start) if step > start else 1.0

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [factor_from(start) for start in starts])
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
