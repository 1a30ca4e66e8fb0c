"""How well the embedded teacher recovers from heavy noise, and whether its value is a potential.

    python experiments/benchmarks/teacher_recovery.py [--tasks all] [--episodes 20] [--split dev]

Of each chunk that the teacher commands, a quarter gets in action units a bias drawn once per chunk (position
N(0, 0.6), rotation N(0, 0.2)) plus half that per step, and 30 % of those chunks a forced gripper command of
random sign. All 16 actions of a chunk are executed; an episode ends at success or at the horizon, also where
the teacher says that the goal is lost. Nothing is rendered: this teacher looks at no image.

Results go to experiments/results/<study>/ as those of `evaluate` do; what is there already is reused. Prints
a table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import NOISE, BlindSimulator

from lit_distill.behaviours import ActionNoise, TeacherActor
from lit_distill.evaluation import Protocol, wilson_interval
from lit_distill.results import ResultName, commit, read_result
from lit_distill.study.evaluate import evaluate_from
from lit_distill.study.potential import Potential, potential
from lit_distill.study.report import table
from lit_distill.study.summary import rate, short
from lit_distill.tasks import get_task, task_names


def main() -> None:
    """Measure, print the table, then the JSON object."""
    options = _options()
    protocol = Protocol(
        options.split, options.episodes, image_size=2, workers=options.workers, seed=options.seed
    )
    actor = TeacherActor(noise=NOISE if options.noise else ActionNoise())
    results = []
    for task in task_names(options.tasks):
        name = ResultName(options.study, get_task(task).name, "teacher", options.results)
        evaluate_from(BlindSimulator, task, name, actor, protocol, Path("runs/teacher_recovery"))
        results.append(read_result(name.path(protocol)))
    print(table(["task", "success", "steps", *Potential.HEADINGS], [_row(result) for result in results]))
    print(json.dumps(_summary(options, results)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["all"], help="names, `all`, or official suites")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--study", default="teacher_recovery")
    parser.add_argument("--results", default="experiments/results")
    parser.add_argument("--no-noise", dest="noise", action="store_false", help="the same without noise")
    return parser.parse_args()


def _row(result: dict[str, Any]) -> list[str]:
    if result.get("refused"):
        return [short(result["task"]), rate(result), *[""] * (1 + len(Potential.HEADINGS))]
    shown = (potential(result["episodes"]) or Potential(0, None, None, None, 0)).shown()
    return [short(result["task"]), rate(result), f"{result['steps_mean']:.0f}", *shown]


def _summary(options: argparse.Namespace, results: list[dict[str, Any]]) -> dict[str, Any]:
    episodes = [episode for result in results for episode in result["episodes"]]
    successes = sum(result["success"] for result in results)
    found = potential(episodes)
    return {
        "benchmark": "teacher_recovery",
        "commit": commit(),
        "noise": asdict(NOISE) if options.noise else None,
        "split": options.split,
        "seed": options.seed,
        "tasks": {
            result["task"]: {"refused": result["refused"]}
            if result.get("refused")
            else {
                "success": result["success"],
                "n": result["n"],
                "ci95": result["ci95"],
                "steps_mean": result["steps_mean"],
                "potential": asdict(diagnosed) if (diagnosed := potential(result["episodes"])) else None,
            }
            for result in results
        },
        "success": successes,
        "n": len(episodes),
        "ci95": list(wilson_interval(successes, len(episodes))) if episodes else None,
        "potential": asdict(found) if found else None,
    }


if __name__ == "__main__":
    main()
