"""Asking a teacher: its own view of the observation, its answer checked, its cost counted."""

from __future__ import annotations

import time
from typing import NamedTuple

from lit_distill.schema import Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.teachers.base import Teacher, view
from lit_distill.teachers.cost import QueryCost


class Answer(NamedTuple):
    """A teacher's label for an observation, and what it cost."""

    label: TeacherChunk
    cost: QueryCost


def ask(teacher: Teacher, observation: Observation, simulator: ChunkSimulator) -> Answer:
    """Ask a teacher about the state that was observed.

    A teacher that wants views of another size gets them rendered anew; the student's stay as they are, since
    they have to be the same pixels in its data and in its evaluation, whoever teaches.

    Raises:
        LitDistillError: an answer that breaks the contract.
        InfrastructureError: a teacher elsewhere that does not answer, or answers nonsense.
    """
    started = time.perf_counter()
    before: QueryCost | None = getattr(teacher, "counts", None)
    label = teacher.query(view(teacher.image_size, observation, simulator), simulator)
    label.validate()
    seconds = time.perf_counter() - started
    after: QueryCost | None = getattr(teacher, "counts", None)
    if before is None or after is None:
        return Answer(label, QueryCost(queries=1, seconds=seconds))
    return Answer(
        label,
        QueryCost(
            after.queries - before.queries,
            after.cached - before.cached,
            after.retried - before.retried,
            after.clipped - before.clipped,
            seconds,
        ),
    )
