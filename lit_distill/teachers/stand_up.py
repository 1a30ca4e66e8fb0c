"""Standing a mug up that lies on its side.

A hand from above can carry a lying mug, but it cannot turn it upright. So the closed fingers come down in
front of its mouth, reach into it below the uppermost point of the rim and push that towards the base: the mug
turns up about the edge of its base.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.hand import CLOSE, FINGERTIP_M, SPEED_M, Hand
from lit_distill.teachers.hand_box import hits, pointing_down
from lit_distill.teachers.mug_grasps import MUGS

STANDING, PUSHED_UP = 0.94, 0.98
"""Upward component of the axis of a mug that stands, and up to which one that does not is pushed: beside a
plate's rim it would fall back from less."""
IN_FRONT_M = 0.035
"""Distance of the grip site from the rim before the fingers come down in front of the mouth."""
BELOW_RIM_M = 0.02
"""How far the fingertips reach below the uppermost point of the rim."""
ABOVE_SURFACE_M = 0.012
ALIGNED_M = 0.012
EMPTY_M = 0.0045
PUSH_M = 0.025
FINGERS_HALF_DEPTH_M = 0.02

PUSH_STEPS = 30.0


class Mouth(NamedTuple):
    """The opening of a mug.

    Attributes:
        rim: uppermost point of the rim [3], m.
        outwards: horizontal unit vector [3] from base to mouth.
        axis: the mug's axis, unit vector [3] from base to mouth.
        centre: of the rim [3], m.
    """

    rim: np.ndarray
    outwards: np.ndarray
    axis: np.ndarray
    centre: np.ndarray


class StandUp:
    """Stands `target`, a mug, up; see `skills.Skill`.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that does it.
        target: LIBERO's name of the mug.
    """

    def __init__(self, scene: Scene, hand: Hand, target: str) -> None:
        self.scene, self.hand, self.target = scene, hand, target
        self.shape = MUGS[scene.category(target)]
        self.others = [name for name in scene.objects if name != target]
        self._in_the_way = scene.geoms(*scene.fixtures, *self.others)

    def done(self) -> bool:
        """Whether the mug is held, or stands and the hand is out of it."""
        held = self.hand.holds(self.target) and self.scene.opening > EMPTY_M
        return held or (self._stands() and not self._inside())

    def act(self) -> np.ndarray:
        """See `Skill`."""
        if self.hand.stranded():
            return self.hand.go_home(CLOSE)
        mouth = self._mouth()
        if mouth.axis[2] > PUSHED_UP:
            return self.hand.servo(np.array([0.0, 0.0, 0.05]), 0.0, CLOSE)
        position = self.scene.eef_position
        yaw = self.hand.turn_to(np.array([-mouth.outwards[1], mouth.outwards[0], 0.0]))
        height = self._height(mouth)
        along, across = self._split(position - mouth.rim, mouth)
        deep_enough = position[2] < height + 0.01
        reaches = -0.03 < along < IN_FRONT_M + 2 * ALIGNED_M
        if deep_enough and reaches and abs(across) < 2 * ALIGNED_M and self.hand.closed():
            push = -PUSH_M * mouth.outwards - self._sideways(across, mouth)
            push[2] = height - position[2]
            return self.hand.servo(push, yaw, CLOSE)
        front = mouth.rim + IN_FRONT_M * mouth.outwards
        offset = front - position
        away = float(np.linalg.norm(offset[:2]))
        if away < ALIGNED_M and abs(yaw) < 0.2 and self.hand.closed():
            return self.hand.servo(np.array([*offset[:2], height - position[2]]), yaw, CLOSE)
        high = self.hand.travel_height([self.target, *self.others])
        if position[2] < high - 0.02 and away > ALIGNED_M:
            return self.hand.servo(np.array([0.0, 0.0, high - position[2]]), 0.0, CLOSE)
        return self.hand.servo(np.array([*offset[:2], high - position[2]]), yaw, CLOSE)

    def remaining(self) -> float:
        """See `Skill`."""
        mouth = self._mouth()
        way = float(np.linalg.norm(mouth.rim + IN_FRONT_M * mouth.outwards - self.scene.eef_position))
        return way / SPEED_M + PUSH_STEPS * (1.0 - max(0.0, mouth.axis[2]))

    def possible(self) -> bool:
        """Whether the hand can come down in front of the mouth."""
        mouth = self._mouth()
        front = mouth.rim + IN_FRONT_M * mouth.outwards
        front[2] = self._height(mouth)
        left = np.array([-mouth.outwards[1], mouth.outwards[0], 0.0])
        boxes = self.scene.geom_boxes(self._in_the_way)
        return self.hand.within_reach(front) and not hits(front, pointing_down(left), 0.0, boxes)

    # -- looking -----------------------------------------------------------------------------------

    def _mouth(self) -> Mouth:
        rotation, origin = self.scene.rotation(self.target), self.scene.position(self.target)
        axis = rotation[:, 2]
        centre = origin + rotation @ np.array([*self.shape.axis_xy, self.shape.rim_height])
        outwards = np.array([axis[0], axis[1], 0.0])
        outwards /= max(float(np.linalg.norm(outwards)), 1e-9)
        upwards = np.array([0.0, 0.0, 1.0]) - axis[2] * axis
        upwards /= max(float(np.linalg.norm(upwards)), 1e-9)
        radius = self.shape.rim_radius + 0.5 * self.shape.wall
        return Mouth(centre + radius * upwards, outwards, axis, centre)

    def _height(self, mouth: Mouth) -> float:
        """Of the grip site while the fingers push."""
        return max(mouth.rim[2] - BELOW_RIM_M, self.scene.surface + ABOVE_SURFACE_M) + FINGERTIP_M

    def _stands(self) -> bool:
        return bool(self.scene.rotation(self.target)[2, 2] > STANDING)

    def _inside(self) -> bool:
        """Whether closed fingers are inside the cup of a standing mug."""
        if self.scene.opening > 0.02:
            return False
        centre, tip = self._mouth().centre, self.scene.eef_position - [0.0, 0.0, FINGERTIP_M]
        return bool(tip[2] < centre[2] and np.linalg.norm((tip - centre)[:2]) < self.shape.rim_radius - 0.01)

    @staticmethod
    def _split(offset: np.ndarray, mouth: Mouth) -> tuple[float, float]:
        """Horizontal components of an offset: out of the mouth, and to its left."""
        left = np.array([-mouth.outwards[1], mouth.outwards[0], 0.0])
        return float(offset @ mouth.outwards), float(offset @ left)

    @staticmethod
    def _sideways(across: float, mouth: Mouth) -> np.ndarray:
        return across * np.array([-mouth.outwards[1], mouth.outwards[0], 0.0])
