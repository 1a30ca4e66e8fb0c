"""Exported folders small enough for a test: tiny networks, no simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tiny_training import tiny_network

from lit_distill import runtime
from lit_distill.export.formats import Format, write_model
from lit_distill.networks.student import StudentNetwork

TASK = "custom_libero_object_ketchup"
ROW = 9
SIZE = 16


def config(**changes: Any) -> dict[str, Any]:
    """A valid config.json."""
    return {
        "model_type": runtime.MODEL_TYPE,
        "format_version": runtime.FORMAT_VERSION,
        "format": "onnx",
        "precision": "f32",
        "task": TASK,
        "language": "Put the bottle of ketchup into the basket",
        "image_size": SIZE,
        "chunk_length": 16,
        "action_dim": 7,
        "control_hz": 20,
        "execute_steps": 16,
        "student_sha256": "0" * 64,
    } | changes


def write_folder(
    folder: Path, format: Format = "onnx", network: StudentNetwork | None = None, **changes: Any
) -> Path:
    """A folder that `Policy.load` takes, without the check that `export` makes."""
    folder.mkdir(parents=True)
    write_model(network or tiny_network(), ROW, format, folder)
    (folder / runtime.CONFIG).write_text(json.dumps(config(format=format, **changes)))
    return folder


def observation(seed: int = 0, size: int = SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """agentview, wrist, proprio of random content."""
    random = np.random.default_rng(seed)
    views = random.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    return views[0], views[1], random.normal(size=7).astype(np.float32)
