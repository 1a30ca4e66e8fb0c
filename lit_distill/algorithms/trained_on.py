"""What a checkpoint says of the data that its student learnt from."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer

DATA = "data"
"""Key in a student's record of training."""


def data_record(trainer: Trainer) -> dict[str, Any]:
    """The data module's description of what is trained on at present, under `DATA`; {} if it has none."""
    describe = getattr(getattr(trainer, "datamodule", None), "describe", None)
    return {DATA: describe()} if describe else {}
