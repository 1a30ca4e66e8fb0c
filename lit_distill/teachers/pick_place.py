"""Pick an object up from above and put it down at its destination.

A missed grasp is seen as fingers closed below the object's width, a dropped object simply has to be picked
up again.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from lit_distill.sim.scene import Extent, Scene
from lit_distill.teachers.clearance import Obstacle, clearance
from lit_distill.teachers.destinations import CARRY_CLEARANCE_M, Destination, Placement
from lit_distill.teachers.grasp import Grasp
from lit_distill.teachers.grasps import grasp_candidates, has_box_grasps
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
from lit_distill.teachers.room import clashes
from lit_distill.teachers.shoving import from_raised_end, shove

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
MAX_GRASP_WIDTH_M = 0.072
WIDTH_WORTH_A_RADIAN_M = 0.015
"""How much thinner an axis must be to be worth a turn by a radian."""
WAY_WORTH_A_RADIAN_M = 0.15
"""How much nearer a grasp must be to be worth a turn by a radian."""
BARE_HALF_WIDTH_M = 0.102
"""Half the hand's width without any margin."""
CLASH_COST_RAD, MOST_CLASHES = 5.0, 3
"""What each thing that the hand would hit costs, in radians of turning, and how many count."""
UNREACHABLE_COST_RAD = 50.0
TURN_HELD_COST = 1.5
"""What a turn with the object in hand costs, compared with one before."""

# Travel.
NEAR_TARGET_M = 0.05
"""Nearer to the grasp than this the hand only has to keep clear of the object itself."""
FINGERS_HALF_M = 0.07
PASS_OVER_M = 0.02
FULL_SPEED_M = 0.04
"""An offset from which on the command is saturated."""
NEAR_DESTINATION_M = 0.15
"""From so far away what is carried may be over the destination's walls."""
PAUSE_BELOW_M = 0.02
"""Sideways motion pauses when the height falls short of what the way demands by this."""
RELEASE_HEIGHT_TOLERANCE_M, AROUND_M = 0.01, 0.02
STICKS_OUT_M = 0.06
"""An object so near to its place that leans in a container is shoved in."""

