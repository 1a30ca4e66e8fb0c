"""What all teachers elsewhere have in common, asked through a connection that is no network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lit_distill.errors import LitDistillError, TeacherUnavailable
from lit_distill.teachers.remote import FIRST_WAIT_S, LONGEST_WAIT_S, Delivery, RemoteTeacher, Unreachable


class Line:
    """A connection that counts questions; `out` of them at first reach nobody."""

    name = "nowhere"

    def __init__(self, version: str = "1", out: int = 0, seed: int = 0) -> None:
        self.version, self.out, self.seed = version, out, seed
        self.asked: list[dict[str, Any]] = []

    def metadata(self) -> dict[str, Any]:
        return {"version": self.version, "seed": self.seed}

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if len(self.asked) <= self.out:
            raise Unreachable("refused")
        return {"actions": np.full((16, 7), 0.5, np.float32), "value": 0.25}


class Somebody(RemoteTeacher):
    """Known by the version that its server tells."""

    def describe(self, metadata: dict[str, Any]) -> str:
        return f"somebody/{metadata['version']}"

    def settings(self, metadata: dict[str, Any]) -> dict[str, Any]:
        return {"seed": metadata["seed"]}


def request() -> dict[str, Any]:
    return {"image": np.zeros((4, 4, 3), np.uint8), "settings": {"seed": 1, "steps": 5}, "prompt": "lift"}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts, which take no time here."""
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


def test_the_pauses_between_attempts_double_up_to_a_limit(pauses: list[float]):
    line = Line(out=12)
    teacher = Somebody(line, Delivery(cache=None))
    assert teacher.ask(request()).value == 0.25
    assert (len(line.asked), teacher.counts.retried, teacher.counts.queries) == (13, 12, 1)
    for number, pause in enumerate(pauses):
        shortest = min(FIRST_WAIT_S * 2**number, LONGEST_WAIT_S)
        assert shortest <= pause <= shortest + FIRST_WAIT_S
    assert max(pauses) >= LONGEST_WAIT_S


def test_waiting_ends_with_the_outage(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    line = Line(out=1000)
    with pytest.raises(TeacherUnavailable, match="^nowhere: not reached for 60 s: refused$"):
        Somebody(line, Delivery(cache=None, outage_s=60.0)).ask(request())
    assert 60.0 <= now[0] < 60.0 + LONGEST_WAIT_S + FIRST_WAIT_S


@pytest.mark.parametrize(
    "changes",
    [
        {"image": np.full((4, 4, 3), 1, np.uint8)},
        {"image": np.zeros((4, 12), np.uint8)},
        {"settings": {"seed": 2, "steps": 5}},
        {"settings": {"seed": 1, "steps": 10}},
        {"prompt": "push"},
    ],
    ids=["pixels", "shape", "seed", "steps", "prompt"],
)
def test_a_known_answer_is_of_everything_that_was_sent(tmp_path: Path, changes: dict[str, Any]):
    line = Line()
    delivery = Delivery(cache=str(tmp_path / "answers.sqlite"))
    for _ in range(2):  # another process, later
        Somebody(line, delivery).ask(request())
    assert len(line.asked) == 1
    Somebody(line, delivery).ask(request() | changes)
    assert len(line.asked) == 2


def test_a_known_answer_is_of_who_was_asked(tmp_path: Path):
    delivery = Delivery(cache=str(tmp_path / "answers.sqlite"))
    asked = []
    for version in ("1", "1", "2", "2"):
        line = Line(version)
        Somebody(line, delivery).ask(request())
        asked.append(len(line.asked))
    assert asked == [1, 0, 1, 0]


def test_a_known_answer_is_of_the_settings_of_the_server(tmp_path: Path):
    delivery = Delivery(cache=str(tmp_path / "answers.sqlite"))
    asked = []
    for seed in (1, 1, 2, 2):
        line = Line(seed=seed)
        Somebody(line, delivery).ask(request())
        asked.append(len(line.asked))
    assert asked == [1, 0, 1, 0]


@pytest.mark.parametrize("changes", [{"version": "2"}, {"seed": 7}])
@pytest.mark.parametrize("met", [True, False])
def test_another_teacher_that_takes_its_place_is_named_in_one_line(changes: dict[str, Any], met: bool):
    line = Line(out=1 if met else 0)
    teacher = Somebody(line, Delivery(cache=None))
    if met:
        assert teacher.identity == "somebody/1"
    else:
        teacher.ask(request())
    for key, value in changes.items():
        setattr(line, key, value)
    expected = r'^server: nowhere was somebody/1 {"seed": 0} and is somebody/\d {"seed": \d} now; start the'
    with pytest.raises(LitDistillError, match=expected) as caught:
        teacher.ask(request())
    assert "\n" not in str(caught.value)
