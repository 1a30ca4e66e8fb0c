"""Operational space control of the arm and the gripper, compiled.

The stock loop (robosuite 1.4, `controllers/osc.py`, `robots/single_arm.py`) runs two redundant
`mj_forward` and a dozen small numpy calls in each of the 25 physics steps of a control step. Here one physics
step is `mj_step1` -> `write_controls` -> `mj_step2`, and all of them one compiled loop; the same arithmetic:

    F = Λ_p (k_p (x* - x) - k_d ẋ),    T = Λ_r (k_p e(R*, R) - k_d ω)
    τ = Jᵀ [F; T] + bias + Nᵀ M (10 (q_home - q) - 2 √10 q̇)

The loop calls MuJoCo's C functions, not Python's: an error in them, which for valid models is running out of
memory, ends the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import mujoco
import numba
import numpy as np
from numba.core import types, typing

POSITION_SCALE_M = 0.05
ROTATION_SCALE_RAD = 0.5
STIFFNESS = 150.0
DAMPING = 2.0 * np.sqrt(STIFFNESS)
NULLSPACE_STIFFNESS = 10.0
NULLSPACE_DAMPING = 2.0 * np.sqrt(NULLSPACE_STIFFNESS)

llvmlite.binding.load_library_permanently(str(next(Path(mujoco.__file__).parent.glob("libmujoco*"))))
_TAKES_ADDRESSES = typing.signature(types.void, types.uintp, types.uintp)  # of model and data
mj_step1: Any = types.ExternalFunction("mj_step1", _TAKES_ADDRESSES)
mj_step2: Any = types.ExternalFunction("mj_step2", _TAKES_ADDRESSES)


class Physics(NamedTuple):
    """MuJoCo's own arrays, which stay where they are; N joints' coordinates, V velocities.

    Attributes:
        qpos: [N].
        qvel, bias: [V], `bias` is `qfrc_bias`.
        axes: `cdof` [V, 6], rotation before translation, about `centre`.
        centre: centre of mass [3] of the arm's kinematic tree.
        mass: `qM`: for each joint a row, from itself to its parent, and so on to the root.
        position, rotation: of the grip site, [3] and [3, 3].
        control: `ctrl`, which is written.
    """

    qpos: np.ndarray
    qvel: np.ndarray
    bias: np.ndarray
    axes: np.ndarray
    centre: np.ndarray
    mass: np.ndarray
    position: np.ndarray
    rotation: np.ndarray
    control: np.ndarray


class Arm(NamedTuple):
    """A chain of 7 joints, the base first, each of which moves the hand.

    Attributes:
        qpos_index, dof_index, actuators: places in MuJoCo's arrays, [7].
        mass_row: where a joint's row of `Physics.mass` begins, `dof_Madr` [V].
        parent: a joint's parent, `dof_parentid` [V].
        low, high: torque limits (N m) [7].
        home: joint positions (rad) [7].
    """

    qpos_index: np.ndarray
    dof_index: np.ndarray
    actuators: np.ndarray
    mass_row: np.ndarray
    parent: np.ndarray
    low: np.ndarray
    high: np.ndarray
    home: np.ndarray


class Gripper(NamedTuple):
    """Two fingers.

    Attributes:
        actuators: places in MuJoCo's `ctrl` [2].
        centre, half_range: of the actuators' control ranges [2].
    """

    actuators: np.ndarray
    centre: np.ndarray
    half_range: np.ndarray


@numba.njit(cache=True)
def arm_jacobian(physics: Physics, arm: Arm) -> np.ndarray:
    """Jacobian [6, 7] of the grip site, as `mj_jacSite` gives it, for the arm's joints alone."""
    jacobian = np.empty((6, arm.dof_index.shape[0]))
    offset = physics.position - physics.centre
    for i in range(arm.dof_index.shape[0]):
        axis = physics.axes[arm.dof_index[i]]
        jacobian[0, i] = axis[3] + axis[1] * offset[2] - axis[2] * offset[1]
        jacobian[1, i] = axis[4] + axis[2] * offset[0] - axis[0] * offset[2]
        jacobian[2, i] = axis[5] + axis[0] * offset[1] - axis[1] * offset[0]
        for j in range(3):
            jacobian[3 + j, i] = axis[j]
    return jacobian


@numba.njit(cache=True)
def arm_mass(physics: Physics, arm: Arm) -> np.ndarray:
    """Mass matrix [7, 7] of the arm, as `mj_fullM` gives it."""
    n = arm.dof_index.shape[0]
    mass = np.empty((n, n))
    for i in range(n):
        joint = arm.dof_index[i]
        at = arm.mass_row[joint]
        for j in range(i, -1, -1):
            while joint != arm.dof_index[j]:
                joint, at = arm.parent[joint], at + 1
            mass[i, j] = mass[j, i] = physics.mass[at]
    return mass


