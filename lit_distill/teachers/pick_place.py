"""Pick an object up from above and put it down at its destination.

A missed grasp is seen as fingers closed below the object's width, a dropped object simply has to be picked
up again.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.destinations import Destination, Placement
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.grasps import grasp_candidates
from lit_distill.teachers.hand import (
    CLOSE,
    FINGERTIP_M,
    FIRM_COMMAND,
    HAND_HALF_DEPTH_M,
    HAND_HALF_WIDTH_M,
    MAX_OPENING_M,
    OPEN,
    PALM_M,
    SPEED_M,
    Hand,
)

# Grasp.
ALIGN_HIGH_M, ALIGN_LOW_M, ALIGN_GRASP_M = 0.012, 0.02, 0.008
CLOSING_PLAY_M = 0.02
ALIGN_YAW_RAD = 0.1
GRASP_HEIGHT_TOLERANCE_M = 0.008
MAX_GRASP_WIDTH_M = 0.072
WIDTH_WORTH_A_RADIAN_M = 0.01
"""How much thinner an axis must be to be worth a turn by a radian."""

RELEASE_HEIGHT_TOLERANCE_M = 0.01

FINGERS_HALF_M = 0.06
"""From the grip site to the outer side of an open finger."""

# Potential.
GRASP_STEPS = 10.0
RELEASE_STEPS = 4.0


class PickPlace:
    """Moves `target` to `destination`; see `skills.Skill`.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves it.
        target: LIBERO's name of the object to move.
        destination: where to.
        onto: LIBERO's name of the object that the target is put into or onto, None if it is none.
    """

    def __init__(
        self, scene: Scene, hand: Hand, target: str, destination: Destination, onto: str | None = None
    ) -> None:
        self.scene, self.hand, self.target, self.destination = scene, hand, target, destination
        self.others = [name for name in scene.objects if name not in (target, onto)]

    def done(self) -> bool:
        """Whether the object is in its place and let go; see `Skill`."""
        return self.destination.reached() and not self.hand.holds(self.target)

    def act(self) -> np.ndarray:
        """See `Skill`."""
        held = self.hand.holds(self.target)
        if self.hand.stranded():
            return self.hand.go_home(CLOSE if held else OPEN)
        target, placement = self.scene.extent(self.target), self.destination.placement()
        if self._in_place(target, placement, held):
            return self.hand.wait(OPEN)
        if held:
            return self._place(target, placement)
        return self._pick(target, self._grasp())

    def remaining(self) -> float:
        """See `Skill`."""
        target, placement = self.scene.extent(self.target), self.destination.placement()
        if self._lost(target):
            return float("inf")
        steps = self._place_steps(target, placement)
        return steps if self.hand.holds(self.target) else steps + self._pick_steps(self._grasp())

    # -- pick --------------------------------------------------------------------------------------

    def _pick(self, target: Extent, grasp: Grasp) -> np.ndarray:
        position = self.scene.eef_position
        servo = partial(self.hand.servo, approach=grasp.approach)
        error = grasp.position - position
        sideways = float(np.linalg.norm(grasp.on_the_way(position[2]) - position))
        yaw = self.hand.turn_to(grasp.axis)
        turn = max(abs(yaw), float(np.linalg.norm(self.hand.turn_along(grasp.approach))))
        lowest = FINGERTIP_M + FINGERS_HALF_M * float(np.linalg.norm(grasp.approach[:2]))
        high = self._travel_height() + lowest - FINGERTIP_M
        at_height = error[2] > -GRASP_HEIGHT_TOLERANCE_M
        if self.hand.closed():
            # Closed and not holding: a miss. Open; rise once the fingers no longer surround the object.
            return servo(-0.03 * grasp.approach, 0.0, OPEN)
        # Fingers that started to close may push the object or the hand aside by their play.
        play = CLOSING_PLAY_M if self.scene.closing_command > -1.0 else ALIGN_GRASP_M
        if at_height and sideways < play and turn < 2 * ALIGN_YAW_RAD:
            return servo(error, yaw, CLOSE)
        opened = self.scene.opening > min(grasp.width + 0.01, MAX_OPENING_M - 0.005)
        near = position[2] < target.top + lowest + 0.005
        if near:
            if sideways < ALIGN_LOW_M and opened and turn < 2 * ALIGN_YAW_RAD:
                # Among the object: centre first, then go down.
                return servo(error if sideways < ALIGN_GRASP_M else error * [1, 1, 0.3], yaw, OPEN)
            return servo(np.array([0.0, 0.0, high - position[2]]), 0.0, OPEN)
        if sideways < ALIGN_HIGH_M and turn < ALIGN_YAW_RAD and opened:
            return servo(error, yaw, OPEN)
        above = grasp.on_the_way(high) - position
        if position[2] < high - 0.02 and sideways > 0.05:
            above[:2] *= 0.2  # rise before travelling
            yaw = 0.0
        return servo(above, yaw, OPEN)

    def _grasp(self) -> Grasp:
        """The candidate that costs least."""
        return min(grasp_candidates(self.scene, self.target), key=self._grasp_cost)

    def _grasp_cost(self, grasp: Grasp) -> float:
        """Prefer the thinnest axis (the most play for an imprecise hand), a small turn, free space."""
        cost = grasp.width / WIDTH_WORTH_A_RADIAN_M + abs(self.hand.turn_to(grasp.axis)) + grasp.penalty
        cost += 100.0 * max(0.0, grasp.width - MAX_GRASP_WIDTH_M) / WIDTH_WORTH_A_RADIAN_M
        cost += 5.0 * sum(self._hand_would_hit(grasp, name) for name in self.others)
        return cost

    def _hand_would_hit(self, grasp: Grasp, name: str) -> bool:
        """Whether the hand's box above the grasp overlaps another object."""
        corners = self.scene.corners(name)
        corners = corners[corners[:, 2] > grasp.position[2] + PALM_M]
        if not len(corners):
            return False
        across = np.array([-grasp.axis[1], grasp.axis[0], 0.0])
        relative = corners - grasp.position
        along_axis, across_axis = relative @ grasp.axis, relative @ across
        return bool(
            along_axis.min() < HAND_HALF_WIDTH_M
            and along_axis.max() > -HAND_HALF_WIDTH_M
            and across_axis.min() < HAND_HALF_DEPTH_M
            and across_axis.max() > -HAND_HALF_DEPTH_M
        )

    def _travel_height(self) -> float:
        return self.hand.travel_height([*self.others, self.target])

    # -- place -------------------------------------------------------------------------------------

    def _place(self, target: Extent, placement: Placement) -> np.ndarray:
        offset = placement.position - np.array([*target.centre[:2], target.bottom])
        sideways = float(np.linalg.norm(offset[:2]))
        yaw = 0.0 if placement.axis is None else self.hand.turn_to(placement.axis)
        if self.scene.closing_command < FIRM_COMMAND:
            return self.hand.wait(CLOSE)
        if sideways < placement.tolerance and abs(yaw) < ALIGN_YAW_RAD:
            drop = max(offset[2], placement.lowest_hand - self.scene.eef_position[2])
            return self.hand.servo(np.array([offset[0], offset[1], drop]), yaw, CLOSE)
        rise = placement.carry_height - target.bottom
        if rise > 0.03 and sideways > 0.15:
            return self.hand.servo(np.array([0.2 * offset[0], 0.2 * offset[1], rise]), 0.0, CLOSE)
        if rise > 0.015:  # near a wall: rise first
            return self.hand.servo(np.array([0.0, 0.0, rise]), 0.0, CLOSE)
        return self.hand.servo(np.array([offset[0], offset[1], rise]), yaw, CLOSE)

    def _in_place(self, target: Extent, placement: Placement, held: bool) -> bool:
        """Whether the object, if let go now, comes to rest where it should."""
        offset = placement.position - np.array([*target.centre[:2], target.bottom])
        over = np.linalg.norm(offset[:2]) < 2.0 * placement.tolerance
        hand_low = self.scene.eef_position[2] < placement.lowest_hand + RELEASE_HEIGHT_TOLERANCE_M
        object_low = -offset[2] < RELEASE_HEIGHT_TOLERANCE_M
        below_rim = target.bottom < placement.carry_height - 0.015
        return bool(over and below_rim and (hand_low or object_low or not held))

    def _lost(self, target: Extent) -> bool:
        """Whether the object is beyond the arm's reach."""
        return not self.hand.within_reach(target.centre) or target.bottom < self.scene.surface - 0.05

    # -- potential ---------------------------------------------------------------------------------

    def _pick_steps(self, grasp: Grasp) -> float:
        position = self.scene.eef_position
        high = self._travel_height()
        sideways = np.linalg.norm(grasp.position[:2] - position[:2])
        detour = 2.0 * max(0.0, high - position[2]) if sideways > ALIGN_LOW_M else 0.0
        path = sideways + abs(position[2] - grasp.position[2]) + detour
        closing = GRASP_STEPS * (1.0 - max(0.0, self.scene.closing_command) * float(path < 0.03))
        return float(path / SPEED_M + closing)

    def _place_steps(self, target: Extent, placement: Placement) -> float:
        sideways = float(np.linalg.norm(placement.position[:2] - target.centre[:2]))
        rise = max(0.0, placement.carry_height - target.bottom)
        if sideways < placement.tolerance:
            path = max(0.0, target.bottom - placement.position[2])
        else:
            path = sideways + rise + placement.carry_height - placement.position[2]
        return path / SPEED_M + RELEASE_STEPS
