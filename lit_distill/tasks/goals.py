"""What the predicates of a BDDL file say: whether LIBERO can set up the start, and the goal can ever hold."""

from __future__ import annotations

from itertools import combinations

from lit_distill.tasks.bddl import Predicate, Problem, nearest

ARGUMENTS = {"in": 2, "on": 2, "open": 1, "close": 1, "turnon": 1, "turnoff": 1}
"""Predicates that LIBERO can both set up and check -> number of arguments."""
OPPOSITES = {"open": "close", "close": "open", "turnon": "turnoff", "turnoff": "turnon"}


def check_predicates(problem: Problem) -> None:
    """Refuse a start that LIBERO cannot set up and a goal that can never hold.

    Raises:
        LitDistillError: names file, line and reason.
    """
    for predicate in (*problem.start, *problem.goal):
        _check_form(problem, predicate)
    _check_opposites(problem, problem.start)
    _check_places_at_start(problem)
    _check_opposites(problem, problem.goal)
    _check_places_in_goal(problem)


def _check_form(problem: Problem, predicate: Predicate) -> None:
    name, arguments = predicate.name, predicate.arguments
    if name not in ARGUMENTS:
        hint = nearest(name, ARGUMENTS) or f"; known: {', '.join(ARGUMENTS)}"
        raise problem.error(predicate.line, f"unknown predicate {name.capitalize()}{hint}")
    if len(arguments) != ARGUMENTS[name]:
        raise problem.error(predicate.line, f"{predicate}: {name.capitalize()} takes {ARGUMENTS[name]} names")
    for argument in arguments:
        if argument in problem.regions and problem.owner(argument) not in problem.lines:
            raise problem.error(
                predicate.line,
                f"{predicate}: {argument} is a region of {problem.owner(argument)}, which this file has not",
            )
    if len(arguments) == 2 and problem.owner(arguments[1]) == arguments[0]:
        raise problem.error(predicate.line, f"{predicate} can never hold: {arguments[0]} is in itself")
    if arguments[-1] == problem.workspace:
        raise problem.error(
            predicate.line, f"{predicate}: {problem.workspace} is the whole scene; name a region of it"
        )
    if name == "in" and arguments[1] not in problem.regions:
        raise problem.error(predicate.line, f"{predicate}: In takes a region; use On, or a region of it")


def _check_opposites(problem: Problem, predicates: tuple[Predicate, ...]) -> None:
    """A thing is not both on and off, nor open and closed; a whole is closed only if all its parts are."""
    for first, second in combinations(predicates, 2):
        if OPPOSITES.get(first.name) != second.name:
            continue
        opened, closed = (first, second) if first.name == "open" else (second, first)
        same = first.arguments == second.arguments
        part_of_closed = problem.owner(opened.arguments[0]) == closed.arguments[0]
        if same or part_of_closed:
            raise problem.error(second.line, f"{second} and {first} (line {first.line}) can never both hold")


def _check_places_at_start(problem: Problem) -> None:
    """Each object and fixture is placed once, where LIBERO has a sampler for it."""
    placed: dict[str, Predicate] = {}
    for predicate in problem.start:
        if len(predicate.arguments) != 2:
            continue
        thing, place = predicate.arguments
        on_workspace = problem.owner(place) == problem.workspace
        if thing not in problem.objects and thing not in problem.fixtures:
            raise problem.error(predicate.line, f"{predicate}: {thing} is a region and cannot be placed")
        if thing in placed:
            raise problem.error(
                predicate.line, f"{predicate}: {thing} is placed already, in line {placed[thing].line}"
            )
        if thing in problem.fixtures and not (predicate.name == "on" and on_workspace):
            raise problem.error(
                predicate.line, f"{predicate}: a fixture stands on a region of {problem.workspace}"
            )
        if predicate.name == "in" and on_workspace:
            raise problem.error(predicate.line, f"{predicate}: use On for what stands on {problem.workspace}")
        if place in problem.fixtures:
            raise problem.error(predicate.line, f"{predicate}: {place} is a fixture; name a region of it")
        placed[thing] = predicate
    for thing in (*problem.objects, *problem.fixtures):
        if thing not in placed and thing != problem.workspace:
            raise problem.error(problem.lines[thing], f"nothing in (:init ...) places {thing}")


def _check_places_in_goal(problem: Problem) -> None:
    """Only objects are moved, each into one region and to one place, and nothing ends up in itself."""
    at_start = {(predicate.name, predicate.arguments) for predicate in problem.start}
    inside: dict[str, Predicate] = {}
    on_workspace: dict[str, list[Predicate]] = {}
    holds: dict[str, set[str]] = {}
    for predicate in problem.goal:
        if len(predicate.arguments) != 2:
            continue
        thing, place = predicate.arguments
        if thing not in problem.objects and (predicate.name, predicate.arguments) not in at_start:
            raise problem.error(predicate.line, f"{predicate} can never hold: nothing moves {thing}")
        owner = problem.owner(place)
        others = on_workspace.setdefault(thing, []) if owner == problem.workspace else []
        if predicate.name == "in":
            others = [inside.setdefault(thing, predicate)]
        for earlier in others:
            if place != earlier.arguments[1] and not _overlap(problem, place, earlier.arguments[1]):
                raise problem.error(
                    predicate.line, f"{predicate} and {earlier} (line {earlier.line}) can never both hold"
                )
        if owner == problem.workspace:
            on_workspace[thing].append(predicate)
        holds.setdefault(thing, set()).add(owner)
        if thing in _reachable(owner, holds):
            raise problem.error(predicate.line, f"{predicate} can never hold: {owner} ends up in {thing}")


def _overlap(problem: Problem, first: str, second: str) -> bool:
    """Whether one point can be in both of two regions: only those of the workspace have known ranges."""
    return any(
        max(a[0], b[0]) <= min(a[2], b[2]) and max(a[1], b[1]) <= min(a[3], b[3])
        for a in problem.regions[first].ranges
        for b in problem.regions[second].ranges
    )


def _reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    """Everything that can be reached along the edges."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for node in edges.get(waiting.pop(), set()) - found:
            found.add(node)
            waiting.append(node)
    return found
