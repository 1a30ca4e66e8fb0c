"""Answers on disk, so that a resumed run does not ask twice: one SQLite file, several processes, no pickle.

answers: key BLOB (sha256 of everything that was sent, and of who was asked), rows INTEGER,
         actions BLOB (float32 [rows, 7], little-endian), value REAL, steps_to_success INTEGER
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from lit_distill.cache import cache_folder
from lit_distill.errors import LitDistillError
from lit_distill.schema import ACTION_DIM
from lit_distill.teachers.replies import BadAnswer, Reply, read_reply

AUTO = "auto"
"""The usual place: `answers.sqlite` in `$XDG_CACHE_HOME/lit_distill`, by default `~/.cache/lit_distill`."""
BUSY_SECONDS = 60.0
TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, rows INTEGER NOT NULL, actions BLOB NOT NULL, value REAL, steps_to_success INTEGER
) WITHOUT ROWID
"""


class AnswerCache:
    """Keeps checked answers.

    Args:
        path: the file, made if need be; `auto`: the usual place.

    Raises:
        LitDistillError: the file cannot be written, or is something else.
    """

    def __init__(self, path: str = AUTO) -> None:
        self.path = cache_folder() / "answers.sqlite" if path == AUTO else Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Each statement is a transaction of its own. One thread at a time uses it, but not always the one
            # that opened it: a server builds its teacher in one thread and asks it in another.
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute(TABLE)
        except (OSError, sqlite3.Error) as error:
            raise LitDistillError(
                f"cache: {self.path} cannot be used ({error}); delete it, choose another, or null for none"
            ) from None

    def get(self, key: bytes) -> Reply | None:
        """The answer to a question, None if it is not known (or damaged)."""
        query = "SELECT rows, actions, value, steps_to_success FROM answers WHERE key = ?"
        found = self._execute(query, key).fetchone()
        if found is None:
            return None
        rows, actions, value, steps = found
        try:
            array = np.frombuffer(actions, dtype="<f4").astype(np.float32).reshape(rows, ACTION_DIM)
            return read_reply({"actions": array, "value": value, "steps_to_success": steps}, rows=rows)
        except (ValueError, TypeError, BadAnswer):
            return None

    def put(self, key: bytes, reply: Reply) -> None:
        """Keep the answer to a question."""
        actions = reply.actions.astype("<f4").tobytes()
        values = (key, len(reply.actions), actions, reply.value, reply.steps_to_success)
        self._execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", *values)

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise LitDistillError(
                f"cache: {self.path} cannot be used ({error}); delete it, choose another, or null for none"
            ) from None
