"""What asking the teacher cost, from a study's results files: rows of a table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from lit_distill.study.cells import NONE, Cells, Column
from lit_distill.study.summary import short
from lit_distill.teachers.cost import QueryCost

QUERIES = """\
## What asking the teacher cost

Of a teacher: the queries of its evaluation. Of a student: those for the labels of the data that it learnt
from; students that share data count the same queries. Seconds are summed over the processes that asked,
waiting for a server included; a cached answer (from disk) counts as a query, and takes almost no time.\
"""
HEADINGS = ("task", "method", "asked for", "queries", "cached", "asked again", "seconds", "ms per query")


def query_rows(tasks: Sequence[str], columns: Sequence[Column], cells: Cells) -> list[list[str]]:
    """Rows under `HEADINGS`; [] where no result knows its cost.

    A column's tasks are added up only if all that were not refused know it.
    """
    rows = []
    for column in columns:
        found = {task: cells[task, column].result for task in tasks if (task, column) in cells}
        acted = {task: result for task, result in found.items() if not result.get("refused")}
        costs = {short(task): query_costs(result) for task, result in acted.items()}
        if all(costs.values()):
            costs["all tasks"] = _together(list(costs.values()))
        for name, purposes in costs.items():
            rows += [[name, column.label, purpose, *_shown(cost)] for purpose, cost in purposes.items()]
    return rows


def _together(costs: Sequence[dict[str, QueryCost]]) -> dict[str, QueryCost]:
    total: dict[str, QueryCost] = {}
    for purpose, cost in itertools.chain.from_iterable(each.items() for each in costs):
        total[purpose] = total.get(purpose, QueryCost()) + cost
    return total


def query_costs(result: dict[str, Any]) -> dict[str, QueryCost]:
    """What a result says of its queries, by what they were for."""
    found = {"its evaluation": [result["teacher_queries"]] if "teacher_queries" in result else []}
    found["its data"] = list(result.get("data_queries", {}).values())
    return {
        purpose: sum((QueryCost(**entry) for entry in entries), QueryCost())
        for purpose, entries in found.items()
        if entries
    }


def _shown(cost: QueryCost) -> list[str]:
    counts = [f"{count:,}" for count in (cost.queries, cost.cached, cost.retried)]
    mean = f"{1000.0 * cost.seconds / cost.queries:.1f}" if cost.queries else NONE
    return [*counts, f"{cost.seconds:,.1f}", mean]
