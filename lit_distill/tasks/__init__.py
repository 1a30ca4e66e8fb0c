"""The tasks: the paper's Table 5 with our own BDDL files, the official LIBERO suites, and any BDDL file.

A task of the table has an `index`: its row in Table 5, which never changes and selects the student's task
embedding. The others have none: a teacher can act in them, but no student is trained on them.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from lit_distill.errors import LitDistillError
from lit_distill.tasks.bddl import read_problem
from lit_distill.tasks.goals import check_predicates
from lit_distill.tasks.official import OFFICIAL_SUITES, official_task, split_name, suite_tasks
from lit_distill.tasks.task import Task

BDDL_FOLDER = Path(__file__).parent / "bddl"
STATES_FOLDER = Path(__file__).parent / "states"
ALL = "all"
FILE_NAME = re.compile(r"[\w-]+")
FILE_HORIZON = 520
"""Horizon of a task that is given as a BDDL file: the longest of the official ones."""

__all__ = ["BDDL_FOLDER", "STATES_FOLDER", "TASKS", "Task", "embedding_row", "get_task", "task_names"]


def _basket_task(name: str, index: int, language: str) -> Task:
    full_name = f"custom_libero_object_{name}"
    return Task(
        name=full_name,
        index=index,
        language=language,
        horizon=280,
        scene="libero_floor_manipulation",
        bddl=BDDL_FOLDER / f"{full_name}.bddl",
    )


def _libero_10_task(name: str, index: int, scene: str, language: str) -> Task:
    full_name = f"custom_libero_10_{name}"
    return Task(
        name=full_name,
        index=index,
        language=language,
        horizon=520,
        scene=f"libero_{scene}_tabletop_manipulation",
        bddl=BDDL_FOLDER / f"{full_name}.bddl",
    )


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _libero_10_task(
            "close_microwave",
            0,
            "kitchen",
            "Place the white mug inside the microwave and shut the microwave door",
        ),
        _libero_10_task(
            "bowl_bottom_drawer",
            1,
            "kitchen",
            "Set the black bowl down in the open bottom drawer of the cabinet",
        ),
        _libero_10_task(
            "moka_pot_stove",
            2,
            "kitchen",
            "Switch the stove on and then set the moka pot on its burner",
        ),
        _libero_10_task("stove_on", 3, "kitchen", "Switch the stove on by its knob"),
        _libero_10_task(
            "book_back_caddy",
            4,
            "study",
            "Take the black book and stand it in the rear compartment of the caddy",
        ),
        _libero_10_task("white_mug_plate", 5, "living_room", "Set the white mug down on the plate"),
        _basket_task("alphabet_soup", 6, "Put the can of alphabet soup into the basket"),
        _basket_task("butter", 7, "Put the box of butter into the basket"),
        _basket_task("chocolate_pudding", 8, "Put the box of chocolate pudding into the basket"),
        _basket_task("ketchup", 9, "Put the bottle of ketchup into the basket"),
        _basket_task("milk", 10, "Put the carton of milk into the basket"),
        _basket_task("orange_juice_right", 11, "Put the orange juice on the right into the basket"),
        _basket_task("set_bbq_sauce", 12, "Set the bottle of BBQ sauce down in the basket"),
        _basket_task("set_cream_cheese", 13, "Set the cream cheese down in the basket"),
        _basket_task("set_tomato_sauce", 14, "Set the can of tomato sauce down in the basket"),
    )
}


def get_task(name: str) -> Task:
    """Return the task called `name`.

    Args:
        name: a name in the table, an official one such as `libero_goal/turn_on_the_stove` (an underscore in
            place of the slash is the same), or the path of a BDDL file, `<folder>/<name>.bddl`.

    Raises:
        LitDistillError: no such task; names the nearest spelling and the known ones. Or a BDDL file that
            cannot be read or whose goal can never hold.
    """
    if name in TASKS:
        return TASKS[name]
    if name.endswith(".bddl"):
        return _file_task(Path(name))
    if split_name(name) is not None:
        return official_task(name)
    nearest = [task for task in TASKS if task.endswith(f"_{name}")]
    nearest = nearest or difflib.get_close_matches(name, TASKS, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise LitDistillError(
        f"task: unknown task {name!r}; {hint}known tasks: {', '.join(TASKS)}; "
        f"official ones: {', '.join(f'{suite}/NAME' for suite in OFFICIAL_SUITES)}; or a file NAME.bddl"
    )


def task_names(task: str | list[str]) -> list[str]:
    """The tasks that a user means.

    Args:
        task: a task's name, `all` (of the table), an official suite such as `libero_goal`, or a list of them.

    Raises:
        LitDistillError: an unknown task, or none.
    """
    names: list[str] = []
    for entry in [task] if isinstance(task, str) else task:
        if entry == ALL:
            names += TASKS
        elif entry in OFFICIAL_SUITES:
            names += suite_tasks(entry)
        else:
            get_task(entry)
            names.append(entry)
    if not names:
        raise LitDistillError("task: name at least one")
    return names


def embedding_row(task: Task) -> int:
    """The task's row in the student's task embedding.

    Raises:
        LitDistillError: it has none.
    """
    if task.index is None:
        raise LitDistillError(
            f"task: {task.name} is not in the task table, so a student has no embedding for it; "
            f"students are trained on: {', '.join(TASKS)}"
        )
    return task.index


def _file_task(path: Path) -> Task:
    name = path.stem
    if not FILE_NAME.fullmatch(name):
        raise LitDistillError(
            f"{path}: the task gets the file's name, which may have letters, digits, _ and - before .bddl; "
            "rename it"
        )
    if name in TASKS or split_name(name) is not None:
        raise LitDistillError(
            f"{path}: {name} is a task already, whose data and results it would be mixed with; rename it"
        )
    problem = read_problem(path)
    check_predicates(problem)
    return Task(
        name=path.stem,
        index=None,
        language=problem.language,
        horizon=FILE_HORIZON,
        scene=problem.scene,
        bddl=path,
        states=path.with_suffix(".npz"),
    )
