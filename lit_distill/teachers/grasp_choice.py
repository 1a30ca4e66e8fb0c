"""Which of several grasps to take: a thin axis, a small turn, a short way, and room for the hand."""

from __future__ import annotations

import numpy as np

from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import Hand
from lit_distill.teachers.posture import WRIST_ABOVE_M
from lit_distill.teachers.room import clashes

MAX_GRASP_WIDTH_M = 0.072
WIDTH_WORTH_A_RADIAN_M = 0.015
"""How much thinner an axis must be to be worth a turn by a radian."""
WAY_WORTH_A_RADIAN_M = 0.15
"""How much nearer a grasp must be to be worth a turn by a radian."""
CLASH_COST_RAD, MOST_CLASHES = 5.0, 3
"""What each thing that the hand would hit costs, in radians of turning, and how many count."""
COMES_FROM_M = 0.16
"""From so far back along its approach the hand comes to a grasp."""
HOVERS_M = 0.06
"""So far before a grasp, along its approach, the hand hovers."""
UNREACHABLE_COST_RAD = 50.0
TURN_HELD_COST = 1.5
"""What a turn with the object in hand costs, compared with one before."""


def cheapest(
    candidates: list[Grasp], hand: Hand, axis_after: np.ndarray | None, boxes: np.ndarray
) -> tuple[Grasp, int]:
    """The candidate that costs least, and how many things the hand would hit there.

    Args:
        candidates: at least one grasp.
        hand: the hand that is to take it.
        axis_after: level unit vector [3] along which the fingers have to close later, None if any will do.
        boxes: corners [n, 8, 3] of the boxes around everything that the hand could hit, m.
    """
    costs = np.array([_cost(grasp, hand, axis_after) for grasp in candidates])
    best, least, hit = candidates[0], np.inf, 0
    for k in np.argsort(costs, kind="stable"):
        if costs[k] >= least:
            break  # what the hand would hit takes long to say
        hits = int(clashes(candidates[k], boxes).sum())
        cost = float(costs[k]) + CLASH_COST_RAD * min(hits, MOST_CLASHES)
        if cost < least:
            best, least, hit = candidates[k], cost, hits
    return best, hit


def wrist_aside(grasp: Grasp) -> np.ndarray:
    """Level offset [3] of the grip site from under the wrist, m: none where the hand points down."""
    return np.asarray(WRIST_ABOVE_M * grasp.approach * [1.0, 1.0, 0.0])


def reachable(grasp: Grasp, hand: Hand) -> bool:
    """Whether the arm can point the hand as a grasp asks, there and where it comes from.

    The wrist of a leaning hand is to one side.
    """
    aside = wrist_aside(grasp)
    way = (grasp.position, grasp.position - COMES_FROM_M * grasp.approach)
    return not grasp.leans or all(hand.reaches_down_to(point - aside) for point in way)


def within_reach(grasp: Grasp, hand: Hand) -> bool:
    """Whether the arm reaches a grasp, and where the hand hovers before it, pointing as it asks.

    One that does not ask for any lean may be taken with the lean that its reach demands.
    """
    if not grasp.leans:
        return hand.within_reach(grasp.position)
    way = (grasp.position, grasp.position - HOVERS_M * grasp.approach)
    return all(hand.reaches(point, grasp.approach) for point in way)


def _cost(grasp: Grasp, hand: Hand, axis_after: np.ndarray | None) -> float:
    """Cost (rad) without what the hand would hit; the thinnest axis allows an imprecise hand most play."""
    cost = grasp.width / WIDTH_WORTH_A_RADIAN_M + abs(hand.turn_to(grasp.axis)) + grasp.penalty
    cost += 100.0 * max(0.0, grasp.width - MAX_GRASP_WIDTH_M) / WIDTH_WORTH_A_RADIAN_M
    cost += float(np.linalg.norm(grasp.position - hand.scene.eef_position)) / WAY_WORTH_A_RADIAN_M
    cost += UNREACHABLE_COST_RAD * (not within_reach(grasp, hand))
    if axis_after is not None:
        cost += TURN_HELD_COST * float(np.arccos(min(1.0, abs(float(grasp.axis @ axis_after)))))
    return cost
