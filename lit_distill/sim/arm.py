"""The arm's controller: turns an action into physics steps, and remembers what lasts between actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import robosuite.utils.transform_utils as transform

from lit_distill.sim.osc import POSITION_SCALE_M, ROTATION_SCALE_RAD, Arm, Gripper, Physics, physics_steps

PHYSICS_STEPS = 25
"""Physics steps (2 ms) in one control step (20 Hz)."""
GRIPPER_SPEED = 0.01
"""Change of the gripper command in one physics step; from open to closed takes 8 control steps."""
CLOSING = np.array([-1.0, 1.0])
"""The two fingers' directions when they close."""


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
        self.home = np.array(robot.controller.initial_joint, dtype=np.float64)
        self.home_rotation = np.array(robot.controller.initial_ee_ori_mat, dtype=np.float64)
        self._physics = self._arrays()
        low, high = robot.torque_limits
        self._arm = Arm(
            qpos_index=self.qpos_index,
            dof_index=self.dof_index,
            actuators=np.array(robot._ref_joint_actuator_indexes),
            mass_row=self.model.dof_Madr,
            parent=self.model.dof_parentid,
            low=np.asarray(low),
            high=np.asarray(high),
            home=self.home,
        )
        actuators = np.array(robot._ref_joint_gripper_actuator_indexes)
        control_range = self.model.actuator_ctrlrange[actuators]
        half_range = 0.5 * (control_range[:, 1] - control_range[:, 0])
        self._gripper = Gripper(actuators, control_range.mean(axis=1), half_range)
        self.reset()

    def _arrays(self) -> Physics:
        data = self.data
        root = self.model.body_rootid[self.model.site_bodyid[self.site]]
        return Physics(
            qpos=data.qpos,
            qvel=data.qvel,
            bias=data.qfrc_bias,
            axes=data.cdof,
            centre=data.subtree_com[root],
            mass=data.qM,
            position=data.site_xpos[self.site],
            rotation=data.site_xmat[self.site].reshape(3, 3),
            control=data.ctrl,
        )

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
        gripper_change = CLOSING * (np.sign(action[6]) * GRIPPER_SPEED)
        mujoco.mj_step1(model, data)
        goal_position = self._physics.position + POSITION_SCALE_M * action[:3]
        if np.any(action[3:6]):  # as upstream: no commanded rotation keeps the old goal
            axis_angle = ROTATION_SCALE_RAD * np.asarray(action[3:6], dtype=np.float64)
            turn = transform.quat2mat(transform.axisangle2quat(axis_angle))
            self.goal_rotation = turn @ self._physics.rotation
        physics_steps(
            model._address,
            data._address,
            PHYSICS_STEPS,
            self._physics,
            self._arm,
            self._gripper,
            goal_position,
            self.goal_rotation,
            self.gripper_command,
            gripper_change,
        )
