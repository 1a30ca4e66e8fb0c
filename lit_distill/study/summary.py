"""What the pipeline shows at its end: a table from the results files, places, and wall times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lit_distill.results import read_result

PIPE_WIDTH = 110
"""Columns of the table where the output is no terminal."""


def print_summary(
    paths: Sequence[tuple[Path, Path]],
    seconds: dict[str, dict[str, float | None]],
    logs: Sequence[Path],
    videos: Path,
) -> None:
    """Print the table and the places.

    Args:
        paths: of each task, the teacher's and the student's results file.
        seconds: wall time by task and stage, None where it was reused.
        logs: of each task, the folder of its TensorBoard files.
        videos: folder of the teacher's videos.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    results = [(read_result(teacher), read_result(student)) for teacher, student in paths]
    console.print()
    console.print(summary_table(results))
    for task, stages in seconds.items():
        spent = [
            f"{stage} {'reused' if value is None else duration(value)}" for stage, value in stages.items()
        ]
        total = duration(sum(value or 0.0 for value in stages.values()))
        print(f"time      {short(task)}: {', '.join(spent)}; together {total}")
    for path in [path for pair in paths for path in pair]:
        print(f"results   {path}")
    print(f"curves    tensorboard --logdir {logs[0].parts[0]}")
    for log, (_, student) in zip(logs, results, strict=True):
        places = [newest_videos(log), videos / student["task"]]
        for place in places:
            if place is not None and any(place.glob("*.mp4")):
                print(f"videos    {place}")


def summary_table(results: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> Table:
    """One row per task, from the results of the teacher and the student."""
    first = results[0][1]
    states = f"{first['n']} {first['split']} states"
    table = Table(title=f"success / episodes = rate [95 % interval], on {states}", title_justify="left")
    table.add_column("task")
    for heading in ("teacher", first["method"], "steps", "ms per chunk", "parameters"):
        table.add_column(heading, justify="right")
    for teacher, student in results:
        table.add_row(
            short(student["task"]),
            rate(teacher),
            rate(student),
            f"{teacher['steps_mean']:.0f} / {student['steps_mean']:.0f}",
            f"{p50(teacher)} / {p50(student)}",
            f"{student['config']['parameters']:,}",
        )
    table.caption = f"steps, ms per chunk (p50): teacher / {first['method']}"
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
