"""Callbacks for runs of several processes in the toy world, named in YAML."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

import callbacks.dagger
import callbacks.libero_evaluation
import lit_distill.collection
from lit_distill.evaluation import evaluate
from lit_distill.results import write_result
from lit_distill.schema import Observation
from lit_distill.sim.fake import FakeSimulator
from lit_distill.sim.states import InitialState

STATES: list[str] = []
"""From which this process has evaluated."""
WRITTEN: list[str] = []
"""Results files that this process has written."""


class NotedSimulator(FakeSimulator):
    """Writes down the states that it starts from."""

    def reset(self, initial_state: InitialState) -> Observation:
        STATES.append(initial_state.name)
        return super().reset(initial_state)


class SlowSimulator(FakeSimulator):
    """Takes its time once in the process of rank 1."""

    takes_s = 0.0

    def reset(self, initial_state: InitialState) -> Observation:
        time.sleep(SlowSimulator.takes_s)
        SlowSimulator.takes_s = 0.0
        return super().reset(initial_state)


evaluate_on_fakes = functools.partial(evaluate, simulator=NotedSimulator)


def write_and_note(*arguments: Any, **options: Any) -> Path:
    """`write_result`, noted."""
    path = write_result(*arguments, **options)
    WRITTEN.append(str(path))
    return path


class ToyWorld(Callback):
    """Everything happens in the toy world, in this process; for a process of its own.

    Args:
        takes_s: how long the second process takes for one episode of its first rollouts, s.
    """

    def __init__(self, takes_s: float = 0.0) -> None:
        SlowSimulator.takes_s = takes_s if os.environ.get("LOCAL_RANK") == "1" else 0.0
        lit_distill.collection.Simulator = SlowSimulator  # type: ignore[misc, assignment]
        callbacks.dagger.evaluate = evaluate_on_fakes  # type: ignore[assignment]
        callbacks.libero_evaluation.evaluate = evaluate_on_fakes  # type: ignore[assignment]
        callbacks.libero_evaluation.write_result = write_and_note


class UnlikeBeginnings(Callback):
    """Each process begins with weights of its own, as processes that are seeded differently would."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        with torch.no_grad():
            for parameter in pl_module.parameters():
                parameter.add_(0.1 * trainer.global_rank)


class Trace(Callback):
    """Writes what each process did to `folder/<name>-<rank>.json`."""

    def __init__(self, folder: str, name: str) -> None:
        self.path = Path(folder)
        self.name = name
        self.seen: dict[str, Any] = {"steps": [], "validation": [], "success": []}
        STATES.clear()
        WRITTEN.clear()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        samples = torch.cat([batch["proprio"], batch["teacher_actions"].flatten(1)], dim=1)
        rows = [hashlib.md5(row.numpy().tobytes()).hexdigest() for row in samples]
        self.seen["steps"].append([trainer.current_epoch, batch_idx, rows, outputs["loss"].item()])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.seen["validation"].append(float(trainer.callback_metrics["val/loss"]))
            self.seen["success"].append(float(trainer.callback_metrics.get("eval/success_rate", -1.0)))
            self.seen["validated"] = {name: float(v) for name, v in trainer.callback_metrics.items()}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        state = trainer.optimizers[0].state_dict()["state"]
        tensors = {name: tensor.flatten() for name, tensor in pl_module.state_dict().items()}
        tensors |= {f"{i} {name}": torch.as_tensor(s[name]).flatten() for i, s in state.items() for name in s}
        self.seen["weights"] = {name: tensor.double().tolist() for name, tensor in tensors.items()}
        self.seen["training_loss"] = float(trainer.callback_metrics["train/loss"])
        self.seen["sources"] = getattr(trainer, "datamodule").sources  # noqa: B009 (absent from its type)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen["test"] = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data: Any = getattr(trainer, "datamodule")  # noqa: B009 (absent from its type)
        self.seen |= {"states": list(STATES), "written": list(WRITTEN), "described": data.describe()}
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / f"{self.name}-{trainer.global_rank}.json").write_text(json.dumps(self.seen))


class KillAll(Callback):
    """The first process ends as by a power cut after an optimizer step; the others lose it."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        if trainer.global_step == self.step and trainer.is_global_zero:
            os.kill(os.getpid(), signal.SIGKILL)


class TraceReplay(Callback):
    """The same of AWAC: transitions, loss and terms of every step, Q separation, weights, Adam's memory."""

    def __init__(self, folder: str, name: str) -> None:
        self.path = Path(folder)
        self.name = name
        self.seen: dict[str, Any] = {"steps": [], "terms": [], "q": []}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen["steps"].append([batch["index"].tolist(), outputs["loss"].item()])
        metrics = trainer.callback_metrics
        self.seen["terms"].append({name: float(metrics[name]) for name in metrics if name[:2] != "q/"})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        self.seen["q"].append({name: float(metrics[name]) for name in metrics if name.startswith("q/")})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        state = trainer.optimizers[0].state_dict()["state"]
        memory = {f"{i} {name}": torch.as_tensor(s[name]) for i, s in state.items() for name in s}
        for name, tensors in (("weights", pl_module.state_dict()), ("memory", memory)):
            self.seen[name] = {key: tensor.flatten().double().tolist() for key, tensor in tensors.items()}
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / f"{self.name}-{trainer.global_rank}.json").write_text(json.dumps(self.seen))
