"""From a BDDL goal to a plan, or to one line that says why there is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lit_distill.errors import LitDistillError
from lit_distill.tasks import get_task
from lit_distill.teachers.planner import make_plan

TASK = get_task("custom_libero_object_ketchup")


@pytest.mark.parametrize(
    ("goal", "complaint"),
    [
        ([["stack", "a_1", "basket_1"]], "no skill for (stack a_1 basket_1)"),
        ([["in", "b_1", "basket_1_contain_region"]], "no skill for (in b_1 basket_1_contain_region)"),
        ([["in", "a_1", "box_1_contain_region"]], "cannot put anything into box_1_contain_region"),
    ],
)
def test_a_goal_that_it_cannot_plan_is_said_in_one_line(goal: list[list[str]], complaint: str):
    scene: Any = SimpleNamespace(
        goal=goal,
        objects=["a_1", "basket_1"],
        simulator=SimpleNamespace(task=TASK),
        parent=lambda region: None,
    )
    with pytest.raises(LitDistillError) as caught:
        make_plan(scene)
    message = str(caught.value)
    assert message.startswith(f"{TASK.bddl}: ")
    assert complaint in message
    assert "choose another teacher" in message
    assert "\n" not in message
