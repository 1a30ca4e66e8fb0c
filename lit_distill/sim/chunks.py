"""What executing a chunk means, for every simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lit_distill.errors import LitDistillError
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, Observation, Outcome
from lit_distill.sim.states import InitialState
from lit_distill.tasks import Task


@dataclass(frozen=True)
class ChunkResult:
    """What executing a chunk gave.

    Attributes:
        rewards: float32 [ℓ], LIBERO's sparse reward of each executed control step.
        executed: ℓ, 0 only if the first action was not finite.
        outcome: how the episode ended within this chunk, None if it goes on.
        observation: what is seen after the last executed step; None once the episode has ended.
    """

    rewards: np.ndarray
    executed: int
    outcome: Outcome | None
    observation: Observation | None


class ChunkSimulator(Protocol):
    """What a rollout needs of a simulator; `Simulator` and `sim.fake.FakeSimulator` are two.

    `snapshot` and `restore` go back within an episode. `export_state` gives everything that the next control
    step depends on as arrays, `import_state` brings another simulator of the same task there, bit for bit; it
    raises LitDistillError for arrays that are not such a state.
    """

    task: Task
    timestep: int

    def reset(self, initial_state: InitialState) -> Observation: ...

    def step_chunk(self, actions: np.ndarray, on_step: Callable[[], None] | None = None) -> ChunkResult: ...

    def step(self, action: np.ndarray) -> bool: ...

    def observe(self) -> Observation: ...

    def render(self, view: str, size: int | None = None) -> np.ndarray: ...

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...

    def export_state(self) -> dict[str, np.ndarray]: ...

    def import_state(self, arrays: dict[str, np.ndarray]) -> None: ...

    def close(self) -> None: ...


def run_chunk(
    simulator: ChunkSimulator, actions: np.ndarray, on_step: Callable[[], None] | None = None
) -> ChunkResult:
    """Execute a chunk until it or the episode ends.

    The success is latched at the first control step that meets the goal; the horizon ends the episode as a
    timeout, an action that is not finite as a failure (it is not executed).

    Args:
        simulator: its `step` executes one action and says whether the goal is (or was before) met.
        actions: [n, 7] with n ≤ 16, in [-1, 1].
        on_step: called after every control step (to record a video, say).

    Raises:
        LitDistillError: the actions have another shape.
    """
    if actions.ndim != 2 or actions.shape[1] != ACTION_DIM or not 1 <= len(actions) <= CHUNK_LENGTH:
        raise LitDistillError(
            f"actions: expected [1..{CHUNK_LENGTH}, {ACTION_DIM}], got {list(actions.shape)}"
        )
    rewards: list[float] = []
    outcome: Outcome | None = None
    for action in actions:
        if not np.isfinite(action).all():
            outcome = "failure"
            break
        success = simulator.step(action)
        rewards.append(float(success))
        if on_step is not None:
            on_step()
        if success:
            outcome = "success"
            break
        if simulator.timestep >= simulator.task.horizon:
            outcome = "timeout"
            break
    observation = simulator.observe() if outcome is None else None
    return ChunkResult(np.array(rewards, dtype=np.float32), len(rewards), outcome, observation)
