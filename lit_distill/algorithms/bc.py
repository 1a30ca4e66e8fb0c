"""Behaviour cloning (§3.2 of the paper).

    L_BC = 1/|D|  sum_{(o, a) in D}  sum_{k=1..K}  m_k || pi_theta(o)_k - a_k ||^2              (1)

o: observation at a chunk boundary (two views, proprioception, task); a: the teacher's chunk, K = 16 rows
of A = 7 actions; m_k: 0 beyond the end of the episode in its last chunk, else 1; pi_theta: the student;
D: the chunks of successful episodes, here a batch of B. The sum over rows and dimensions is not divided by
their number: the one mean is over samples.

The paper: AdamW, learning rate 1e-4, weight decay 1e-4, 300 epochs, the checkpoint with the lowest loss on
10 % held-out data. Ours, beyond the paper:
- the label is `teacher_actions`, the clean chunk, also where noise was added to what was executed;
- random shifts of both views (without them the student fails altogether; `shift_pixels: 0` turns them off);
- an optional cosine schedule, and a warm start from another student (`init_from`).
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lit_distill.algorithms.schedule import Schedule, check_schedule, scheduled
from lit_distill.algorithms.trained_on import data_record, protocol_record
from lit_distill.errors import LitDistillError
from lit_distill.networks.augmentation import RandomShift, shift_views
from lit_distill.networks.checkpoint import student_record, warm_start
from lit_distill.networks.student import StudentNetwork
from lit_distill.schema import ChunkBatch

TRAINING_LOSS = "training_loss"
"""Where a checkpoint keeps the loss of an unfinished epoch: each process's share of sum and weight."""


