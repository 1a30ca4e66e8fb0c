"""Put a mug into a microwave: by its handle, with a hand that stays outside."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.destinations import Destination, Placement
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import CLOSE, FIRM_COMMAND, OPEN, SPEED_M, TURN_SPEED_RAD, Hand
from lit_distill.teachers.microwave import ALIGNED_M, FLOOR_M, REST_M, Microwave
from lit_distill.teachers.mug_grasps import handle_direction, handle_grasp
from lit_distill.teachers.pick_place import RELEASE_STEPS, PickPlace

LEAST_INWARDS_M = -0.085
"""A mug whose origin is so deep stands with all of its base inside; the door pushes it further."""
WAIT_INWARDS_M = -0.165
"""Where the mug is lifted and turned before it enters."""
CARRY_M = 0.014
"""Height of the mug's bottom above the floor of the microwave while it enters."""
LOWEST_ENTRY_M = 0.006
ALIGNED_RAD = 0.15
RELEASE_M = 0.006
CLEAR_OF_HANDLE_M = 0.06


class PutInMicrowave(PickPlace):
    """Puts the mug `target` into a microwave that is open; see `skills.Skill`.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves it.
        target: LIBERO's name of the mug.
        destination: the region inside.
        microwave: LIBERO's name of the microwave.
    """

    def __init__(
        self, scene: Scene, hand: Hand, target: str, destination: Destination, microwave: str
    ) -> None:
        super().__init__(scene, hand, target, destination, None)
        self.microwave = Microwave(scene, microwave)

    def done(self) -> bool:
        """Whether the mug is inside, or will be once the door pushes it, and the hand has let go of it."""
        scene = self.scene
        inside = self.destination.reached() or self._stands_inside()
        away = np.linalg.norm(self._grasp().position - scene.eef_position) > CLEAR_OF_HANDLE_M
        return bool(inside and not self.hand.holds(self.target) and (away or scene.closing_command <= OPEN))

    def _stands_inside(self) -> bool:
        _, inwards, height = self._origin()
        return bool(inwards > LEAST_INWARDS_M and height > FLOOR_M - RELEASE_M)

    def _origin(self) -> np.ndarray:
        return self.microwave.inside(self.scene.position(self.target))

    def _turn(self) -> float:
        """Turn (rad, world z) that makes the handle point out of the microwave."""
        now, goal = handle_direction(self.scene, self.target), -self.microwave.inwards
        angle = np.arctan2(goal[1], goal[0]) - np.arctan2(now[1], now[0])
        return float((angle + np.pi) % (2 * np.pi) - np.pi)

    # -- pick --------------------------------------------------------------------------------------

    def _grasp(self) -> Grasp:
        return handle_grasp(self.scene, self.target, self._turn())

    def _obstacles(self, names: list[str]) -> list[Extent]:
        return [*super()._obstacles(names), self.microwave.door_extent()]

    # -- place -------------------------------------------------------------------------------------

    def _place(self, target: Extent, placement: Placement) -> np.ndarray:
        if self.scene.closing_command < FIRM_COMMAND:
            return self.hand.wait(CLOSE)
        right, inwards, _ = self._origin()
        bottom = target.bottom - self.microwave.outside(np.zeros(3))[2] - FLOOR_M
        yaw = self.hand.turn_by(self._turn())
        aligned = abs(REST_M[0] - right) < ALIGNED_M and abs(yaw) < ALIGNED_RAD
        offset = np.array([REST_M[0] - right, WAIT_INWARDS_M - inwards, CARRY_M - bottom])
        if inwards > WAIT_INWARDS_M + ALIGNED_M and bottom < LOWEST_ENTRY_M and inwards < LEAST_INWARDS_M:
            offset[:2] = 0.0  # before the step up to the floor: rise
        elif bottom > LOWEST_ENTRY_M and (aligned or inwards > LEAST_INWARDS_M):
            offset[1] = REST_M[1] - inwards
        if inwards > REST_M[1] - RELEASE_M:
            offset[2] = -bottom
        return self.hand.servo(self.scene.rotation(self.microwave.name) @ offset, yaw, CLOSE)

    def _in_place(self, target: Extent, placement: Placement, held: bool) -> bool:
        _, inwards, _ = self._origin()
        bottom = target.bottom - self.microwave.outside(np.zeros(3))[2] - FLOOR_M
        return bool(inwards > REST_M[1] - 2 * RELEASE_M and -0.01 < bottom < RELEASE_M)

    # -- potential ---------------------------------------------------------------------------------

    def _place_steps(self, target: Extent, placement: Placement) -> float:
        right, inwards, height = self._origin()
        wait = np.array([REST_M[0], WAIT_INWARDS_M, FLOOR_M + CARRY_M])
        enter = REST_M[1] - max(inwards, WAIT_INWARDS_M)
        way = 0.0 if inwards > WAIT_INWARDS_M else float(np.abs(wait - [right, inwards, height]).max())
        turning = abs(self._turn()) / TURN_SPEED_RAD
        return max(way / SPEED_M, turning) + (max(0.0, enter) + CARRY_M) / SPEED_M + RELEASE_STEPS
