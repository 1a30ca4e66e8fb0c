"""What a way demands of the height, and where elbow and wrist are, by numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lit_distill.sim.scene import Extent
from lit_distill.teachers.clearance import CLIMB, Obstacle, clearance
from lit_distill.teachers.posture import (
    COMFORTABLE_REACH_M,
    LEAST_REACH_M,
    SHOULDER_M,
    not_too_near,
    posture,
)

WALL = Extent(np.array([0.4, -0.1, 0.0]), np.array([0.5, 0.1, 0.2]))
HALF = np.array([0.05, 0.05])
BASE = np.zeros(3)
DOWN = np.array([0.0, 0.0, -1.0])


def test_a_wall_on_the_way_must_be_passed_over_by_the_time_it_is_reached():
    demand = clearance(np.zeros(2), np.array([1.0, 0.0]), HALF, [WALL])
    assert demand.way == pytest.approx(0.2)
    assert demand.now == pytest.approx(0.2 - CLIMB * 0.35)  # it begins 5 cm before the wall's face


def test_beside_a_wall_nothing_is_demanded_and_above_it_all_at_once():
    aside = clearance(np.array([0.0, 0.2]), np.array([1.0, 0.2]), HALF, [WALL])
    assert aside.now == aside.way == -np.inf
    assert clearance(np.array([0.45, 0.0]), np.array([1.0, 0.0]), HALF, [WALL]).now == pytest.approx(0.2)


def test_a_wall_behind_does_not_count():
    assert clearance(np.array([0.6, 0.0]), np.array([1.0, 0.0]), HALF, [WALL]).way == -np.inf


def test_of_two_walls_the_nearer_decides_now_and_the_higher_the_way():
    high = Extent(np.array([0.8, -0.1, 0.0]), np.array([0.9, 0.1, 0.3]))
    demand = clearance(np.zeros(2), np.array([1.0, 0.0]), HALF, [high, WALL])
    assert demand.way == pytest.approx(0.3)
    assert demand.now == pytest.approx(max(0.2 - CLIMB * 0.35, 0.3 - CLIMB * 0.75))


def test_the_extent_of_an_obstacle_is_that_of_all_its_boxes():
    boxes = np.stack([np.zeros((8, 3)), np.full((8, 3), [0.1, 0.2, 0.3])])
    extent = Obstacle(boxes).extent
    np.testing.assert_allclose(extent.low, 0.0)
    np.testing.assert_allclose(extent.high, [0.1, 0.2, 0.3])


def arm(radius: float, height: float, approach: np.ndarray = DOWN):
    return posture(BASE, np.array([[radius, 0.0, height]]), approach[None])


def test_the_wrist_of_a_hand_that_points_down_is_above_and_behind_it():
    level = SHOULDER_M - 0.21  # there the wrist is as high as the shoulder
    assert arm(0.588, level).stretch[0] == pytest.approx(0.5)
    assert arm(0.588, level + 0.3).stretch[0] == pytest.approx(np.hypot(0.5, 0.3))


def test_the_elbow_bends_so_far_and_no_further():
    level = SHOULDER_M - 0.21
    assert not arm(0.088 + 0.72, level).within_reach[0]
    assert arm(0.088 + 0.7, level).within_reach[0]
    assert arm(0.088 + LEAST_REACH_M + 0.01, level).within_reach[0]
    assert not arm(0.088 + LEAST_REACH_M - 0.01, level).within_reach[0], "behind the caddy"


def test_at_home_the_forearm_points_as_joints_2_and_4_say():
    # q2 - q4 = 2.28 is the forearm's angle from straight up; the hand points down.
    home = arm(0.455, 0.27)
    assert home.in_line[0] == pytest.approx(np.pi - 2.28, abs=0.06)
    assert home.forearm[0] @ [1.0, 0.0, 0.0] > 0.7


def test_a_hand_that_comes_too_near_the_base_is_sent_outwards_just_far_enough():
    level = SHOULDER_M - 0.21
    near = np.array([0.25, 0.0, level])
    offset = not_too_near(BASE, near, DOWN)
    assert offset[1] == offset[2] == 0.0
    assert COMFORTABLE_REACH_M < 0.25 + offset[0] - 0.088 < COMFORTABLE_REACH_M + 0.021
    np.testing.assert_allclose(not_too_near(BASE, np.array([0.5, 0.0, level]), DOWN), 0.0)
