"""The tasks: the paper's Table 5, with our own BDDL files.

A task's `index` is its row in Table 5 and never changes: it selects the student's task embedding.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from lit_distill.errors import LitDistillError

BDDL_FOLDER = Path(__file__).parent / "bddl"
STATES_FOLDER = Path(__file__).parent / "states"


@dataclass(frozen=True)
class Task:
    """One manipulation task.

    Attributes:
        name: as in the paper's Table 5.
        index: row of Table 5, from 0.
        language: the instruction, in no official LIBERO suite (§4.1).
        horizon: control steps (20 Hz) after which an episode is a timeout; the 10 settling steps at
            reset are not counted.
        scene: LIBERO's problem class.
        bddl: the BDDL file.
    """

    name: str
    index: int
    language: str
    horizon: int
    scene: str
    bddl: Path


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

    Raises:
        LitDistillError: no such task; names the nearest spelling and the known ones.
    """
    if name in TASKS:
        return TASKS[name]
    nearest = [task for task in TASKS if task.endswith(f"_{name}")]
    nearest = nearest or difflib.get_close_matches(name, TASKS, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise LitDistillError(f"task: unknown task {name!r}; {hint}known tasks: {', '.join(TASKS)}")
