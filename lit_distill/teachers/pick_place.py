"""Pick an object up from above and put it down at its destination.

A missed grasp is seen as fingers closed below the object's width, a dropped object simply has to be picked
up again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.basket import UPRIGHT, UPSIDE_DOWN, set_right
from lit_distill.teachers.clearance import Obstacle
from lit_distill.teachers.destinations import CARRY_CLEARANCE_M, Destination, Placement
from lit_distill.teachers.grasp import DOWN, Grasp
from lit_distill.teachers.grasp_choice import cheapest, reachable, within_reach
from lit_distill.teachers.grasps import grasp_candidates, has_box_grasps, level_axes, tight_grasps
from lit_distill.teachers.hand import (
    BLOCKED_OPENING_M,
    CLOSE,
    FINGERTIP_M,
    FIRM_COMMAND,
    MAX_OPENING_M,
    OPEN,
    SPEED_M,
    Hand,
)
from lit_distill.teachers.pushing import Push, plan_push, push
from lit_distill.teachers.rolling import presses, roll
from lit_distill.teachers.room import clashes
from lit_distill.teachers.shoving import DEEP_IN_M, along_rim, from_raised_end, shove
from lit_distill.teachers.travel import FINGERS_HALF_M, NEAR_DESTINATION_M, Traveller

# Grasp.
ALIGN_HIGH_M, ALIGN_LOW_M, ALIGN_GRASP_M = 0.012, 0.02, 0.008
CLOSING_PLAY_M = 0.02
YAW_LEVER_M = 0.1
"""A turn by a radian that is still missing counts as much as this distance."""
HOVER_M = 0.03
"""Fingertips that are not yet aligned stay up to so far above the object."""
CONE = 1.5
"""They come down with the distance from the grasp: height over distance."""
GRASP_HEIGHT_TOLERANCE_M = 0.012
BARE_HALF_WIDTH_M = 0.102
"""Half the hand's width without any margin."""

# Travel.
RELEASE_HEIGHT_TOLERANCE_M, AROUND_M = 0.01, 0.02
STICKS_OUT_M = 0.06
"""An object so near to its place that leans in a container is shoved in."""

# Potential.
GRASP_STEPS = 10.0
RELEASE_STEPS = 4.0
PUSH_STEPS, STAND_UP_STEPS = 50.0, 50.0
TIPPED = 0.5
"""Upward component of the axis of a container that lies on its side or upside down."""