def masked_squared_error(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The inner sums of eq. (1): sum_k m_k ||prediction_k - target_k||^2.

    Args:
        prediction: float [B, K, A].
        target: float32 [B, K, A].
        mask: bool [B, K].

    Returns:
        float32 [B], one value per sample.
    """
    squared = (prediction.float() - target).square().sum(dim=-1)  # [B, K]
    return (mask * squared).sum(dim=-1)


class ImitationMetrics(nn.Module):
    """Means over all samples of a data set, equal for any number of ranks and any batch size.

    | metric             | mean over                                                                    |
    |--------------------|------------------------------------------------------------------------------|
    | `loss`             | samples, of the sum in eq. (1)                                               |
    | `position_error`   | executed rows x 3, of abs(prediction - label) in action units (1 = 0.05 m)   |
    | `rotation_error`   | executed rows x 3, the same for the axis-angle (1 = 0.5 rad)                 |
    | `gripper_accuracy` | executed rows, of 1 where the gripper command's sign is the label's          |
    """

    def __init__(self) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.position_error = MeanMetric()
        self.rotation_error = MeanMetric()
        self.gripper_accuracy = MeanMetric()

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch; arguments as in `masked_squared_error`."""
        self.loss.update(masked_squared_error(prediction, target, mask))
        predicted, label = prediction.float().clamp(-1.0, 1.0)[mask], target[mask]  # [executed rows, A]
        error = (predicted - label).abs()
        self.position_error.update(error[:, :3])
        self.rotation_error.update(error[:, 3:6])
        self.gripper_accuracy.update(((predicted[:, 6] > 0) == (label[:, 6] > 0)).float())

    def named(self, prefix: str) -> dict[str, MeanMetric]:
        """`prefix/metric` -> metric, ready for `log_dict`."""
        return {f"{prefix}/{name}": cast(MeanMetric, metric) for name, metric in self.named_children()}


class BehaviorCloning(LightningModule):
    """Trains a student by eq. (1).

    Args:
        network: The student.
        lr: Learning rate of AdamW (the paper: 1e-4).
        weight_decay: Weight decay of AdamW, on all parameters (the paper: 1e-4).
        schedule: `constant` (the paper) or `cosine`, from `lr` to 0 over the whole run (since `restart`).
        shift_pixels: Random-shift augmentation of both views, each by up to this many pixels; 0: none.
        seed: Seed of the augmentation.
        init_from: Checkpoint of a student to start from (weights and normalisation, no optimizer state);
            a resumed run ignores it.

    Raises:
        LitDistillError: A value cannot be right, or `init_from` is not a student that fits.
    """

    def __init__(
        self,
        network: StudentNetwork,
        lr: float = 1e-4,
        weight_decay: float = 1e-4,
        schedule: Schedule = "constant",
        shift_pixels: int = 4,
        seed: int = 0,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        if lr <= 0 or weight_decay < 0 or seed < 0:
            raise LitDistillError(
                "lr must be positive, weight_decay and seed 0 or more, "
                f"got lr {lr}, weight_decay {weight_decay}, seed {seed}"
            )
        check_schedule(schedule)
        self.network = network
        self.lr = lr
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.shift = RandomShift(shift_pixels)
        self.seed = seed
        self.init_from = init_from
        self.first_epoch = 0
        """Number of the epoch in which the present training began: 0 until `restart`."""
        self.notes: dict[str, Any] = {}
        """What else a checkpoint says of the training, by whoever drives it (primitives)."""
        self._resumed = False
        self._untrained: dict[str, Tensor] = {}
        self.training_loss = MeanMetric()
        self.validation_metrics = ImitationMetrics()
        self.test_metrics = ImitationMetrics()

    def setup(self, stage: str) -> None:
        """Nothing is resumed until a checkpoint is loaded, which Lightning does after this."""
        self._resumed = False
        if stage == "fit":
            self._untrained = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A resumed run starts from its checkpoint and from nothing else."""
        self._resumed = True
        if (seen := checkpoint.get(TRAINING_LOSS)) is not None:
            self.training_loss.reset()
            self.training_loss.mean_value, self.training_loss.weight = seen.clone()

    def on_fit_start(self) -> None:
        """Before a fresh fit: warm start if asked for, else the data's statistics for the network."""
        if not self._resumed:
            self._begin()

    def restart(self, epoch: int, init_from: str | None = None) -> None:
        """Train anew within the same fit, as a fit that begins now would: weights, optimizer, schedule.

        The weights are those that this fit began with, the same in all processes, or those of `init_from`;
        the schedule runs from `epoch` to `trainer.max_epochs`, the augmentation as from epoch 0.

        Args:
            epoch: Number of the epoch that comes next.
            init_from: Checkpoint of a student to start from; None: from scratch.
        """
        self.first_epoch, self.init_from = epoch, init_from
        strategy = self.trainer.strategy
        self.network.load_state_dict(strategy.broadcast(self._untrained))
        self._begin()
        strategy.setup_optimizers(self.trainer)

    def _begin(self) -> None:
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        if self.init_from is not None:
            warm_start(self.network, self.init_from)
            rank_zero_info(f"Warm start from {self.init_from}")
        elif hasattr(datamodule, "statistics"):
            statistics = datamodule.statistics()
            self.network.set_statistics(statistics["proprio_mean"], statistics["proprio_std"])
        else:
            rank_zero_warn("The data module has no statistics(): proprioception stays as the network has it.")

    def on_train_start(self) -> None:
        """Say, and log once, how large the student is."""
        count = self.network.parameter_count
        rank_zero_info(f"Student: {count:,} parameters")
        for logger in self.loggers:
            logger.log_metrics({"student/parameters": float(count)}, step=0)

    def forward(self, batch: ChunkBatch) -> Tensor:
        """Action chunks, float [B, K, A], not clipped."""
        return self.network(batch["agentview"], batch["wrist"], batch["proprio"], batch["task_index"])

    def training_step(self, batch: ChunkBatch, batch_idx: int) -> Tensor:
        """Eq. (1) on an augmented batch."""
        if batch_idx == 0:  # a run that is resumed within an epoch goes on with that epoch's mean
            self.training_loss.reset()
        prediction = self(self.augment(batch, batch_idx))  # [B, K, A]
        loss = masked_squared_error(prediction, batch["teacher_actions"], batch["mask"]).mean()
        self.training_loss.update(loss.detach(), len(prediction))
        self.log("train/loss", self.training_loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: ChunkBatch, batch_idx: int) -> None:
        """Eq. (1) and its parts on held-out episodes, as they are."""
        self._evaluate(batch, self.validation_metrics, "val")

    def test_step(self, batch: ChunkBatch, batch_idx: int) -> None:
        """The same on the data module's test set."""
        self._evaluate(batch, self.test_metrics, "test")

    def _evaluate(self, batch: ChunkBatch, metrics: ImitationMetrics, prefix: str) -> None:
        metrics.update(self(batch), batch["teacher_actions"], batch["mask"])
        self.log_dict(metrics.named(prefix), on_step=False, on_epoch=True)

    def augment(self, batch: ChunkBatch, batch_idx: int) -> ChunkBatch:
        """Shift both views, each in its own way: a pure function of seed, epoch and place in the batch."""
        position = (self.seed, self.current_epoch - self.first_epoch, batch_idx)
        return shift_views(batch, self.shift, position, self.global_rank)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, and the schedule per optimizer step."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        return scheduled(optimizer, self.schedule, self.trainer, self._steps)

    def _steps(self) -> int:
        """Optimizer steps of the schedule; Lightning's estimate is for epochs from 0 on."""
        if not self.first_epoch:
            return int(self.trainer.estimated_stepping_batches)
        assert self.trainer.max_epochs is not None
        per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        return per_epoch * (self.trainer.max_epochs - self.first_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `load_student` needs to rebuild the network."""
        task = getattr(getattr(self.trainer, "datamodule", None), "task", None)
        task = task if isinstance(task, str) else None
        training = {
            "algorithm": "bc",
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "schedule": self.schedule,
            "shift_pixels": self.shift.pixels,
            "seed": self.seed,
            "init_from": self.init_from,
            "epoch": self.current_epoch,
            "step": self.global_step,
            **self.notes,
            **data_record(self.trainer),
            **protocol_record(self.trainer),
        }
        seen = torch.stack([self.training_loss.mean_value, self.training_loss.weight])
        total = self.trainer.strategy.reduce(seen, reduce_op="sum")
        checkpoint[TRAINING_LOSS] = total / self.trainer.world_size
        checkpoint["student"] = student_record(self.network, task, training)
