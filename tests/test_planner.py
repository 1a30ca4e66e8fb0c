"""From a BDDL goal to a plan, or to one line that says why there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lit_distill.tasks import get_task
from lit_distill.teachers import planner
from lit_distill.teachers.base import Refusal
from lit_distill.teachers.destinations import OpenContainer, Shared
from lit_distill.teachers.pick_place import PickPlace
from lit_distill.teachers.planner import make_plan
from lit_distill.teachers.skills import Plan

TASK = get_task("custom_libero_object_ketchup")
CATEGORIES = {
    "milk_1": "milk",
    "ketchup_1": "ketchup",
    "gem_1": "gem",
    "basket_1": "basket",
    "cabinet_1": "cabinet",
    "stove_1": "stove",
}


class FakeScene:
    """What the planner asks a scene: names and categories, and which predicates hold."""

    def __init__(self, goal: list[list[str]], start: list[list[str]] | None = None) -> None:
        self.goal, self.start = goal, start or []
        self.objects = ["milk_1", "ketchup_1", "gem_1", "basket_1"]
        self.fixtures = ["cabinet_1", "stove_1"]
        self.true: list[list[str]] = []
        self.simulator = type("Simulator", (), {"task": TASK})

    def category(self, name: str) -> str:
        return CATEGORIES.get(name, "")

    def parent(self, region: str) -> str | None:
        return next((name for name in CATEGORIES if region.startswith(f"{name}_")), None)

    def met(self, predicate: list[str]) -> bool:
        return predicate in self.true

    def geoms(self, *names: str) -> np.ndarray:
        return np.zeros(0, dtype=int)


class FakeHand:
    """A hand that holds nothing."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene

    def holds(self, name: str) -> bool:
        return False


@pytest.fixture(autouse=True)
def no_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "Hand", FakeHand)


class Device:
    """A skill that says its name and does nothing."""

    def __init__(self, scene: Any, name: str, thing: str) -> None:
        self.scene, self.name, self.thing = scene, name, thing

    def done(self) -> bool:
        return self.scene.met([self.name, self.thing])

    def act(self) -> np.ndarray:
        return np.zeros(7)

    def remaining(self) -> float:
        return 20.0


def device(name: str) -> Callable[[Any, Any, str], Device]:
    return lambda scene, hand, thing: Device(scene, name, thing)


