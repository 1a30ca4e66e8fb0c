"""What only LIBERO's classes know about a BDDL file: categories, regions, what opens and switches, joints.

Imports LIBERO; called where an environment is made, before it is made.
"""

from __future__ import annotations

from typing import Any

from lit_distill.tasks.bddl import Predicate, Problem, nearest

ARM_AND_GRIPPER_JOINTS = 9
FREE_JOINT = 7, 6
"""Positions and velocities of what moves freely; every other joint has one of each."""


def check_problem(problem: Problem) -> None:
    """Refuse what LIBERO has no class for, and predicates of things that they do not apply to.

    Raises:
        LitDistillError: names file, line and reason.
    """
    things = _things(problem)
    regions = {name: _regions(thing) for name, thing in things.items()}
    for predicate in (*problem.start, *problem.goal):
        for argument in predicate.arguments:
            owner = problem.owner(argument)
            if argument != owner and owner != problem.workspace and argument not in regions[owner]:
                known = ", ".join(sorted(_own(name, owner) for name in regions[owner])) or "none"
                raise problem.error(
                    predicate.line,
                    f"{predicate}: {owner} has no region {_own(argument, owner)}; it has: {known}",
                )
        _check_applies(problem, predicate, things, regions)


def state_shapes(problem: Problem) -> tuple[tuple[int], tuple[int, int]]:
    """Shapes of `InitialState.state` and `InitialState.fixtures` that fit a problem.

    Raises:
        LitDistillError: LIBERO has no class for a thing; names file and line.
    """
    things = _things(problem)
    of_parts = sum(len(thing.worldbody.findall(".//joint")) for thing in things.values())
    joints, free = ARM_AND_GRIPPER_JOINTS + of_parts, len(problem.objects)
    fixtures = len(things) - free
    return (1 + 2 * joints + sum(FREE_JOINT) * free,), (fixtures, 7)


def _things(problem: Problem) -> dict[str, Any]:
    """Name -> an instance of LIBERO's class, of every fixture and object but the workspace."""
    return {
        name: _build(problem, name, category, fixed)
        for kind, fixed in ((problem.fixtures, True), (problem.objects, False))
        for name, category in kind.items()
        if name != problem.workspace
    }


def _build(problem: Problem, name: str, category: str, fixed: bool) -> Any:
    """An instance of LIBERO's class of a category."""
    from libero.libero.envs.objects import OBJECTS_DICT
    from robosuite.models.objects import MujocoXMLObject

    known = {key: kind for key, kind in OBJECTS_DICT.items() if issubclass(kind, MujocoXMLObject)}
    if category not in known:
        raise problem.error(
            problem.lines[name], f"{name}: LIBERO has no object class {category!r}{nearest(category, known)}"
        )
    try:
        return known[category](name=name, joints=None) if fixed else known[category](name=name)
    except FileNotFoundError:
        raise problem.error(
            problem.lines[name], f"{name}: the installed LIBERO has no model of {category!r}"
        ) from None


def _regions(thing: Any) -> dict[str, list[str]]:
    """Region -> joints that move it, found as LIBERO's problem classes find them."""
    found: dict[str, list[str]] = {}
    for part in thing.worldbody.find("body").findall(".//body"):
        sites = part.findall(".//site")
        if not sites:
            break
        joints = [joint.get("name") for joint in part.findall("./joint")]
        found |= {site.get("name"): joints for site in sites}
    return found


def _check_applies(
    problem: Problem, predicate: Predicate, things: dict[str, Any], regions: dict[str, dict[str, list[str]]]
) -> None:
    """Whether a thing opens, closes or switches at all."""
    if len(predicate.arguments) != 1:
        return
    (argument,) = predicate.arguments
    owner = problem.owner(argument)
    if owner == problem.workspace:
        applies = False
    elif predicate.name in ("turnon", "turnoff"):
        applies = argument == owner and hasattr(things[owner], "turn_on")
    else:
        moved = regions[owner][argument] if argument != owner else things[owner].joints
        applies = _opens(things[owner]) and bool(moved)
    if not applies:
        category = {**problem.fixtures, **problem.objects}[owner]
        what = f"a {category}" if argument == owner else f"{_own(argument, owner)} of a {category}"
        raise problem.error(
            predicate.line, f"{predicate}: {predicate.name.capitalize()} does not apply to {what}"
        )


def _own(region: str, owner: str) -> str:
    """A region's name without its owner's."""
    return region.removeprefix(f"{owner}_")


def _opens(thing: Any) -> bool:
    """Whether a LIBERO object says when it is open."""
    from libero.libero.envs.objects.articulated_objects import ArticulatedObject

    return getattr(type(thing), "is_open", None) not in (None, ArticulatedObject.is_open)
