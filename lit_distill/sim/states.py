"""Initial states: where an episode starts, drawn once and committed.

Which state an episode gets is a pure function of (task, split, index). A state is what LIBERO calls one
(time, qpos, qvel), plus the poses of the fixtures, which LIBERO samples into the *model* and its own
state files forget.

Official tasks have the states that LIBERO ships, as one split `official`. Their fixtures stand, in all of
them, where the first episode of an official evaluation finds them: `env.seed(0)`, `env.reset()`. (Later
episodes there reset again without a seed, so that fixtures move by about a centimetre from episode to
episode, away from where they were when the state was drawn.)
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lit_distill.atomic import atomic_file
from lit_distill.errors import LitDistillError
from lit_distill.sim.environment import (
    PLACEMENT_TRIES,
    check_bddl,
    initial_state_shapes,
    make_environment,
    numpy_seed,
)
from lit_distill.tasks import STATES_FOLDER, Task, get_task
from lit_distill.tasks.official import OFFICIAL_SUITES, suite_tasks

if TYPE_CHECKING:
    import mujoco

SPLITS: dict[str, int] = {"teacher": 50, "student": 100, "eval": 50, "dev": 20}
"""Split -> number of states. The paper draws 50 + 100 + 10; its ten are the first of our `eval`. What is
tuned or looked at is tuned on `dev`, `eval` is for reporting."""

OFFICIAL_SPLIT = "official"
OFFICIAL: dict[str, int] = {OFFICIAL_SPLIT: 50}
"""The one split of an official task."""
OFFICIAL_SEED = 0
"""Seed of the reset that official fixtures are placed by, as in official evaluations."""

OVERLAP_M = 0.0005
"""Objects that are drawn further inside each other are drawn again."""
DRAWN_AGAIN = frozenset({"custom_libero_10_moka_pot_stove", "custom_libero_10_stove_on"})
"""Tasks of the table with other states than when data could first be collected: their data say which."""

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


def fixture_poses(env: Any) -> np.ndarray:
    """Where the fixtures stand: float64 [F, 7], see `InitialState`."""
    bodies = fixture_bodies(env)
    poses = np.concatenate([env.sim.model.body_pos[bodies], env.sim.model.body_quat[bodies]], axis=1)
    return np.asarray(poses.reshape(-1, 7))


def deepest_overlap(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """How far (m) two movable objects are inside each other in the state of `data`; 0 if none are."""
    import mujoco  # not before an environment has chosen the GL backend

    movable = model.jnt_bodyid[model.jnt_type == mujoco.mjtJoint.mjJNT_FREE]
    mujoco.mj_forward(model, data)
    bodies = model.body_rootid[model.geom_bodyid[data.contact.geom]]  # [contacts, 2]
    between = np.isin(bodies, movable).all(axis=1) & (bodies[:, 0] != bodies[:, 1])
    return float(-min(data.contact.dist[between], default=0.0))


def draw_initial_state(env: Any, task: Task, split: str, index: int) -> InitialState:
    """Draw one state with LIBERO's own placement samplers and joint noise.

    The samplers keep objects apart as if they were round: a pan's handle may lie in a pot, and both would be
    thrown metres away in the first step. Such a state is drawn again.

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
        if deepest_overlap(env.sim.model._model, env.sim.data._data) > OVERLAP_M:
            continue
        return InitialState(f"{split}/{index}", env.sim.get_state().flatten(), fixture_poses(env))
    raise LitDistillError(f"{task.bddl}: no free place for the objects of state {split}/{index}")


def splits_of(task: Task) -> dict[str, int]:
    """The splits that a task has -> number of states."""
    return OFFICIAL if task.suite else SPLITS


def draw_states(task: str) -> Path:
    """Draw the initial states of every split of one task with LIBERO's own placement samplers.

    This made the committed files: the same task always gives the same states. Of an official suite it
    draws where the fixtures stand; the states come with LIBERO.

    Args:
        task: name in the task table, the path of a BDDL file, or an official suite.

    Returns:
        The file written (plain arrays, no pickle): `lit_distill/tasks/states/<task>.npz`, for a BDDL file
        the npz beside it, for a suite `lit_distill/tasks/states/<suite>_fixtures.npz`.
    """
    if task in OFFICIAL_SUITES:
        names = suite_tasks(task)
        return _write(_fixtures_file(task), {name: official_fixtures(get_task(name)) for name in names})
    known = get_task(task)
    if known.suite:
        raise LitDistillError(
            f"task: the states of {known.name} come with LIBERO; where its fixtures stand is drawn for the "
            f"whole suite: `python -m lit_distill draw_states --task {known.suite}`"
        )
    env = make_environment(known.bddl, image_size=64, joint_noise=True)
    arrays = {}
    for split, count in SPLITS.items():
        states = [draw_initial_state(env, known, split, index) for index in range(count)]
        arrays[f"{split}_state"] = np.stack([state.state for state in states])
        arrays[f"{split}_fixtures"] = np.stack([state.fixtures for state in states])
    env.close()
    return _write(states_file(known), arrays)


