"""Turn a stove's knob: squeeze its bar from above, turn the hand."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.hand import (
    CLOSE,
    FIRM_COMMAND,
    MAX_TILT_RAD,
    OPEN,
    SPEED_M,
    Hand,
)

GRIP_IN_KNOB_M = np.array([0.0012, -0.024, 0.031])
"""Where to squeeze, in the knob's frame: near the bar's far end, fingertips above the disc (z 0.013)."""
BAR_WIDTH_M = 0.025

ON_RAD, OFF_RAD = 0.58, -0.003
"""Turned so far, it is let go. LIBERO takes it for on from 0.5 rad and for off below 0 rad; the hinge reaches
from -0.005 to 2.1 rad, and opening fingers may move it a little."""

ALIGN_M, ALIGN_GRIP_M = 0.02, 0.008
CLOSING_PLAY_M = 0.02
YAW_LEVER_M = 0.1
"""A turn by a radian that is still missing counts as much as this distance."""
HOLD_YAW_RAD = 0.4
FOLDED_RAD = 1.3
"""Over a knob close to the robot's base the arm is so folded that its wrist bends as if the hand tilted by
this, though it points down."""
OVER_BAR_M = 0.03
"""Grip site above the grip when the fingertips pass over the bar."""
CONE = 1.5
"""The open fingers come down with the distance from the grip: height over distance."""
STEP_DOWN_M = 0.04
"""A longer way down would leave the sideways part of the command too small."""
NEAR_M = 0.05
RISE_M = 0.05
LEAD_RAD = 0.3
"""The hand turns so far ahead of the knob, which is heavy."""

# Potential.
SQUEEZE_STEPS = 8.0
TURN_RAD = 0.024
"""Angle by which the hand turns the knob in one control step (measured)."""


class TurnKnob:
    """Turns a stove on or off; see `skills.Skill`.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that turns it.
        stove: LIBERO's name of the stove.
        on: whether it has to be turned on.
    """

    def __init__(self, scene: Scene, hand: Hand, stove: str, on: bool) -> None:
        self.scene, self.hand, self.stove, self.on = scene, hand, stove, on
        (self.joint,) = scene.joint_names(stove)

    def done(self) -> bool:
        """Whether it is on (off) and the hand has let go; see `Skill`."""
        return self.scene.met(["turnon" if self.on else "turnoff", self.stove]) and not self._gripped()

    def act(self) -> np.ndarray:
        """See `Skill`."""
        tilt = float(np.linalg.norm(self.hand.tilt()))
        if tilt > MAX_TILT_RAD or self.hand.stranded(FOLDED_RAD):
            return self.hand.go_home(OPEN)
        if not self._around():
            return self._approach()
        if self._angle_left() == 0.0:
            return self.hand.servo(np.array([0.0, 0.0, RISE_M]), 0.0, OPEN)
        return self._turn()

    def remaining(self) -> float:
        """See `Skill`."""
        steps = abs(self._angle_left()) / TURN_RAD
        if self._around():
            return steps
        path = float(np.abs(self._grip() - self.scene.eef_position).max())
        return steps + SQUEEZE_STEPS + path / SPEED_M

    # -- approach and turn -------------------------------------------------------------------------

    def _approach(self) -> np.ndarray:
        position = self.scene.eef_position
        error, yaw = self._grip() - position, self._yaw(then=self._angle_left())
        sideways = float(np.linalg.norm(error[:2]))
        misaligned = sideways + YAW_LEVER_M * abs(yaw)
        opened = self.scene.opening > BAR_WIDTH_M + 2 * ALIGN_M
        if opened and misaligned < ALIGN_M:
            error[2] = max(error[2], -STEP_DOWN_M * (1.0 - misaligned / ALIGN_M))
            return self.hand.servo(error, yaw, OPEN)
        over = self._grip()[2] + OVER_BAR_M
        if position[2] < over and sideways < NEAR_M:  # beside the bar
            return self.hand.servo(np.array([0.0, 0.0, RISE_M]), 0.0, OPEN)
        height = over + CONE * misaligned if sideways < NEAR_M else self._travel_height()
        above = np.array([error[0], error[1], height - position[2]])
        if above[2] > 0.02 and sideways > NEAR_M:
            above[:2] *= 0.2  # rise before travelling
            yaw = 0.0
        return self.hand.servo(above, yaw, OPEN)

    def _turn(self) -> np.ndarray:
        lead = 0.0
        if self.scene.closing_command >= FIRM_COMMAND:
            lead = float(np.copysign(LEAD_RAD, self._angle_left()))
        offset = self._grip(lead) - self.scene.eef_position
        return self.hand.servo(offset, self._yaw() + lead, CLOSE, careful=False)

    # -- looking -----------------------------------------------------------------------------------

    def _grip(self, lead: float = 0.0) -> np.ndarray:
        """Where to squeeze, world [3], once the knob has turned by `lead` (rad) more."""
        origin, rotation = self.scene.joint_frame(self.joint)
        x, y, z = GRIP_IN_KNOB_M
        c, s = np.cos(lead), np.sin(lead)
        return origin + rotation @ np.array([c * x - s * y, s * x + c * y, z])

    def _yaw(self, then: float = 0.0) -> float:
        return self.hand.turn_to(self.scene.joint_frame(self.joint)[1][:, 0], then)

    def _around(self) -> bool:
        """Whether the fingers are on both sides of the bar; its contacts are too stiff to be a sign."""
        error = np.abs(self._grip() - self.scene.eef_position)
        play = CLOSING_PLAY_M if self.scene.closing_command > -1.0 else ALIGN_GRIP_M
        return bool(np.linalg.norm(error[:2]) < play and error[2] < play and abs(self._yaw()) < HOLD_YAW_RAD)

    def _gripped(self) -> bool:
        return self._around() and self.scene.closing_command > 0.0

    def _angle_left(self) -> float:
        """By how much (rad) the knob has to be turned before it is let go."""
        angle = self.scene.joint_position(self.joint)
        return max(0.0, ON_RAD - angle) if self.on else min(0.0, OFF_RAD - angle)

    def _travel_height(self) -> float:
        return self.hand.travel_height([*self.scene.objects, self.stove])
