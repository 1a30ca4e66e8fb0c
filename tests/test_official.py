"""The official suites by name: language, horizon, states, and where the fixtures stand."""

from __future__ import annotations

import pytest

from lit_distill.errors import LitDistillError
from lit_distill.tasks import TASKS, embedding_row, get_task, task_names
from lit_distill.tasks.official import OFFICIAL_SUITES, split_name, suite_tasks


def test_a_suite_has_its_tasks_with_language_and_horizon_of_the_field():
    assert {suite: len(suite_tasks(suite)) for suite in OFFICIAL_SUITES} == {
        "libero_spatial": 10,
        "libero_object": 10,
        "libero_goal": 10,
        "libero_10": 10,
        "libero_90": 90,
    }
    horizons = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520}
    for suite, horizon in horizons.items():
        assert {get_task(name).horizon for name in suite_tasks(suite)} == {horizon}


@pytest.mark.parametrize("separator", ["/", "_"])
def test_a_task_is_known_by_suite_and_file_name(separator: str):
    task = get_task(f"libero_goal{separator}turn_on_the_stove")
    assert task.name == "libero_goal_turn_on_the_stove"
    assert task.language == "turn on the stove"
    assert task.scene == "libero_tabletop_manipulation"
    assert (task.suite, task.index) == ("libero_goal", None)
    assert task.bddl.is_file()


@pytest.mark.libero
def test_languages_are_those_of_liberos_own_benchmark():
    from libero.libero.benchmark import task_maps

    for suite in OFFICIAL_SUITES:
        ours = {name: get_task(name).language for name in suite_tasks(suite)}
        assert ours == {f"{suite}_{name}": task.language for name, task in task_maps[suite].items()}


def test_an_unknown_official_task_is_answered_with_the_nearest():
    with pytest.raises(LitDistillError) as caught:
        get_task("libero_goal/turn_on_the_stov")
    assert str(caught.value) == (
        "task: libero_goal has no task 'turn_on_the_stov'; did you mean 'libero_goal_turn_on_the_stove'?"
    )


def test_names_stand_for_one_task_a_suite_or_the_table():
    stove = "libero_goal/turn_on_the_stove"
    assert task_names("all") == list(TASKS)
    assert task_names([stove, "libero_10"]) == [stove, *suite_tasks("libero_10")]
    assert task_names("custom_libero_10_stove_on") == ["custom_libero_10_stove_on"]
    with pytest.raises(LitDistillError, match="unknown task 'libero_goel'"):
        task_names([stove, "libero_goel"])
    with pytest.raises(LitDistillError, match="name at least one"):
        task_names([])


def test_our_own_names_are_of_no_suite():
    assert all(split_name(name) is None for name in TASKS)


def test_no_student_is_trained_on_a_task_without_an_embedding():
    assert embedding_row(get_task("custom_libero_object_milk")) == 10
    with pytest.raises(LitDistillError, match="libero_goal_turn_on_the_stove is not in the task table"):
        embedding_row(get_task("libero_goal/turn_on_the_stove"))
