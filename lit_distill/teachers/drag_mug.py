"""Dragging a mug away from a microwave, where there is no room to take hold of it."""

from __future__ import annotations

import numpy as np

from lit_distill.teachers.hand import BLOCKED_OPENING_M, CLOSE, FINGERTIP_M, FIRM_COMMAND
from lit_distill.teachers.hand_box import hits, pointing_down
from lit_distill.teachers.microwave import FRONT_M
from lit_distill.teachers.mug_holds import cup_centre, lies
from lit_distill.teachers.pick_place import ALIGN_HIGH_M
from lit_distill.teachers.put_in_microwave import CarryByDoor

CLEAR_OF_FRONT_M, ON_TOP_M, SLIPPED_M = 0.06, 0.04, 0.06
"""How far the hand stays before the front, how far beside the middle of the mug a hand comes down on it that
something stops, and from where on one that presses on it has slipped off."""
LOWEST_TIP_M, PRESS_M, DRAG_M = 0.03, 0.01, 0.02
"""How low the fingertips go, how far below where they touch the mug the hand is sent, and how far ahead."""
BY_END_M, ALONG = 0.015, 0.5
"""So far from its middle a lying mug is pressed on, and the share of its direction that leads out of the
microwave where it is dragged along it."""
ABOVE_M = 0.005
DRAG_TO_M, DRAG_ANGLES_RAD = np.array([0.0, -0.4, 0.0]), np.radians([0.0, 30.0, -30.0, 60.0, -60.0, 90.0])
"""Where to, in the microwave's frame, and the directions there along which the closed fingers may lie."""
IN_THE_OPEN_M = 0.18
"""A mug whose middle is so far before the front need not be dragged on."""
ALIGNED_RAD = 0.2
"""Up to which missing turn the hand comes down on the mug."""
TURN_BEFORE_M, TURN_RAD = 0.08, 0.5
"""So far before the place where it drags a hand stays that has more to turn: the microwave would catch it."""


class Drag(CarryByDoor):
    """Drags a mug away from the microwave, with fingers that press on it from above; see `skills.Skill`."""

    def act(self) -> np.ndarray:
        """See `Skill`."""
        hand, scene = self.hand, self.scene
        if hand.stranded():
            return hand.go_home(CLOSE)
        if self._around_mug():
            return self._withdraw()
        target, microwave = scene.extent(self.target), self.microwave
        along = self._along()
        point = microwave.inside(cup_centre(scene, self.target) + BY_END_M * along)
        point[1] = min(point[1], FRONT_M - CLEAR_OF_FRONT_M)
        point = microwave.outside(point)
        error = point - scene.eef_position
        aside = float(np.linalg.norm(error[:2]))
        axis = self._axis(np.array([*point[:2], target.top + FINGERTIP_M]))
        yaw = hand.nearest_turn(axis)
        if self._closed() and aside < SLIPPED_M and self._presses():
            way = (microwave.outside(DRAG_TO_M) - point) * [1.0, 1.0, 0.0]
            if along @ way > ALONG * np.linalg.norm(way):  # along its axis it does not roll
                way = along
            step = DRAG_M * way / np.linalg.norm(way) - [0.0, 0.0, 0.0 if self._low() else PRESS_M]
            return hand.servo(step, yaw, CLOSE, careful=False)
        blocked = microwave.touches_arm() or microwave.door_touches_arm()
        if hand.closed() and aside < (ON_TOP_M if blocked else ALIGN_HIGH_M) and abs(yaw) < ALIGNED_RAD:
            return hand.servo(np.array([*error[:2], -DRAG_M]), yaw, CLOSE)
        over = target.top + FINGERTIP_M + 0.005
        hover = over + ABOVE_M
        if abs(yaw) > TURN_RAD:  # before the microwave, which would catch a hand that turns in front of it
            point = point - TURN_BEFORE_M * microwave.inwards
            hover = max(hover, float(scene.eef_position[2]))
        return hand.servo(self._come(point, hover, over, self._look()), yaw, CLOSE)

    def goes_on(self) -> bool:
        """Whether the fingers press on a mug that is not yet clear of the microwave."""
        point = self.microwave.inside(cup_centre(self.scene, self.target))
        pressed = self.microwave.outside(point) + BY_END_M * self._along()
        aside = float(np.linalg.norm((self.scene.eef_position - pressed)[:2]))
        pressing = self._closed() and aside < SLIPPED_M and self._presses()
        return bool(pressing and point[1] > FRONT_M - IN_THE_OPEN_M)

    def _closed(self) -> bool:
        """Whether the fingers are closed, be it that the mug under them just made them part or shut."""
        together = self.scene.opening < BLOCKED_OPENING_M
        return self.hand.closed() or (together and self.scene.closing_command >= FIRM_COMMAND)

    def _presses(self) -> bool:
        """Whether the fingers are on the mug, or as low as they go."""
        return self._low() or self.scene.fingers_touching(self.target) > 0

    def _low(self) -> bool:
        return bool(self.scene.eef_position[2] < self.scene.surface + LOWEST_TIP_M + FINGERTIP_M)

    def _along(self) -> np.ndarray:
        """Level direction [3] along a lying mug, out of the microwave; zero for one that stands."""
        along = self.scene.rotation(self.target)[:, 2] * [1.0, 1.0, 0.0]
        if not lies(self.scene, self.target):
            return np.zeros(3)
        return along / np.linalg.norm(along) * -np.sign(along @ self.microwave.inwards)

    def _axis(self, point: np.ndarray) -> np.ndarray:
        """Level direction [3] to close along, for pressing at a point [3], that leaves the palm most room."""
        boxes = self.scene.geom_boxes(self._geoms)
        right, inwards = self.scene.rotation(self.microwave.name)[:, 0], self.microwave.inwards
        axes = [np.cos(angle) * right + np.sin(angle) * inwards for angle in DRAG_ANGLES_RAD]
        return min(axes, key=lambda axis: hits(point, pointing_down(axis), 0.0, boxes))
