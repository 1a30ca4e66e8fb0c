"""BDDL files, read without LIBERO: what LIBERO's own parser would crash on or pass over is refused by line.

`read_problem` checks the text: parentheses, sections, names that are declared nowhere, numbers.
`goals.check_predicates` then checks what the predicates say, and `sim.problems.check_problem` what only
LIBERO's classes know. Names are case-insensitive, as in LIBERO, and lower-case here.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lit_distill.errors import LitDistillError

SCENES: dict[str, tuple[str, str]] = {
    "libero_tabletop_manipulation": ("main_table", "table"),
    "libero_floor_manipulation": ("floor", "floor"),
    "libero_coffee_table_manipulation": ("coffee_table", "coffee_table"),
    "libero_living_room_tabletop_manipulation": ("living_room_table", "living_room_table"),
    "libero_study_tabletop_manipulation": ("study_table", "study_table"),
    "libero_kitchen_tabletop_manipulation": ("kitchen_table", "kitchen_table"),
}
"""LIBERO's problem classes -> name and category of the fixture that everything stands on."""

REQUIRED = ("problem", ":domain", ":language", ":regions", ":fixtures", ":objects", ":init", ":goal")
OPTIONAL = (":obj_of_interest", ":requirements")
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
ANGLE = re.compile(rf"[-+]?({NUMBER}|pi)(?:([*/])({NUMBER}))?")
"""A number of radians; LIBERO passes what is written here to Python's `eval`."""
LEADING_ZERO = re.compile(r"[-+]?0\d+")
"""What Python calls no number."""


class Word(str):
    """A word of the file in lower case; `line` from 1, `raw` as it is written."""

    line: int
    raw: str


class Group(list["Word | Group"]):
    """What stands between two parentheses; `line` of the opening one."""

    line: int


@dataclass(frozen=True)
class Predicate:
    """A line of the start or the goal: `(In bowl_1 cabinet_1_top_region)`."""

    name: str
    arguments: tuple[str, ...]
    line: int

    def __str__(self) -> str:
        return f"({' '.join([self.name.capitalize(), *self.arguments])})"


@dataclass(frozen=True)
class Region:
    """A region of `target`, an object or fixture; `ranges` are boxes x0 y0 x1 y1 (m)."""

    target: str
    ranges: tuple[tuple[float, ...], ...]
    line: int


@dataclass(frozen=True)
class Problem:
    """A BDDL file.

    Attributes:
        path: the file.
        scene: LIBERO's problem class.
        language: the instruction.
        workspace: the fixture that everything stands on.
        regions: `target_name` -> region.
        fixtures: instance -> category.
        objects: instance -> category, of what can be moved.
        lines: instance -> line that declares it.
        start: predicates of the initial state.
        goal: predicates that shall hold together.
        goal_line: line of the goal.
    """

    path: Path
    scene: str
    language: str
    workspace: str
    regions: dict[str, Region]
    fixtures: dict[str, str]
    objects: dict[str, str]
    lines: dict[str, int] = field(repr=False)
    start: tuple[Predicate, ...]
    goal: tuple[Predicate, ...]
    goal_line: int

    def owner(self, name: str) -> str:
        """The object or fixture that a name is or, being a region, belongs to."""
        return self.regions[name].target if name in self.regions else name

    def error(self, line: int, reason: str) -> LitDistillError:
        """What is wrong, in one line."""
        return bddl_error(self.path, line, reason)


def bddl_error(path: Path, line: int, reason: str) -> LitDistillError:
    """What is wrong with a line of a BDDL file."""
    return LitDistillError(f"{path}, line {line}: {reason}")


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the nearest of the known names, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def read_problem(path: Path) -> Problem:
    """Read a BDDL file.

    Raises:
        LitDistillError: it cannot be read or parsed, lacks a section, or names something that is declared
            nowhere; names file, line and reason.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise LitDistillError(f"{path}: no such BDDL file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LitDistillError(f"{path}: cannot be read: {error}") from None
    return _Reader(path).problem(_parse(path, text))


def _parse(path: Path, text: str) -> Group:
    """The groups of the text's one outermost pair of parentheses."""
    top = Group()
    top.line = 1
    open_groups = [top]
    for number, content in enumerate(text.splitlines(), start=1):
        for match in re.finditer(r"[()]|[^\s()]+", content.split(";")[0]):
            token = match[0]
            if token == "(":
                group = Group()
                group.line = number
                open_groups[-1].append(group)
                open_groups.append(group)
            elif token == ")":
                if len(open_groups) == 1:
                    raise bddl_error(path, number, "a closing parenthesis without an opening one")
                open_groups.pop()
            else:
                word = Word(token.lower())
                word.line, word.raw = number, token
                open_groups[-1].append(word)
    if len(open_groups) > 1:
        raise bddl_error(path, open_groups[-1].line, "this parenthesis is never closed")
    if len(top) != 1 or not isinstance(top[0], Group) or top[0][:1] != ["define"]:
        line = top[1].line if len(top) > 1 else 1
        raise bddl_error(path, line, "the file must be one `(define (problem ...) ...)`")
    return top[0]


