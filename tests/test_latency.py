"""Latency: warm-up left out, the device waited for around each call, percentiles by hand."""

from __future__ import annotations

import pytest
import torch

from lit_distill import latency
from lit_distill.errors import LitDistillError
from lit_distill.latency import measure_latency, synchronizer


class Clock:
    """A clock that only the acting moves, and a log of who was called."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []
        self.calls = 0

    def perf_counter(self) -> float:
        self.log.append("clock")
        return self.now

    def act(self, observation: str) -> None:
        """The n-th call takes n ms."""
        assert observation == "observation"
        self.log.append("act")
        self.calls += 1
        self.now += 1e-3 * self.calls

    def synchronize(self) -> None:
        self.log.append("wait")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(latency, "time", made)
    return made


def test_percentiles_by_hand(clock: Clock):
    # Calls take 1 .. 101 ms; between order statistics the percentile is linear: p of 1..101 is 1 + p.
    found = measure_latency(clock.act, "observation", warmup=0, repeats=101)
    assert found == pytest.approx({"p50": 51.0, "p95": 96.0, "p99": 100.0})


def test_warm_up_is_not_counted(clock: Clock):
    found = measure_latency(clock.act, "observation", warmup=7, repeats=1)
    assert clock.calls == 8
    assert found == pytest.approx({"p50": 8.0, "p95": 8.0, "p99": 8.0})


def test_the_device_is_waited_for_before_each_reading_of_the_clock(clock: Clock):
    measure_latency(clock.act, "observation", warmup=1, repeats=2, synchronize=clock.synchronize)
    assert clock.log == ["act", *["wait", "clock", "act", "wait", "clock"] * 2]


@pytest.mark.parametrize(("warmup", "repeats"), [(0, 0), (-1, 5)])
def test_counts_that_cannot_be_right_are_refused(warmup: int, repeats: int):
    with pytest.raises(LitDistillError, match="^latency: repeats must be 1 or more"):
        measure_latency(lambda _: None, None, warmup=warmup, repeats=repeats)


def test_only_devices_that_work_asynchronously_are_waited_for(monkeypatch: pytest.MonkeyPatch):
    assert synchronizer("cpu") is None
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    wait = synchronizer("cuda:1")
    assert wait is not None
    wait()
    assert waited == [torch.device("cuda:1")]
