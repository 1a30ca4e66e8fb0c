"""Topple a slab that stands where the fingers cannot get around it, such as close to a wall."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.hand import CLOSE, FINGERTIP_M, SPEED_M, Hand
from lit_distill.teachers.hand_box import hits
from lit_distill.teachers.pressing import Stroke
from lit_distill.teachers.slab import Slab
from lit_distill.teachers.vectors import cross, orientation

STANDING_RAD = 0.6
"""A slab that leans less than this stands."""
TILTS_RAD, INWARD_TILT_RAD = (0.5, 0.15), 0.15
"""The hand leans away from the slab, over the wall that may be behind it, less if it then hits something;
little if it then points towards the base, in line with the forearm, where the wrist flips over."""
CLOSED_M = 0.02
PRESSING_M, PRESSED_M = 0.03, 0.006
"""Fingertips so far from the middle of the top, and so little above it, press on it."""
STROKE = Stroke(hover=0.04, press=0.015, onwards=0.06)
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
        if abs(slab.frame[2, 0]) > np.sin(STANDING_RAD) or self._enclosed(slab):
            return np.inf
        away = self._away(slab)
        if not self._reaches(slab, away):
            return np.inf
        offset = self._offset(slab, away)
        if self._pressing(slab, offset):
            return GOING_ON_STEPS
        return TOPPLE_STEPS + float(np.linalg.norm(offset)) / SPEED_M

    def act(self, slab: Slab) -> np.ndarray:
        """Action [7] for the present state."""
        away = self._away(slab)
        offset, turn = self._offset(slab, away), self._turn(slab, away)
        closed = self.scene.opening <= CLOSED_M
        return self.hand.reach(STROKE.way(offset, away, self._pressing(slab, offset), closed), turn, CLOSE)

    def _offset(self, slab: Slab, away: np.ndarray) -> np.ndarray:
        """Way [3] of the fingertips to the side of the top where they press."""
        tips = self.scene.eef_position + FINGERTIP_M * self.scene.eef_rotation[:, 2]
        return np.asarray(slab.top + 0.5 * slab.half[0] * away - tips)

    def _pressing(self, slab: Slab, offset: np.ndarray) -> bool:
        """Whether the fingertips press on the top, of which one edge is higher where the slab leans."""
        edge = float(slab.half[0] * abs(slab.frame[2, 0]))
        over = np.linalg.norm(offset[:2]) < PRESSING_M and offset[2] > -PRESSED_M - edge
        return bool(over and self.scene.opening < CLOSED_M)

    def _reaches(self, slab: Slab, away: np.ndarray) -> bool:
        """Whether the arm can point the hand as it would have to, over the slab and where it comes from."""
        approach, _ = self._pose(slab, away)
        backs = (FINGERTIP_M, FINGERTIP_M + STROKE.hover)
        return all(self.hand.reaches(slab.top - back * approach, approach) for back in backs)

    def _pose(self, slab: Slab, away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Direction [3] in which the hand points, and the one [3] along which its fingers are closed.

        The fingers are beside each other along the slab, if the hand has room for that.
        """
        outwards = slab.top - self.scene.base
        inward = float(away[:2] @ outwards[:2]) > 0.5 * float(np.linalg.norm(outwards[:2]))
        up, boxes = np.array([0.0, 0.0, 1.0]), self.scene.geom_boxes(self._fixed)
        leans = (INWARD_TILT_RAD,) if inward else TILTS_RAD
        leaning = [(np.sin(lean) * away + np.cos(lean) * up, lean) for lean in leans]
        along = cross(up, away)
        poses = [(-back, along) for back, _ in leaning]
        poses += [(-back, np.cos(lean) * away - np.sin(lean) * up) for back, lean in leaning]
        tips = slab.top + 0.5 * slab.half[0] * away
        free = (
            pose
            for pose in poses
            if not hits(tips - FINGERTIP_M * pose[0], orientation(*pose[::-1]), 0.0, boxes)
        )
        return next(free, poses[0])

    def _turn(self, slab: Slab, away: np.ndarray) -> np.ndarray:
        """Turn [3] to that pose."""
        approach, closing = self._pose(slab, away)
        turns = [self.hand.turn_towards(orientation(axis, approach)) for axis in (closing, -closing)]
        return min(turns, key=self.hand.turn_cost)

    def _away(self, slab: Slab) -> np.ndarray:
        """Level direction [3] across the slab towards the side with more room for it to lie on.

        Where a hand that leans away from it does not reach, towards the other one.
        """
        across = slab.frame[:, 0] * [1.0, 1.0, 0.0]
        across /= np.linalg.norm(across)
        ways = sorted((across, -across), key=lambda away: self._taken(slab, away))
        return next((away for away in ways if self._reaches(slab, away)), ways[0])

    def _enclosed(self, slab: Slab) -> bool:
        """Whether the slab stands in a fixture."""
        return bool(self._within_fixtures(slab.centre[None])[0])

    def _taken(self, slab: Slab, away: np.ndarray) -> int:
        """How much of where the slab would come to lie fixtures take up."""
        foot = np.array([*slab.centre[:2], 2 * slab.centre[2] - slab.top[2] + LYING_ABOVE_M])
        return int(self._within_fixtures(foot + LYING_M * away).sum())

    def _within_fixtures(self, points: np.ndarray) -> np.ndarray:
        """Which of the points [n, 3] are in the box around any fixture, be it hollow: bool [n]."""
        extents = [self.scene.extent(name) for name in self.scene.fixtures if len(self.scene.geoms(name))]
        within = np.zeros(len(points), dtype=bool)
        for each in extents:
            within |= np.all((each.low < points) & (points < each.high), axis=1)
        return within
