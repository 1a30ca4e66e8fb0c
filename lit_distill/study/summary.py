"""What the pipeline shows at its end: a table from the results files, places, and wall times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from lit_distill.results import read_result

PIPE_WIDTH = 110
"""Columns of the table where the output is no terminal."""


class TaskSummary(NamedTuple):
    """Where a task's results are.

    Attributes:
        teacher: the teacher's results file.
        students: the students', in the order in which they were trained.
        logs: folders of the students' TensorBoard files.
    """

    teacher: Path
    students: list[Path]
    logs: list[Path]


def print_summary(
    tasks: Sequence[TaskSummary], seconds: dict[str, dict[str, float | None]], videos: Path
) -> None:
    """Print the table and the places.

    Args:
        tasks: where the results are.
        seconds: wall time by task and stage, None where it was reused.
        videos: folder of the teacher's videos.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    results = [[read_result(path) for path in (task.teacher, *task.students)] for task in tasks]
    console.print()
    console.print(summary_table(results))
    for name, stages in seconds.items():
        spent = [
            f"{stage} {'reused' if value is None else duration(value)}" for stage, value in stages.items()
        ]
        total = duration(sum(value or 0.0 for value in stages.values()))
        print(f"time      {short(name)}: {', '.join(spent)}; together {total}")
    for task in tasks:
        for path in (task.teacher, *task.students):
            print(f"results   {path}")
    print(f"curves    tensorboard --logdir {tasks[0].logs[0].parts[0]}")
    for task, (teacher, *_) in zip(tasks, results, strict=True):
        for place in (*map(newest_videos, task.logs), videos / teacher["task"]):
            if place is not None and any(place.glob("*.mp4")):
                print(f"videos    {place}")


def summary_table(results: Sequence[Sequence[dict[str, Any]]]) -> Table:
    """One row per task, from the results of the teacher and of each student."""
    methods = [result["method"] for result in results[0]]
    states = f"{results[0][0]['n']} {results[0][0]['split']} states"
    table = Table(title=f"success / episodes = rate [95 % interval], on {states}", title_justify="left")
    table.add_column("task")
    for heading in (*methods, "steps", "ms per chunk", "parameters"):
        table.add_column(heading, justify="right")
    for row in results:
        table.add_row(
            short(row[0]["task"]),
            *map(rate, row),
            " / ".join(f"{result['steps_mean']:.0f}" for result in row),
            " / ".join(map(p50, row)),
            f"{row[-1]['config']['parameters']:,}",
        )
    table.caption = f"steps, ms per chunk (p50): {' / '.join(methods)}"
    table.caption_justify = "left"
    return table


def rate(result: dict[str, Any]) -> str:
    """`k/n = rate [low, high]`, or why the teacher did not act."""
    if result.get("refused"):
        return f"refused: it {result['refused']}"
    low, high = result["ci95"]
    return (
        f"{result['success']}/{result['n']} = {result['success'] / result['n']:.2f} [{low:.2f}, {high:.2f}]"
    )


def p50(result: dict[str, Any]) -> str:
    """Median milliseconds per chunk with three significant digits."""
    value = result.get("latency_ms", {}).get("p50")
    return "–" if value is None else f"{value:.3g}"


def short(task: str) -> str:
    """A task's name without what all names begin with."""
    return task.removeprefix("custom_libero_")


def duration(seconds: float) -> str:
    """`12 s` or `3 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def newest_videos(log: Path) -> Path | None:
    """The folder of the student's latest videos below a run's log folder."""
    found = sorted(log.glob("version_*/videos/*/*.mp4"), key=lambda path: path.stat().st_mtime)
    return found[-1].parent if found else None
