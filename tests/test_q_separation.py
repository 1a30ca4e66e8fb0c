"""Q separation on the board: by numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import tiny_trainer
from torch.utils.data import DataLoader

from callbacks.q_separation import QSeparation


class Judged(LightningModule):
    """Held-out transitions in two batches whose Q, TD error and outcome are given."""

    def __init__(self, success: list[bool]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self._success = torch.tensor(success).split(2)
        self._q = torch.tensor([3.0, -1.0, 1.0, 0.0]).split(2)
        self._error = torch.tensor([0.5, -0.5, 2.0, 1.0]).split(2)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        outputs = {"q": self._q, "error": self._error, "success": self._success}
        return {name: part[batch_idx] for name, part in outputs.items()}

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters())


def board(root: Path, success: list[bool], stage: str) -> dict[str, float]:
    """The last value of each scalar."""
    logger = TensorBoardLogger(root, name="run", version=0)
    trainer = tiny_trainer(root, max_epochs=2, logger=logger, callbacks=[QSeparation()])
    loader: DataLoader = DataLoader([0, 1], batch_size=1)  # type: ignore[arg-type]
    if stage == "fit":
        trainer.fit(Judged(success), loader, loader)
    else:
        trainer.test(Judged(success), loader, verbose=False)
    events = EventAccumulator(str(root / "run" / "version_0"))
    events.Reload()
    if stage == "fit":
        assert "custom_scalars__config__" in events.Tags()["tensors"]
    return {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"] if tag.startswith("q/")}


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_means_difference_and_auroc(stage: str, tmp_path: Path):
    """Successes 3 and 0, failures -1 and 1: of the four pairs three are in order."""
    found = board(tmp_path, [True, False, False, True], stage)
    assert found == {
        "q/success": 1.5,
        "q/failure": 0.0,
        "q/difference": 1.5,
        "q/auroc": 0.75,
        "q/td_error": 1.0,
    }


def test_without_failures_there_is_no_separation(tmp_path: Path):
    assert board(tmp_path, [True] * 4, "fit") == {"q/success": 0.75, "q/td_error": 1.0}
