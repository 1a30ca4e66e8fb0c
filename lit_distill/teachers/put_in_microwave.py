"""Put a mug into a microwave: by its handle, with a hand that stays outside."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.clearance import Obstacle
from lit_distill.teachers.destinations import Destination, Placement
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.hand import CLOSE, FIRM_COMMAND, MAX_OPENING_M, OPEN, SPEED_M, TURN_SPEED_RAD, Hand
from lit_distill.teachers.hand_box import hits, pointing_down
from lit_distill.teachers.microwave import ALIGNED_M, FLOOR_M, REST_M, Microwave
from lit_distill.teachers.mug_grasps import handle_direction, handle_grasp
from lit_distill.teachers.pick_place import RELEASE_STEPS, PickPlace
from lit_distill.teachers.pushing import Push

LEAST_INWARDS_M = -0.085
"""A mug whose origin is so deep stands with all of its base inside; the door pushes it further."""
TURN_INWARDS_M, WAIT_INWARDS_M = -0.245, -0.165
"""Where the mug is turned, far enough for a hand across its way, and from where it enters."""
TURNED_RAD = 0.5
CARRY_M = 0.014
"""Height of the mug's bottom above the floor of the microwave while it enters."""
LOWEST_ENTRY_M = 0.006
ALIGNED_RAD = 0.15
RELEASE_M = 0.006
CLEAR_OF_HANDLE_M = 0.06
AT_HANDLE_M = 0.03


class CarryByDoor(PickPlace):
    """Picks and places beside a microwave's open door, over which the hand has to pass.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves it.
        target: LIBERO's name of the object to move.
        destination: where to.
        microwave: LIBERO's name of the microwave.
    """

    def __init__(
        self, scene: Scene, hand: Hand, target: str, destination: Destination, microwave: str
    ) -> None:
        super().__init__(scene, hand, target, destination, None)
        self.microwave = Microwave(scene, microwave)
        self._but_the_door = np.setdiff1d(self._geoms, self.microwave.door_geoms)

    def _in_the_way(self, obstacles: dict[str, Obstacle]) -> list[Extent]:
        return [*super()._in_the_way(obstacles), self.microwave.door_extent()]

    def _hits(self, grasp: Grasp) -> int:
        """How many things the open hand would hit at a grasp, the door aside, which it may push."""
        boxes = self.scene.geom_boxes(self._but_the_door)
        return hits(grasp.position, pointing_down(grasp.axis), MAX_OPENING_M, boxes)


class PutInMicrowave(CarryByDoor):
    """Puts the mug `target`, which stands, into a microwave that is open; see `skills.Skill`.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves it.
        target: LIBERO's name of the mug.
        destination: the region inside.
        microwave: LIBERO's name of the microwave.
    """

    def done(self) -> bool:
        """Whether the mug is inside, or will be once the door pushes it, and the hand has let go of it."""
        scene = self.scene
        inside = self.destination.reached() or self._stands_inside()
        away = np.linalg.norm(self._handle().position - scene.eef_position) > CLEAR_OF_HANDLE_M
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

    def has_handle(self) -> bool:
        """Whether the hand is where it takes hold of the handle."""
        return bool(np.linalg.norm(self._handle().position - self.scene.eef_position) < AT_HANDLE_M)

    def has_room(self) -> bool:
        """Whether the hand can come to the handle."""
        grasp = self._handle()
        return self.hand.within_reach(grasp.position) and not self._hits(grasp)

    # -- pick --------------------------------------------------------------------------------------

    def _grasp(
        self, target: Extent, obstacles: dict[str, Obstacle], placement: Placement
    ) -> tuple[Grasp, Push | None]:
        return self._handle(), None

    def _handle(self) -> Grasp:
        return handle_grasp(self.scene, self.target, self._turn())

    # -- place -------------------------------------------------------------------------------------

    def _place(self, target: Extent, placement: Placement, obstacles: dict[str, Obstacle]) -> np.ndarray:
        if self.scene.closing_command < FIRM_COMMAND:
            return self.hand.wait(CLOSE)
        right, inwards, _ = self._origin()
        bottom = target.bottom - self.microwave.outside(np.zeros(3))[2] - FLOOR_M
        yaw = self.hand.turn_by(self._turn())
        aligned = abs(REST_M[0] - right) < ALIGNED_M and abs(yaw) < ALIGNED_RAD
        before = WAIT_INWARDS_M if abs(yaw) < TURNED_RAD else TURN_INWARDS_M
        offset = np.array([REST_M[0] - right, before - inwards, CARRY_M - bottom])
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
