"""What do the embedded teacher's two potentials cost, and how well do they foretell success?

    python experiments/benchmarks/teacher_value.py --output experiments/results/benchmarks/teacher_value.json

Noisy teacher episodes (the noise of teacher_recovery.py), nothing rendered. At every chunk boundary the
teacher is asked twice, each time as if nothing had been imagined yet: for its chunk with the progress of its
plan (`value`), and for it with a simulated continuation to the end (`steps`, the potential is gamma^n).
`auroc`: area under the ROC curve of the potential against the episode's success, over all chunks. The last
line is one JSON object.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from common import NOISE, BlindSimulator, median_ms, options, report, seconds
from torchmetrics.functional.classification import binary_auroc

from lit_distill.schema import NEVER, TeacherChunk
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task, task_names
from lit_distill.teachers.embedded import EmbeddedTeacher

SPLIT = "dev"
POTENTIALS = ("value", "steps")


class Asked:
    """What two teachers said along episodes, and how long they took.

    Attributes:
        times: of each potential, (wall-clock, processor) seconds of every query.
        said: of each potential, one number in [0, 1] for every query.
        succeeded: whether the episode of a query succeeded.
    """

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[float, float]]] = {name: [] for name in POTENTIALS}
        self.said: dict[str, list[float]] = {name: [] for name in POTENTIALS}
        self.succeeded: list[bool] = []

    def add(self, other: Asked) -> None:
        """Take over what another one holds."""
        for name in POTENTIALS:
            self.times[name] += other.times[name]
            self.said[name] += other.said[name]
        self.succeeded += other.succeeded

    def figures(self) -> dict[str, Any]:
        """Cost and calibration, ready for JSON."""
        both = len(set(self.succeeded)) == 2
        targets = torch.tensor(self.succeeded, dtype=torch.int64)
        return {
            "queries": len(self.succeeded),
            "of_successful_episodes": sum(self.succeeded),
            "ms_per_query": {name: median_ms(self.times[name]) for name in POTENTIALS},
            "mean_ms_per_query": {
                name: round(1e3 * float(np.mean([wall for wall, _ in self.times[name]])), 1)
                for name in POTENTIALS
            },
            "auroc": {
                name: round(float(binary_auroc(torch.tensor(self.said[name]), targets)), 3) if both else None
                for name in POTENTIALS
            },
        }


def play(simulator: BlindSimulator, index: int, seed: int, gamma: float) -> Asked:
    """One noisy episode from a `dev` state."""
    plain, continued = EmbeddedTeacher(), EmbeddedTeacher(continuation=True)
    random = np.random.default_rng([seed, index])
    observation = simulator.reset(load_initial_state(simulator.task, SPLIT, index))
    asked = Asked()
    while True:
        answers: list[TeacherChunk] = []
        for name, teacher in zip(POTENTIALS, (plain, continued), strict=True):
            simulator.imagination.forget()  # as where somebody else acts: nothing is known of this state
            time = seconds(lambda: answers.append(teacher.query(observation, simulator)))  # noqa: B023
            asked.times[name].append(time)
        value, steps = answers[0].value, answers[1].steps_to_success
        assert value is not None and steps is not None
        asked.said["value"].append(value)
        asked.said["steps"].append(0.0 if steps == NEVER else gamma**steps)
        perturbed = NOISE.perturb(answers[0].actions, random)
        actions = answers[0].actions if perturbed is None else np.clip(perturbed, -1.0, 1.0)
        result = simulator.step_chunk(actions)
        if result.observation is None:
            asked.succeeded += [simulator.success] * len(asked.said["value"])
            return asked
        observation = result.observation


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = options(__doc__)
    parser.add_argument("--tasks", nargs="+", default=["all"], help="names in the task table")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gamma", type=float, default=0.99, help="discount per control step")
    arguments = parser.parse_args()
    everything, tasks = Asked(), {}
    for name in task_names(arguments.tasks):
        simulator, of_task = BlindSimulator(get_task(name), image_size=2), Asked()
        for index in range(arguments.episodes):
            of_task.add(play(simulator, index, arguments.seed, arguments.gamma))
        simulator.close()
        everything.add(of_task)
        tasks[name] = of_task.figures()
        print(f"{name}: {tasks[name]}", flush=True)
    settings = {"split": SPLIT, "episodes": arguments.episodes, "gamma": arguments.gamma}
    report("teacher_value", settings | {"tasks": tasks, "all": everything.figures()}, arguments.output)


if __name__ == "__main__":
    main()
