"""How well the embedded teacher recovers from heavy noise, and whether its value is a potential.

    python experiments/benchmarks/teacher_recovery.py [--tasks all] [--seeds 0 100 200] [--split dev]

Of each chunk that the teacher commands, a quarter gets in action units a bias drawn once per chunk (position
N(0, 0.6), rotation N(0, 0.2)) plus half that per step, and 30 % of those chunks a forced gripper command of
random sign. All 16 actions of a chunk are executed; an episode ends at success or at the horizon, also where
the teacher says that the goal is lost. Nothing is rendered: this teacher looks at no image.

An episode's noise is drawn with a seed of its own, from --seeds, task and state. Results go to
experiments/results/<study>/ as those of `evaluate` do, those of a seed other than 0 to <study>_<seed>/; what
is there already is reused. Prints a table over all seeds and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import NOISE, BlindSimulator, noise_seed, report

from lit_distill.behaviours import ActionNoise, TeacherActor
from lit_distill.evaluation import Protocol, wilson_interval
from lit_distill.results import ResultName, read_result
from lit_distill.study.evaluate import evaluate_from
from lit_distill.study.potential import Potential, potential
from lit_distill.study.report import table
from lit_distill.study.summary import rate, short
from lit_distill.tasks import get_task, task_names

EMPTY = {"chunks": 0, "falls": None, "auroc": None, "failed_last": None, "false_lost": 0}


def main() -> None:
    """Measure, print the table, then the JSON object."""
    options = _options()
    actor = TeacherActor(noise=NOISE if options.noise else ActionNoise())
    found = {}
    for task in task_names(options.tasks):
        results = []
        for seed in options.seeds:
            study = f"{options.study}_{seed}" if seed else options.study
            name = ResultName(study, get_task(task).name, "teacher", options.results)
            noise = noise_seed(name.task, seed)
            protocol = Protocol(
                options.split, options.episodes, image_size=2, workers=options.workers, seed=noise
            )
            evaluate_from(BlindSimulator, task, name, actor, protocol, Path("runs/teacher_recovery"))
            results.append(read_result(name.path(protocol)))
        found[get_task(task).name] = _figures(results)
    print(table(["task", "success", "steps", *Potential.HEADINGS], [_row(*each) for each in found.items()]))
    episodes = [episode for figures in found.values() for episode in figures.pop("episodes")]
    settings = {
        "noise": asdict(NOISE) if options.noise else None,
        "split": options.split,
        "seeds": options.seeds,
    }
    report("teacher_recovery", settings | {"tasks": found, "all": _figures_of(episodes)}, options.output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["all"], help="names, `all`, or official suites")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="at least 20 apart: + state")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--study", default="teacher_recovery")
    parser.add_argument("--results", default="experiments/results")
    parser.add_argument("--output", type=Path, help="also write the JSON object to this file")
    parser.add_argument("--no-noise", dest="noise", action="store_false", help="the same without noise")
    return parser.parse_args()


def _figures(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Those of one task, over its seeds."""
    if refused := results[0].get("refused"):
        return {"refused": refused, "episodes": []}
    episodes = [episode for result in results for episode in result["episodes"]]
    by_seed = [result["success"] for result in results]
    return {**_figures_of(episodes), "success_by_seed": by_seed, "episodes": episodes}


def _figures_of(episodes: list[dict[str, Any]]) -> dict[str, Any]:
    success, n = sum(episode["outcome"] == "success" for episode in episodes), len(episodes)
    diagnosed = potential(episodes)
    return {
        "success": success,
        "n": n,
        "ci95": list(wilson_interval(success, n)) if n else None,
        "steps_mean": round(statistics.mean(episode["steps"] for episode in episodes), 1) if n else None,
        "potential": asdict(diagnosed) if diagnosed else None,
    }


def _row(task: str, figures: dict[str, Any]) -> list[str]:
    if "refused" in figures:
        return [short(task), "refused", *[""] * (1 + len(Potential.HEADINGS))]
    shown = Potential(**(figures["potential"] or EMPTY)).shown()
    return [short(task), rate(figures), f"{figures['steps_mean']:.0f}", *shown]


if __name__ == "__main__":
    main()
