"""The task table and our BDDL files, against the paper's Table 5 and the official LIBERO."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from lit_distill.errors import LitDistillError
from lit_distill.tasks import TASKS, get_task

OFFICIAL_SUITES = ("libero_object", "libero_10", "libero_goal", "libero_spatial", "libero_90")

LIBERO_10 = {
    "custom_libero_10_close_microwave": (
        0,
        "kitchen",
        "(And (In porcelain_mug_1 microwave_1_heating_region) (Close microwave_1))",
    ),
    "custom_libero_10_bowl_bottom_drawer": (
        1,
        "kitchen",
        "(And (In akita_black_bowl_1 white_cabinet_1_bottom_region))",
    ),
    "custom_libero_10_moka_pot_stove": (
        2,
        "kitchen",
        "(And (Turnon flat_stove_1) (On moka_pot_1 flat_stove_1_cook_region))",
    ),
    "custom_libero_10_stove_on": (3, "kitchen", "(And (Turnon flat_stove_1))"),
    "custom_libero_10_book_back_caddy": (
        4,
        "study",
        "(And (In black_book_1 desk_caddy_1_back_contain_region))",
    ),
    "custom_libero_10_white_mug_plate": (5, "living_room", "(And (On porcelain_mug_1 plate_1))"),
}
"""Rows 0-5 of Table 5: index, scene, goal."""

# Rows of Table 5, counted from 0, and the object that each basket task moves.
TABLE_5 = {
    "custom_libero_object_alphabet_soup": (6, "alphabet_soup"),
    "custom_libero_object_butter": (7, "butter"),
    "custom_libero_object_chocolate_pudding": (8, "chocolate_pudding"),
    "custom_libero_object_ketchup": (9, "ketchup"),
    "custom_libero_object_milk": (10, "milk"),
    "custom_libero_object_orange_juice_right": (11, "orange_juice"),
    "custom_libero_object_set_bbq_sauce": (12, "bbq_sauce"),
    "custom_libero_object_set_cream_cheese": (13, "cream_cheese"),
    "custom_libero_object_set_tomato_sauce": (14, "tomato_sauce"),
}


class Arrangement(NamedTuple):
    """What of a BDDL file decides how the scene looks, and what is asked."""

    language: str
    kinds: dict[str, str]  # object -> kind
    places: dict[str, tuple[float, ...]]  # object -> x0, y0, x1, y1
    goal: str


def read_bddl(path: Path) -> Arrangement:
    text = path.read_text()
    language = re.search(r"\(:language ([^)]*)\)", text)
    objects = re.search(r"\(:objects(.*?)\)", text, re.DOTALL)
    goal = re.search(r"\(:goal(.*)\)", text, re.DOTALL)
    assert language and objects and goal
    ranges = re.findall(r"\((\w+)\s*\(:target \w+\)\s*\(:ranges \(\s*\(([^)]*)\)", text)
    boxes = {f"floor_{name}": tuple(round(float(x), 4) for x in box.split()) for name, box in ranges}
    init = re.findall(r"\(On (\w+) (\w+)\)", text)
    return Arrangement(
        language[1].strip(),
        dict(re.findall(r"(\w+) - (\w+)", objects[1])),
        {name: boxes[region] for name, region in init if region in boxes},
        " ".join(goal[1].split()),
    )


def official_files(suite: str) -> list[Path]:
    spec = importlib.util.find_spec("libero")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations))) / "libero" / "bddl_files" / suite
    return sorted(folder.glob("*.bddl"))


def plain(sentence: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9 ]", " ", sentence.lower()).split())


def test_the_fifteen_tasks_are_the_rows_of_table_5():
    assert {name: task.index for name, task in TASKS.items()} == {
        **{name: index for name, (index, _, _) in LIBERO_10.items()},
        **{name: index for name, (index, _) in TABLE_5.items()},
    }
    assert [task.index for task in TASKS.values()] == list(range(15))
    assert all(task.name == name for name, task in TASKS.items())


@pytest.mark.parametrize("name", LIBERO_10)
def test_a_libero_10_task_has_its_scene_goal_and_horizon(name: str):
    task = get_task(name)
    _, scene, goal = LIBERO_10[name]
    assert read_bddl(task.bddl).goal == f"{goal} )"
    assert task.scene == f"libero_{scene}_tabletop_manipulation"
    assert f"(problem {task.scene})" in task.bddl.read_text().lower()
    assert task.horizon == 520
    assert task.bddl.stem == name


def test_the_drawer_and_the_microwave_are_open_at_the_start():
    text = {
        name: get_task(f"custom_libero_10_{name}").bddl.read_text()
        for name in ("close_microwave", "bowl_bottom_drawer")
    }
    assert "(Open microwave_1)" in text["close_microwave"]
    assert "(Open white_cabinet_1_bottom_region)" in text["bowl_bottom_drawer"]


@pytest.mark.parametrize("name", TABLE_5)
def test_a_task_is_its_target_five_distractors_and_a_basket(name: str):
    task = get_task(name)
    target = TABLE_5[name][1]
    found = read_bddl(task.bddl)
    kinds = sorted(found.kinds.values())
    assert len(kinds) == len(set(kinds)) == 7
    assert {target, "basket"} <= set(kinds)
    assert found.goal == f"(And (In {target}_1 basket_1_contain_region)) )"
    assert found.places.keys() == found.kinds.keys()
    assert task.horizon == 280
    assert task.scene == "libero_floor_manipulation"
    assert task.bddl.stem == name


@pytest.mark.parametrize("name", TASKS)
def test_table_and_bddl_file_say_the_same_sentence(name: str):
    assert read_bddl(get_task(name).bddl).language == get_task(name).language


def test_no_sentence_is_official_nor_given_twice():
    ours = [plain(task.language) for task in TASKS.values()]
    files = [path for suite in OFFICIAL_SUITES for path in official_files(suite)]
    assert len(files) == 130
    official = {plain(read_language(path)) for path in files}
    official |= {plain(re.sub(r"^[A-Z_0-9]+_(?=[a-z])", "", path.stem)) for path in files}
    assert len(set(ours)) == len(ours)
    assert not official & set(ours)


def read_language(path: Path) -> str:
    match = re.search(r"\(:language ([^)]*)\)", path.read_text())
    assert match
    return match[1]


def test_no_official_task_has_one_of_our_arrangements():
    official = [read_bddl(path) for path in official_files("libero_object")]
    assert len(official) == 10
    for name in TABLE_5:
        ours = read_bddl(get_task(name).bddl)
        target = next(obj for obj in ours.kinds if f"In {obj} " in ours.goal)
        for other in official:
            same_objects = sorted(ours.kinds.values()) == sorted(other.kinds.values())
            assert not (same_objects and ours.places == other.places), name
            assert ours.places[target] != other.places.get(target), f"{name}: target where an official one is"


def test_the_orange_juice_on_the_right_is_right_of_every_distractor():
    """The agentview camera looks towards the robot's base: what it shows on the right has a larger y."""
    found = read_bddl(get_task("custom_libero_object_orange_juice_right").bddl)
    left = found.places.pop("orange_juice_1")[1]
    del found.places["basket_1"]
    assert all(left > box[1] for box in found.places.values())


