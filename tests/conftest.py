"""Fixtures shared by the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, ChunkTransition, Observation, Outcome
from lit_distill.sim.simulator import Simulator
from lit_distill.tasks import get_task

TORCH_THREADS = torch.get_num_threads()
MakeEpisode = Callable[..., list[ChunkTransition]]


def _make_observation(rng: np.random.Generator, image_size: int) -> Observation:
    image = (image_size, image_size, 3)
    return Observation(
        agentview=rng.integers(0, 256, image, dtype=np.uint8),
        wrist=rng.integers(0, 256, image, dtype=np.uint8),
        proprio=rng.normal(size=7).astype(np.float32),
        gripper_qpos=rng.normal(size=2).astype(np.float32),
        eef_pos=rng.normal(size=3).astype(np.float32),
        eef_quat=np.array([1, 0, 0, 0], dtype=np.float32),
    )


def _make_episode(
    task: str,
    source: str,
    episode: int,
    chunks: int = 3,
    outcome: Outcome = "success",
    image_size: int = 16,
    labelled: bool = True,
) -> list[ChunkTransition]:
    """A valid episode of random content, a pure function of its arguments."""
    rng = np.random.default_rng([episode, *task.encode(), *source.encode()])
    transitions = []
    for chunk in range(chunks):
        terminal = chunk == chunks - 1
        executed = 9 if terminal else CHUNK_LENGTH
        rewards = np.zeros(CHUNK_LENGTH, dtype=np.float32)
        if terminal and outcome == "success":
            rewards[executed - 1] = 1.0
        actions = rng.uniform(-1, 1, (2, CHUNK_LENGTH, ACTION_DIM)).astype(np.float32)
        transitions.append(
            ChunkTransition(
                task=task,
                source=source,
                episode=episode,
                chunk=chunk,
                observation=_make_observation(rng, image_size),
                actions=actions[0],
                executed=executed,
                mask=np.arange(CHUNK_LENGTH) < executed,
                rewards=rewards,
                terminal=terminal,
                outcome=outcome,
                behaviour="teacher+noise",
                initial_state=f"teacher/{episode}",
                seed=episode,
                teacher_actions=actions[1] if labelled else None,
                value=(chunk + 1) / (chunks + 1),
                next_value=None if terminal else (chunk + 2) / (chunks + 1),
                teacher="embedded 1" if labelled else None,
            )
        )
    return transitions


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A student that acts in this process sets torch's threads, and sums depend on them in the last bit."""
    yield
    torch.set_num_threads(TORCH_THREADS)


@pytest.fixture(scope="session")
def make_episode() -> MakeEpisode:
    """`make_episode(task, source, episode, chunks=3, outcome="success", image_size=16, labelled=True)`."""
    return _make_episode


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """LIBERO with 64 px images, built once: a reset makes it as new, as test_simulator.py shows."""
    made = Simulator(get_task("custom_libero_object_ketchup"), image_size=64)
    yield made
    made.close()


@pytest.fixture(scope="module")
def kitchen(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """LIBERO with the module's `TASK`, without pictures: nobody looks."""
    made = Simulator(request.module.TASK, image_size=32)
    made.render = lambda view: np.zeros((2, 2, 3), np.uint8)  # type: ignore[method-assign]
    yield made
    made.close()
