"""From a task's BDDL goal to a plan, for every goal that is built from what the tables below know.

To teach the teacher something new, write its skill or destination in a module of its own and add a line to
`DEVICES`, `DESTINATIONS` or `ENCLOSED`; how to take hold of an object is in `grasps.GRASPS`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lit_distill.sim.scene import Scene
from lit_distill.tasks.bddl import SCENES
from lit_distill.teachers.base import Refusal
from lit_distill.teachers.cabinet import InDrawer
from lit_distill.teachers.caddy import CaddyCompartment
from lit_distill.teachers.destinations import Destination, OnObject, OpenContainer, Shared
from lit_distill.teachers.door import CloseDoor, OpenDoor
from lit_distill.teachers.drawer import ROOMY_M, CloseDrawer, OpenDrawer
from lit_distill.teachers.grasps import GRASPS
from lit_distill.teachers.hand import Hand
from lit_distill.teachers.knob import TurnKnob
from lit_distill.teachers.microwave import InMicrowave
from lit_distill.teachers.mug_grasps import MUGS
from lit_distill.teachers.mug_into_microwave import MugIntoMicrowave
from lit_distill.teachers.ordering import Afterwards, WhileNeeded
from lit_distill.teachers.pick_place import PickPlace
from lit_distill.teachers.skills import Plan, Skill
from lit_distill.teachers.slab_pick_place import SlabPickPlace
from lit_distill.teachers.surfaces import CookRegion, InBowl, OnRegion

ANY = "*"

CABINETS = ("white_cabinet", "wooden_cabinet")
DRAWERS = ("top_region", "middle_region", "bottom_region")

DEVICES: dict[tuple[str, str], Callable[[Scene, Hand, str], Skill]] = {
    ("turnon", "flat_stove"): partial(TurnKnob, on=True),
    ("turnoff", "flat_stove"): partial(TurnKnob, on=False),
    **{("open", cabinet): OpenDrawer for cabinet in CABINETS},
    **{("close", cabinet): CloseDrawer for cabinet in CABINETS},
    ("open", "microwave"): OpenDoor,
    ("close", "microwave"): CloseDoor,
}
"""(predicate, category) -> skill, made from scene, hand and the predicate's argument: `turnon` of a
`flat_stove`, `open` of a `white_cabinet`'s drawer (whose argument is the drawer's region)."""

DESTINATIONS: dict[tuple[str, str, str], Callable[[Scene, str, str, str], Destination]] = {
    ("in", "basket", "contain_region"): OpenContainer,
    ("on", "flat_stove", "cook_region"): CookRegion,
    **{("in", cabinet, drawer): InDrawer for cabinet in CABINETS for drawer in DRAWERS},
    ("in", "microwave", "heating_region"): InMicrowave,
    ("on", "plate", ""): OnObject,
    **{("on", bowl, ""): InBowl for bowl in ("akita_black_bowl", "white_bowl")},
    **{("on", table, ANY): OnRegion for _, table in SCENES.values()},
    **{("on", fixture, "top_side"): OnRegion for fixture in ("white_cabinet", "wooden_cabinet")},
    ("on", "wine_rack", "top_region"): OnRegion,
    **{
        ("in", "desk_caddy", f"{side}_contain_region"): CaddyCompartment
        for side in ("back", "front", "left", "right")
    },
}
"""(predicate, category of the receptacle, its region, "" for the receptacle itself, ANY for all its regions)
-> destination, made from scene, object, receptacle and the predicate's second argument."""

Mover = Callable[[Scene, Hand, str, Destination, str], Skill]
"""Makes the skill that moves an object: from scene, hand, object, destination and receptacle."""


def carry(scene: Scene, hand: Hand, target: str, destination: Destination, receptacle: str) -> Skill:
    """Pick up and put down."""
    return PickPlace(scene, hand, target, destination, receptacle)


def mug_into_microwave(
    scene: Scene, hand: Hand, target: str, destination: Destination, receptacle: str
) -> Skill:
    """By its handle, the hand outside."""
    return MugIntoMicrowave(scene, hand, target, destination, receptacle)


def stand_slab(scene: Scene, hand: Hand, target: str, destination: Destination, receptacle: str) -> Skill:
    """Upright into a narrow compartment."""
    return SlabPickPlace(scene, hand, target, destination)


MOVERS: dict[tuple[str, str], Mover] = {
    ("black_book", "desk_caddy"): stand_slab,
    **{(mug, "microwave"): mug_into_microwave for mug in MUGS},
}
"""(category of an object, category of the receptacle) -> how it is moved; any other object that a hand
can take hold of is carried."""

NARROW = ("microwave", "desk_caddy")
"""Categories of receptacles into which only objects with a mover of their own go."""

ENCLOSED: dict[tuple[str, str], str] = {
    **{(cabinet, drawer): drawer for cabinet in CABINETS for drawer in DRAWERS},
    ("microwave", "heating_region"): "",
}
"""(category, region) -> the region that `open` and `close` take for it, "" where they take the object
itself: what has to be open before a hand can reach into the region."""

ADMITTED: dict[str, Callable[[Scene, Hand, str], Skill]] = {
    cabinet: partial(OpenDrawer, enough=ROOMY_M) for cabinet in CABINETS
}
"""Category -> the skill that opens it far enough for a hand to reach in, where `open` asks for more."""


def make_plan(scene: Scene) -> Plan:
    """Make the plan for a task's goal.

    What nothing is put into or taken out of is opened, closed and switched first. Then each object is
    placed, once what it lies in and what it goes into is open. What has to be closed again comes last.

    Raises:
        Refusal: a predicate, receptacle or object that the embedded teacher has no skill for.
    """
    goal = [predicate for k, predicate in enumerate(scene.goal) if predicate not in scene.goal[:k]]
    return _Planner(scene, goal).plan()


