"""From a task's BDDL goal to a plan."""

from __future__ import annotations

from lit_distill.errors import LitDistillError
from lit_distill.sim.scene import Scene
from lit_distill.teachers.destinations import Destination, OnObject, OpenContainer
from lit_distill.teachers.hand import Hand
from lit_distill.teachers.pick_place import PickPlace
from lit_distill.teachers.skills import Plan, Skill


def make_plan(scene: Scene) -> Plan:
    """Make the plan for a task's goal.

    Raises:
        LitDistillError: a predicate, region or object that the embedded teacher has no skill for.
    """
    hand = Hand(scene)
    return Plan([_skill(scene, hand, predicate) for predicate in scene.goal])


def _skill(scene: Scene, hand: Hand, predicate: list[str]) -> Skill:
    match predicate:
        case ["in", target, region] if target in scene.objects:
            destination, onto = _inside(scene, target, region)
            return PickPlace(scene, hand, target, destination, onto)
        case ["on", target, support] if target in scene.objects and support in scene.objects:
            return PickPlace(scene, hand, target, OnObject(scene, target, support), support)
    raise LitDistillError(
        f"{scene.simulator.task.bddl}: the embedded teacher has no skill for ({' '.join(predicate)}); "
        "choose another teacher"
    )


def _inside(scene: Scene, target: str, region: str) -> tuple[Destination, str]:
    container = scene.parent(region)
    if container is not None and scene.category(container) == "basket":
        return OpenContainer(scene, target, container, region), container
    raise LitDistillError(
        f"{scene.simulator.task.bddl}: the embedded teacher cannot put anything into {region}; "
        "choose another teacher"
    )
