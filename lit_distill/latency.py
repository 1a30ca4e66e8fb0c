"""How long a policy takes to answer: one measuring function for student and teacher alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from lit_distill.errors import LitDistillError

Input = TypeVar("Input")


def synchronizer(device: str | torch.device) -> Callable[[], None] | None:
    """What waits until `device` has finished its work: None on a CPU, which has when a call returns."""
    device = torch.device(device)
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else None


def measure_latency(
    act: Callable[[Input], Any],
    observation: Input,
    warmup: int = 10,
    repeats: int = 100,
    synchronize: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Time `act(observation)`, one call after the other.

    Args:
        act: What is timed; gets one observation, so batch 1.
        observation: The argument of every call.
        warmup: Calls before the clock starts (caches, kernels chosen at the first call).
        repeats: Timed calls.
        synchronize: Called before every reading of the clock, for devices that work asynchronously.

    Returns:
        `p50`, `p95`, `p99`: milliseconds per call; percentiles interpolated linearly between calls.

    Raises:
        LitDistillError: `repeats` is below 1 or `warmup` negative.
    """
    if repeats < 1 or warmup < 0:
        raise LitDistillError(
            f"latency: repeats must be 1 or more, warmup 0 or more, got {repeats} and {warmup}"
        )
    wait = synchronize or (lambda: None)
    for _ in range(warmup):
        act(observation)
    milliseconds = np.empty(repeats)
    for call in range(repeats):
        wait()
        start = time.perf_counter()
        act(observation)
        wait()
        milliseconds[call] = (time.perf_counter() - start) * 1e3
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}