def official_fixtures(task: Task) -> np.ndarray:
    """Where the fixtures of an official task stand, drawn anew: float64 [F, 7], see `InitialState`."""
    env = make_environment(task.bddl, image_size=64)
    try:
        with numpy_seed(OFFICIAL_SEED):
            env.reset()
        return fixture_poses(env)
    finally:
        env.close()


def load_initial_state(task: Task, split: str, index: int) -> InitialState:
    """Return one initial state.

    Raises:
        LitDistillError: unknown split, index out of range, or a missing or damaged file.
    """
    splits = splits_of(task)
    if split not in splits:
        raise LitDistillError(
            f"split: unknown split {split!r}; known splits of {task.name}: {', '.join(splits)}"
        )
    if not 0 <= index < splits[split]:
        raise LitDistillError(
            f"split: {split!r} of {task.name} has {splits[split]} initial states, no index {index}"
        )
    if task.suite:
        state = _read(task, states_file(task), "states", index)
        fixtures = _read(task, _fixtures_file(task.suite), task.name)
    else:
        state = _read(task, states_file(task), f"{split}_state", index)
        fixtures = _read(task, states_file(task), f"{split}_fixtures", index)
    return InitialState(f"{split}/{index}", state, fixtures)


def check_task(task: Task, split: str, last: int) -> None:
    """Before any rollout: could LIBERO build it, can its goal hold, do its initial states fit it?

    Args:
        task: any; the BDDL files of the table and of LIBERO are known to be right.
        split: of the states.
        last: highest index that is needed.

    Raises:
        LitDistillError: not so; names file, line and reason, or the command that draws the states.
    """
    if task.is_file:
        check_bddl(task.bddl)
    shapes = initial_state_shapes(task.bddl)
    for index in range(last + 1):
        check_fits(task, load_initial_state(task, split, index), shapes)


def check_fits(
    task: Task, initial_state: InitialState, needed: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """Refuse an initial state that is not of this task.

    Args:
        task: whose state it should be.
        initial_state: as it was read.
        needed: shapes of its state and of its fixtures.

    Raises:
        LitDistillError: another shape, or numbers that are not finite; names the file and the remedy.
    """
    if (found := (initial_state.state.shape, initial_state.fixtures.shape)) != needed:
        raise LitDistillError(
            f"{states_file(task)}: initial state {initial_state.name} has shapes {found[0]} and {found[1]} "
            f"(fixtures), {task.name} needs {needed[0]} and {needed[1]}; `{draw_command(task)}` draws them "
            "again"
        )
    if not (np.isfinite(initial_state.state).all() and np.isfinite(initial_state.fixtures).all()):
        raise LitDistillError(
            f"{states_file(task)}: initial state {initial_state.name} holds numbers that are not finite; "
            f"`{draw_command(task)}` draws them again"
        )


def files_sha256(task: Task) -> dict[str, str]:
    """What may change under a task's name: all of a user's own task, the states of some; {} of the others.

    Returns:
        `bddl` and `states` -> sha256 (hex) of what is there.
    """
    files: dict[str, Path] = {}
    if task.is_file:
        files["bddl"] = task.bddl
    if task.is_file or task.name in DRAWN_AGAIN:
        files["states"] = states_file(task)
    return {
        kind: hashlib.sha256(path.read_bytes()).hexdigest() for kind, path in files.items() if path.is_file()
    }


def states_file(task: Task) -> Path:
    """Where the initial states of a task are."""
    return task.states or STATES_FOLDER / f"{task.name}.npz"


def draw_command(task: Task) -> str:
    """The command that draws them, or, of an official task, where its fixtures stand."""
    drawn = task.suite or (task.bddl if task.states else task.name)
    return f"python -m lit_distill draw_states --task {drawn}"


def _fixtures_file(suite: str) -> Path:
    return STATES_FOLDER / f"{suite}_fixtures.npz"


def _write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with atomic_file(path) as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # the stub takes a bool too
    return path


def _read(task: Task, path: Path, key: str, index: int | None = None) -> np.ndarray:
    """One array of an npz file, or its entry `index`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[key] if index is None else arrays[key][index])
    except FileNotFoundError:
        raise LitDistillError(f"{path}: no initial states; `{draw_command(task)}` draws them") from None
    except DAMAGE as error:
        raise LitDistillError(
            f"{path}: damaged initial states ({error}); draw or check them out again"
        ) from None
