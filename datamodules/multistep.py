"""Multi-step chunk transitions: what was executed from one look until up to K control steps later.

Whoever acts may look again, or be labelled, more often than every K steps: a stored transition then covers
four steps, say. From every look this makes one transition over the chunk that was really executed, s_i to
s_{i+ℓ} with ℓ ≤ K, so that the chunks of all actors are of one length, each with its consequences. Those that
begin between two looks of a student are other than its own mean, even where it always answers by that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lit_distill.behaviours import PERTURBED
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, NEVER, TEACHER, ChunkTransition


def multistep(
    episode: Sequence[ChunkTransition], first: int, execute_steps: int
) -> Iterator[dict[str, np.ndarray]]:
    """One transition from every look of an episode, over as many stored ones as fit into `execute_steps`.

    Args:
        episode: all transitions of one episode, in order.
        first: number of its first observation; the others follow.
        execute_steps: most control steps of one, 1..K, and as many as the longest stored one at least.

    Yields:
        The arrays of a ReplayBatch without `task_index` and without leading B; see `transition_arrays`.
    """
    for start in range(len(episode)):
        parts = [episode[start]]
        executed = parts[0].executed
        for following in episode[start + 1 :]:
            executed += following.executed
            if executed > execute_steps:
                break
            parts.append(following)
        end = start + len(parts)
        numbers = {
            "index": np.array(first + start),
            "next_index": np.array(first + (start if parts[-1].terminal else end)),
        }
        yield transition_arrays(parts) | numbers


def transition_arrays(parts: Sequence[ChunkTransition]) -> dict[str, np.ndarray]:
    """The arrays of one transition over consecutive stored ones, but for the numbers of its two ends.

    The rows that were executed come first, then those that the last actor had commanded: no padding tells how
    an episode ended.
    """
    first, last = parts[0], parts[-1]
    label = first.teacher_actions
    executed = sum(part.executed for part in parts)
    rows = [part.actions[: part.executed] for part in parts] + [last.actions[last.executed :]]
    rewards = np.zeros(CHUNK_LENGTH, np.float32)
    rewards[:executed] = np.concatenate([part.rewards[: part.executed] for part in parts])
    ended = 1.0 if last.success else 0.0  # §3.4: no query after the end
    next_value = ended if last.terminal else last.next_value
    steps_at_end = 0 if last.success else NEVER
    next_steps = steps_at_end if last.terminal else last.next_steps_to_success
    taught = all(part.behaviour == TEACHER for part in parts)
    return {
        "agentview": first.observation.agentview,
        "wrist": first.observation.wrist,
        "proprio": first.observation.proprio,
        "actions": np.concatenate(rows)[:CHUNK_LENGTH],
        "mask": np.arange(CHUNK_LENGTH) < executed,
        "executed": np.array(executed, np.int64),
        "rewards": rewards,
        "terminal": np.array(last.terminal),
        "success": np.array(first.success),
        "value": np.array(np.nan if first.value is None else first.value, np.float32),
        "next_value": np.array(np.nan if next_value is None else next_value, np.float32),
        "steps_to_success": _steps(first.steps_to_success),
        "next_steps_to_success": _steps(next_steps),
        "teacher_actions": np.zeros((CHUNK_LENGTH, ACTION_DIM), np.float32) if label is None else label,
        "labelled": np.array(label is not None),
        "relabelled": np.array(label is not None and not taught),
        "perturbed": np.array(any(part.behaviour.endswith(PERTURBED) for part in parts)),
    }


def _steps(steps: int | None) -> np.ndarray:
    """float32, infinite for never, so that γ^n is 0 there; NaN where it is not known."""
    return np.array(np.nan if steps is None else np.inf if steps == NEVER else steps, np.float32)
