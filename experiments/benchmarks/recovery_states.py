"""From which states of its own noisy episodes the embedded teacher never finds out: for debugging it.

    python experiments/benchmarks/recovery_states.py TASK [--split student] [--seed 7000] [--episodes 100]
    python experiments/benchmarks/recovery_states.py TASK --seed 7000 --film 33 7

The episodes are those of `teacher_recovery.py`. One line for each: its state, how it ended, and at the
beginning of each chunk the number of control steps to success if no noise came any more, X where that takes
longer than the task's horizon. Where the number rises noise cost time; a row of X is a state to look at:
`--film` goes to the chunk of a state, switches the noise off, and writes what the teacher does from there to
the end as mp4 and filmstrip.
"""

from __future__ import annotations

import argparse
import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np
from common import NOISE, BlindSimulator

from lit_distill.behaviours import ActionNoise, Decision, TeacherBehaviour
from lit_distill.rollout import rollout
from lit_distill.schema import NEVER, TEACHER, Observation
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.embedded import EmbeddedTeacher
from lit_distill.videos import save_episode

EVERY = 8
"""Control steps between two pictures of a film."""


class NoisyUntil(TeacherBehaviour):
    """The teacher under noise for so many chunks, then undisturbed."""

    def __init__(self, chunks: int) -> None:
        super().__init__(EmbeddedTeacher(), NOISE)
        self._left = chunks

    def decide(
        self, observation: Observation, simulator: ChunkSimulator, random: np.random.Generator
    ) -> Decision:
        """See `Behaviour`."""
        if self._left == 0:
            self._noise = ActionNoise()
        self._left -= 1
        return super().decide(observation, simulator, random)


def main() -> None:
    """Print a line for each episode, or write the film of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--film", nargs=2, type=int, metavar=("STATE", "CHUNK"))
    parser.add_argument("--videos", type=Path, default=Path("runs/recovery_states"))
    options = parser.parse_args()
    if options.film:
        _film(options.task, options.split, options.seed, *options.film, options.videos)
        return
    of_one = partial(_steps_to_success, options.task, options.split, options.seed)
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for line in pool.imap(of_one, range(options.episodes)):
            print(line, flush=True)


_SIMULATORS: dict[str, BlindSimulator] = {}


def _steps_to_success(task: str, split: str, seed: int, index: int) -> str:
    """The line of one episode."""
    simulator = _SIMULATORS.setdefault(task, BlindSimulator(get_task(task), image_size=2))
    state = load_initial_state(simulator.task, split, index)
    behaviour = TeacherBehaviour(EmbeddedTeacher(continuation=True), NOISE)
    episode = rollout(simulator, behaviour, state, source=TEACHER, episode=index, seed=seed + index)
    found = [step.steps_to_success for step in episode.transitions]
    shown = " ".join("X" if steps == NEVER else str(steps) for steps in found)
    return f"{state.name} {episode.outcome} after {episode.steps}: {shown}"


def _film(task: str, split: str, seed: int, index: int, chunk: int, folder: Path) -> None:
    simulator = Simulator(get_task(task), image_size=256)
    state = load_initial_state(simulator.task, split, index)
    episode = rollout(
        simulator,
        NoisyUntil(chunk),
        state,
        source=TEACHER,
        episode=index,
        seed=seed + index,
        record_every=EVERY,
    )
    steps = sum(step.executed for step in episode.transitions[:chunk])
    print(save_episode(folder, state.name, episode.outcome, episode.frames[steps // EVERY :]))


if __name__ == "__main__":
    main()
