"""Answers on disk: kept whole, shared by processes, never taken from a file that is something else."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lit_distill.errors import LitDistillError
from lit_distill.teachers.answer_cache import AnswerCache
from lit_distill.teachers.replies import BadAnswer, Reply, read_reply

ACTIONS = np.linspace(-2.0, 2.0, 112, dtype=np.float32).reshape(16, 7)


@pytest.mark.parametrize("value", [None, 0.0, 0.1 + 0.2])
@pytest.mark.parametrize("steps", [None, -1, 40])
def test_an_answer_comes_back_bit_for_bit(tmp_path: Path, value: float | None, steps: int | None):
    path = str(tmp_path / "folder" / "answers.sqlite")
    AnswerCache(path).put(b"key", Reply(ACTIONS, value, steps))
    known = AnswerCache(path).get(b"key")
    assert known is not None and known.actions.tobytes() == ACTIONS.tobytes()
    assert known.actions.dtype == np.float32 and (known.value, known.steps_to_success) == (value, steps)
    assert AnswerCache(path).get(b"another") is None


def test_ten_rows_stay_ten(tmp_path: Path):
    cache = AnswerCache(str(tmp_path / "answers.sqlite"))
    cache.put(b"key", Reply(ACTIONS[:10]))
    known = cache.get(b"key")
    assert known is not None and known.actions.shape == (10, 7)


WRITER = """
import sys
import numpy as np
from lit_distill.teachers.answer_cache import AnswerCache
from lit_distill.teachers.replies import Reply
cache = AnswerCache(sys.argv[1])
for number in range(200):
    cache.put(f"{sys.argv[2]}-{number}".encode(), Reply(np.full((16, 7), number, np.float32)))
"""


def test_several_processes_may_write_at_once(tmp_path: Path):
    path = str(tmp_path / "answers.sqlite")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name], stderr=subprocess.PIPE, text=True)
        for name in "abc"
    ]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    cache = AnswerCache(path)
    for name in "abc":
        for number in range(200):
            known = cache.get(f"{name}-{number}".encode())
            assert known is not None and known.actions[0, 0] == number


def test_the_usual_place_is_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert AnswerCache().path == tmp_path / "lit_distill" / "answers.sqlite"


def test_another_file_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(
        LitDistillError, match=rf"^cache: {path} cannot be used .*; delete it, choose another, or null"
    ):
        AnswerCache(str(path))


@pytest.mark.parametrize(
    "change",
    ["rows = 15", "actions = x'00'", "actions = 'text'", "value = 1.5", "value = 'high'", "rows = 0"],
)
def test_a_damaged_answer_is_asked_for_again(tmp_path: Path, change: str):
    path = tmp_path / "answers.sqlite"
    AnswerCache(str(path)).put(b"key", Reply(ACTIONS, 0.5))
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE answers SET {change}")
    connection.close()
    assert AnswerCache(str(path)).get(b"key") is None


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("error", "expected a map, got 'error'"),
        ({}, "actions: missing; there are no keys"),
        ({"action": 1}, "actions: missing; there are action"),
        ({"actions": [[1.0], [1.0, 2.0]]}, "actions: not an array of numbers"),
        ({"actions": np.zeros((16, 8))}, r"actions: expected \[16, 7\], got \[16, 8\]"),
        ({"actions": np.zeros((1, 16, 7))}, r"actions: expected \[16, 7\], got \[1, 16, 7\]"),
        ({"actions": np.full((16, 7), np.inf)}, "not finite"),
        ({"actions": np.full((16, 7), 1e300)}, "not finite"),  # beyond float32
        ({"actions": ACTIONS, "value": float("nan")}, r"value: a potential must lie in \[0, 1\], got nan"),
        ({"actions": ACTIONS, "value": -0.01}, "value: a potential"),
        ({"actions": ACTIONS, "value": [0.5, 0.5]}, "value: expected a number"),
        ({"actions": ACTIONS, "steps_to_success": -2}, "steps_to_success: expected a number from -1"),
        ({"actions": ACTIONS, "steps_to_success": 1.5}, "steps_to_success: expected a number"),
        ({"actions": ACTIONS, "steps_to_success": True}, "steps_to_success: expected a number"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_an_answer_that_cannot_be_right_is_named(answer: object, named: str):
    with pytest.raises(BadAnswer, match=f"^{named}" if named != "not finite" else named) as caught:
        read_reply(answer)
    assert "\n" not in str(caught.value)
