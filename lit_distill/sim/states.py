"""Initial states: where an episode starts, drawn once and committed.

Which state an episode gets is a pure function of (task, split, index). A state is what LIBERO calls one
(time, qpos, qvel), plus the poses of the fixtures, which LIBERO samples into the *model* and its own
state files forget.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_distill.atomic import atomic_file
from lit_distill.errors import LitDistillError
from lit_distill.sim.environment import PLACEMENT_TRIES, make_environment, numpy_seed
from lit_distill.tasks import STATES_FOLDER, Task, get_task

SPLITS: dict[str, int] = {"teacher": 50, "student": 100, "eval": 50, "dev": 20}
"""Split -> number of states. The paper draws 50 + 100 + 10; its ten are the first of our `eval`. What is
tuned or looked at is tuned on `dev`, `eval` is for reporting."""

DAMAGE = (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged npz file may raise."""


@dataclass(frozen=True)
class InitialState:
    """The state before settling.

    Attributes:
        name: `split/index`.
        state: float64 [1 + nq + nv]: time (s), qpos, qvel, as LIBERO flattens them.
        fixtures: float64 [F, 7]: world position (m) and orientation (wxyz) of each fixture body, in the
            order of the problem's fixtures.
    """

    name: str
    state: np.ndarray
    fixtures: np.ndarray


def state_seed(task: Task, split: str, index: int) -> int:
    """Seed of one initial state, a pure function of task, split and index."""
    digest = hashlib.sha256(f"{task.name}/{split}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def fixture_bodies(env: Any) -> list[int]:
    """Body ids of the environment's fixtures, in a fixed order."""
    return [env.obj_body_id[name] for name in sorted(env.fixtures_dict) if name in env.obj_body_id]


def draw_initial_state(env: Any, task: Task, split: str, index: int) -> InitialState:
    """Draw one state with LIBERO's own placement samplers and joint noise.

    Args:
        env: from `make_environment(..., joint_noise=True)`.
    """
    from robosuite.utils.errors import RandomizationError

    seed = state_seed(task, split, index)
    for attempt in range(PLACEMENT_TRIES):
        with numpy_seed(seed + attempt):
            try:
                env.reset()
            except RandomizationError:
                continue
        bodies = fixture_bodies(env)
        poses = np.concatenate([env.sim.model.body_pos[bodies], env.sim.model.body_quat[bodies]], axis=1)
        return InitialState(f"{split}/{index}", env.sim.get_state().flatten(), poses.reshape(-1, 7))
    raise LitDistillError(f"{task.bddl}: no free place for the objects of state {split}/{index}")


def draw_states(task: str) -> Path:
    """Draw the initial states of every split of one task with LIBERO's own placement samplers.

    This made the committed files: the same task always gives the same states.

    Args:
        task: name in the task table.

    Returns:
        The file written, `lit_distill/tasks/states/<task>.npz` (plain arrays, no pickle).
    """
    known = get_task(task)
    env = make_environment(known.bddl, image_size=64, joint_noise=True)
    arrays = {}
    for split, count in SPLITS.items():
        states = [draw_initial_state(env, known, split, index) for index in range(count)]
        arrays[f"{split}_state"] = np.stack([state.state for state in states])
        arrays[f"{split}_fixtures"] = np.stack([state.fixtures for state in states])
    env.close()
    path = STATES_FOLDER / f"{known.name}.npz"
    with atomic_file(path) as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # the stub takes a bool too
    return path


def load_initial_state(task: Task, split: str, index: int) -> InitialState:
    """Return one committed initial state.

    Raises:
        LitDistillError: unknown split, index out of range, or a missing or damaged file.
    """
    if split not in SPLITS:
        raise LitDistillError(f"split: unknown split {split!r}; known splits: {', '.join(SPLITS)}")
    if not 0 <= index < SPLITS[split]:
        raise LitDistillError(
            f"split: {split!r} of {task.name} has {SPLITS[split]} initial states, no index {index}"
        )
    path = STATES_FOLDER / f"{task.name}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            state, fixtures = arrays[f"{split}_state"][index], arrays[f"{split}_fixtures"][index]
    except FileNotFoundError:
        raise LitDistillError(
            f"{path}: no initial states; `python -m lit_distill draw_states --task {task.name}` draws them"
        ) from None
    except DAMAGE as error:
        raise LitDistillError(
            f"{path}: damaged initial states ({error}); draw or check them out again"
        ) from None
    return InitialState(f"{split}/{index}", state, fixtures)
