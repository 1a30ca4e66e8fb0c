"""Opening and closing a drawer by its handle.

The handle is a bar in front of the drawer's face, with a slot of 1.6 cm between the two. No hand that points
down reaches it where other drawers' handles are above. The hand leans back instead, closed, so that the edge
of its fingertips points down like a wedge: let down into the slot it pulls the bar, pressed against the bar
from outside it pushes the drawer shut. A drawer has no friction, so that little force is needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.sim.simulator import rotation_vector
from lit_distill.teachers.aside import FreePlace
from lit_distill.teachers.cabinet import Drawer
from lit_distill.teachers.hand import CLOSE, OPEN, SPEED_M, Hand, action
from lit_distill.teachers.pick_place import PickPlace
from lit_distill.teachers.vectors import cross

LEAN_RAD = np.radians(55.0)
"""From straight down; the hand passes below the handle of the drawer above."""
MAX_TILT_RAD = 1.2
TIP_M, TIP_HALF_DEPTH_M = 0.0092, 0.0088
"""From the grip site to the fingertips along the hand, and half their size across it (robosuite's mesh)."""
WEDGE_BEHIND_BAR_M, WEDGE_DEPTH_M = 0.0055, 0.003
"""Where the wedge goes: behind the bar's inner side and below its top. With this lean it fits there."""

LIBERO_OPEN_M = 0.14
"""LIBERO's cabinets are open from here on; they reach to 0.16 m."""
ROOMY_M = 0.12
"""A bowl goes into a drawer that stands open so far."""
TO_SPARE_M, END_STOP_M = 0.012, 0.002

# The way to the handle.
TURN_LEVER_M = 0.12
"""A turn by a radian that is still missing counts as much as this distance."""
ALIGNED_RAD, ACROSS_M = 0.25, 0.025
AWAY_M = 0.1
"""The hand stays up to so far away until it is turned and in front of the handle."""
FOLDED_M, FOLDED_MARGIN_M = 0.46, 0.06
"""The hand is not turned nearer to the base than the first, and in full from so much further out."""
OVER_SLOT_M, STEEP, OVER_BAR_M, SLOPE = 0.003, 3.0, 0.012, 0.6
"""The wedge passes over the bar and goes down only over the slot: else it would push the drawer shut."""
BELOW_NEXT_M = 0.03
BEHIND_M = 0.01
HOOKED_M, IN_FRONT_M, LEVEL_M = 0.007, 0.03, 0.01
EFFORT_M, PRESS_M = 0.04, 0.01

# What is in the hand.
EMPTY_M = 0.003
"""Fingers that close on nothing come nearer than this."""
AMONG_M = 0.01
RISE_M = 0.05
HAND_ROOM_M = 0.05

HOOK_STEPS = 5.0


class _AtHandle(ABC):
    """What opening and closing have in common: the way of a leaning, closed hand to the handle.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that does it.
        region: LIBERO's name of the region inside the drawer.
    """

    def __init__(self, scene: Scene, hand: Hand, region: str) -> None:
        self.scene, self.hand, self.region = scene, hand, region
        self.drawer = Drawer(scene, region)
        self._put_aside = {
            name: PickPlace(scene, hand, name, FreePlace(scene, name, self._sweep)) for name in scene.objects
        }

    def act(self) -> np.ndarray:
        """See `Skill`."""
        if self.hand.stranded(MAX_TILT_RAD):
            return self.hand.go_home(CLOSE)
        if (free := self._hands_free()) is not None:
            return free
        turn = self._turn()
        if self._in_place(turn):
            return action(self._effort(), turn, CLOSE)
        error = self._goal() - self._point()
        offset = error + self._detour(error, self._misalignment(error, turn))
        return action(offset + self._over_front(error), self._room_to_turn() * turn, CLOSE)

    def _room_to_turn(self) -> float:
        """Share of a turn, 0 near the base: there the arm is folded, and the wrist would flip over."""
        apart = float(np.linalg.norm((self.scene.eef_position - self.scene.base)[:2]))
        return float(np.clip((apart - FOLDED_M) / FOLDED_MARGIN_M, 0.0, 1.0))

    def remaining(self) -> float:
        """See `Skill`."""
        way = float(np.abs(self._goal() - self._point()).max())
        way += TURN_LEVER_M * float(np.linalg.norm(self._turn()))
        return (way + self._missing()) / SPEED_M + HOOK_STEPS

    @abstractmethod
    def _point(self) -> np.ndarray:
        """Present position [3] of what has to get to the handle."""

    @abstractmethod
    def _goal(self) -> np.ndarray:
        """Where it has to be [3]."""

    @abstractmethod
    def _missing(self) -> float:
        """How far (m) the drawer still has to move."""

    @abstractmethod
    def _detour(self, error: np.ndarray, misalignment: float) -> np.ndarray:
        """Offset [3] added to the straight way to the handle."""

    @abstractmethod
    def _in_place(self, turn: np.ndarray) -> bool:
        """Whether the drawer can be moved from here."""

    @abstractmethod
    def _effort(self) -> np.ndarray:
        """Offset [3] that moves the drawer."""

    def _sweep(self) -> Extent:
        """Box that the drawer, fully open, and the hand at its handle need."""
        drawer = self.drawer
        corners = self.scene.box_corners(drawer.own)
        swept = (drawer.fully_open - drawer.opening + HAND_ROOM_M) * drawer.outward
        corners = np.concatenate([corners, corners + swept])
        return Extent(corners.min(axis=0), corners.max(axis=0))

    # -- the hand ----------------------------------------------------------------------------------

    def _approach(self) -> np.ndarray:
        """Direction [3] in which the leaning hand points."""
        return -np.sin(LEAN_RAD) * self.drawer.outward - np.array([0.0, 0.0, np.cos(LEAN_RAD)])

    def _turn(self) -> np.ndarray:
        """Turn [3] (axis-angle, rad) to the leaning pose, closing along the bar."""
        approach, rotation = self._approach(), self.scene.eef_rotation
        along = cross(approach, np.array([0.0, 0.0, 1.0]))
        along /= np.linalg.norm(along)
        yaw = self.hand.turn_to(along)
        closes = np.array(
            [
                np.cos(yaw) * rotation[0, 0] - np.sin(yaw) * rotation[1, 0],
                np.sin(yaw) * rotation[0, 0] + np.cos(yaw) * rotation[1, 0],
                0.0,
            ]
        )
        if along @ closes < 0.0:
            along = -along
        return rotation_vector(np.stack([along, cross(approach, along), approach], axis=1) @ rotation.T)

    def _misalignment(self, error: np.ndarray, turn: np.ndarray) -> float:
        """How far (m) the hand is from being turned and in front of the handle."""
        out = self.drawer.outward
        across = abs(float(error[0] * out[1] - error[1] * out[0]))
        turned = max(0.0, float(np.linalg.norm(turn)) - ALIGNED_RAD)
        return max(0.0, across - ACROSS_M) + TURN_LEVER_M * turned

    def _over_front(self, error: np.ndarray) -> np.ndarray:
        """Offset [3] that leads fingertips inside the drawer, or behind it, over its front."""
        inside = float(error @ self.drawer.outward) - BEHIND_M
        over = self.drawer.top + OVER_BAR_M - self._goal()[2]
        return np.array([0.0, 0.0, float(np.clip(STEEP * inside, 0.0, over))])

    def _hands_free(self) -> np.ndarray | None:
        """Action that frees the fingers of what they hold or surround, None if that is nothing."""
        scene, position = self.scene, self.scene.eef_position
        for name, put_aside in self._put_aside.items():
            if self.hand.holds(name):
                return put_aside.act()
            extent = scene.extent(name)
            among = np.all(position > extent.low - AMONG_M) and np.all(position < extent.high + AMONG_M)
            if among and scene.opening > EMPTY_M:
                return self.hand.servo(np.array([0.0, 0.0, RISE_M]), 0.0, OPEN)
        return None


class OpenDrawer(_AtHandle):
    """Pulls a drawer open by its handle; see `skills.Skill`.

    Args:
        enough: how far (m) it has to stand open.
    """

    def __init__(self, scene: Scene, hand: Hand, region: str, enough: float = LIBERO_OPEN_M) -> None:
        super().__init__(scene, hand, region)
        self.enough = enough

    def done(self) -> bool:
        """Whether it stands open far enough, with some to spare while it is being pulled."""
        spare = TO_SPARE_M if self._in_place(self._turn()) else 0.0
        return self.drawer.opening > min(self.enough + spare, self.drawer.fully_open - END_STOP_M)

    def _point(self) -> np.ndarray:
        """Present position [3] of the wedge: the fingertips' lowest edge."""
        rotation = self.scene.eef_rotation
        under = rotation[:, 1] * np.sign(-rotation[2, 1])
        return self.scene.eef_position + TIP_M * rotation[:, 2] + TIP_HALF_DEPTH_M * under

    def _goal(self) -> np.ndarray:
        return self.drawer.behind_bar(WEDGE_BEHIND_BAR_M, WEDGE_DEPTH_M)

    def _missing(self) -> float:
        return max(0.0, self.enough - self.drawer.opening)

    def _detour(self, error: np.ndarray, misalignment: float) -> np.ndarray:
        out = self.drawer.outward
        beside = max(0.0, abs(float(error @ out)) - OVER_SLOT_M)
        up = min(STEEP * beside, OVER_BAR_M) + min(SLOPE * beside + misalignment, AWAY_M)
        above = max(0.0, -float(error[2]) - BELOW_NEXT_M)  # as high as the handle of the drawer above
        return np.array([0.0, 0.0, up]) + min(misalignment + above, AWAY_M) * out

    def _in_place(self, turn: np.ndarray) -> bool:
        """Whether the wedge is in the slot."""
        offset = self._point() - self._goal()
        return bool(
            abs(offset @ self.drawer.outward) < HOOKED_M
            and offset[2] < WEDGE_DEPTH_M
            and self._misalignment(offset, turn) == 0.0
        )

    def _effort(self) -> np.ndarray:
        """Offset [3] that pulls."""
        return EFFORT_M * self.drawer.outward - np.array([0.0, 0.0, PRESS_M])


class CloseDrawer(_AtHandle):
    """Pushes a drawer shut at its handle; see `skills.Skill`."""

    def done(self) -> bool:
        """Whether it is shut; see `Skill`."""
        return self.scene.met(["close", self.region])

    def _point(self) -> np.ndarray:
        """Present position [3] of the fingertips."""
        return self.scene.eef_position + TIP_M * self.scene.eef_rotation[:, 2]

    def _goal(self) -> np.ndarray:
        return self.drawer.front

    def _missing(self) -> float:
        return max(0.0, self.drawer.opening)

    def _detour(self, error: np.ndarray, misalignment: float) -> np.ndarray:
        aside = misalignment + max(0.0, abs(float(error[2])) - LEVEL_M)
        return min(aside, AWAY_M) * self.drawer.outward

    def _in_place(self, turn: np.ndarray) -> bool:
        """Whether the fingertips are in front of the bar."""
        offset = self._point() - self.drawer.front
        return bool(
            -TIP_M < offset @ self.drawer.outward < IN_FRONT_M
            and abs(offset[2]) < LEVEL_M
            and self._misalignment(offset, turn) == 0.0
        )

    def _effort(self) -> np.ndarray:
        """Offset [3] that pushes."""
        offset, out = self.drawer.front - self._point(), self.drawer.outward
        return offset - (offset @ out + EFFORT_M) * out
