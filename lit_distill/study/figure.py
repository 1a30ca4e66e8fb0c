"""The figure of a report: success by task and method, with intervals."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lit_distill.evaluation import wilson_interval
from lit_distill.study.summary import short

MANY_TASKS = 20
"""From so many tasks on, the bars lie and the names are cut to `NAME_LENGTH` letters."""
NAME_LENGTH = 60
LETTERS_PER_INCH, HANDLE_LETTERS = 11.0, 8.0
"""Width of the legend's letters, and of what stands beside each label, as many letters."""
LEGEND_ROWS, ROW_INCHES, COLOURS = 3, 0.23, 10
"""Rows of the legend for which there is room beside the bars, height of each further one, and methods beyond
which the usual colours would come again; there are paler ones for as many more."""

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Series = tuple[str, list[tuple[int, int] | None]]
"""A method's label, and its successes and episodes of each task, None where there is no result."""


def success_figure(tasks: Sequence[str], series: Sequence[Series]) -> bytes:
    """Draw bars with their 95 % Wilson intervals; the same numbers give the same bytes.

    Returns:
        A PNG.
    """
    buffer = io.BytesIO()
    draw(tasks, series).savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def draw(tasks: Sequence[str], series: Sequence[Series]) -> Figure:
    """The figure of `success_figure`."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    if len(tasks) == 1 and len(series) > 2 * COLOURS:  # a name beside each bar instead of a colour
        tasks, series = (
            [label for label, _ in series],
            [(short(tasks[0]), [counts[0] for _, counts in series])],
        )
    lying = len(tasks) >= MANY_TASKS
    size = (10.0, 0.3 * len(tasks) + 1.5) if lying else (max(6.0, 1.2 * len(tasks) + 2.0), 3.8)
    labels, common = _labels([label for label, _ in series])
    columns = int(size[0] * LETTERS_PER_INCH / (max(map(len, labels)) + HANDLE_LETTERS))
    columns = max(1, min(columns, len(series)))
    further = max(0, math.ceil(len(series) / columns) - LEGEND_ROWS)
    figure = Figure(figsize=(size[0], size[1] + ROW_INCHES * further), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    colours = colormaps["tab10" if len(series) <= COLOURS else "tab20"]
    for number, (label, (_, counts)) in enumerate(zip(labels, series, strict=True)):
        offset = (number - (len(series) - 1) / 2) * width
        places = [index + offset for index, count in enumerate(counts) if count]
        known = [count for count in counts if count]
        rates = [k / n for k, n in known]
        intervals = [wilson_interval(k, n) for k, n in known]
        below = [max(0.0, rate - low) for rate, (low, _) in zip(rates, intervals, strict=True)]
        above = [max(0.0, high - rate) for rate, (_, high) in zip(rates, intervals, strict=True)]
        style: dict[str, Any] = {
            "capsize": 2,
            "ecolor": "0.3",
            "label": label,
            "color": colours(number % colours.N),
        }
        if lying:
            axes.barh(places, rates, 0.9 * width, xerr=[below, above], **style)
        else:
            axes.bar(places, rates, 0.9 * width, yerr=[below, above], **style)
    if lying:
        axes.set_yticks(range(len(tasks)), [_cut(short(task)) for task in tasks])
        axes.set_ylim(len(tasks) - 0.5, -0.5)  # from the top, in the order of the table
        axes.set(xlim=(0.0, 1.05), xlabel="success rate")
    else:
        axes.set_xticks(range(len(tasks)), [short(task) for task in tasks], rotation=30, ha="right")
        axes.set(ylim=(0.0, 1.05), ylabel="success rate")
    axes.grid(axis="x" if lying else "y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=columns, title=common, frameon=False)
    return figure


def _labels(labels: list[str]) -> tuple[list[str], str]:
    """Labels such as `bc (50 eval states)`, and what all of them have in the brackets, "" if it differs."""
    parts = [label.partition(" (") for label in labels]
    if len({rest for _, _, rest in parts}) > 1:
        return labels, ""
    return [name for name, _, _ in parts], parts[0][2].removesuffix(")")


def _cut(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
