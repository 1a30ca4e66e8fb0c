"""Topple a slab that stands where the fingers cannot get around it, such as close to a wall."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.grasp import DOWN
from lit_distill.teachers.hand import CLOSE, FINGERTIP_M, SPEED_M, Hand
from lit_distill.teachers.hand_box import inside
from lit_distill.teachers.posture import posture
from lit_distill.teachers.slab import Slab
from lit_distill.teachers.vectors import cross

STANDING_RAD = 0.6
"""A slab that leans less than this stands."""
TILT_RAD, INWARD_TILT_RAD = 0.5, 0.15
"""The hand leans away from the wall that may be behind the slab; little if it then points towards the base,
in line with the forearm, where the wrist flips over."""
CLOSED_M = 0.02
OVER_M = 0.012
PRESSING_M, PRESSED_M = 0.03, 0.006
"""Fingertips so far from the middle of the top, and so little above it, press on it."""
ABOVE_TOP_M, PRESS_M, PUSH_M = 0.04, 0.015, 0.06
LYING_M, LYING_ABOVE_M = np.linspace(0.03, 0.12, 4)[:, None], 0.02
"""Where a toppled slab comes to lie, from where it stood."""
TOPPLE_STEPS, GOING_ON_STEPS = 90.0, 5.0
"""Control steps for toppling and taking hold of the slab then; once it is being toppled, go on."""


class Topple:
    """Presses closed fingers on the top of a standing slab and pushes it over, to where there is room.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that topples it.
    """

    def __init__(self, scene: Scene, hand: Hand) -> None:
        self.scene, self.hand = scene, hand
        self._fixed = scene.geoms(*scene.fixtures)

    def steps(self, slab: Slab) -> float:
        """Control steps that it costs, infinite if the slab does not stand or is out of reach."""
        arm = posture(self.scene.base, slab.top[None], DOWN[None])
        if abs(slab.frame[2, 0]) > np.sin(STANDING_RAD) or not arm.within_reach[0]:
            return np.inf
        offset = self._offset(slab, self._away(slab))
        if self._pressing(offset):
            return GOING_ON_STEPS
        return TOPPLE_STEPS + float(np.linalg.norm(offset)) / SPEED_M

    def act(self, slab: Slab) -> np.ndarray:
        """Action [7] for the present state."""
        away = self._away(slab)
        offset, turn = self._offset(slab, away), self._turn(away)
        if self._pressing(offset):
            offset += (PUSH_M - float(offset @ away)) * away
            offset[2] -= PRESS_M
            return self.hand.reach(offset, turn, CLOSE)
        if np.linalg.norm(offset[:2]) > OVER_M or self.scene.opening > CLOSED_M:
            offset[2] += ABOVE_TOP_M
            if offset[2] > 0.5 * ABOVE_TOP_M:  # rise before travelling
                offset[:2] *= 0.2
        return self.hand.reach(offset, turn, CLOSE)

    def _offset(self, slab: Slab, away: np.ndarray) -> np.ndarray:
        """Way [3] of the fingertips to the side of the top where they press."""
        tips = self.scene.eef_position + FINGERTIP_M * self.scene.eef_rotation[:, 2]
        return np.asarray(slab.top + 0.5 * slab.half[0] * away - tips)

    def _pressing(self, offset: np.ndarray) -> bool:
        over = np.linalg.norm(offset[:2]) < PRESSING_M and offset[2] > -PRESSED_M
        return bool(over and self.scene.opening < CLOSED_M)

    def _turn(self, away: np.ndarray) -> np.ndarray:
        """Turn [3] to fingers beside each other along the slab and a hand that leans away from it."""
        outwards = self.scene.eef_position - self.scene.base
        inward = float(away[:2] @ outwards[:2]) > 0.5 * float(np.linalg.norm(outwards[:2]))
        lean = INWARD_TILT_RAD if inward else TILT_RAD
        approach = -np.sin(lean) * away - np.array([0.0, 0.0, np.cos(lean)])
        closing = cross(np.array([0.0, 0.0, 1.0]), away)
        turns = [
            self.hand.turn_towards(np.stack([axis, cross(approach, axis), approach], axis=1))
            for axis in (closing, -closing)
        ]
        return min(turns, key=self.hand.turn_cost)

    def _away(self, slab: Slab) -> np.ndarray:
        """Level direction [3] across the slab towards the side with more room for it to lie on."""
        across = slab.frame[:, 0] * [1.0, 1.0, 0.0]
        across /= np.linalg.norm(across)
        foot = np.array([*slab.centre[:2], 2 * slab.centre[2] - slab.top[2] + LYING_ABOVE_M])
        boxes = self.scene.geom_boxes(self._fixed)
        taken = [inside(boxes, foot + sign * LYING_M * across).sum() for sign in (1.0, -1.0)]
        return across if taken[0] <= taken[1] else -across