class _Planner:
    """Makes one plan.

    Args:
        scene: view of the simulator's present state.
        goal: its predicates, each once.
    """

    def __init__(self, scene: Scene, goal: list[list[str]]) -> None:
        self.scene, self.hand = scene, Hand(scene)
        self.placements = self._in_order([predicate for predicate in goal if self._is_placement(predicate)])
        self.others = [predicate for predicate in goal if not self._is_placement(predicate)]

    def plan(self) -> Plan:
        users: dict[str, list[Skill]] = {}  # what has to be open -> who needs it so
        placing: list[Skill] = []
        for predicate in self.placements:
            skill = self._place(predicate)
            for thing, needed in self._to_be_open(predicate, skill):
                users.setdefault(thing, []).append(skill)
                placing += self._opened(thing, needed)
            placing.append(skill)
        first: list[Skill] = []
        last: list[Skill] = []
        for predicate in self.others:
            skill = self._operate(predicate)
            if predicate[0] == "close" and predicate[1] in users:
                last.append(Afterwards(skill, users[predicate[1]]))
            elif predicate[0] == "close":
                first.insert(0, skill)  # what stands open may be in the way
            else:
                first.append(skill)
        return Plan([*first, *placing, *last])

    # -- placing -----------------------------------------------------------------------------------

    def _is_placement(self, predicate: list[str]) -> bool:
        return predicate[0] in ("in", "on") and len(predicate) == 3 and predicate[1] in self.scene.objects

    def _in_order(self, placements: list[list[str]]) -> list[list[str]]:
        """The goal's order, but what others are put into or onto comes before them."""
        ordered: list[list[str]] = []
        while waiting := [predicate for predicate in placements if predicate not in ordered]:
            moving = {target for _, target, _ in waiting}
            free = [predicate for predicate in waiting if self._receptacle(predicate[2]) not in moving]
            ordered.append((free or waiting)[0])
        return ordered

    def _receptacle(self, place: str) -> str:
        """The object or fixture that a predicate's second argument is or belongs to."""
        return self.scene.parent(place) or place

    def _category_and_region(self, place: str) -> tuple[str, str]:
        receptacle = self._receptacle(place)
        return self.scene.category(receptacle), place.removeprefix(receptacle).removeprefix("_")

    def _place(self, predicate: list[str]) -> Skill:
        name, target, place = predicate
        receptacle = self._receptacle(place)
        category, region = self._category_and_region(place)
        make = DESTINATIONS.get((name, category, region)) or DESTINATIONS.get((name, category, ANY))
        if make is None:
            raise self._refusal(f"cannot put anything {'into' if name == 'in' else 'onto'} {place}")
        destination = make(self.scene, target, receptacle, place)
        sharing = [other[1] for other in self.placements if other[2] == place]
        if len(sharing) > 1:
            index = sharing.index(target)
            destination = Shared(self.scene, destination, target, place, index, walls=name == "in")
        return self._mover(target, place)(self.scene, self.hand, target, destination, receptacle)

    def _mover(self, target: str, place: str) -> Mover:
        category, receptacle = self.scene.category(target), self._category_and_region(place)[0]
        mover = MOVERS.get((category, receptacle))
        if mover is None and category in GRASPS and receptacle not in NARROW:
            mover = carry
        if mover is None and category in GRASPS:
            raise self._refusal(f"cannot put {target} ({category}) into {place}")
        if mover is None:
            raise self._refusal(f"cannot take hold of {target} ({category})")
        return mover

    # -- opening, closing, switching ---------------------------------------------------------------

    def _operate(self, predicate: list[str]) -> Skill:
        name, *arguments = predicate
        make = None
        if len(arguments) == 1:
            make = DEVICES.get((name, self._category_and_region(arguments[0])[0]))
        if make is None:
            raise self._refusal(f"has no skill for ({' '.join([name.capitalize(), *arguments])})")
        return make(self.scene, self.hand, arguments[0])

    def _to_be_open(self, predicate: list[str], skill: Skill) -> list[tuple[str, Callable[[], bool]]]:
        """What a placement needs to be open, and until when."""
        _, target, place = predicate
        needs: list[tuple[str, Callable[[], bool]]] = []
        for start in self.scene.start:
            if start[0] == "in" and start[1] == target and (inside := self._enclosure(start[2])):
                needs.append((inside, partial(self.scene.met, start)))
        if enclosure := self._enclosure(place):
            needs.append((enclosure, lambda: not skill.done()))
        return needs

    def _enclosure(self, place: str) -> str | None:
        """What `open` takes so that a hand can reach into a region, None if it always can."""
        region = ENCLOSED.get(self._category_and_region(place))
        if region is None:
            return None
        return f"{self._receptacle(place)}_{region}" if region else self._receptacle(place)

    def _opened(self, thing: str, needed: Callable[[], bool]) -> list[Skill]:
        """The skill that opens something while it is needed; none for what already stands open."""
        if ("open", self._category_and_region(thing)[0]) not in DEVICES and self.scene.met(["open", thing]):
            return []
        admit = ADMITTED.get(self._category_and_region(thing)[0])
        skill = admit(self.scene, self.hand, thing) if admit else self._operate(["open", thing])
        return [WhileNeeded(skill, needed)]

    def _refusal(self, reason: str) -> Refusal:
        return Refusal(self.scene.simulator.task.bddl, reason)
