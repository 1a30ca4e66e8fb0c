"""The verb `report`: tables and a figure from a study's results files, and from nothing else."""

from __future__ import annotations

import csv
import io
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lit_distill.atomic import atomic_file
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import wilson_interval
from lit_distill.schema import OUTCOMES
from lit_distill.study.cells import NONE, Cell, Cells, Column
from lit_distill.study.figure import success_figure
from lit_distill.study.potential import Potential, potential
from lit_distill.study.query_table import HEADINGS, QUERIES, query_rows
from lit_distill.study.stored import study_results
from lit_distill.study.summary import rate, short
from lit_distill.tasks.official import split_name

POTENTIAL = """\
## The teacher's value as a potential

Falls: share of the chunk-to-chunk steps of successful episodes on which the value falls. AUROC: of the value
at each chunk against the episode's success. Last value of failures: mean at the last chunk of the episodes
without success. Wrongly lost: episodes whose value was once 0 and that then succeeded, or whose value rose
again.\
"""
PERCENTILES = ("p50", "p95", "p99")


def report(study: str, results: str = "experiments/results", output: str | None = None) -> list[Path]:
    """Make a study's tables (Markdown and CSV) and its figure (PNG) from its results files.

    A success rate always shows its number of episodes and its 95 % Wilson interval. Incomplete results are
    refused. The same files give the same tables, byte for byte.

    Args:
        study: folder of the results files, within `results`.
        results: root of the results files.
        output: folder to write to; the study's own by default.

    Returns:
        README.md, results.csv and success.png.

    Raises:
        LitDistillError: no results, or one that is damaged or incomplete.
    """
    cells: Cells = {}
    for path, result in study_results(study, results):
        key = (result["task"], Column.of(result))
        if key in cells:
            raise LitDistillError(f"{path}: the same evaluation as in {cells[key].path}; delete one of them")
        cells[key] = Cell(path, result)
    folder = Path(output) if output else Path(results) / study
    folder.mkdir(parents=True, exist_ok=True)
    columns = sorted({column for _, column in cells}, key=lambda column: column.order)
    tasks = sorted({task for task, _ in cells})
    command = f"python -m lit_distill report --study {study}"
    command += "" if results == "experiments/results" else f" --results {results}"
    command += f" --output {output}" if output else ""
    contents = {
        "README.md": markdown(study, command, tasks, columns, cells, folder).encode(),
        "results.csv": comma_separated(cells).encode(),
        "success.png": success_figure(
            tasks, [(column.label, _series(tasks, column, cells)) for column in columns]
        ),
    }
    for name, content in contents.items():
        with atomic_file(folder / name) as stream:
            stream.write(content)
    return [folder / name for name in contents]


def _series(tasks: Sequence[str], column: Column, cells: Cells) -> list[tuple[int, int] | None]:
    """Successes and episodes of each task, None where there is no result."""
    found = [cells.get((task, column)) for task in tasks]
    return [
        (cell.result["success"], cell.result["n"]) if cell and not cell.result.get("refused") else None
        for cell in found
    ]


# -- Markdown --------------------------------------------------------------------------------------------


def markdown(
    study: str, command: str, tasks: list[str], columns: list[Column], cells: Cells, folder: Path
) -> str:
    """The whole page, which will be in `folder`."""
    refused = any(cell.result.get("refused") for cell in cells.values())
    refusals = " A task that a method refused\ncounts in no rate, mean or interval." if refused else ""
    sections = [
        f"# Results: {study}",
        f"Made by `{command}` from the results files in this folder; do not edit.\n"
        "Every entry is successes / episodes = rate [95 % Wilson interval]." + refusals,
        "![Success by task and method](success.png)",
        "## Success",
        success_table(tasks, columns, cells),
        "## Means over tasks",
        "Mean ± standard deviation over tasks (of the sample, n − 1), as in the paper's Tables 1 and 2.\n"
        "A student's latency is measured alone on the idle machine after the rollouts (batch 1, warmed up),\n"
        "a teacher's during them.",
        means_table(columns, cells),
        "## Load during the rollouts",
        "Means over tasks; all processes of the evaluation, rendering included (100 % CPU = one core).",
        load_table(columns, cells),
        *potential_section(tasks, columns, cells),
        *queries_section(tasks, columns, cells),
        "## Where the numbers are from",
        "A `+` after a commit: with changes that were not committed.",
        sources_table(tasks, columns, cells, folder),
    ]
    return "\n\n".join(sections) + "\n"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right-aligned."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def success_table(tasks: list[str], columns: list[Column], cells: Cells) -> str:
    """Tasks by methods, and all episodes of a method together: of each official suite, and of all tasks."""
    rows = [
        [short(task), *(rate(cells[task, c].result) if (task, c) in cells else NONE for c in columns)]
        for task in tasks
    ]
    suites: dict[str, list[str]] = {}
    for task in tasks:
        if found := split_name(task):
            suites.setdefault(found[0], []).append(task)
    groups = {f"{suite}, all episodes": members for suite, members in suites.items()} | {
        "all episodes": tasks
    }
    for name, members in groups.items():
        rows.append([name, *(_pooled(members, column, cells) for column in columns)])
    return table(["task", *(column.label for column in columns)], rows)


