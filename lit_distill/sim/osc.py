"""Operational space control of the arm and the gripper, compiled.

The stock loop (robosuite 1.4, `controllers/osc.py`, `robots/single_arm.py`) runs two redundant
`mj_forward` and a dozen small numpy calls in each of the 25 physics steps of a control step. Here one
physics step is `mj_step1` -> torques (one compiled function) -> `mj_step2`, the same arithmetic:

    F = Λ_p (k_p (x* - x) - k_d ẋ),    T = Λ_r (k_p e(R*, R) - k_d ω)
    τ = Jᵀ [F; T] + bias + Nᵀ M (10 (q_home - q) - 2 √10 q̇)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numba
import numpy as np
import robosuite.utils.transform_utils as transform

POSITION_SCALE_M = 0.05
ROTATION_SCALE_RAD = 0.5
STIFFNESS = 150.0
DAMPING = 2.0 * np.sqrt(STIFFNESS)
NULLSPACE_STIFFNESS = 10.0
PHYSICS_STEPS = 25
"""Physics steps (2 ms) in one control step (20 Hz)."""
GRIPPER_SPEED = 0.01
"""Change of the gripper command in one physics step; from open to closed takes 8 control steps."""


@numba.njit(cache=True)
def osc_torques(  # a compiled function takes its arrays one by one
    jacobian_position: np.ndarray,
    jacobian_rotation: np.ndarray,
    mass_matrix: np.ndarray,
    qpos_index: np.ndarray,
    dof_index: np.ndarray,
    qpos: np.ndarray,
    qvel: np.ndarray,
    bias: np.ndarray,
    position: np.ndarray,
    rotation: np.ndarray,
    goal_position: np.ndarray,
    goal_rotation: np.ndarray,
    home: np.ndarray,
) -> np.ndarray:
    """Joint torques (N m) [7] towards the goal pose; all arrays are MuJoCo's own, float64.

    `jacobian_*` are [3, nv] of the grip site, `mass_matrix` [nv, nv], `rotation`s 3 x 3.
    """
    n = dof_index.shape[0]
    jacobian = np.empty((6, n))
    mass = np.empty((n, n))
    q = np.empty(n)
    q_dot = np.empty(n)
    for i in range(n):
        q[i] = qpos[qpos_index[i]]
        q_dot[i] = qvel[dof_index[i]]
        for j in range(3):
            jacobian[j, i] = jacobian_position[j, dof_index[i]]
            jacobian[3 + j, i] = jacobian_rotation[j, dof_index[i]]
        for j in range(n):
            mass[i, j] = mass_matrix[dof_index[i], dof_index[j]]
    velocity = jacobian @ q_dot
    rotation_error = np.zeros(3)
    for c in range(3):
        rotation_error += 0.5 * np.cross(rotation[:, c], goal_rotation[:, c])
    force = STIFFNESS * (goal_position - position) - DAMPING * velocity[:3]
    torque = STIFFNESS * rotation_error - DAMPING * velocity[3:]

    mass_inverse = np.linalg.inv(mass)
    lambda_inverse = jacobian @ mass_inverse @ jacobian.T  # [6, 6]
    wrench = np.empty(6)
    wrench[:3] = np.linalg.solve(np.ascontiguousarray(lambda_inverse[:3, :3]), force)
    wrench[3:] = np.linalg.solve(np.ascontiguousarray(lambda_inverse[3:, 3:]), torque)

    # Null space: N = I - M⁻¹ Jᵀ Λ J pulls the redundant joint towards home.
    pose_torque = mass @ (NULLSPACE_STIFFNESS * (home - q) - 2.0 * np.sqrt(NULLSPACE_STIFFNESS) * q_dot)
    null_wrench = np.linalg.solve(lambda_inverse, jacobian @ (mass_inverse @ pose_torque))
    torques = jacobian.T @ (wrench - null_wrench) + pose_torque
    for i in range(n):
        torques[i] += bias[dof_index[i]]
    return torques


@dataclass(frozen=True)
class ControllerState:
    """What the controller remembers between control steps."""

    goal_rotation: np.ndarray
    gripper_command: np.ndarray


class ArmController:
    """Turns an action into 25 physics steps of one MuJoCo model.

    Args:
        env: LIBERO's problem environment, just reset without joint noise: its robot tells the joints,
            actuators and the home pose.
    """

    def __init__(self, env: Any) -> None:
        robot = env.robots[0]
        self.model: mujoco.MjModel = env.sim.model._model
        self.data: mujoco.MjData = env.sim.data._data
        self.site = robot.eef_site_id
        self.qpos_index = np.array(robot._ref_joint_pos_indexes)
        self.dof_index = np.array(robot._ref_joint_vel_indexes)
        self.finger_qpos_index = np.array(robot._ref_gripper_joint_pos_indexes)
        self.finger_dof_index = np.array(robot._ref_gripper_joint_vel_indexes)
        self.arm_actuators = np.array(robot._ref_joint_actuator_indexes)
        self.gripper_actuators = np.array(robot._ref_joint_gripper_actuator_indexes)
        self.torque_low, self.torque_high = robot.torque_limits
        control_range = self.model.actuator_ctrlrange[self.gripper_actuators]
        self.gripper_bias = control_range.mean(axis=1)
        self.gripper_weight = 0.5 * (control_range[:, 1] - control_range[:, 0])
        self.home = np.array(robot.controller.initial_joint, dtype=np.float64)
        self.home_rotation = np.array(robot.controller.initial_ee_ori_mat, dtype=np.float64)
        self._jacobian_position = np.zeros((3, self.model.nv))
        self._jacobian_rotation = np.zeros((3, self.model.nv))
        self._mass_matrix = np.zeros((self.model.nv, self.model.nv))
        self.reset()

    def reset(self) -> None:
        """Forget everything: goal at the home orientation, gripper command in the middle."""
        self.goal_rotation = self.home_rotation.copy()
        self.gripper_command = np.zeros(2)

    def get_state(self) -> ControllerState:
        """Return a copy of what the controller remembers."""
        return ControllerState(self.goal_rotation.copy(), self.gripper_command.copy())

    def set_state(self, state: ControllerState) -> None:
        """Make `state` what the controller remembers."""
        self.goal_rotation = state.goal_rotation.copy()
        self.gripper_command = state.gripper_command.copy()

    def step(self, action: np.ndarray) -> None:
        """Run one control step (20 Hz).

        Args:
            action: [7] in [-1, 1], finite; see the schema.
        """
        model, data = self.model, self.data
        gripper_direction = np.array([-1.0, 1.0]) * np.sign(action[6]) * GRIPPER_SPEED
        goal_position = np.empty(0)
        for physics_step in range(PHYSICS_STEPS):
            mujoco.mj_step1(model, data)
            position = data.site_xpos[self.site]
            rotation = data.site_xmat[self.site].reshape(3, 3)
            if physics_step == 0:
                goal_position = position + POSITION_SCALE_M * action[:3]
                if np.any(action[3:6]):  # as upstream: no commanded rotation keeps the old goal
                    axis_angle = ROTATION_SCALE_RAD * np.asarray(action[3:6], dtype=np.float64)
                    turn = transform.quat2mat(transform.axisangle2quat(axis_angle))
                    self.goal_rotation = turn @ rotation
            mujoco.mj_jacSite(model, data, self._jacobian_position, self._jacobian_rotation, self.site)
            mujoco.mj_fullM(model, self._mass_matrix, data.qM)
            torques = osc_torques(
                self._jacobian_position,
                self._jacobian_rotation,
                self._mass_matrix,
                self.qpos_index,
                self.dof_index,
                data.qpos,
                data.qvel,
                data.qfrc_bias,
                position,
                rotation,
                goal_position,
                self.goal_rotation,
                self.home,
            )
            self.gripper_command = np.clip(self.gripper_command + gripper_direction, -1.0, 1.0)
            data.ctrl[self.arm_actuators] = np.clip(torques, self.torque_low, self.torque_high)
            data.ctrl[self.gripper_actuators] = self.gripper_bias + self.gripper_weight * self.gripper_command
            mujoco.mj_step2(model, data)
