"""Pick up a slab such as a book, however it lies, and put it on its foot at its destination.

The hand takes hold of it with a turn of its own choice and brings the slab, not the hand, into the pose that
the destination asks for.
"""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.clearance import clearance
from lit_distill.teachers.destinations import Destination, Placement
from lit_distill.teachers.hand import (
    BLOCKED_OPENING_M,
    CLOSE,
    FINGERTIP_M,
    FIRM_COMMAND,
    JOINT_7_HARD_LIMIT_RAD,
    MAX_TILT_RAD,
    OPEN,
    SPEED_M,
    TURN_SPEED_RAD,
    Hand,
)
from lit_distill.teachers.hand_box import sweep_hits
from lit_distill.teachers.posture import COMFORTABLE_REACH_M, not_too_near, posture
from lit_distill.teachers.shoving import shove
from lit_distill.teachers.slab import Slab, find_slab, slab_grasps
from lit_distill.teachers.topple import Topple
from lit_distill.teachers.uprighting import IMPOSSIBLE_STEPS, TILT_RAD, Uprighting, angle, roll, tilt
from lit_distill.teachers.vectors import twist

PICK_TILT_RAD = 0.8
RECOVERY_ABOVE_M = 0.03
ASTRAY_RAD = 1.0
"""Joint 5 is as far from its middle as the hand is tilted, not further than this more."""

# Grasp.
OPENED_M = 0.065
STANDOFF_M = 0.05
TURN_LEVER_M, BLOCKED_M = 0.1, 0.1
"""The hand stands off further by how much is still missing: sideways, a turn by a radian, fingers that
something keeps from opening."""
NEAR_M = 0.045
"""Nearer to its grasp than this the fingers can touch the slab."""
ALIGN_HIGH_M, ALIGN_LOW_M, ALIGN_GRASP_M = 0.012, 0.02, 0.008
CLOSING_PLAY_M = 0.02
ALIGN_RAD = 0.1
GRASP_TOLERANCE_M = 0.008
TRAVEL_SIDEWAYS_M = 0.05

# Place.
INSERTED_M = 0.04
"""The part of the slab next to its foot that has to fit in."""
PASS_OVER_M, PAUSE_BELOW_M, BESIDE_M, FINGERS_HALF_M = 0.015, 0.02, 0.02, 0.07
"""Heights above what is passed over; a hand that is lower by `PAUSE_BELOW_M` waits; half widths."""
NEAR_PLACE_M = 0.05
FALLEN_M = 0.05
SET_DOWN_TILT_RAD = 0.8
SET_DOWN_BESIDE_M, SET_DOWN_ABOVE_SURFACE_M = 0.28, 0.05

# Cost of a grasp and potential, in control steps.
FIXED_STEPS, MOST_OVERLAPS = 100.0, 3
"""What each overlap of the hand with a fixture costs, and how many count."""
SHOVE_STEPS, PUSHED_STEPS = 60.0, 20.0
"""What an object costs that the palm would come down on, so that it has to be shoved away, and one that the
fingers push aside."""
SHOVED_ON_M = 0.015
"""What is being shoved goes so much further than it has to."""
IN_LINE_STEPS, IN_LINE_RAD = 40.0, 0.3
"""What a hand that continues the forearm costs, where it cannot be turned reliably, and up to what angle."""
REGRASP_STEPS = 120.0
"""Control steps for setting the slab down to take hold of it anew."""
LOST_STEPS = 600.0
"""What takes longer no hand can do: the arm cannot fold or tilt so far, as behind the desk caddy."""
CLOSE_STEPS = 10.0
RELEASE_STEPS = 4.0


