"""Do two worker processes do twice the work, and does a worker's memory stay flat?

    python experiments/benchmarks/workers.py --output experiments/results/benchmarks/workers.json
    python experiments/benchmarks/workers.py --memory --output experiments/results/benchmarks/memory.json

Teacher episodes, simplified meshes. Without `--memory`: one and two workers take turns; a turn is timed from
the moment at which every worker has done its first episode, so that starting up does not count, and
`two_over_one` is the ratio of the medians of episodes per second. With it: the resident memory of one worker
over many episodes; `growth` compares the last tenth with episodes 10 to 19, by their medians. The last line
is one JSON object.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import psutil
from common import BASKET, options, report

from lit_distill.behaviours import TeacherActor
from lit_distill.rollout import Episode
from lit_distill.sim.environment import SIMPLIFIED
from lit_distill.sim.states import SPLITS
from lit_distill.workers import EpisodeJob, run_episodes

SPLIT = "dev"
MIB = 1 << 20
SETTLED = slice(10, 20)
"""Episodes after which a worker has everything that it keeps."""


def jobs(task: str, count: int) -> list[EpisodeJob]:
    """Teacher episodes, over the states of the split again and again."""
    return [
        EpisodeJob(
            task,
            SPLIT,
            episode % SPLITS[SPLIT],
            source="teacher",
            episode=episode,
            seed=episode,
            actor=TeacherActor(),
            meshes=SIMPLIFIED,
        )
        for episode in range(count)
    ]


def episodes_per_s(task: str, workers: int, count: int) -> float:
    """Speed of so many workers, each doing `count` episodes, once they run."""
    done = []
    for _, result in run_episodes(jobs(task, workers * count), workers):
        assert isinstance(result, Episode)
        done.append(time.perf_counter())
    return (len(done) - workers) / (done[-1] - done[workers - 1])


def scaling(task: str, turns: int, count: int) -> dict[str, Any]:
    """One and two workers in turn."""
    speeds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(turns):
        for workers, found in speeds.items():
            found.append(episodes_per_s(task, workers, count))
            print(f"{workers} worker(s): {found[-1]:.3f} episodes/s", flush=True)
    one, two = (statistics.median(found) for found in speeds.values())
    return {"turns": turns, "episodes_per_s": speeds, "two_over_one": round(two / one, 3)}


def memory(task: str, count: int) -> dict[str, Any]:
    """Resident memory of one worker after each of `count` episodes."""
    rss = []
    for job, _ in run_episodes(jobs(task, count), 1):
        rss.append(max(child.memory_info().rss for child in psutil.Process().children(recursive=True)) / MIB)
        if job.episode % 25 == 0:
            print(f"{len(rss)} episodes: {rss[-1]:.0f} MiB", flush=True)
    before, after = statistics.median(rss[SETTLED]), statistics.median(rss[-max(1, count // 10) :])
    return {
        "episodes": count,
        "rss_mib": [round(value, 1) for value in rss],
        "growth": round(after / before - 1.0, 4),
    }


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = options(__doc__)
    parser.add_argument("--task", default=BASKET, help="name in the task table")
    parser.add_argument("--memory", action="store_true", help="measure memory, not speed")
    parser.add_argument("--turns", type=int, default=3, help="of one and of two workers")
    parser.add_argument("--episodes", type=int, help="of a worker in a turn (20), or in all (500)")
    arguments = parser.parse_args()
    task = arguments.task
    if arguments.memory:
        figures, name = memory(task, arguments.episodes or 500), "memory"
    else:
        figures, name = scaling(task, arguments.turns, arguments.episodes or 20), "workers"
    report(name, {"task": task, "meshes": SIMPLIFIED, **figures}, arguments.output)


if __name__ == "__main__":
    main()