def test_an_unknown_task_is_answered_with_the_nearest_and_the_known_ones():
    with pytest.raises(LitDistillError) as caught:
        get_task("custom_libero_object_ketchap")
    message = str(caught.value)
    assert "did you mean 'custom_libero_object_ketchup'?" in message
    assert all(name in message for name in TASKS)
    assert "\n" not in message


def test_a_name_like_no_other_gets_the_known_ones_alone():
    with pytest.raises(LitDistillError, match="unknown task 'xyz'; known tasks: custom_libero"):
        get_task("xyz")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("custom_libero_object_milk", "custom_libero_object_milk is a task already"),
        ("libero_goal_turn_on_the_stove", "libero_goal_turn_on_the_stove is a task already"),
        ("my.task", "the task gets the file's name, which may have letters, digits, _ and - before .bddl"),
        ("my task", "the task gets the file's name"),
    ],
)
def test_a_file_is_not_called_as_another_task_or_as_no_folder_can_be(tmp_path: Path, name: str, line: str):
    path = tmp_path / f"{name}.bddl"
    path.write_text(get_task("custom_libero_object_milk").bddl.read_text())
    with pytest.raises(LitDistillError, match=f"^{re.escape(str(path))}: {re.escape(line)}"):
        get_task(str(path))
    path.rename(tmp_path / "my_task-2.bddl")
    assert get_task(str(tmp_path / "my_task-2.bddl")).name == "my_task-2"
