"""Timing in turns: what is compared takes turns in one run, so that a busy machine slows all of it alike.

Needs numpy only: a process in another environment (`other_policies_worker.py`) times with this file, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

WARM_UP = 10
TURN_SECONDS = 0.5
"""A turn ends then: threads that wait for each other get slow where others compute, too."""


def turn(infer: Callable[[], Any], calls: int, seconds: float = TURN_SECONDS) -> list[float]:
    """Milliseconds of each call of one turn: `calls` of them after a warm-up, or fewer in the same time."""
    recorded: list[float] = []
    begun = time.perf_counter()
    for call in range(WARM_UP + calls):
        start = time.perf_counter()
        infer()
        end = time.perf_counter()
        if call >= WARM_UP or end - begun > seconds / 2:
            recorded.append(1e3 * (end - start))
        if end - begun > seconds:
            break
    return recorded


def alternate(takers: Mapping[str, Callable[[], list[float]]], turns: int) -> dict[str, dict[str, float]]:
    """p50, p95 and p99 (ms) of each, from all of its turns."""
    times: dict[str, list[float]] = {name: [] for name in takers}
    for _ in range(turns):
        for name, take in takers.items():
            times[name] += take()
    return {
        name: {f"p{share}": round(float(np.percentile(taken, share)), 4) for share in (50, 95, 99)}
        for name, taken in times.items()
    }
