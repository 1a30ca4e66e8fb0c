"""What a teacher elsewhere answered, checked before anybody believes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, NEVER

MAX_ROWS = 1024


class BadAnswer(Exception):
    """An answer that cannot be right; the text, one line, names the key."""


@dataclass(frozen=True)
class Reply:
    """A checked answer.

    Attributes:
        actions: float32 [n, 7], finite, not clipped; n ≥ 1.
        value: in [0, 1], or None.
        steps_to_success: as in `TeacherChunk`.
    """

    actions: np.ndarray
    value: float | None = None
    steps_to_success: int | None = None


def read_reply(answer: Any, value_key: str = "value", rows: int | None = CHUNK_LENGTH) -> Reply:
    """Check an answer.

    Args:
        answer: a map with `actions`, and perhaps `value_key` and `steps_to_success`.
        value_key: where the potential is; it is taken as it comes, never rescaled.
        rows: how many rows of actions there have to be; None: any number from 1.

    Raises:
        BadAnswer: names what is wrong.
    """
    if not isinstance(answer, dict):
        raise BadAnswer(f"expected a map, got {_shown(answer)}")
    if "actions" not in answer:
        raise BadAnswer(f"actions: missing; there are {', '.join(map(str, list(answer)[:8])) or 'no keys'}")
    return Reply(
        _actions(answer["actions"], rows),
        _value(value_key, answer.get(value_key)),
        _steps(answer.get("steps_to_success")),
    )


def _actions(given: Any, rows: int | None) -> np.ndarray:
    try:
        actions = np.asarray(given, dtype=np.float32)
    except (ValueError, TypeError):
        raise BadAnswer("actions: not an array of numbers") from None
    expected = f"[{rows or 'n'}, {ACTION_DIM}]"
    if actions.ndim != 2 or actions.shape[1] != ACTION_DIM or not 1 <= len(actions) <= MAX_ROWS:
        raise BadAnswer(f"actions: expected {expected}, got {list(actions.shape)}")
    if rows is not None and len(actions) != rows:
        raise BadAnswer(f"actions: expected {expected}, got {list(actions.shape)}")
    if not np.isfinite(actions).all():
        raise BadAnswer("actions: hold a value that is not finite")
    return actions


def _value(key: str, given: Any) -> float | None:
    if given is None:
        return None
    try:
        value = float(given)
    except (ValueError, TypeError):
        raise BadAnswer(f"{key}: expected a number, got {_shown(given)}") from None
    if not 0.0 <= value <= 1.0:  # nor NaN
        raise BadAnswer(f"{key}: a potential must lie in [0, 1], got {value}")
    return value


def _steps(given: Any) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < NEVER:
        raise BadAnswer(f"steps_to_success: expected a number from {NEVER}, got {_shown(given)}")
    return int(given)


def _shown(value: Any) -> str:
    return " ".join(repr(value).split())[:60]
