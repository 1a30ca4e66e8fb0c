"""What gamma does to the potential reward of eq. (3), on the data that AWAC learns from; no training.

    python experiments/benchmarks/shaping.py --task TASK [--root data] [--gammas 0.99 0.995 0.998]

Of the chunk transitions of conf/awac.yaml: gamma^l V*(s') - V*(s), its mean and the share in which it is
positive, in successful episodes (terminal chunks apart, whose next potential is 1) and in the others; and
which share of the looks at the students' rollouts is of episodes that fail. The last line is one JSON object.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from common import BASKET, options, report

from datamodules.multistep import multistep
from lit_distill.manifest import Manifest
from lit_distill.samples import read_shard
from lit_distill.schema import TEACHER, ChunkTransition
from lit_distill.study.report import table

KEYS = ("executed", "value", "next_value", "terminal", "success")


def main() -> None:
    """Read, print the table, then the JSON object."""
    parser = options(__doc__)
    parser.add_argument("--task", default=BASKET)
    parser.add_argument("--root", default="data")
    parser.add_argument("--gammas", type=float, nargs="+", default=[0.99, 0.995, 0.998, 1.0])
    parser.add_argument("--execute-steps", type=int, default=8)
    chosen = parser.parse_args()
    found = {key: [] for key in KEYS}
    by_students = []
    for episode in _episodes(Path(chosen.root) / chosen.task):
        for transition in multistep(episode, 0, chosen.execute_steps):
            for key in KEYS:
                found[key].append(transition[key])
            by_students.append(episode[0].source != TEACHER)
    arrays = {key: np.array(values) for key, values in found.items()}
    of = {
        "successes": ~arrays["terminal"] & arrays["success"],
        "others": ~arrays["terminal"] & ~arrays["success"],
    }
    figures = {
        str(gamma): {name: _of(_shaping(arrays, gamma)[some]) for name, some in of.items()}
        for gamma in chosen.gammas
    }
    rows = [
        [gamma, *(f"{each[key]:.3f}" for each in sides.values() for key in ("positive", "mean"))]
        for gamma, sides in figures.items()
    ]
    print(table(["gamma", "successes: positive", "mean", "others: positive", "mean"], rows))
    looks = ~arrays["success"][np.array(by_students)]
    settings = {"task": chosen.task, "execute_steps": chosen.execute_steps}
    failures = {"students_looks": len(looks), "share_in_failures": round(float(looks.mean()), 3)}
    report("shaping", settings | {"gammas": figures} | failures, chosen.output)


def _episodes(folder: Path) -> Iterator[list[ChunkTransition]]:
    """Every stored episode."""
    for source in Manifest.load(folder).sources.values():
        for shard in source.shards:
            for _, episode in groupby(read_shard(folder / shard.name), key=lambda each: each.episode):
                yield list(episode)


def _shaping(arrays: dict[str, np.ndarray], gamma: float) -> np.ndarray:
    """gamma^l V*(s') - V*(s)."""
    return np.asarray(gamma ** arrays["executed"] * arrays["next_value"] - arrays["value"])


def _of(shaping: np.ndarray) -> dict[str, float]:
    known = shaping[~np.isnan(shaping)]
    return {
        "transitions": len(known),
        "positive": round(float((known > 0.0).mean()), 3),
        "mean": round(float(known.mean()), 4),
    }


if __name__ == "__main__":
    main()
