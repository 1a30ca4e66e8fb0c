"""What asking the teacher cost, per source of a task's folder: `queries.json` beside the manifest.

Times differ from run to run, so they have no place in the manifest, whose bytes follow from the data.

    {teacher | student | dagger-k: {queries, cached, retried, clipped, seconds}}    of the stored episodes
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lit_distill.atomic import atomic_file
from lit_distill.errors import LitDistillError
from lit_distill.manifest import stands_for
from lit_distill.teachers.cost import QueryCost

QUERIES_NAME = "queries.json"


def stored_cost(folder: Path, source: str) -> QueryCost:
    """What was spent on a source so far; nothing if nobody wrote it down."""
    return QueryCost(**_read(folder).get(source, {}))


def stored_costs(folder: Path, sources: Sequence[str]) -> dict[str, QueryCost]:
    """What was spent on each of some sources, those left out that nobody was asked for.

    Args:
        folder: a task's.
        sources: names; `dagger` stands for all of its rounds.
    """
    costs = {
        name: QueryCost(**entry)
        for name, entry in _read(folder).items()
        if any(stands_for(one, name) for one in sources)
    }
    return {name: cost for name, cost in costs.items() if cost.queries}


def add_cost(folder: Path, source: str, cost: QueryCost) -> None:
    """Add to what was spent on a source."""
    _write(folder, _read(folder) | {source: asdict(stored_cost(folder, source) + cost)})


def forget_cost(folder: Path, source: str) -> None:
    """Begin anew with a source."""
    entries = _read(folder)
    if entries.pop(source, None) is not None:
        _write(folder, entries)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / QUERIES_NAME
    if not path.is_file():
        return {}
    try:
        entries: dict[str, Any] = json.loads(path.read_text())
        for entry in entries.values():
            QueryCost(**entry)
    except (ValueError, TypeError, AttributeError):
        raise LitDistillError(f"{path}: damaged; delete it, only its counts are lost") from None
    return entries


def _write(folder: Path, entries: dict[str, Any]) -> None:
    with atomic_file(folder / QUERIES_NAME) as stream:
        stream.write((json.dumps(entries, indent=1, sort_keys=True) + "\n").encode())