@numba.njit(cache=True)
def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """X [n, m] in A X = B, A [n, n] symmetric positive definite: Cholesky. LAPACK is slow at such sizes."""
    n, m = right.shape
    factor, x = matrix.copy(), right.copy()
    for j in range(n):
        for k in range(j):
            for i in range(j, n):
                factor[i, j] -= factor[i, k] * factor[j, k]
        root = np.sqrt(factor[j, j])
        for i in range(j, n):
            factor[i, j] /= root
    for i in range(n):
        for c in range(m):
            for k in range(i):
                x[i, c] -= factor[i, k] * x[k, c]
            x[i, c] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for c in range(m):
            for k in range(i + 1, n):
                x[i, c] -= factor[k, i] * x[k, c]
            x[i, c] /= factor[i, i]
    return x


@numba.njit(cache=True)
def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Matrix [n, k] times matrix [k, m]; BLAS is slow at such sizes."""
    out = np.zeros((left.shape[0], right.shape[1]))
    for i in range(left.shape[0]):
        for k in range(left.shape[1]):
            for j in range(right.shape[1]):
                out[i, j] += left[i, k] * right[k, j]
    return out


@numba.njit(cache=True)
def osc_torques(
    jacobian: np.ndarray,
    mass: np.ndarray,
    q: np.ndarray,
    q_dot: np.ndarray,
    position: np.ndarray,
    rotation: np.ndarray,
    goal_position: np.ndarray,
    goal_rotation: np.ndarray,
    home: np.ndarray,
) -> np.ndarray:
    """Joint torques (N m) [7] towards the goal pose, without the bias.

    Args:
        jacobian: [6, 7] of the grip site.
        mass: [7, 7] of the arm.
        q, q_dot, home: joint positions, velocities and home positions, [7].
        position, rotation: of the grip site, [3] and [3, 3].
        goal_position, goal_rotation: where it should be.
    """
    velocity = product(jacobian, q_dot.reshape(-1, 1))
    force, torque = np.empty((3, 1)), np.empty((3, 1))
    for i in range(3):
        force[i, 0] = STIFFNESS * (goal_position[i] - position[i]) - DAMPING * velocity[i, 0]
        a, b = (i + 1) % 3, (i + 2) % 3
        error = 0.0  # of the cross products of the rotations' columns
        for c in range(3):
            error += 0.5 * (rotation[a, c] * goal_rotation[b, c] - rotation[b, c] * goal_rotation[a, c])
        torque[i, 0] = STIFFNESS * error - DAMPING * velocity[3 + i, 0]

    lambda_inverse = product(jacobian, solve(mass, jacobian.T))  # J M⁻¹ Jᵀ, [6, 6]
    wrench = np.empty((6, 1))
    wrench[:3] = solve(lambda_inverse[:3, :3], force)
    wrench[3:] = solve(lambda_inverse[3:, 3:], torque)

    # Null space: N = I - M⁻¹ Jᵀ Λ J pulls the redundant joint towards home.
    homing = (NULLSPACE_STIFFNESS * (home - q) - NULLSPACE_DAMPING * q_dot).reshape(-1, 1)
    wrench -= solve(lambda_inverse, product(jacobian, homing))
    return (product(jacobian.T, wrench) + product(mass, homing)).ravel()


@numba.njit(cache=True)
def write_controls(
    physics: Physics,
    arm: Arm,
    gripper: Gripper,
    goal_position: np.ndarray,
    goal_rotation: np.ndarray,
    gripper_command: np.ndarray,
    gripper_change: np.ndarray,
) -> None:
    """Write `ctrl` for one physics step, after moving `gripper_command` [2] by `gripper_change` [2]."""
    torques = osc_torques(
        arm_jacobian(physics, arm),
        arm_mass(physics, arm),
        physics.qpos[arm.qpos_index],
        physics.qvel[arm.dof_index],
        physics.position,
        physics.rotation,
        goal_position,
        goal_rotation,
        arm.home,
    )
    for i in range(arm.dof_index.shape[0]):
        torque = torques[i] + physics.bias[arm.dof_index[i]]
        physics.control[arm.actuators[i]] = min(max(torque, arm.low[i]), arm.high[i])
    for i in range(gripper.actuators.shape[0]):
        gripper_command[i] = min(max(gripper_command[i] + gripper_change[i], -1.0), 1.0)
        physics.control[gripper.actuators[i]] = gripper.centre[i] + gripper.half_range[i] * gripper_command[i]


@numba.njit(cache=True)
def physics_steps(
    model: int,
    data: int,
    steps: int,
    physics: Physics,
    arm: Arm,
    gripper: Gripper,
    goal_position: np.ndarray,
    goal_rotation: np.ndarray,
    gripper_command: np.ndarray,
    gripper_change: np.ndarray,
) -> None:
    """Run physics steps towards a goal pose; `mj_step1` of the first has been called already.

    Args:
        model, data: addresses of MuJoCo's structures.
        steps: how many.
        physics, arm, gripper: as they are in these structures.
        goal_position, goal_rotation: of the grip site, [3] and [3, 3].
        gripper_command: [2], which is moved by `gripper_change` [2] in each step.
        gripper_change: [2].
    """
    for step in range(steps):
        if step:
            mj_step1(model, data)
        write_controls(physics, arm, gripper, goal_position, goal_rotation, gripper_command, gripper_change)
        mj_step2(model, data)
