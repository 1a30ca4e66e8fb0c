"""Pushing: away from an obstacle where the fingers fit between, along it where they do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lit_distill.sim.scene import CORNER_SIGNS
from lit_distill.teachers.pushing import Push, plan_push

WALL = CORNER_SIGNS * [0.07, 0.005, 0.07] + [0.0, 0.0, 0.07]
THING = CORNER_SIGNS * [0.04, 0.02, 0.01] + [0.0, 0.0, 0.01]


def anywhere(_: np.ndarray) -> bool:
    return True


def planned(
    gap: float, along: float, turn: float = 0.0, reached: Callable[[np.ndarray], bool] = anywhere
) -> tuple[Push | None, np.ndarray]:
    """Plan beside a wall in the xz plane, turned (rad) about z; return it and the wall's turn [3, 3]."""
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    thing = (THING + np.array([along, 0.025 + gap, 0.0])) @ rotation.T
    wall = WALL @ rotation.T
    return plan_push(thing, wall, [rotation[:, 0], rotation[:, 1]], wall[None], reached), rotation


@pytest.mark.parametrize("turn", [0.0, 0.5, -2.0])
def test_with_a_gap_it_is_pushed_away_whichever_way_the_obstacle_is_turned(turn: float):
    push, rotation = planned(gap=0.06, along=0.01, turn=turn)
    assert push is not None
    np.testing.assert_allclose(rotation.T @ push.direction, [0.0, 1.0, 0.0], atol=1e-9)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_without_a_gap_it_is_pushed_along_past_the_nearer_end_with_a_hand_that_leans_away(side: float):
    push, _ = planned(gap=0.001, along=0.02 * side)
    assert push is not None
    np.testing.assert_allclose(push.direction, [side, 0.0, 0.0], atol=1e-9)
    assert push.approach[1] < -0.1 and push.start[0] * side < -0.03


def test_where_the_hand_fits_only_leaning_it_leans_over_a_low_thing():
    push, _ = planned(gap=0.035, along=0.01)
    assert push is not None
    np.testing.assert_allclose(push.direction, [0.0, 1.0, 0.0], atol=1e-9)
    assert push.approach[1] < -0.1


def test_a_push_that_would_begin_out_of_reach_is_not_made():
    begins = planned(gap=0.06, along=0.01)[0]
    assert begins is not None
    push, _ = planned(gap=0.06, along=0.01, reached=lambda point: point[1] > begins.start[1] + 0.005)
    assert push is None or push.start[1] > begins.start[1]
    assert planned(gap=0.06, along=0.01, reached=lambda point: False)[0] is None