@pytest.fixture
def drawers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cabinet with a top region that must be open to be used, and a stove."""
    for name, category in (("open", "cabinet"), ("close", "cabinet"), ("turnon", "stove")):
        monkeypatch.setitem(planner.DEVICES, (name, category), device(name))
    monkeypatch.setitem(planner.DESTINATIONS, ("in", "cabinet", "top_region"), OpenContainer)
    monkeypatch.setitem(planner.ENCLOSED, ("cabinet", "top_region"), "top_region")


def names(plan: Plan) -> list[str]:
    found = []
    for skill in plan.skills:
        inner: Any = getattr(skill, "skill", skill)
        found.append(
            f"place {inner.target}" if isinstance(inner, PickPlace) else f"{inner.name} {inner.thing}"
        )
    return found


def plan_for(goal: list[list[str]], **scene: Any) -> tuple[Any, Plan]:
    fake: Any = FakeScene(goal, **scene)
    return fake, make_plan(fake)


@pytest.mark.parametrize(
    ("predicate", "reason"),
    [
        (["stack", "milk_1", "basket_1"], "has no skill for (Stack milk_1 basket_1)"),
        (["turnon", "cabinet_1"], "has no skill for (Turnon cabinet_1)"),
        (
            ["in", "stove_1", "basket_1_contain_region"],
            "has no skill for (In stove_1 basket_1_contain_region)",
        ),
        (["in", "milk_1", "stove_1_cook_region"], "cannot put anything into stove_1_cook_region"),
        (["on", "milk_1", "ketchup_1"], "cannot put anything onto ketchup_1"),
        (["in", "gem_1", "basket_1_contain_region"], "cannot take hold of gem_1 (gem)"),
    ],
)
def test_a_goal_that_it_cannot_plan_is_refused_in_one_line(predicate: list[str], reason: str):
    scene: Any = FakeScene([["in", "milk_1", "basket_1_contain_region"], predicate])
    with pytest.raises(Refusal) as caught:
        make_plan(scene)
    assert str(caught.value) == f"{TASK.bddl}: the teacher {reason}; choose another teacher"


@pytest.mark.usefixtures("drawers")
def test_switches_come_first_and_a_drawer_is_opened_filled_and_closed():
    goal = [
        ["close", "cabinet_1_top_region"],
        ["in", "milk_1", "cabinet_1_top_region"],
        ["turnon", "stove_1"],
    ]
    _, plan = plan_for(goal)
    assert names(plan) == [
        "turnon stove_1",
        "open cabinet_1_top_region",
        "place milk_1",
        "close cabinet_1_top_region",
    ]


@pytest.mark.usefixtures("drawers")
def test_a_drawer_that_nothing_goes_into_is_closed_first():
    goal = [["in", "milk_1", "basket_1_contain_region"], ["close", "cabinet_1_top_region"]]
    _, plan = plan_for(goal)
    assert names(plan) == ["close cabinet_1_top_region", "place milk_1"]


@pytest.mark.usefixtures("drawers")
def test_an_opened_drawer_is_no_longer_needed_once_it_is_filled_and_closing_waits_for_it():
    scene, plan = plan_for(
        [["in", "milk_1", "cabinet_1_top_region"], ["close", "cabinet_1_top_region"]],
    )
    opening, placing, closing = plan.skills
    scene.true = [["close", "cabinet_1_top_region"]]
    assert not opening.done()
    assert not placing.done()
    assert not closing.done(), "it will have to be closed again"
    assert closing.remaining() > 20.0
    scene.true = [["open", "cabinet_1_top_region"], ["in", "milk_1", "cabinet_1_top_region"]]
    assert opening.done()
    assert not closing.done()
    assert closing.remaining() == 20.0
    scene.true = [["close", "cabinet_1_top_region"], ["in", "milk_1", "cabinet_1_top_region"]]
    assert all(skill.done() for skill in plan.skills)


@pytest.mark.usefixtures("drawers")
def test_what_an_object_lies_in_at_the_start_is_open_while_the_object_is_in_it():
    inside = ["in", "milk_1", "cabinet_1_top_region"]
    scene, plan = plan_for([["in", "milk_1", "basket_1_contain_region"]], start=[inside])
    assert names(plan) == ["open cabinet_1_top_region", "place milk_1"]
    scene.true = [inside]
    assert not plan.skills[0].done()
    scene.true = []
    assert plan.skills[0].done()


def test_what_others_are_put_onto_is_placed_before_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(planner.DESTINATIONS, ("on", "ketchup", ""), OpenContainer)
    _, plan = plan_for([["on", "milk_1", "ketchup_1"], ["in", "ketchup_1", "basket_1_contain_region"]])
    assert names(plan) == ["place ketchup_1", "place milk_1"]


def test_two_objects_in_one_basket_get_two_places_and_one_gets_the_middle():
    goal = [["in", f"{name}_1", "basket_1_contain_region"] for name in ("milk", "ketchup")]
    for wanted, kind in ((goal, Shared), (goal[:1], OpenContainer)):
        _, plan = plan_for(wanted)
        moving = [skill for skill in plan.skills if isinstance(skill, PickPlace)]
        assert [type(skill.destination) for skill in moving] == [kind] * len(wanted)


def test_into_a_narrow_receptacle_only_what_has_a_way_of_its_own_goes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planner, "NARROW", ("basket",))
    with pytest.raises(Refusal, match=r"cannot put milk_1 \(milk\) into basket_1_contain_region"):
        plan_for([["in", "milk_1", "basket_1_contain_region"]])


def test_a_mover_is_chosen_by_object_and_receptacle(monkeypatch: pytest.MonkeyPatch):
    def mover(name: str) -> Any:
        return lambda scene, hand, target, destination, receptacle: Device(scene, name, receptacle)

    goal = [["in", "milk_1", "basket_1_contain_region"], ["in", "ketchup_1", "basket_1_contain_region"]]
    monkeypatch.setitem(planner.MOVERS, ("milk", "basket"), mover("pour"))
    monkeypatch.setitem(planner.MOVERS, ("ketchup", "cabinet"), mover("roll"))
    _, plan = plan_for(goal)
    assert names(plan) == ["pour basket_1", "place ketchup_1"]
