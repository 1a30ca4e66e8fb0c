"""Room for the hand: what it would hit at a grasp, by numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.room import clashes, closed_hand_clashes
from lit_distill.teachers.vectors import cross

GRASP = Grasp(np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0]), 0.01)


def box(*centre: float) -> np.ndarray:
    """Corners [1, 8, 3] of a cube of 1 cm."""
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    return (np.array(centre) + 0.005 * signs)[None]


@pytest.mark.parametrize(
    ("centre", "hit"),
    [
        ((0.09, 0.0, 1.05), True),  # beside the palm, along the fingers' axis
        ((0.0, 0.09, 1.05), False),  # beside the palm, across it
        ((0.09, 0.0, 1.0), False),  # below the palm, outside the fingers
        ((0.045, 0.0, 1.0), True),  # under a finger
        ((0.0, 0.0, 1.0), False),  # between the fingers
        ((0.045, 0.02, 1.0), False),  # beside a finger
        ((0.045, 0.0, 0.97), False),  # below the fingertips
        ((0.0, 0.0, 1.4), True),  # on its way down
    ],
)
def test_the_hand_hits_what_is_where_it_goes(centre: tuple[float, float, float], hit: bool):
    assert clashes(GRASP, box(*centre)).tolist() == [hit]


def test_turned_by_a_quarter_it_hits_what_is_across():
    turned = Grasp(GRASP.position, np.array([0.0, 1.0, 0.0]), 0.01)
    boxes = np.concatenate([box(0.09, 0.0, 1.05), box(0.0, 0.09, 1.05)])
    assert clashes(turned, boxes).tolist() == [False, True]


def test_a_wall_at_a_slant_only_hits_where_it_is():
    c = np.sqrt(0.5)
    wall = (box(0.0, 0.0, 0.0)[0] * [20.0, 1.0, 20.0]) @ np.array([[c, c, 0], [-c, c, 0], [0, 0, 1]])
    beside = (wall + np.array([0.1, -0.1, 1.0]))[
        None
    ]  # 0.14 m from the hand, but the box around it reaches there
    np.testing.assert_array_equal(
        clashes(GRASP, np.concatenate([beside, (wall + np.array([0, 0, 1]))[None]])), [0, 1]
    )


def test_a_hand_that_leans_away_has_room_beside_a_high_wall():
    wall = (box(0.0, 0.0, 0.0)[0] * [20.0, 1.0, 30.0] + [0.0, 0.03, 1.1])[None]
    leaning = np.array([0.0, np.sin(0.4), -np.cos(0.4)])
    assert clashes(GRASP, wall).all() and not clashes(replace(GRASP, approach=leaning), wall).any()
    assert closed_hand_clashes(GRASP.position, GRASP.axis, wall).all()
    assert not closed_hand_clashes(GRASP.position, GRASP.axis, wall, leaning).any()


def test_the_cross_product_is_numpys():
    a, b = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_allclose(cross(a, b), np.cross(a, b))