class SlabPickPlace:
    """Moves the slab `target` to `destination`; see `skills.Skill`.

    Args:
        scene: view of the simulator's present state.
        hand: the hand that moves it.
        target: LIBERO's name of the slab.
        destination: where to; its placement's axis is the one across the slab's thickness.
    """

    def __init__(self, scene: Scene, hand: Hand, target: str, destination: Destination) -> None:
        self.scene, self.hand, self.target, self.destination = scene, hand, target, destination
        self._fixed = scene.geoms(*scene.fixtures)
        self._topple = Topple(scene, hand)
        self._movable = [name for name in scene.objects if name != target]
        self._movable_geoms = scene.geoms(*self._movable)
        self._in_the_way = [*self._movable, *(name for name in scene.fixtures if len(scene.geoms(name)))]

    def done(self) -> bool:
        """Whether the slab is in its place and let go; see `Skill`."""
        return self.destination.reached() and not self._held()

    def _held(self) -> bool:
        return self.scene.opening > BLOCKED_OPENING_M and self.hand.holds(self.target)

    def act(self) -> np.ndarray:
        """See `Skill`."""
        held = self._held()
        if self.hand.stranded(TILT_RAD + 0.15 if held else MAX_TILT_RAD) or self._wrist_astray():
            return self._recover(CLOSE if held else OPEN)
        slab, placement = find_slab(self.scene, self.target), self.destination.placement()
        if not held:
            position, rotation, cost = self._grasp(slab, placement)
            if self._topple.steps(slab) < cost:
                return self._topple.act(slab)
            blocking = self._blocking(position, rotation)
            if blocking is not None:
                away = (blocking.centre - slab.centre) * [1.0, 1.0, 0.0]
                return shove(self.hand, blocking, away / np.linalg.norm(away))
            return self._pick(position, rotation)
        if self.destination.reached():
            return self.hand.wait(OPEN)
        action = self._place(slab, placement)
        if action[-1] == CLOSE and self.scene.closing_command < FIRM_COMMAND:
            return self.hand.reach(np.zeros(3), np.zeros(3), CLOSE)
        return action

    def _wrist_astray(self) -> bool:
        """Whether the wrist is on its way to the other of the two ways to point the hand as it does."""
        play = self.hand.wrist_play() + float(tilt(self.scene.eef_rotation))
        return bool(abs(self.scene.joints[4]) > ASTRAY_RAD + play)

    def _recover(self, gripper: float) -> np.ndarray:
        """Action [7] towards the home joints, upwards first where the hand is among other things."""
        homing = self.hand.go_home(gripper)
        tops = [extent.top for extent in self._obstacles()]
        if self.scene.eef_position[2] < max(tops, default=self.scene.surface) + RECOVERY_ABOVE_M:
            homing[:3] = (0.0, 0.0, 1.0)
        return homing

    def remaining(self) -> float:
        """See `Skill`."""
        slab, placement = find_slab(self.scene, self.target), self.destination.placement()
        if self._held():
            upright = float(self._uprighting_steps(slab, Uprighting(self.scene, placement)).min())
            return min(upright, REGRASP_STEPS) + self._carry_steps(slab, placement)
        position, _, cost = self._grasp(slab, placement)
        cost = min(cost, self._topple.steps(slab))
        fallen = slab.centre[2] < self.scene.surface - FALLEN_M
        lost = fallen or cost > LOST_STEPS or not self.hand.within_reach(position)
        if lost and self.scene.at_rest(self.target):
            return float("inf")
        return cost + self._carry_steps(slab, placement)

    # -- pick --------------------------------------------------------------------------------------

    def _pick(self, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Come along the approach direction of a grasp and close."""
        scene, hand = self.scene, self.hand
        approach, turn = rotation[:, 2], hand.turn_towards(rotation)
        error = position - scene.eef_position
        along = float(error @ approach)
        sideways, angle = float(np.linalg.norm(error - along * approach)), float(np.linalg.norm(turn))
        if hand.closed():  # and not holding: a miss
            return hand.reach(-0.03 * scene.eef_rotation[:, 2], np.zeros(3), OPEN)
        play = CLOSING_PLAY_M if scene.closing_command > -1.0 else ALIGN_GRASP_M
        if along < GRASP_TOLERANCE_M and sideways < play and angle < 2 * ALIGN_RAD:
            return hand.reach(error, turn, CLOSE)
        opened = scene.opening > OPENED_M
        if along < NEAR_M:
            if sideways < ALIGN_LOW_M and opened and angle < 2 * ALIGN_RAD:
                centred = sideways < ALIGN_GRASP_M
                return hand.reach(error - (0.0 if centred else 0.7 * along) * approach, turn, OPEN)
            return hand.reach(np.array([0.0, 0.0, STANDOFF_M]), np.zeros(3), OPEN)
        if sideways < ALIGN_HIGH_M and angle < ALIGN_RAD and opened:
            return hand.reach(error, turn, OPEN)
        misaligned = sideways + TURN_LEVER_M * angle + (0.0 if opened else BLOCKED_M)
        before = error - approach * (STANDOFF_M + min(misaligned, BLOCKED_M))
        before += not_too_near(scene.base, scene.eef_position + before, approach)
        if sideways > TRAVEL_SIDEWAYS_M:
            start, slab_extent = scene.eef_position, scene.extent(self.target)
            goal, half = start + before, np.full(2, FINGERS_HALF_M)
            demand = clearance(start[:2], goal[:2], half, [*self._obstacles(), slab_extent])
            above = FINGERTIP_M + PASS_OVER_M
            missing = demand.now + above - start[2]
            before[2] = max(before[2], demand.way + above - start[2])
            before[:2] *= np.clip(1.0 - missing / PAUSE_BELOW_M, 0.0, 1.0)
            if missing > 0.0:
                turn = np.zeros(3)
        return hand.reach(before, turn, OPEN)

    def _grasp(self, slab: Slab, placement: Placement) -> tuple[np.ndarray, np.ndarray, float]:
        """Position [3] and rotation [3, 3] of the grasp that costs least, and its cost in control steps."""
        grasps = slab_grasps(slab).with_half_turns()
        uprighting = Uprighting(self.scene, placement)
        position = self.scene.eef_position
        turn = self.scene.eef_rotation.T @ grasps.rotation
        path = np.linalg.norm(grasps.position - position, axis=1)
        joint_7 = self.scene.joints[6] + uprighting.ahead(position) - uprighting.ahead(grasps.position)
        turned = roll(twist(turn), joint_7)
        cost = path / SPEED_M + np.maximum(angle(turn), np.abs(turned)) / TURN_SPEED_RAD + grasps.penalty
        cost += IMPOSSIBLE_STEPS * np.maximum(0.0, tilt(grasps.rotation) - PICK_TILT_RAD)
        arm = posture(self.scene.base, grasps.position, grasps.rotation[:, :, 2])
        before = grasps.position - STANDOFF_M * grasps.rotation[:, :, 2]
        folded = posture(self.scene.base, before, grasps.rotation[:, :, 2]).stretch < COMFORTABLE_REACH_M
        cost += IMPOSSIBLE_STEPS * (~arm.within_reach | folded)
        cost += IN_LINE_STEPS * np.maximum(0.0, 1.0 - arm.in_line / IN_LINE_RAD)
        placing = uprighting.steps(slab, grasps.position, grasps.rotation, joint_7 + turned).min(axis=0)
        if np.linalg.norm(self._way_to_free_place(slab, placement, uprighting)) > 2 * NEAR_PLACE_M:
            placing = np.minimum(placing, REGRASP_STEPS)
        cost += placing
        fixed, beside = self.scene.geom_boxes(self._fixed), self.scene.geom_boxes(self._movable_geoms)
        best, lowest = 0, np.inf
        for k in np.argsort(cost):  # room is looked at as long as it can matter
            if cost[k] >= lowest:
                break
            hand = grasps.position[k], grasps.rotation[k]
            palm, fingers = sweep_hits(*hand, beside)
            total = cost[k] + FIXED_STEPS * min(sum(sweep_hits(*hand, fixed)), MOST_OVERLAPS)
            total += SHOVE_STEPS * (palm > 0) + PUSHED_STEPS * (fingers > 0)
            if total < lowest:
                best, lowest = int(k), float(total)
        return grasps.position[best], grasps.rotation[best], lowest + CLOSE_STEPS

    def _blocking(self, position: np.ndarray, rotation: np.ndarray) -> Extent | None:
        """What the palm would come down on at a grasp and can be shoved away, None if nothing.

        What only rocks has not been shoved: it goes further than it has to.
        """
        tips = self.scene.eef_position[2] - FINGERTIP_M
        for name in self._movable:
            extent = self.scene.extent(name)
            shoving = self.hand.closed() and tips < extent.top
            centres, frames, halves = self.scene.geom_boxes(self.scene.geoms(name))
            if sweep_hits(position, rotation, (centres, frames, halves + shoving * SHOVED_ON_M))[0]:
                return extent
        return None

    # -- place -------------------------------------------------------------------------------------

    def _place(self, slab: Slab, placement: Placement) -> np.ndarray:
        uprighting = Uprighting(self.scene, placement)
        steps = self._uprighting_steps(slab, uprighting)
        upright = uprighting.uprights[int(np.argmin(steps))]
        if steps.min() >= IMPOSSIBLE_STEPS:
            return self._set_down(slab, placement, uprighting, upright)
        rotation = uprighting.rotation(slab, upright, self.scene.eef_rotation)
        turn = self.hand.turn_towards(rotation, float(uprighting.ahead(self.scene.eef_position)))
        lower = slab.lower_part(INSERTED_M)
        offset = placement.position - 0.5 * (lower.min(axis=0) + lower.max(axis=0))
        sideways = float(np.linalg.norm(offset[:2]))
        if sideways < placement.tolerance and np.linalg.norm(turn) < ALIGN_RAD:
            drop = placement.position[2] - self.scene.extent(self.target).bottom
            offset[2] = max(drop, placement.lowest_hand - self.scene.eef_position[2])
            return self.hand.reach(offset, turn, CLOSE)
        return self._carry(slab, offset[:2], placement.carry_height, rotation, turn)

    def _carry(
        self, slab: Slab, way: np.ndarray, height: float, rotation: np.ndarray, turn: np.ndarray
    ) -> np.ndarray:
        """Action [7] that moves the held slab by `way` [2] to a height, over obstacles, and turns it.

        `rotation` [3, 3] is the orientation of the hand to which `turn` [3] brings it.
        """
        hand = self.scene.eef_position
        corners = slab.corners() - hand
        turned = corners @ self.scene.eef_rotation @ rotation.T
        low = hand[2] + min(float(corners[:, 2].min()), float(turned[:, 2].min()))
        half = 0.5 * (corners.max(axis=0) - corners.min(axis=0))[:2] + BESIDE_M
        goal = slab.centre[:2] + way
        demand = clearance(slab.centre[:2], goal, half, self._obstacles())
        missing = max(demand.now, self.scene.surface) + PASS_OVER_M - low
        if missing > 0.0:
            turn = np.zeros(3)
        sideways = way * np.clip(1.0 - missing / PAUSE_BELOW_M, 0.0, 1.0)
        return self.hand.reach(np.array([*sideways, height - low]), turn, CLOSE)

    def _obstacles(self) -> list[Extent]:
        """What the hand and the slab have to pass over or beside."""
        return [self.scene.extent(name) for name in self._in_the_way]

    def _set_down(
        self, slab: Slab, placement: Placement, uprighting: Uprighting, upright: np.ndarray
    ) -> np.ndarray:
        """Let go of a slab that this hold cannot put on its foot, low and beside the receptacle.

        If it is held at its edge, it is at least turned towards its foot.
        """
        present = self.scene.eef_rotation
        at_edge = abs(present[:, 0] @ slab.frame[:, 0]) > 0.7
        rotation = uprighting.rotation(slab, upright, present, SET_DOWN_TILT_RAD if at_edge else 0.0)
        turn = self.hand.turn_towards(rotation)
        way = self._way_to_free_place(slab, placement, uprighting)
        if np.linalg.norm(way) > NEAR_PLACE_M or np.linalg.norm(turn) > 3 * ALIGN_RAD:
            return self._carry(slab, way, placement.carry_height, rotation, turn)
        bottom = self.scene.extent(self.target).bottom
        if bottom > self.scene.surface + SET_DOWN_ABOVE_SURFACE_M:
            return self.hand.reach(np.array([0.0, 0.0, self.scene.surface - bottom]), turn, CLOSE)
        return self.hand.reach(np.zeros(3), np.zeros(3), OPEN)

    def _way_to_free_place(self, slab: Slab, placement: Placement, uprighting: Uprighting) -> np.ndarray:
        """Horizontal way [2] of the slab to where it can be set down to take hold of it anew."""
        return (placement.position + SET_DOWN_BESIDE_M * uprighting.outwards - slab.centre)[:2]

    def _uprighting_steps(self, slab: Slab, uprighting: Uprighting) -> np.ndarray:
        """Control steps [2] for turning the slab, held as it is, upright either way round."""
        position, rotation = self.scene.eef_position[None], self.scene.eef_rotation[None]
        return uprighting.steps(slab, position, rotation, self.scene.joints[6:], JOINT_7_HARD_LIMIT_RAD)[:, 0]

    # -- potential ---------------------------------------------------------------------------------

    def _carry_steps(self, slab: Slab, placement: Placement) -> float:
        sideways = float(np.linalg.norm(placement.position[:2] - slab.centre[:2]))
        bottom = self.scene.extent(self.target).bottom
        if sideways < NEAR_PLACE_M:
            path = max(0.0, bottom - placement.position[2])
        else:
            rise = max(0.0, placement.carry_height - bottom)
            path = sideways + rise + placement.carry_height - placement.position[2]
        return path / SPEED_M + RELEASE_STEPS
