"""What a checkpoint says of the data that its student learnt from, and of how it is to be evaluated."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer

DATA, PROTOCOL = "data", "protocol"
"""Keys in a student's record of training."""


def data_record(trainer: Trainer) -> dict[str, Any]:
    """The data module's description of what is trained on at present, under `DATA`; {} if it has none."""
    describe = getattr(getattr(trainer, "datamodule", None), "describe", None)
    return {DATA: describe()} if describe else {}


def protocol_record(trainer: Trainer) -> dict[str, Any]:
    """How the run's evaluation callback lets the student act, under `PROTOCOL`; {} if there is none."""
    protocols = (getattr(callback, "protocol", None) for callback in getattr(trainer, "callbacks", []))
    for protocol in protocols:
        acting = {name: getattr(protocol, name, None) for name in ("execute_steps", "meshes")}
        if None not in acting.values():
            return {PROTOCOL: acting}
    return {}