# Potential.
GRASP_STEPS = 10.0
RELEASE_STEPS = 4.0
PUSH_STEPS = 50.0
TIPPED = 0.5
"""Upward component of the axis of a container that lies on its side or upside down."""


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
        self.onto = onto if onto in scene.objects else None
        self.obstacles = [*(name for name in scene.objects if name != target), *scene.fixtures]
        self._boxy = has_box_grasps(scene, target)
        self._geoms = scene.geoms(*self.obstacles)
        self._owner = np.repeat(np.arange(len(self.obstacles)), [len(scene.geoms(n)) for n in self.obstacles])

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
        if letting_go and self._in_place(target, placement, held):
            return self.hand.wait(OPEN)
        inwards = None if held else self._inwards(target, placement)
        if inwards is not None:
            return shove(self.hand, target, inwards)
        obstacles = self._look()
        if held:
            return self._place(target, placement, obstacles)
        grasp, plan = self._grasp(target, obstacles, placement)
        if plan is not None:
            return self._push(target, plan, obstacles)
        return self._pick(target, grasp, obstacles)

    def remaining(self) -> float:
        """See `Skill`."""
        target, placement = self.scene.extent(self.target), self.destination.placement()
        steps = self._place_steps(target, placement)
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
        opened = scene.opening > min(grasp.width + 0.01, MAX_OPENING_M - 0.005)
        # Fingers that started to close may push the object or the hand aside by their play.
        play = CLOSING_PLAY_M if scene.closing_command > -1.0 else ALIGN_GRASP_M
        below = FINGERTIP_M + FINGERS_HALF_M * float(np.linalg.norm(grasp.approach[:2]))
        over = target.top + below + 0.005
        if position[2] < over and sideways < NEAR_DESTINATION_M:
            if self.hand.closed():
                # Closed and not holding: a miss. Open; rise once the fingers no longer surround the object.
                return servo(-0.03 * grasp.approach, 0.0, OPEN)
            if error[2] > -GRASP_HEIGHT_TOLERANCE_M and misaligned < play + 0.012 and sideways < play:
                return servo(error, yaw, CLOSE)
            if misaligned < ALIGN_LOW_M + 0.01 and opened:
                # Among the object: centre first, then go down.
                return servo(error if sideways < ALIGN_GRASP_M else error * [1, 1, 0.3], yaw, OPEN)
        if misaligned < ALIGN_HIGH_M and opened:
            return servo(error, yaw, OPEN)
        hover = over + min(HOVER_M, CONE * misaligned)
        return servo(self._come(grasp.on_the_way(hover), hover, over, obstacles, below), yaw, OPEN)

    def _push(self, target: Extent, plan: Push, obstacles: dict[str, Obstacle]) -> np.ndarray:
        """Push the object out of where there is no room to take hold of it."""
        action = push(self.hand, target, plan)
        if action is not None:
            return action
        over, yaw = target.top + FINGERTIP_M + 0.005, self.hand.turn_to(plan.axis)
        offset = self._come(plan.start, over + HOVER_M, over, obstacles)
        return self.hand.servo(offset, yaw, CLOSE)

    def _come(
        self,
        goal: np.ndarray,
        hover: float,
        over: float,
        obstacles: dict[str, Obstacle],
        below: float = FINGERTIP_M,
    ) -> np.ndarray:
        """Offset [3] of the empty hand towards `hover` above a goal [3]; below `over` it rises first.

        What of it is lowest is `below` (m) under the grip site.
        """
        position = self.scene.eef_position
        apart = float(np.linalg.norm(goal[:2] - position[:2]))
        if apart < NEAR_TARGET_M:
            obstacles = {}  # there is room around the goal
        offset = self._travel(position, goal, hover, np.full(2, FINGERS_HALF_M), below, obstacles)
        return self._pass(offset, over - max(0.0, apart - NEAR_DESTINATION_M) - position[2])

    def _travel(
        self,
        position: np.ndarray,
        goal: np.ndarray,
        height: float,
        half: np.ndarray,
        below: float,
        obstacles: dict[str, Obstacle],
    ) -> np.ndarray:
        """Offset [3] towards `height` above `goal` that passes over what is in the way.

        Args:
            position: present position [3] of the point that is moved.
            goal: where it goes to; its height does not count.
            height: at which it arrives.
            half: half the horizontal size [2] of what moves.
            below: how far what moves reaches below the point.
            obstacles: what could be in the way; fixtures are not passed over.
        """
        demand = clearance(position[:2], goal[:2], half, self._in_the_way(obstacles))
        above = below + PASS_OVER_M
        offset = np.array([*(goal[:2] - position[:2]), max(height, demand.way + above) - position[2]])
        if offset[2] > 0.0:  # rise as fast as it goes sideways, not along the straight line
            offset *= min(1.0, FULL_SPEED_M / max(FULL_SPEED_M, float(np.abs(offset[:2]).max())))
            offset[2] = min(max(height, demand.way + above) - position[2], FULL_SPEED_M)
        return self._pass(offset, demand.now + above - position[2])

    def _in_the_way(self, obstacles: dict[str, Obstacle]) -> list[Extent]:
        """What has to be passed over."""
        return [obstacle.extent for name, obstacle in obstacles.items() if name in self.scene.objects]

    @staticmethod
    def _pass(offset: np.ndarray, missing: float) -> np.ndarray:
        """Slow the sideways part of an offset down as height (m) is missing."""
        return offset * [*2 * [np.clip(1.0 - missing / PAUSE_BELOW_M, 0.0, 1.0)], 1.0]

    def _look(self) -> dict[str, Obstacle]:
        """Everything but the target where it is now."""
        boxes = self.scene.box_corners(self._geoms).reshape(-1, 8, 3)
        return {name: Obstacle(boxes[self._owner == k]) for k, name in enumerate(self.obstacles)}

    def _grasp(
        self, target: Extent, obstacles: dict[str, Obstacle], placement: Placement
    ) -> tuple[Grasp, Push | None]:
        """The candidate that costs least, and the push without which there is no room for it."""
        boxes = np.concatenate([obstacle.boxes for obstacle in obstacles.values()])
        grasp = self._cheapest(grasp_candidates(self.scene, self.target), placement, boxes)
        if not self._boxy:
            return grasp, None
        hit = clashes(grasp, boxes, BARE_HALF_WIDTH_M)
        names = {self.obstacles[k] for k in self._owner[hit]} & set(self.scene.objects)
        if not names:
            return grasp, None
        apart = {name: np.linalg.norm(obstacles[name].extent.centre - grasp.position) for name in names}
        nearest = min(apart, key=lambda name: float(apart[name]))
        return grasp, plan_push(target, obstacles[nearest].extent, boxes)

    def _cheapest(self, candidates: list[Grasp], placement: Placement, boxes: np.ndarray) -> Grasp:
        """The candidate that costs least, with what the hand would hit; that takes long to say, so late."""
        costs = np.array([self._cost(grasp, placement) for grasp in candidates])
        best, least = candidates[0], np.inf
        for k in np.argsort(costs, kind="stable"):
            if costs[k] >= least:
                break
            hits = int(clashes(candidates[k], boxes).sum())
            cost = costs[k] + CLASH_COST_RAD * min(hits, MOST_CLASHES)
            if cost < least:
                best, least = candidates[k], cost
        return best

    def _cost(self, grasp: Grasp, placement: Placement) -> float:
        """Prefer the thinnest axis (the most play for an imprecise hand), a small turn, a short way."""
        cost = grasp.width / WIDTH_WORTH_A_RADIAN_M + abs(self.hand.turn_to(grasp.axis)) + grasp.penalty
        cost += 100.0 * max(0.0, grasp.width - MAX_GRASP_WIDTH_M) / WIDTH_WORTH_A_RADIAN_M
        cost += float(np.linalg.norm(grasp.position - self.scene.eef_position)) / WAY_WORTH_A_RADIAN_M
        cost += UNREACHABLE_COST_RAD * (not self.hand.within_reach(grasp.position))
        if placement.axis is not None:
            cost += TURN_HELD_COST * np.arccos(min(1.0, abs(float(grasp.axis @ placement.axis))))
        return cost

    # -- place -------------------------------------------------------------------------------------

    def _place(self, target: Extent, placement: Placement, obstacles: dict[str, Obstacle]) -> np.ndarray:
        held = np.array([*target.centre[:2], target.bottom])
        offset = placement.position - held
        sideways = float(np.linalg.norm(offset[:2]))
        yaw = 0.0 if placement.axis is None else self.hand.turn_to(placement.axis)
        if self.scene.closing_command < FIRM_COMMAND:
            return self.hand.wait(CLOSE)
        if sideways < placement.tolerance and abs(yaw) < 0.1:
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
        over = np.linalg.norm(offset[:2]) < 2.0 * placement.tolerance
        hand_low = self.scene.eef_position[2] < placement.lowest_hand + RELEASE_HEIGHT_TOLERANCE_M
        object_low = -offset[2] < RELEASE_HEIGHT_TOLERANCE_M
        below_rim = target.bottom < placement.carry_height - 0.015
        return bool(over and below_rim and (hand_low or object_low or not held))

    def _inwards(self, target: Extent, placement: Placement) -> np.ndarray | None:
        """Level direction [3] in which an object that leans in its container goes in, None if none does."""
        near = np.linalg.norm((placement.position - target.centre)[:2]) < STICKS_OUT_M
        if not (self._boxy and self.onto is not None and near) or self.destination.reached():
            return None
        rim = placement.carry_height - CARRY_CLEARANCE_M
        return from_raised_end(target, self.scene.long_axis(self.target), rim)

    def _lost(self, target: Extent, grasp: Grasp) -> bool:
        """Whether the best grasp is out of reach, or what the object goes into or onto has tipped over."""
        tipped = self.onto is not None and self.scene.rotation(self.onto)[2, 2] < TIPPED
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
