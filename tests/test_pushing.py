"""Pushing: away from an obstacle where the fingers fit between, along it where they do not."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lit_distill.sim.scene import CORNER_SIGNS, Extent
from lit_distill.teachers.pushing import PUSH_M, TOUCHES_M, Push, plan_push, push

WALL = CORNER_SIGNS * [0.07, 0.005, 0.07] + [0.0, 0.0, 0.07]
THING = CORNER_SIGNS * [0.04, 0.02, 0.01] + [0.0, 0.0, 0.01]


def anywhere(point: np.ndarray, approach: np.ndarray) -> bool:
    return True


def planned(
    gap: float, along: float, turn: float = 0.0, reached: Callable[[np.ndarray, np.ndarray], bool] = anywhere
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
    beyond = begins.start[1] + 0.005
    push, _ = planned(gap=0.06, along=0.01, reached=lambda point, approach: point[1] > beyond)
    assert push is None or push.start[1] > begins.start[1]
    assert planned(gap=0.06, along=0.01, reached=lambda point, approach: False)[0] is None


def test_a_hand_that_cannot_lean_to_push_pushes_otherwise():
    leaning, _ = planned(gap=0.001, along=0.02)
    assert leaning is not None and leaning.approach[2] > -0.99
    straight, _ = planned(gap=0.001, along=0.02, reached=lambda point, approach: bool(approach[2] < -0.99))
    assert straight is None or straight.approach[2] < -0.99


def sent(plan: Push, position: list[float]) -> np.ndarray | None:
    """Where closed fingers at a grip site position [3] that make a push are sent, m."""
    hand: Any = SimpleNamespace(
        scene=SimpleNamespace(eef_position=np.array(position)),
        closed=lambda: True,
        turn_to=lambda axis, then: 0.0,
        servo=lambda offset, *_, **__: offset,
    )
    return push(hand, Extent(np.zeros(3), np.array([0.1, 0.1, 0.1])), plan)


def test_fingers_that_rise_first_go_down_and_then_up_with_what_they_have_met():
    start, along = np.array([-0.02, 0.05, 0.03]), np.array([0.0, 1.0, 0.0])
    level = Push(start, np.array([1.0, 0.0, 0.0]), along)
    rising = Push(start, np.array([1.0, 0.0, 0.0]), along, rise=0.5)
    above, met = [-0.02, 0.05, 0.08], [-0.02 + TOUCHES_M + 0.005, 0.05, 0.03]
    for plan in (level, rising):
        offset = sent(plan, above)
        assert offset is not None and offset[2] == pytest.approx(-0.05)
    offset = sent(level, above)
    assert offset is not None and offset[0] == pytest.approx(PUSH_M), "on the way down, too"
    offset = sent(rising, above)
    assert offset is not None and offset[0] == pytest.approx(0.0)
    offset = sent(rising, met)
    assert offset is not None
    np.testing.assert_allclose(offset, [PUSH_M, 0.0, 0.5 * PUSH_M], atol=1e-9)
    offset = sent(level, met)
    assert offset is not None and offset[2] == pytest.approx(0.0)


def test_fingers_push_on_as_far_beside_the_way_as_a_plan_allows():
    start, direction, along = (
        np.array([-0.02, 0.05, 0.03]),
        np.array([1.0, 0.0, 0.0]),
        np.array([0.0, 1.0, 0.0]),
    )
    beside = [0.0, 0.08, 0.03]
    assert sent(Push(start, direction, along), beside) is None
    offset = sent(Push(start, direction, along, beside=0.04), beside)
    assert offset is not None and offset[1] == pytest.approx(-0.03), "and back to it"