def _pooled(tasks: Sequence[str], column: Column, cells: Cells) -> str:
    """All episodes of some tasks together, and how many tasks were refused."""
    counts = [count for count in _series(tasks, column, cells) if count]
    refused = sum(bool(cell.result.get("refused")) for task in tasks if (cell := cells.get((task, column))))
    k, n = sum(k for k, _ in counts), sum(n for _, n in counts)
    entries = [f"{refused} of {len(tasks)} tasks refused"] if refused else []
    if n:
        low, high = wilson_interval(k, n)
        entries.insert(0, f"{k}/{n} = {k / n:.2f} [{low:.2f}, {high:.2f}]")
    return ", ".join(entries) or NONE


def means_table(columns: list[Column], cells: Cells) -> str:
    """Means and standard deviations over tasks of success, steps and latency."""
    measures: list[tuple[str, Callable[[dict[str, Any]], float | None], int]] = [
        ("success rate", lambda r: r["success"] / r["n"], 2),
        ("steps per episode", lambda r: r["steps_mean"], 0),
        *[
            (f"ms per chunk, {name}", lambda r, name=name: r["latency_ms"].get(name), 2)
            for name in PERCENTILES
        ],
    ]
    rows = []
    for column in columns:
        results = _results(column, cells)
        rows.append([column.label, str(len(results))])
        rows[-1] += [
            _mean([measure(result) for result in results], digits) for _, measure, digits in measures
        ]
    return table(["method", "tasks", *(name for name, _, _ in measures)], rows)


def load_table(columns: list[Column], cells: Cells) -> str:
    """Means over tasks of what the machine was busy with, and which machine it was."""
    keys = {
        "gpu_utilization_percent": "GPU %",
        "gpu_memory_mib": "GPU memory, MiB",
        "cpu_percent": "CPU %",
        "rss_mib": "memory, MiB",
    }
    rows = []
    for column in columns:
        machines = [result["hardware"] for result in _results(column, cells)]
        names = sorted({f"{machine.get('cpu')}, {machine.get('cores')} cores" for machine in machines})
        row = [column.label, str(len(machines))]
        for key in keys:
            seen = [machine.get(key) for machine in machines]
            row.append(_mean([value.get("mean") if isinstance(value, dict) else None for value in seen], 0))
        rows.append([*row, "; ".join(names)])
    return table(["method", "tasks", *keys.values(), "machine"], rows)


def potential_section(tasks: list[str], columns: list[Column], cells: Cells) -> list[str]:
    """What the teacher's values say, nothing where no result has any."""
    rows = []
    for column in columns:
        found = {task: cells[task, column].result["episodes"] for task in tasks if (task, column) in cells}
        pooled = [episode for episodes in found.values() for episode in episodes]
        entries = {short(task): episodes for task, episodes in found.items()} | {"all episodes": pooled}
        rows += [
            [name, column.label, *said.shown()]
            for name, episodes in entries.items()
            if (said := potential(episodes))
        ]
    return [POTENTIAL, table(["task", "method", *Potential.HEADINGS], rows)] if rows else []


def queries_section(tasks: list[str], columns: list[Column], cells: Cells) -> list[str]:
    """What asking the teacher cost, nothing where no result knows."""
    rows = query_rows(tasks, columns, cells)
    return [QUERIES, table(HEADINGS, rows)] if rows else []


def sources_table(tasks: list[str], columns: list[Column], cells: Cells, folder: Path) -> str:
    """Each results file, linked from `folder`, with its commit and seeds."""
    rows = []
    for task in tasks:
        for cell in [cells[task, column] for column in columns if (task, column) in cells]:
            result = cell.result
            seed = NONE if result["train_seed"] is None else str(result["train_seed"])
            episodes = str(result["config"]["protocol"]["seed"])
            parameters = result["config"].get("parameters")
            size = f"{parameters:,}" if parameters else NONE
            link = f"[{cell.path.stem}]({os.path.relpath(cell.path, folder)})"
            rows.append([link, result["commit"], seed, episodes, size])
    return table(["file", "commit", "training seed", "episodes' seed", "parameters"], rows)


def _results(column: Column, cells: Cells) -> list[dict[str, Any]]:
    """Of the tasks that were not refused."""
    found = [cell.result for (_, other), cell in sorted(cells.items()) if other == column]
    return [result for result in found if not result.get("refused")]


def _mean(values: Sequence[float | None], digits: int) -> str:
    """`mean ± standard deviation`; without the latter for one value; nothing if any is missing."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return "not available"
    text = f"{statistics.mean(known):.{digits}f}"
    return f"{text} ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else text


# -- CSV -------------------------------------------------------------------------------------------------


def comma_separated(cells: Cells) -> str:
    """One line per results file."""
    rows = []
    for (task, column), cell in sorted(cells.items(), key=lambda item: (item[0][0], item[0][1].order)):
        result = cell.result
        rows.append(
            {
                "task": task,
                **column._asdict(),
                **{outcome: result[outcome] for outcome in (*OUTCOMES, "error")},
                "refused": result.get("refused"),
                "success_rate": result["success_rate"],
                "ci95_low": result["ci95"][0] if result["ci95"] else None,
                "ci95_high": result["ci95"][1] if result["ci95"] else None,
                "steps_mean": result["steps_mean"],
                **{f"latency_{name}_ms": result["latency_ms"].get(name) for name in PERCENTILES},
                "train_seed": result["train_seed"],
                "commit": result["commit"],
                "file": cell.path.name,
            }
        )
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
