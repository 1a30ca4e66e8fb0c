"""Another simulator of the same task, brought to the present state of this one, bit for bit.

What the next control step depends on, as arrays that can travel:

    physics         float64 [P]     MuJoCo's integration state
    fixtures        float64 [F, 7]  poses of the fixtures, xyz and wxyz, which belong to an episode
    goal_rotation   float64 [3, 3]  what the arm's controller remembers
    gripper_command float64 [2]     likewise
    site_rgba       float32 [S, 4]  colours that a predicate changes
    clock           int64 [2]       control steps of the episode, and whether its goal has been met
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lit_distill.errors import LitDistillError

if TYPE_CHECKING:
    from lit_distill.sim.simulator import Simulator


def export_state(simulator: Simulator) -> dict[str, np.ndarray]:
    """The arrays above, copies."""
    now, model, fixtures = simulator.snapshot(), simulator.model, simulator.fixtures
    return {
        "physics": now.physics,
        "fixtures": np.concatenate([model.body_pos[fixtures], model.body_quat[fixtures]], axis=1),
        "goal_rotation": np.array(now.controller.goal_rotation, dtype=np.float64),
        "gripper_command": np.array(now.controller.gripper_command, dtype=np.float64),
        "site_rgba": now.site_rgba,
        "clock": np.array([now.timestep, now.success], dtype=np.int64),
    }


def import_state(simulator: Simulator, arrays: dict[str, np.ndarray]) -> None:
    """Go where another simulator was when it gave these arrays.

    Raises:
        LitDistillError: they are not a state of this task; names the first array that is wrong.
    """
    check_state(arrays, export_state(simulator))
    from lit_distill.sim.arm import ControllerState
    from lit_distill.sim.simulator import Snapshot

    fixtures = arrays["fixtures"]
    simulator.imagination.forget()  # it knows nothing of fixtures, and belongs to another episode, maybe
    simulator.model.body_pos[simulator.fixtures] = fixtures[:, :3]
    simulator.model.body_quat[simulator.fixtures] = fixtures[:, 3:]
    controller = ControllerState(arrays["goal_rotation"], arrays["gripper_command"])
    timestep, success = (int(number) for number in arrays["clock"])
    simulator.restore(Snapshot(arrays["physics"], controller, timestep, bool(success), arrays["site_rgba"]))


def check_state(arrays: dict[str, np.ndarray], like: dict[str, np.ndarray]) -> None:
    """Raise LitDistillError unless arrays have the keys, dtypes and shapes of `like` and are finite."""
    if missing := like.keys() - arrays.keys():
        raise LitDistillError(f"state.{min(missing)}: is missing")
    if unknown := arrays.keys() - like.keys():
        raise LitDistillError(f"state.{min(unknown)}: no such array")
    for key, expected in like.items():
        array = arrays[key]
        if (
            not isinstance(array, np.ndarray)
            or array.shape != expected.shape
            or array.dtype != expected.dtype
        ):
            found = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else "no array"
            raise LitDistillError(
                f"state.{key}: this task needs {expected.dtype}{list(expected.shape)}, got {found}"
            )
        if not np.isfinite(array).all():
            raise LitDistillError(f"state.{key}: holds a value that is not finite")