class _Reader:
    """Turns parsed groups into a `Problem`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, line: int, reason: str) -> LitDistillError:
        return bddl_error(self.path, line, reason)

    def problem(self, define: Group) -> Problem:
        sections = self._sections(define)
        scene = self._words(sections["problem"], 1)[0]
        if scene not in SCENES:
            hint = nearest(scene, SCENES) or f"; known: {', '.join(SCENES)}"
            raise self.fail(scene.line, f"unknown problem {scene.raw!r}{hint}")
        if (domain := self._words(sections[":domain"], 1)[0]) != "robosuite":
            raise self.fail(domain.line, f"the domain must be robosuite, not {domain.raw}")
        workspace, category = SCENES[scene]
        fixtures, lines = self._instances(sections[":fixtures"], {})
        objects, lines = self._instances(sections[":objects"], lines)
        if fixtures.get(workspace) != category:
            line = sections[":fixtures"].line
            raise self.fail(line, f"{scene} needs the fixture `{workspace} - {category}`")
        regions = self._regions(sections[":regions"], workspace)
        known: list[str] = [*fixtures, *objects, *regions]
        if ":obj_of_interest" in sections:
            for word in self._words(sections[":obj_of_interest"]):
                self._check_known(word, known)
        goal = sections[":goal"]
        return Problem(
            path=self.path,
            scene=str(scene),
            language=" ".join(word.raw for word in self._words(sections[":language"])),
            workspace=workspace,
            regions=regions,
            fixtures=fixtures,
            objects=objects,
            lines=lines,
            start=tuple(self._predicate(entry, known) for entry in self._groups(sections[":init"][1:])),
            goal=tuple(self._predicate(entry, known) for entry in self._conjunction(goal)),
            goal_line=goal.line,
        )

    def _sections(self, define: Group) -> dict[str, Group]:
        sections: dict[str, Group] = {}
        for section in self._groups(define[1:]):
            name = section[0] if section and isinstance(section[0], Word) else ""
            if name not in (*REQUIRED, *OPTIONAL):
                raise self.fail(
                    section.line, f"unknown section `({name}`{nearest(name, (*REQUIRED, *OPTIONAL))}"
                )
            if name in sections:
                raise self.fail(section.line, f"a second section `({name}`; there can be one")
            sections[name] = section
        for name in REQUIRED:
            if name not in sections:
                raise self.fail(define.line, f"section `({name} ...)` is missing")
        return sections

    def _groups(self, entries: Iterable[Word | Group]) -> Iterator[Group]:
        for entry in entries:
            if isinstance(entry, Word):
                raise self.fail(entry.line, f"a parenthesis must come before {entry.raw!r}")
            yield entry

    def _words(self, section: Group, count: int | None = None) -> list[Word]:
        """The words after a group's first one."""
        words = []
        for entry in section[1:]:
            if isinstance(entry, Group):
                raise self.fail(entry.line, f"no parentheses belong into `({section[0]} ...)`")
            words.append(entry)
        if count is not None and len(words) != count:
            raise self.fail(section.line, f"`({section[0]} ...)` takes {count} word, got {len(words)}")
        return words

    def _instances(self, section: Group, earlier: dict[str, int]) -> tuple[dict[str, str], dict[str, int]]:
        """`a_1 a_2 - a` lists: instance -> category, and the lines of these and earlier ones."""
        found: dict[str, str] = {}
        lines = dict(earlier)
        waiting: list[Word] = []
        words = iter(self._words(section))
        for word in words:
            if word != "-":
                if word in lines:
                    raise self.fail(word.line, f"{word} is declared twice")
                lines[word] = word.line
                waiting.append(word)
                continue
            category = next(words, None)
            if category is None or not waiting:
                raise self.fail(word.line, "a `-` stands between instances and their category")
            if category in found.values():  # LIBERO would keep only the last list
                raise self.fail(word.line, f"two lists of {category}; put its instances into one")
            found |= dict.fromkeys(map(str, waiting), str(category))
            waiting = []
        if waiting:
            raise self.fail(waiting[0].line, f"{waiting[0]} has no category; write `{waiting[0]} - category`")
        return found, lines

    def _regions(self, section: Group, workspace: str) -> dict[str, Region]:
        regions: dict[str, Region] = {}
        for entry in self._groups(section[1:]):
            if not entry or not isinstance(entry[0], Word):
                raise self.fail(entry.line, "a region begins with its name")
            attributes = {str(group[0]): group for group in self._groups(entry[1:]) if group}
            if unknown := attributes.keys() - {":target", ":ranges", ":yaw_rotation", ":rgba"}:
                raise self.fail(entry.line, f"region {entry[0]} has an unknown attribute {unknown.pop()}")
            if ":target" not in attributes:
                raise self.fail(entry.line, f"region {entry[0]} has no (:target ...)")
            target = self._words(attributes[":target"], 1)[0]
            name = f"{target}_{entry[0]}"
            if name in regions:
                raise self.fail(entry.line, f"a second region {name}")
            ranges = self._ranges(attributes[":ranges"]) if ":ranges" in attributes else ()
            if not ranges and workspace in name:
                raise self.fail(entry.line, f"region {name} needs (:ranges ((x0 y0 x1 y1)))")
            self._check_look(attributes)
            regions[name] = Region(str(target), ranges, entry.line)
        return regions

    def _ranges(self, attribute: Group) -> tuple[tuple[float, ...], ...]:
        boxes = []
        for group in self._lists(attribute):
            if len(group) != 4 or not all(isinstance(word, Word) and _is_number(word) for word in group):
                raise self.fail(group.line, "a range is four numbers: x0 y0 x1 y1 (m)")
            x0, y0, x1, y1 = box = tuple(float(str(word)) for word in group)
            if x0 > x1 or y0 > y1:
                raise self.fail(group.line, f"a range's lower corner comes first, got {box}")
            boxes.append(box)
        return tuple(boxes)

    def _lists(self, attribute: Group) -> list[Group]:
        """The inner groups of `(:name ((...) (...)))`."""
        outer = list(self._groups(attribute[1:]))
        if len(outer) != 1:
            raise self.fail(attribute.line, f"{attribute[0]} takes one list: ({attribute[0]} ((...)))")
        return list(self._groups(outer[0]))

    def _check_look(self, attributes: dict[str, Group]) -> None:
        for group in self._lists(attributes[":yaw_rotation"]) if ":yaw_rotation" in attributes else []:
            if len(group) != 2 or not all(isinstance(x, Word) and _is_angle(x) for x in group):
                raise self.fail(group.line, "a yaw_rotation is two numbers (rad): from, to")
        if ":rgba" in attributes:
            colour = attributes[":rgba"]
            values = colour[1] if len(colour) == 2 and isinstance(colour[1], Group) else []
            if len(values) != 4 or not all(isinstance(x, Word) and _is_number(x) for x in values):
                raise self.fail(colour.line, "rgba takes one list of four numbers")

    def _conjunction(self, goal: Group) -> list[Group]:
        if len(goal) != 2 or not isinstance(goal[1], Group):
            raise self.fail(goal.line, "the goal is one predicate or one `(And ...)` of predicates")
        wanted = goal[1]
        entries = list(self._groups(wanted[1:])) if wanted[:1] == ["and"] else [wanted]
        if not entries:
            raise self.fail(wanted.line, "the goal asks for nothing; LIBERO would call it met at once")
        return entries

    def _predicate(self, entry: Group, known: Iterable[str]) -> Predicate:
        if not entry or not isinstance(entry[0], Word):
            raise self.fail(entry.line, "a predicate begins with its name")
        arguments = self._words(entry)
        for word in arguments:
            self._check_known(word, known)
        return Predicate(str(entry[0]), tuple(map(str, arguments)), entry.line)

    def _check_known(self, word: Word, known: Iterable[str]) -> None:
        if word not in known:
            raise self.fail(
                word.line, f"{word} is no object, fixture or region of this file{nearest(word, known)}"
            )


def _is_number(word: str) -> bool:
    """Whether it is a finite number."""
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _is_angle(word: str) -> bool:
    """Whether Python makes a finite number of it."""
    match = ANGLE.fullmatch(word)
    if match is None or any(LEADING_ZERO.fullmatch(part) for part in re.split("[*/]", word)):
        return False
    number, operation, other = match.groups()
    if operation == "/" and float(other) == 0.0:
        return False
    return number == "pi" or _is_number(number)
