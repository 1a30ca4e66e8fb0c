"""The one rollout loop: a simulator, a behaviour, an initial state -> an episode of chunk transitions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lit_distill.behaviours import Behaviour, Decision
from lit_distill.errors import LitDistillError
from lit_distill.schema import CHUNK_LENGTH, ChunkTransition, Observation, Outcome
from lit_distill.sim.chunks import ChunkResult, ChunkSimulator
from lit_distill.sim.states import InitialState
from lit_distill.teachers.cost import QueryCost

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Episode:
    """One finished episode.

    Attributes:
        transitions: its chunks in order.
        outcome: how it ended.
        steps: control steps executed.
        clipped: commanded action values outside [-1, 1], which were clipped.
        decision_ms: wall-clock time of each decision (ms) that did not come from a cache; never stored in
            shards.
        cost: what asking the teacher cost.
        frames: recorded pictures, uint8 [H, 2 W, 3] (agentview beside wrist), empty unless asked for.
    """

    transitions: list[ChunkTransition]
    outcome: Outcome
    steps: int
    clipped: int = 0
    decision_ms: list[float] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)
    cost: QueryCost = field(default_factory=QueryCost)


@dataclass(frozen=True)
class _Chunk:
    observation: Observation
    decision: Decision
    commanded: np.ndarray
    result: ChunkResult


def check_execute_steps(execute_steps: int) -> None:
    """Raise LitDistillError unless a chunk has so many actions to execute."""
    if not 1 <= execute_steps <= CHUNK_LENGTH:
        raise LitDistillError(f"execute_steps: must be in 1..{CHUNK_LENGTH}, got {execute_steps}")


def rollout(
    simulator: ChunkSimulator,
    behaviour: Behaviour,
    initial_state: InitialState,
    *,
    source: str,
    episode: int,
    seed: int,
    execute_steps: int = CHUNK_LENGTH,
    record_every: int = 0,
    end_when_lost: bool = False,
) -> Episode:
    """Run one episode to its end.

    Args:
        simulator: where to act.
        behaviour: decides at every chunk boundary.
        initial_state: where to start.
        source: `teacher`, `student` or `dagger-k`, stored with the transitions.
        episode: index of the episode within its source.
        seed: seeds everything random in the episode.
        execute_steps: how many of a chunk's 16 actions are executed before looking again.
        record_every: record a frame every so many control steps, 0 for none.
        end_when_lost: end the episode after a chunk whose observation the teacher labelled with value 0, if
            that means (`zero_is_lost`) that the goal can no longer be reached: it ends as the timeout that
            it would become. For collecting; an evaluation never ends early.
    """
    check_execute_steps(execute_steps)
    may_be_lost = end_when_lost and behaviour.zero_is_lost
    random = np.random.default_rng(seed)
    recorder = _Recorder(simulator, record_every)
    chunks: list[_Chunk] = []
    decision_ms: list[float] = []
    clipped = steps = 0
    cost = QueryCost()
    observation: Observation | None = simulator.reset(initial_state)
    outcome: Outcome | None = None
    recorder.record()
    while outcome is None:
        assert observation is not None
        started = time.perf_counter()
        decision = behaviour.decide(observation, simulator, random)
        if not decision.cost.cached:
            decision_ms.append(1e3 * (time.perf_counter() - started))
        cost += decision.cost
        wanted = np.asarray(decision.actions, dtype=np.float32)
        commanded = np.where(np.isfinite(wanted), np.clip(wanted, -1.0, 1.0), np.nan)  # ±inf is no bound
        clipped += int(np.sum(np.abs(wanted[:execute_steps]) > 1.0))
        result = simulator.step_chunk(commanded[:execute_steps], recorder.on_step)
        steps += result.executed
        outcome = result.outcome
        if outcome is None and may_be_lost and decision.label and decision.label.value == 0.0:
            outcome = "timeout"
        if outcome == "failure":
            logger.warning(
                "%s %s: chunk %d commands an action that is not finite; the episode ends as a failure",
                simulator.task.name,
                initial_state.name,
                len(chunks),
            )
        if result.executed:
            stored = np.nan_to_num(commanded)  # what is not finite was not executed
            chunks.append(_Chunk(observation, decision, stored, result))
        observation = result.observation

    transitions = _transitions(
        chunks,
        outcome,
        task=simulator.task.name,
        source=source,
        episode=episode,
        seed=seed,
        initial_state=initial_state.name,
        teacher=behaviour.teacher,
    )
    return Episode(transitions, outcome, steps, clipped, decision_ms, recorder.frames, cost)


def _transitions(chunks: list[_Chunk], outcome: Outcome, **common: Any) -> list[ChunkTransition]:
    """What is stored of an episode; `common` are the fields that are equal in all of its chunks."""
    labels = [chunk.decision.label for chunk in chunks]
    following = [*labels, None][1:]
    return [
        ChunkTransition(
            chunk=index,
            observation=chunk.observation,
            actions=chunk.commanded,
            executed=chunk.result.executed,
            mask=np.arange(CHUNK_LENGTH) < chunk.result.executed,
            rewards=np.pad(chunk.result.rewards, (0, CHUNK_LENGTH - chunk.result.executed)),
            terminal=index == len(chunks) - 1,
            outcome=outcome,
            behaviour=chunk.decision.behaviour,
            teacher_actions=label.actions if label else None,
            value=label.value if label else None,
            next_value=after.value if after else None,
            steps_to_success=label.steps_to_success if label else None,
            next_steps_to_success=after.steps_to_success if after else None,
            **common,
        )
        for index, (chunk, label, after) in enumerate(zip(chunks, labels, following, strict=True))
    ]


class _Recorder:
    """Collects a picture of both views every so many control steps."""

    def __init__(self, simulator: ChunkSimulator, every: int) -> None:
        self._simulator, self._every = simulator, every
        self._count = 0
        self.frames: list[np.ndarray] = []
        self.on_step: Callable[[], None] | None = self._step if every else None

    def record(self) -> None:
        if self._every:
            views = [self._simulator.render(view) for view in ("agentview", "wrist")]
            self.frames.append(np.concatenate(views, axis=1))

    def _step(self) -> None:
        self._count += 1
        if self._count % self._every == 0:
            self.record()
