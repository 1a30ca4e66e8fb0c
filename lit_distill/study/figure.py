"""The figure of a report: success by task and method, with intervals."""

from __future__ import annotations

import io
from collections.abc import Sequence

from lit_distill.evaluation import wilson_interval
from lit_distill.study.summary import short

Series = tuple[str, list[tuple[int, int] | None]]
"""A method's label, and its successes and episodes of each task, None where there is no result."""


def success_figure(tasks: Sequence[str], series: Sequence[Series]) -> bytes:
    """Draw bars with their 95 % Wilson intervals; the same numbers give the same bytes.

    Returns:
        A PNG.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(max(6.0, 1.2 * len(tasks) + 2.0), 3.8), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, (label, counts) in enumerate(series):
        offset = (number - (len(series) - 1) / 2) * width
        places = [index + offset for index, count in enumerate(counts) if count]
        known = [count for count in counts if count]
        rates = [k / n for k, n in known]
        intervals = [wilson_interval(k, n) for k, n in known]
        below = [max(0.0, rate - low) for rate, (low, _) in zip(rates, intervals, strict=True)]
        above = [max(0.0, high - rate) for rate, (_, high) in zip(rates, intervals, strict=True)]
        axes.bar(places, rates, 0.9 * width, yerr=[below, above], capsize=2, ecolor="0.3", label=label)
    axes.set_xticks(range(len(tasks)), [short(task) for task in tasks], rotation=30, ha="right")
    axes.set_ylim(0.0, 1.05)
    axes.set_ylabel("success rate")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=min(3, len(series)), frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()
