"""How results files are laid out in a study's tables: a row per task, a column per method, protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from lit_distill.schema import CHUNK_LENGTH

METHODS = ("teacher", "bc", "dagger", "awac")
"""The paper's order; other methods follow."""
NONE = "–"


class Column(NamedTuple):
    """Results that share method and protocol: a column of the tables."""

    method: str
    split: str
    n: int
    execute_steps: int

    @classmethod
    def of(cls, result: dict[str, Any]) -> Column:
        """Where a result belongs."""
        return cls(
            result["method"], result["split"], result["n"], result["config"]["protocol"]["execute_steps"]
        )

    @property
    def label(self) -> str:
        """Heading of the column."""
        executed = "" if self.execute_steps == CHUNK_LENGTH else f", {self.execute_steps} of 16 executed"
        return f"{self.method} ({self.n} {self.split} states{executed})"

    @property
    def order(self) -> tuple[Any, ...]:
        """What columns are sorted by."""
        return (METHODS.index(self.method) if self.method in METHODS else len(METHODS), *self)


class Cell(NamedTuple):
    """One results file and its content."""

    path: Path
    result: dict[str, Any]


Cells = dict[tuple[str, Column], Cell]
"""Of (task, column)."""
