"""The processes of one distributed run: what only one of them does, and episodes shared among them.

Collectives have a time limit (half an hour, less with some backends), and simulators know none: everything
here goes through a gloo group of its own without one. Without torch.distributed there is one process, alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from lit_distill.errors import LitDistillError
from lit_distill.rollout import Episode
from lit_distill.workers import EpisodeError, EpisodeJob, run_episodes

T = TypeVar("T")

PATIENCE = timedelta(days=365)
"""How long processes wait for each other: gloo needs a number. A process that dies ends the wait at once."""


@dataclass(frozen=True)
class Ranks:
    """The processes of one run; every method is called by all of them, in the same order.

    Attributes:
        rank: number of this process.
        size: how many there are; by default this one is alone.
        group: through which they exchange, None if alone.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    @classmethod
    def of_this_run(cls) -> Ranks:
        """Those of the distributed run that this process belongs to, if it does; called by all of them."""
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return cls()
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        return cls(dist.get_rank(), dist.get_world_size(), group)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def first(self, work: Callable[[], T]) -> T:
        """Run `work` in the first process alone; all return what it returns (picklable).

        Raises:
            LitDistillError: in every process, if `work` raises it.
        """
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told[0] = work()
            except LitDistillError as error:
                if self.group is None:
                    raise
                told[1] = str(error)
        if self.group is not None:
            dist.broadcast_object_list(told, src=0, group=self.group)
        if told[1] is not None:
            raise LitDistillError(told[1])
        return told[0]

    def gather(self, value: T) -> list[T]:
        """What every process has (picklable), in their order; in the others than the first an empty list."""
        if self.group is None:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_first else None
        dist.gather_object(value, values, dst=0, group=self.group)
        return values or []


def run_shared(
    jobs: Sequence[EpisodeJob],
    workers: int,
    ranks: Ranks,
    stop: Callable[[], str | None] = lambda: None,
) -> Iterator[tuple[EpisodeJob, Episode | EpisodeError]]:
    """`run_episodes`, each process running its share with `workers` workers of its own.

    The first process gets every episode as soon as each of the others has finished one, too; the others get
    none, but must iterate as well.

    Args:
        jobs: all episodes, the same in every process.
        workers: as in `run_episodes`.
        ranks: the processes.
        stop: asked in the first process between episodes; says why no more are to be run.

    Raises:
        LitDistillError: bad input, or what `stop` says.
    """
    if ranks.size == 1:
        for done in run_episodes(jobs, workers):
            yield done
            _raise_if(stop())
        return
    own = run_episodes(jobs[ranks.rank :: ranks.size], workers)
    for _ in range(-(-len(jobs) // ranks.size)):
        ranks.first(lambda: _raise_if(stop()))
        finished = ranks.gather(_next(own))
        ranks.first(lambda found=finished: _raise_first(found))  # type: ignore[misc]
        yield from (done for done in finished if isinstance(done, tuple))


def _next(
    own: Iterator[tuple[EpisodeJob, Episode | EpisodeError]],
) -> tuple[EpisodeJob, Episode | EpisodeError] | LitDistillError | None:
    """The next episode; None if there is none left; bad input as a value, so that nobody waits in vain."""
    try:
        return next(own, None)
    except LitDistillError as error:
        return error


def _raise_if(reason: str | None) -> None:
    if reason is not None:
        raise LitDistillError(reason)


def _raise_first(found: Sequence[Any]) -> None:
    for error in found:
        if isinstance(error, LitDistillError):
            raise error
