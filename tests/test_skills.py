"""A plan's potential: 1 when all is done, 0 if and only if something can no longer be done."""

from __future__ import annotations

import numpy as np
import pytest

from lit_distill.teachers.skills import FULL_SKILL_STEPS, LEAST_PROGRESS, Plan


class Fixed:
    """A skill that needs so many more steps."""

    def __init__(self, steps: float) -> None:
        self.steps = steps

    def done(self) -> bool:
        return self.steps == 0.0

    def act(self) -> np.ndarray:
        return np.full(7, self.steps)

    def remaining(self) -> float:
        return self.steps


@pytest.mark.parametrize(
    ("steps", "progress"),
    [
        ([0.0, 0.0], 1.0),
        ([0.0, FULL_SKILL_STEPS / 2], 0.75),
        ([5 * FULL_SKILL_STEPS, 0.0], LEAST_PROGRESS),
        ([float("inf"), 0.0], 0.0),
        ([1.0, float("inf")], 0.0),
    ],
)
def test_only_a_lost_state_has_potential_0(steps: list[float], progress: float):
    assert Plan([Fixed(each) for each in steps]).progress() == pytest.approx(progress)


def test_the_first_skill_that_is_not_done_acts_and_the_last_once_all_are():
    assert Plan([Fixed(0.0), Fixed(3.0), Fixed(4.0)]).act()[0] == 3.0
    assert Plan([Fixed(0.0), Fixed(0.0)]).act()[0] == 0.0
