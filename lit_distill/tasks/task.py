"""What a task is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """One manipulation task.

    Attributes:
        name: as in the paper's Table 5; names files, folders and shards.
        index: row of Table 5, from 0; None for a task that is not in it.
        language: the instruction; those of the table are in no official LIBERO suite (§4.1).
        horizon: control steps (20 Hz) after which an episode is a timeout; the 10 settling steps at
            reset are not counted.
        scene: LIBERO's problem class.
        bddl: the BDDL file.
        states: npz file of the initial states, None for the committed one of a task in the table.
        suite: the official suite that it belongs to, None if to none.
    """

    name: str
    index: int | None
    language: str
    horizon: int
    scene: str
    bddl: Path
    states: Path | None = None
    suite: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a user's own BDDL file: neither in the table nor official."""
        return self.index is None and self.suite is None
