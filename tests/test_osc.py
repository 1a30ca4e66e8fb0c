"""The compiled controller's parts against MuJoCo, numpy and the formula; the whole against stock LIBERO is in
test_simulator.py."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from test_simulator import CHUNK, START

from lit_distill.sim.osc import arm_jacobian, arm_mass, osc_torques, product, solve
from lit_distill.sim.simulator import Simulator

RANDOM = np.random.default_rng(0)


def positive_definite(n: int) -> np.ndarray:
    root = RANDOM.normal(size=(n, n))
    return root @ root.T + 0.1 * np.eye(n)


@pytest.mark.parametrize(("n", "m"), [(3, 1), (6, 1), (7, 6)])
def test_solve_inverts_and_leaves_its_arguments_alone(n: int, m: int):
    matrix, right = positive_definite(n), RANDOM.normal(size=(n, m))
    copies = matrix.copy(), right.copy()
    np.testing.assert_allclose(matrix @ solve(matrix, right), right, atol=1e-10)
    np.testing.assert_array_equal(matrix, copies[0])
    np.testing.assert_array_equal(right, copies[1])


def test_product_is_the_matrix_product():
    left, right = RANDOM.normal(size=(6, 7)), RANDOM.normal(size=(7, 4))
    np.testing.assert_allclose(product(left, right), left @ right, atol=1e-14)
    np.testing.assert_allclose(product(right.T, left.T), (left @ right).T, atol=1e-14)


def test_torques_are_those_of_the_formula():
    jacobian, mass = RANDOM.normal(size=(6, 7)), positive_definite(7)
    q, q_dot, home = RANDOM.normal(size=(3, 7))
    position, goal_position = RANDOM.normal(size=(2, 3))
    rotation, goal_rotation = (np.linalg.qr(RANDOM.normal(size=(3, 3)))[0] for _ in range(2))
    error = 0.5 * sum(np.cross(rotation[:, c], goal_rotation[:, c]) for c in range(3))
    velocity, damping = jacobian @ q_dot, 2 * np.sqrt(150.0)
    lambda_inverse = jacobian @ np.linalg.inv(mass) @ jacobian.T
    force = np.linalg.inv(lambda_inverse[:3, :3]) @ (
        150 * (goal_position - position) - damping * velocity[:3]
    )
    torque = np.linalg.inv(lambda_inverse[3:, 3:]) @ (150 * error - damping * velocity[3:])
    null_space = np.eye(7) - np.linalg.inv(mass) @ jacobian.T @ np.linalg.inv(lambda_inverse) @ jacobian
    homing = null_space.T @ mass @ (10 * (home - q) - 2 * np.sqrt(10) * q_dot)
    found = osc_torques(jacobian, mass, q, q_dot, position, rotation, goal_position, goal_rotation, home)
    np.testing.assert_allclose(found, jacobian.T @ np.concatenate([force, torque]) + homing, rtol=1e-9)


@pytest.mark.libero
def test_the_arms_jacobian_and_mass_are_mujocos(simulator: Simulator):
    simulator.reset(START)
    simulator.step_chunk(CHUNK)
    simulator.refresh()
    model, data, controller = simulator.model, simulator.data, simulator.controller
    full, dense = np.zeros((6, model.nv)), np.zeros((model.nv, model.nv))
    mujoco.mj_jacSite(model, data, full[:3], full[3:], controller.site)
    mujoco.mj_fullM(model, dense, data.qM)
    arm = controller.dof_index
    np.testing.assert_allclose(arm_jacobian(controller._physics, controller._arm), full[:, arm], atol=1e-15)
    np.testing.assert_array_equal(arm_mass(controller._physics, controller._arm), dense[np.ix_(arm, arm)])
