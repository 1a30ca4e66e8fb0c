"""BDDL files are read without LIBERO; what is wrong with one is told by file, line and reason."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from bddl_texts import GOOD, spoilt

from lit_distill.errors import LitDistillError
from lit_distill.tasks import TASKS
from lit_distill.tasks.bddl import SCENES, read_problem

libero = pytest.mark.libero


def complaint(path: Path) -> str:
    with pytest.raises(LitDistillError) as caught:
        read_problem(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_is_read_as_it_is_written(tmp_path: Path):
    path = tmp_path / "mine.bddl"
    path.write_text(GOOD)
    problem = read_problem(path)
    assert problem.scene == "libero_kitchen_tabletop_manipulation"
    assert problem.workspace == "kitchen_table"
    assert problem.language == "Put the Bowl away"
    assert problem.objects == {"akita_black_bowl_1": "akita_black_bowl", "plate_1": "plate"}
    assert problem.fixtures["flat_stove_1"] == "flat_stove"
    assert problem.regions["kitchen_table_bowl_region"].ranges == ((0.0, -0.07, 0.05, -0.02),)
    assert problem.owner("white_cabinet_1_top_region") == "white_cabinet_1"
    assert [str(predicate) for predicate in problem.goal] == [
        "(In akita_black_bowl_1 white_cabinet_1_bottom_region)",
        "(Turnon flat_stove_1)",
    ]
    assert [predicate.line for predicate in problem.start] == [24, 25, 26, 27, 28]


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        (" (Turnon flat_stove_1)))\n)", " (Turnon flat_stove_1)))", 1, "this parenthesis is never closed"),
        ("(:domain robosuite)", "(:domain robosuite))", 31, "a closing parenthesis without an opening one"),
        ("(define", "(defined", 1, "the file must be one `(define (problem ...) ...)`"),
        (
            "Kitchen_Tabletop",
            "Kitchen_Table",
            1,
            "unknown problem 'LIBERO_Kitchen_Table_Manipulation'; did you mean "
            "libero_kitchen_tabletop_manipulation?",
        ),
        ("domain robosuite", "domain igibson", 2, "the domain must be robosuite, not igibson"),
        ("  (:goal", "  (:gaol", 30, "unknown section `(:gaol`; did you mean :goal?"),
        ("(:language Put the Bowl away)", "", 1, "section `(:language ...)` is missing"),
        ("(:domain robosuite)", "(:domain robosuite) (:domain x)", 2, "a second section `(:domain`"),
        ("kitchen_table - kitchen_table", "table - table", 13, "needs the fixture `kitchen_table - "),
        ("plate_1 - plate", "plate_1", 20, "plate_1 has no category; write `plate_1 - category`"),
        ("plate_1 - plate", "- plate", 20, "a `-` stands between instances and their category"),
        ("plate_1 - plate", "flat_stove_1 - plate", 20, "flat_stove_1 is declared twice"),
        (
            "plate_1 - plate",
            "plate_1 - akita_black_bowl",
            20,
            "two lists of akita_black_bowl; put its instances into one",
        ),
        ("((0.0 -0.07 0.05 -0.02))", "((0.0 -0.07 0.05))", 7, "a range is four numbers: x0 y0 x1 y1 (m)"),
        ("((0.0 -0.07 0.05 -0.02))", "((0.0 -0.07 x -0.02))", 7, "a range is four numbers"),
        ("((0.0 -0.07 0.05 -0.02))", "((0.1 -0.07 0.05 -0.02))", 7, "a range's lower corner comes first"),
        ("((0.0 -0.07 0.05 -0.02))", "(0.0 -0.07 0.05 -0.02)", 7, "a parenthesis must come before '0.0'"),
        (" (:ranges ((0.0 -0.07 0.05 -0.02)))", "", 7, "region kitchen_table_bowl_region needs (:ranges"),
        *(
            ("((0.0 -0.07 0.05 -0.02))", f"((0.0 -0.07 {entry} -0.02))", 7, "a range is four numbers")
            for entry in ("nan", "inf", "0.05 (x)")
        ),
        ("(0 pi/2)", "(0 exit)", 5, "a yaw_rotation is two numbers (rad): from, to"),
        *(
            ("(0 pi/2)", f"(0 {entry})", 5, "a yaw_rotation is two numbers (rad): from, to")
            for entry in ("pi/0", "pi/0.0", "pie5", "010", "1e999", "pi*010", "nan")
        ),
        ("(:target flat_stove_1)", "", 11, "region cook_region has no (:target ...)"),
        ("(:target flat_stove_1)", "(:tarket flat_stove_1)", 11, "has an unknown attribute :tarket"),
        ("(bottom_region", "(top_region", 10, "a second region white_cabinet_1_top_region"),
        (
            "(On plate_1 kitchen_table_plate_region)",
            "(On plate_2 kitchen_table_plate_region)",
            27,
            "plate_2 is no object, fixture or region of this file; did you mean plate_1?",
        ),
        (
            "In akita_black_bowl_1 white_cabinet_1_bottom_region",
            "In akita_black_bowl_1 white_cabinet_1_middle_drawer",
            30,
            "white_cabinet_1_middle_drawer is no object, fixture or region of this file",
        ),
        ("(:obj_of_interest akita_black_bowl_1)", "(:obj_of_interest mug_1)", 22, "mug_1 is no object"),
        ("(:goal (And", "(:goal (On plate_1 plate_1) (And", 30, "the goal is one predicate or one `(And"),
        ("(Turnon flat_stove_1)", "((Turnon flat_stove_1))", 30, "a predicate begins with its name"),
        ("(Turnon flat_stove_1)", "(Not (Turnon flat_stove_1))", 30, "no parentheses belong into `(not"),
    ],
)
def test_a_spoilt_file_is_refused_by_name_line_and_reason(
    tmp_path: Path, old: str, new: str, line: int, reason: str
):
    path = spoilt(tmp_path, old, new)
    message = complaint(path)
    assert message.startswith(f"{path}, line {line}: ")
    assert reason in message


def test_an_empty_goal_is_refused(tmp_path: Path):
    path = tmp_path / "mine.bddl"
    path.write_text(GOOD.replace(GOOD[GOOD.index("(And") : GOOD.index(")))\n)") + 2], "(And)"))
    assert complaint(path) == f"{path}, line 30: the goal asks for nothing; LIBERO would call it met at once"


def test_a_missing_or_binary_file_is_refused_by_name(tmp_path: Path):
    assert complaint(tmp_path / "none.bddl") == f"{tmp_path / 'none.bddl'}: no such BDDL file"
    path = tmp_path / "binary.bddl"
    path.write_bytes(b"\xff\xfe\x00")
    assert complaint(path).startswith(f"{path}: cannot be read: ")


@pytest.mark.parametrize("task", TASKS)
def test_our_own_files_are_read(task: str):
    problem = read_problem(TASKS[task].bddl)
    assert problem.scene == TASKS[task].scene
    assert problem.language == TASKS[task].language


def test_every_official_file_is_read():
    spec = importlib.util.find_spec("libero")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations))) / "libero" / "bddl_files"
    suites = ("libero_object", "libero_goal", "libero_spatial", "libero_10", "libero_90")
    problems = [read_problem(path) for suite in suites for path in folder.glob(f"{suite}/*.bddl")]
    assert len(problems) == 130
    assert {problem.scene for problem in problems} <= SCENES.keys()
    assert all(problem.goal and problem.language for problem in problems)


@libero
def test_the_scenes_are_those_of_libero():
    from libero.libero.envs.regions import REGION_SAMPLERS

    assert {scene: {category} for scene, (_, category) in SCENES.items()} == {
        scene: set(samplers) for scene, samplers in REGION_SAMPLERS.items()
    }