class PickPlace(Traveller):
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
        super().__init__(scene, hand, [*(name for name in scene.objects if name != target), *scene.fixtures])
        self.target, self.destination = target, destination
        self.onto = onto if onto in scene.objects else None
        self._basket = self.onto if self.onto is not None and scene.category(self.onto) == "basket" else None
        self._boxy = has_box_grasps(scene, target)

    def done(self) -> bool:
        """Whether the object is in its place and let go; see `Skill`."""
        return self.destination.reached() and not self.hand.holds(self.target)

    def act(self) -> np.ndarray:
        """See `Skill`."""
        held = self._held()
        if self.hand.stranded():
            return self.hand.go_home(CLOSE if held else OPEN)
        target, placement = self.scene.extent(self.target), self.destination.placement()
        opening = self.scene.closing_command > OPEN and self.scene.opening > BLOCKED_OPENING_M
        letting_go = held or (opening and self.hand.around(target, AROUND_M))
        if self._basket is not None:
            action = set_right(self.scene, self.hand, self._basket, letting_go)
            if action is not None:
                return action
        stays = self._stays()
        on_rim = stays and self._on_rim(target, placement)
        if letting_go and (on_rim if stays else self._in_place(target, placement, held)):
            return self.hand.wait(OPEN)
        inwards = None if held else self._inwards(target, placement, on_rim)
        if inwards is not None:
            return shove(self.hand, target, inwards)
        obstacles = self._look()
        if held:
            return self._place(target, placement, obstacles)
        grasp, plan = self._grasp(target, obstacles, placement)
        if plan is not None:
            return self._push(target, plan, obstacles)
        if not self._boxy and self._to_be_rolled(target, grasp):
            return roll(self.hand, target, -self.hand.outwards())
        return self._pick(target, grasp, obstacles)

    def remaining(self) -> float:
        """See `Skill`."""
        target, placement = self.scene.extent(self.target), self.destination.placement()
        steps = self._place_steps(target, placement)
        if self._basket is not None and self.scene.rotation(self._basket)[2, 2] < UPRIGHT:
            steps += STAND_UP_STEPS
        if self._held():
            return steps
        grasp, plan = self._grasp(target, self._look(), placement)
        return float("inf") if self._lost(target, grasp) else steps + self._pick_steps(grasp, plan)

    # -- pick --------------------------------------------------------------------------------------

    def _pick(self, target: Extent, grasp: Grasp, obstacles: dict[str, Obstacle]) -> np.ndarray:
        scene, position = self.scene, self.scene.eef_position
        servo = partial(self.hand.servo, approach=grasp.approach)
        error = grasp.position - position
        sideways = float(np.linalg.norm(grasp.on_the_way(position[2]) - position))
        yaw = self.hand.turn_to(grasp.axis, grasp.turn_after)
        misaligned = sideways + YAW_LEVER_M * abs(yaw)
        if grasp.leans:
            misaligned += YAW_LEVER_M * float(np.linalg.norm(self.hand.tilt(grasp.approach)))
        align_high, align_grasp, height_tolerance = self._tolerances(grasp)
        opened = scene.opening > min(grasp.width + 0.01, MAX_OPENING_M - 0.005)
        # Fingers that started to close may push the object or the hand aside by their play.
        play = CLOSING_PLAY_M if scene.closing_command > -1.0 else align_grasp
        below = FINGERTIP_M + FINGERS_HALF_M * float(np.linalg.norm(grasp.approach[:2]))
        over = target.top + below + 0.005
        if position[2] < over and sideways < NEAR_DESTINATION_M:
            if self.hand.closed():
                # Closed and not holding: a miss. Open; rise once the fingers no longer surround the object.
                return servo(-0.03 * grasp.approach, 0.0, OPEN)
            if error[2] > -height_tolerance and misaligned < play + 0.012 and sideways < play:
                return servo(error, yaw, CLOSE)
            if misaligned < ALIGN_LOW_M + 0.01 and self._stopped(error, opened):
                return servo(error, yaw, CLOSE)  # something keeps it from going on
            if misaligned < ALIGN_LOW_M + 0.01 and opened:
                # Among the object: centre first, then go down.
                return servo(error if sideways < align_grasp else error * [1, 1, 0.3], yaw, OPEN)
        if misaligned < align_high and opened:
            return servo(error, yaw, OPEN)
        hover = over + min(HOVER_M, CONE * misaligned)
        return servo(self._come(grasp.on_the_way(hover), hover, over, obstacles, below), yaw, OPEN)

    def _stopped(self, error: np.ndarray, opened: bool) -> bool:
        """Whether a hand that is still so far [3] (m) from a grasp gets no nearer; its fingers are open."""
        return opened and self.hand.at_rest()

    def _tolerances(self, grasp: Grasp) -> tuple[float, float, float]:
        """How far (m) the hand may be off a grasp to come down; off it, and above it, to close."""
        return ALIGN_HIGH_M, ALIGN_GRASP_M, GRASP_HEIGHT_TOLERANCE_M

    def _push(self, target: Extent, plan: Push, obstacles: dict[str, Obstacle]) -> np.ndarray:
        """Push the object out of where there is no room to take hold of it."""
        action = push(self.hand, target, plan)
        if action is not None:
            return action
        over, yaw = target.top + FINGERTIP_M + 0.005, self.hand.turn_to(plan.axis, plan.turn_after)
        above = plan.start + plan.approach * ((over + HOVER_M - plan.start[2]) / plan.approach[2])
        return self.hand.servo(
            self._come(above, over + HOVER_M, over, obstacles), yaw, CLOSE, approach=plan.approach
        )

    def _grasp(
        self, target: Extent, obstacles: dict[str, Obstacle], placement: Placement
    ) -> tuple[Grasp, Push | None]:
        """The candidate that costs least, and the push without which there is no room for it."""
        boxes = np.concatenate([obstacle.boxes for obstacle in obstacles.values()])
        candidates = grasp_candidates(self.scene, self.target)
        if self._boxy:
            candidates = [
                each if reachable(each, self.hand) else replace(each, approach=DOWN) for each in candidates
            ]
        grasp, hit = cheapest(candidates, self.hand, placement.axis, boxes)
        if not self._boxy or not hit:
            return grasp, None
        candidates += [each for each in tight_grasps(self.scene, self.target) if reachable(each, self.hand)]
        grasp, _ = cheapest(candidates, self.hand, placement.axis, boxes)
        blocking = clashes(grasp, boxes, BARE_HALF_WIDTH_M)
        names = {self.obstacles[k] for k in self._owner[blocking]} & set(self.scene.objects)
        if not names:
            return grasp, None
        apart = {
            name: float(np.linalg.norm(obstacles[name].extent.centre - grasp.position)) for name in names
        }
        if self.onto is not None and self.onto in names:
            apart[self.onto] = 0.0  # the highest of them
        nearest = min(sorted(apart), key=lambda name: apart[name])
        corners, sides = self.scene.corners(self.target), level_axes(self.scene, nearest)
        plan = plan_push(corners, self.scene.corners(nearest), sides, boxes, self.hand.reaches)
        return grasp, plan

    def _to_be_rolled(self, target: Extent, grasp: Grasp) -> bool:
        """Whether the hand cannot lean as the best grasp asks, or the object is still being rolled."""
        rolling = presses(self.hand, target) and not self.scene.at_rest(self.target)
        return grasp.leans and (rolling or not within_reach(grasp, self.hand))

    # -- place -------------------------------------------------------------------------------------

    def _place(self, target: Extent, placement: Placement, obstacles: dict[str, Obstacle]) -> np.ndarray:
        held = np.array([*target.centre[:2], target.bottom])
        offset = placement.position - held
        sideways = float(np.linalg.norm(offset[:2]))
        yaw = self.hand.unwind() if placement.axis is None else self.hand.turn_to(placement.axis)
        if self.scene.closing_command < FIRM_COMMAND:
            return self.hand.wait(CLOSE)
        if sideways < placement.tolerance and (placement.axis is None or abs(yaw) < 0.1):
            drop = max(offset[2], placement.lowest_hand - self.scene.eef_position[2])
            return self.hand.servo(np.array([offset[0], offset[1], drop]), yaw, CLOSE, careful=False)
        half = 0.5 * (target.high - target.low)[:2] + 0.015
        others = {name: obstacle for name, obstacle in obstacles.items() if name != self.onto}
        offset = self._travel(held, placement.position, placement.carry_height, half, 0.0, others)
        away = max(0.0, sideways - NEAR_DESTINATION_M)
        offset = self._pass(offset, placement.carry_height - 0.01 - away - target.bottom)
        return self.hand.servo(offset, yaw, CLOSE, careful=False)

    def _held(self) -> bool:
        thick = not self._boxy or self.scene.opening > BLOCKED_OPENING_M  # else closed fingers push it
        return thick and self.hand.holds(self.target)

    def _in_place(self, target: Extent, placement: Placement, held: bool) -> bool:
        """Whether the object, if let go now, comes to rest where it should."""
        offset = placement.position - np.array([*target.centre[:2], target.bottom])
        play = 1.0 if held and self._basket is not None else 2.0  # off its place it is lifted once more
        over = np.linalg.norm(offset[:2]) < play * placement.tolerance
        hand_low = self.scene.eef_position[2] < placement.lowest_hand + RELEASE_HEIGHT_TOLERANCE_M
        object_low = -offset[2] < RELEASE_HEIGHT_TOLERANCE_M
        below_rim = target.bottom < placement.carry_height - 0.015
        return bool(over and below_rim and (hand_low or object_low or not held))

    def _stays(self) -> bool:
        """Whether the object rests on or in its basket, held or not, and is not where it should be."""
        return bool(
            self._basket is not None
            and self.scene.touching(self.scene.geoms(self.target), self.scene.geoms(self._basket))
            and self.scene.at_rest(self.target)
            and not self.destination.reached()
        )

    def _on_rim(self, target: Extent, placement: Placement) -> bool:
        """Whether the object is where it would lie on the rim of its basket."""
        rim = placement.carry_height - CARRY_CLEARANCE_M
        across = placement.position[2] + DEEP_IN_M < target.bottom < rim < target.top
        return bool(across and self._near(target, placement))

    def _inwards(self, target: Extent, placement: Placement, on_rim: bool) -> np.ndarray | None:
        """Level direction [3] in which an object that leans in its container goes in, None if none does."""
        leaning = self._boxy and self.onto is not None and self._near(target, placement)
        if not leaning or self.destination.reached():
            return None
        rim, axis = placement.carry_height - CARRY_CLEARANCE_M, self.scene.long_axis(self.target)
        inwards = from_raised_end(target, axis, rim)
        if inwards is None and on_rim:
            return along_rim(target.centre - placement.position, axis)
        return inwards

    def _near(self, target: Extent, placement: Placement) -> bool:
        return bool(np.linalg.norm((placement.position - target.centre)[:2]) < STICKS_OUT_M)

    def _lost(self, target: Extent, grasp: Grasp) -> bool:
        """Whether the best grasp is out of reach, or what the object goes into or onto has tipped over.

        For good: what still falls or rolls may end up where it can be fetched.
        """
        if not all(self.scene.at_rest(name) for name in (self.target, self.onto) if name):
            return False
        least = TIPPED if self._basket is None else UPSIDE_DOWN
        tipped = self.onto is not None and self.scene.rotation(self.onto)[2, 2] < least
        fallen = target.bottom < self.scene.surface - 0.05
        return tipped or fallen or not self.hand.within_reach(grasp.position)

    # -- potential ---------------------------------------------------------------------------------

    def _pick_steps(self, grasp: Grasp, plan: Push | None) -> float:
        position = self.scene.eef_position
        path = float(np.abs(grasp.position - position).max())
        closing = GRASP_STEPS * (1.0 - max(0.0, self.scene.closing_command) * float(path < 0.03))
        return float(path / SPEED_M + closing) + (PUSH_STEPS if plan else 0.0)

    def _place_steps(self, target: Extent, placement: Placement) -> float:
        sideways = float(np.abs(placement.position[:2] - target.centre[:2]).max())
        rise = max(0.0, placement.carry_height - target.bottom)
        if sideways < placement.tolerance:
            path = max(0.0, target.bottom - placement.position[2])
        else:
            path = max(sideways, rise) + placement.carry_height - placement.position[2]
        return path / SPEED_M + RELEASE_STEPS
