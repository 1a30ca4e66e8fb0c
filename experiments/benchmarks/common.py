"""What benchmarks of the simulator share: options, noise, the clock, the JSON object at the end."""

from __future__ import annotations

import argparse
import json
import statistics
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lit_distill.behaviours import ActionNoise
from lit_distill.hardware import describe_hardware
from lit_distill.results import commit
from lit_distill.sim.simulator import Simulator

BASKET = "custom_libero_object_ketchup"
NOISE = ActionNoise(probability=0.25, position=0.6, rotation=0.2, gripper=0.3)
"""What a teacher has to recover from."""


def noise_seed(task: str, seed: int) -> int:
    """Seed of a task's episodes: tasks have noise of their own, or one seed would be hard for all of them."""
    return seed + 1_000_000 * (zlib.crc32(task.encode()) % 1000)


class BlindSimulator(Simulator):
    """LIBERO without pictures: rendering is most of the time of a rollout."""

    def render(self, view: str, size: int | None = None) -> np.ndarray:
        """A black image."""
        size = size or self.image_size
        return np.zeros((size, size, 3), np.uint8)


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with what all of them take."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="also write the JSON object to this file")
    return parser


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock and processor seconds of one call; the latter also mean something on a busy machine."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def median_ms(times: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Medians of what `seconds` gave, in milliseconds."""
    wall, processor = zip(*times, strict=True)
    return {
        "wall": round(1e3 * statistics.median(wall), 3),
        "processor": round(1e3 * statistics.median(processor), 3),
    }


def report(benchmark: str, figures: dict[str, Any], output: Path | None) -> None:
    """Print the JSON object as the last line, and write it to a file if there is one."""
    result = {"benchmark": benchmark, **figures, "hardware": describe_hardware(), "commit": commit()}
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result), flush=True)
