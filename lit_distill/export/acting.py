"""How the student acts in the check, which is what the folder and its card say: as it was measured, if known.

`execute_steps` and `meshes` are each taken from the first of these that has it: the command's options; the
results files of this checkpoint; config.json, where a folder is exported again; the checkpoint's record of
its training (`protocol`, then `data`, see `algorithms/trained_on.py`); the paper, 16 and LIBERO's own meshes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lit_distill.schema import CHUNK_LENGTH
from lit_distill.sim.environment import MESHES, ORIGINAL

Source = tuple[str, Any, Any]
"""What it is called, and the `execute_steps` and `meshes` that it has; anything else than a value that there
is, as a file of a stranger may have, is none."""


@dataclass(frozen=True)
class Acting:
    """How a student acts.

    Attributes:
        execute_steps: actions executed of each 16-action chunk before looking again.
        meshes: what the simulator shows, `original` or `simplified`.
        why: where the two were taken from.
    """

    execute_steps: int
    meshes: str
    why: tuple[str, str]

    def describe(self) -> str:
        """Both and why, in a line."""
        steps, meshes = f"execute_steps {self.execute_steps}", f"meshes {self.meshes}"
        if self.why[0] == self.why[1]:
            return f"{steps}, {meshes} ({self.why[0]})"
        return f"{steps} ({self.why[0]}), {meshes} ({self.why[1]})"


def choose_acting(
    execute_steps: int | None,
    meshes: str | None,
    results: Sequence[Mapping[str, Any]],
    exported: Mapping[str, Any] | None,
    training: Mapping[str, Any] | None,
) -> Acting:
    """Find out how a student is to act.

    Args:
        execute_steps: the command's option, None if it was not given.
        meshes: the same.
        results: the results files of the checkpoint.
        exported: config.json, where a folder is exported again.
        training: the checkpoint's record of its training.
    """
    check = _mapping(exported, "check")
    protocol, data = _mapping(training, "protocol"), _mapping(training, "data")
    sources = [
        ("as given", execute_steps, meshes),
        *_measured(results),
        ("of the folder's config.json", (exported or {}).get("execute_steps"), check.get("meshes")),
        ("as its training was to be tested", protocol.get("execute_steps"), protocol.get("meshes")),
        ("of the checkpoint's record of its training", data.get("execute_steps"), data.get("meshes")),
        ("the default: no results file of it and no record of its training says it", CHUNK_LENGTH, ORIGINAL),
    ]
    steps, why_steps = next((s, why) for why, s, _ in sources if type(s) is int and 1 <= s <= CHUNK_LENGTH)
    shown, why_shown = next((m, why) for why, _, m in sources if m in MESHES)
    return Acting(steps, shown, (why_steps, why_shown))


def _mapping(record: Any, key: str) -> Mapping[str, Any]:
    value = record.get(key) if isinstance(record, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _measured(results: Sequence[Mapping[str, Any]]) -> list[Source]:
    """How the checkpoint was measured: on most states first, then with most successes, then by path."""
    ordered = sorted(results, key=lambda result: (result["n"], result["success"]), reverse=True)
    ways = [
        (
            _mapping(result["config"], "protocol").get("execute_steps"),
            _mapping(result, "render").get("meshes"),
        )
        for result in ordered
    ]
    others = "" if all(way == ways[0] for way in ways) else "; its other results differ"
    return [
        (f"as measured: {_name(result)}{others}", *way) for result, way in zip(ordered, ways, strict=True)
    ]


def _name(result: Mapping[str, Any]) -> str:
    return f"{result['study']}, {result['method']}, {result['n']} {result['split']} states"
