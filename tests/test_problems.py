"""What LIBERO's classes know of a BDDL file: categories, regions, what opens and what switches."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from bddl_texts import GOAL_LINE, spoilt, with_goal

from lit_distill.errors import LitDistillError
from lit_distill.sim.environment import make_environment
from lit_distill.tasks import TASKS
from lit_distill.tasks.bddl import read_problem
from lit_distill.tasks.goals import check_predicates

pytestmark = pytest.mark.libero


def complaint(path: Path) -> str:
    from lit_distill.sim.problems import check_problem

    problem = read_problem(path)
    check_predicates(problem)
    with pytest.raises(LitDistillError) as caught:
        check_problem(problem)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_our_files_and_all_official_ones_are_accepted():
    from lit_distill.sim.problems import check_problem

    spec = importlib.util.find_spec("libero")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations))) / "libero" / "bddl_files"
    suites = ("libero_object", "libero_goal", "libero_spatial", "libero_10", "libero_90")
    official = [path for suite in suites for path in folder.glob(f"{suite}/*.bddl")]
    assert len(official) == 130
    for path in [*official, *(task.bddl for task in TASKS.values())]:
        problem = read_problem(path)
        check_predicates(problem)
        check_problem(problem)


@pytest.mark.parametrize(
    ("goal", "reason"),
    [
        ("(Open plate_1)", "(Open plate_1): Open does not apply to a plate"),
        ("(Turnon white_cabinet_1)", "Turnon does not apply to a white_cabinet"),
        ("(Turnon flat_stove_1_cook_region)", "Turnon does not apply to cook_region of a flat_stove"),
        ("(Close flat_stove_1)", "Close does not apply to a flat_stove"),
        ("(Open kitchen_table_bowl_region)", "Open does not apply to bowl_region of a kitchen_table"),
    ],
)
def test_a_predicate_of_the_wrong_kind_of_thing_is_refused(tmp_path: Path, goal: str, reason: str):
    path = with_goal(tmp_path, goal)
    message = complaint(path)
    assert message.startswith(f"{path}, line {GOAL_LINE}: ")
    assert reason in message


def test_an_unknown_class_is_answered_with_the_nearest(tmp_path: Path):
    path = spoilt(tmp_path, "- akita_black_bowl", "- akita_black_bowls")
    assert complaint(path) == (
        f"{path}, line 19: akita_black_bowl_1: LIBERO has no object class 'akita_black_bowls'; "
        "did you mean akita_black_bowl?"
    )


def test_a_region_that_the_class_has_not_is_answered_with_those_that_it_has(tmp_path: Path):
    path = spoilt(tmp_path, "(cook_region (:target flat_stove_1))", "(lid_region (:target flat_stove_1))")
    path.write_text(path.read_text().replace("white_cabinet_1_bottom_region)", "flat_stove_1_lid_region)", 2))
    path.write_text(path.read_text().replace("(Open flat_stove_1_lid_region)", ""))
    assert "flat_stove_1 has no region lid_region; it has: " in complaint(path)
    assert "cook_region" in complaint(path)


def test_no_environment_is_made_of_a_bad_file(tmp_path: Path):
    path = with_goal(tmp_path, "(Open plate_1)")
    with pytest.raises(LitDistillError, match="line 30: .* does not apply to a plate"):
        make_environment(path, image_size=32)
    path = spoilt(tmp_path, "(:domain", "(:domain (")
    with pytest.raises(LitDistillError, match="line 1: this parenthesis is never closed"):
        make_environment(path, image_size=32)
