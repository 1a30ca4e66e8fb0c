"""A start that LIBERO cannot set up and a goal that can never hold are refused by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from bddl_texts import GOAL_LINE, GOOD, spoilt, with_goal

from lit_distill.errors import LitDistillError
from lit_distill.tasks.bddl import read_problem
from lit_distill.tasks.goals import check_predicates

BOWL, BOTTOM, TOP = "akita_black_bowl_1", "white_cabinet_1_bottom_region", "white_cabinet_1_top_region"


def complaint(path: Path) -> str:
    problem = read_problem(path)
    with pytest.raises(LitDistillError) as caught:
        check_predicates(problem)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "goal",
    [
        f"(In {BOWL} {BOTTOM}) (Close {BOTTOM}) (Open {TOP}) (Turnoff flat_stove_1)",
        f"(On {BOWL} plate_1) (On plate_1 flat_stove_1_cook_region)",
        f"(Open white_cabinet_1) (Close {TOP})",
        f"(In {BOWL} {BOTTOM}) (On {BOWL} plate_1) (In plate_1 {BOTTOM})",
        "(On white_cabinet_1 kitchen_table_cabinet_region)",
        "(On plate_1 kitchen_table_bowl_region)",
        f"(On plate_1 kitchen_table_bowl_region) (On {BOWL} kitchen_table_plate_region)",
    ],
)
def test_a_goal_that_can_hold_is_accepted(tmp_path: Path, goal: str):
    check_predicates(read_problem(with_goal(tmp_path, goal)))


@pytest.mark.parametrize(
    ("goal", "reason"),
    [
        (f"(Stack {BOWL} plate_1)", "unknown predicate Stack; known: in, on, open, "),
        ("(Turnedon flat_stove_1)", "unknown predicate Turnedon; did you mean turnon?"),
        (f"(In {BOWL})", f"(In {BOWL}): In takes 2 names"),
        (f"(Open {TOP} {BOTTOM})", "Open takes 1 names"),
        (f"(In {BOWL} plate_1)", "In takes a region; use On, or a region of it"),
        (f"(On {BOWL} kitchen_table)", "kitchen_table is the whole scene; name a region of it"),
        (f"(On {BOWL} {BOWL})", f"can never hold: {BOWL} is in itself"),
        (
            f"(On plate_1 {BOWL}) (On {BOWL} plate_1)",
            f"(On {BOWL} plate_1) can never hold: plate_1 ends up in {BOWL}",
        ),
        (
            f"(Open {BOTTOM}) (Close {BOTTOM})",
            f"(Close {BOTTOM}) and (Open {BOTTOM}) (line 30) can never both hold",
        ),
        (f"(Close white_cabinet_1) (Open {BOTTOM})", "can never both hold"),
        ("(Turnon flat_stove_1) (Turnoff flat_stove_1)", "can never both hold"),
        (f"(In {BOWL} {BOTTOM}) (In {BOWL} flat_stove_1_cook_region)", "can never both hold"),
        (f"(In {BOWL} {TOP}) (In {BOWL} {BOTTOM})", f"(In {BOWL} {BOTTOM}) and (In {BOWL} {TOP}) (line 30)"),
        (
            "(On plate_1 kitchen_table_bowl_region) (On plate_1 kitchen_table_plate_region)",
            "(On plate_1 kitchen_table_plate_region) and (On plate_1 kitchen_table_bowl_region) (line 30)",
        ),
        ("(On flat_stove_1 plate_1)", "can never hold: nothing moves flat_stove_1"),
        (f"(On {BOTTOM} plate_1)", f"can never hold: nothing moves {BOTTOM}"),
    ],
)
def test_a_goal_that_can_never_hold_is_refused(tmp_path: Path, goal: str, reason: str):
    path = with_goal(tmp_path, goal)
    message = complaint(path)
    assert message.startswith(f"{path}, line {GOAL_LINE}: ")
    assert reason in message


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("(On plate_1 kitchen_table_plate_region)", "", 20, "nothing in (:init ...) places plate_1"),
        (
            "(Open white_cabinet_1_bottom_region)",
            "(On plate_1 kitchen_table_bowl_region)",
            28,
            "plate_1 is placed already, in line 27",
        ),
        (
            "(On flat_stove_1 kitchen_table_stove_region)",
            "(On flat_stove_1 white_cabinet_1_top_region)",
            25,
            "a fixture stands on a region of kitchen_table",
        ),
        (
            "(On plate_1 kitchen_table_plate_region)",
            "(On plate_1 flat_stove_1)",
            27,
            "flat_stove_1 is a fixture; name a region of it",
        ),
        (
            "(On plate_1 kitchen_table_plate_region)",
            "(In plate_1 kitchen_table_plate_region)",
            27,
            "use On for what stands on kitchen_table",
        ),
        (
            "(Open white_cabinet_1_bottom_region)",
            "(Turnon flat_stove_1) (Turnoff flat_stove_1)",
            28,
            "can never both hold",
        ),
        ("(On plate_1", "(Near plate_1", 27, "unknown predicate Near"),
    ],
)
def test_a_start_that_libero_cannot_set_up_is_refused(
    tmp_path: Path, old: str, new: str, line: int, reason: str
):
    path = spoilt(tmp_path, old, new)
    message = complaint(path)
    assert message.startswith(f"{path}, line {line}: ")
    assert reason in message


def test_a_region_of_something_undeclared_matters_only_where_it_is_used(tmp_path: Path):
    drainer = "(cook_region (:target flat_stove_1))\n (left_region (:target bowl_drainer_1))"
    text = GOOD.replace("(cook_region (:target flat_stove_1))", drainer)
    path = tmp_path / "mine.bddl"
    path.write_text(text)
    check_predicates(read_problem(path))  # libero_goal has such regions
    path.write_text(
        text.replace("In akita_black_bowl_1 white_cabinet_1_bottom", "In plate_1 bowl_drainer_1_left")
    )
    assert "bowl_drainer_1_left_region is a region of bowl_drainer_1, which this file has not" in complaint(
        path
    )
