"""What a collection says of itself: as it goes, at its end, and when it has no use."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lit_distill.evaluation import wilson_interval
from lit_distill.query_log import stored_cost
from lit_distill.schema import OUTCOMES


def rate(counts: Counter[str]) -> str:
    """Successes / n and the 95 % interval, of episodes by outcome."""
    n = sum(counts[outcome] for outcome in OUTCOMES)
    low, high = wilson_interval(counts["success"], n)
    return f"{counts['success']}/{n} [{low:.2f}, {high:.2f}]"


def never_succeeds(folder: Path, counts: Counter[str], limit: int) -> str | None:
    """Why a teacher is given up: no success in `limit` or more episodes; None if it is not. 0 is no limit."""
    if not limit or counts["success"] or counts.total() < limit:
        return None
    return (
        f"{folder}: the teacher has succeeded in none of {counts.total()} episodes, so nothing can be learnt "
        "from it; they are kept. --settings.stop_after_failures 0 goes on"
    )


def closing_line(folder: Path, source: str, counts: Counter[str], clipped: int) -> str:
    """Success of a source's stored episodes, what its teacher cost, and what was clipped in this run."""
    cost = stored_cost(folder, source).describe()
    return f"{folder}: {source} success {rate(counts)}; {clipped} action values clipped in this run; {cost}"
