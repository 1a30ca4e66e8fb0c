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
from pathlib import Path

import numpy as np
from common import NOISE, BlindSimulator, noise_seed

from lit_distill.behaviours import ActionNoise, Decision, TeacherActor, TeacherBehaviour
from lit_distill.errors import LitDistillError
from lit_distill.rollout import Episode, rollout
from lit_distill.schema import CHUNK_LENGTH, NEVER, TEACHER, Observation
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.embedded import EmbeddedTeacher
from lit_distill.teachers.spec import EMBEDDED_TEACHER, TeacherSpec
from lit_distill.videos import save_episode
from lit_distill.workers import EpisodeError, EpisodeJob, run_episodes

EVERY = 8
"""Control steps between two pictures of a film."""


class NoisyUntil:
    """The teacher under noise for so many control steps, then undisturbed; see `Behaviour`."""

    def __init__(self, steps: int) -> None:
        teacher = EmbeddedTeacher()
        self._steps = steps
        self._noisy, self._undisturbed = (
            TeacherBehaviour(teacher, noise) for noise in (NOISE, ActionNoise())
        )
        self.teacher, self.zero_is_lost = self._noisy.teacher, self._noisy.zero_is_lost

    def decide(
        self, observation: Observation, simulator: ChunkSimulator, random: np.random.Generator
    ) -> Decision:
        """See `Behaviour`."""
        acting = self._noisy if simulator.timestep < self._steps else self._undisturbed
        return acting.decide(observation, simulator, random)


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
        try:
            _film(options.task, options.split, options.seed, *options.film, options.videos)
        except LitDistillError as error:
            raise SystemExit(f"error: {error}") from None
        return
    actor = TeacherActor(TeacherSpec(EMBEDDED_TEACHER, {"continuation": True}), NOISE)
    jobs = [
        EpisodeJob(
            options.task,
            options.split,
            index,
            source=TEACHER,
            episode=index,
            seed=noise_seed(options.task, options.seed) + index,
            actor=actor,
            image_size=2,
            simulator=BlindSimulator,
        )
        for index in range(options.episodes)
    ]
    for job, episode in run_episodes(jobs, options.workers):
        print(job.name, _shown(episode), flush=True)


def _shown(episode: Episode | EpisodeError) -> str:
    if isinstance(episode, EpisodeError):
        return episode.reason
    found = (step.steps_to_success for step in episode.transitions)
    steps = " ".join("X" if steps == NEVER else str(steps) for steps in found)
    return f"{episode.outcome} after {episode.steps}: {steps}"


def _film(task: str, split: str, seed: int, index: int, chunk: int, folder: Path) -> None:
    simulator = Simulator(get_task(task), image_size=256)
    state = load_initial_state(simulator.task, split, index)
    episode = rollout(
        simulator,
        NoisyUntil(chunk * CHUNK_LENGTH),
        state,
        source=TEACHER,
        episode=index,
        seed=noise_seed(task, seed) + index,
        record_every=EVERY,
    )
    if chunk * CHUNK_LENGTH >= episode.steps:
        last = (episode.steps - 1) // CHUNK_LENGTH
        raise LitDistillError(f"--film: {state.name} ended in chunk {last}, so chunk {chunk} has no picture")
    frames = episode.frames[chunk * CHUNK_LENGTH // EVERY :]
    print(save_episode(folder, state.name, episode.outcome, frames))


if __name__ == "__main__":
    main()
