"""What asking a teacher cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class QueryCost:
    """Sums over queries.

    Attributes:
        queries: answers that were used.
        cached: those that came from the cache on disk.
        retried: questions that were asked again, after a bad answer or none.
        clipped: action values outside [-1, 1], which were clipped.
        seconds: wall-clock time, waiting for a server included.
    """

    queries: int = 0
    cached: int = 0
    retried: int = 0
    clipped: int = 0
    seconds: float = 0.0

    def __add__(self, other: QueryCost) -> QueryCost:
        return QueryCost(
            self.queries + other.queries,
            self.cached + other.cached,
            self.retried + other.retried,
            self.clipped + other.clipped,
            self.seconds + other.seconds,
        )

    def describe(self) -> str:
        """One clause: what is zero is left out."""
        extras = [
            f"{count} {what}"
            for count, what in (
                (self.cached, "from the cache"),
                (self.retried, "asked again"),
                (self.clipped, "action values clipped"),
            )
            if count
        ]
        return ", ".join([f"{self.queries} teacher queries in {self.seconds:.1f} s", *extras])
