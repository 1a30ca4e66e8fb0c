"""What a results file's values say about a teacher's potential."""

from __future__ import annotations

from typing import Any

import pytest

from lit_distill.study.potential import Potential, potential


def episode(outcome: str, *values: float) -> dict[str, Any]:
    return {"outcome": outcome, "values": list(values)}


def test_falls_are_counted_over_the_steps_of_successful_episodes_alone():
    found = potential([episode("success", 0.1, 0.3, 0.2, 0.9), episode("timeout", 0.5, 0.4, 0.3)])
    assert found is not None
    assert found.falls == pytest.approx(1 / 3)
    assert found.chunks == 7


def test_auroc_is_one_for_values_that_separate_and_a_half_for_constant_ones():
    apart = potential([episode("success", 0.7, 0.9), episode("failure", 0.6, 0.0)])
    assert apart is not None and apart.auroc == 1.0
    # Of the 2 x 2 pairs one is in the wrong order.
    mixed = potential([episode("success", 0.5, 0.9), episode("timeout", 0.6, 0.0)])
    assert mixed is not None and mixed.auroc == pytest.approx(0.75)
    constant = potential([episode("success", 0.5, 0.5), episode("timeout", 0.5)])
    assert constant is not None and constant.auroc == pytest.approx(0.5)


def test_the_last_values_of_unsuccessful_episodes_are_averaged():
    found = potential([episode("timeout", 0.9, 0.2), episode("failure", 0.4), episode("success", 1.0)])
    assert found is not None and found.failed_last == pytest.approx(0.3)


def test_what_cannot_be_said_is_none():
    assert potential([]) is None
    assert potential([{"outcome": "success"}]) is None
    assert potential([episode("success", 0.5)]) == Potential(1, None, None, None, 0)


def test_episodes_that_were_called_lost_and_were_not_are_counted():
    lost = episode("timeout", 0.5, 0.0, 0.0)
    found = potential([episode("success", 0.5, 0.0, 0.9), episode("success", 0.5), lost])
    assert found is not None and found.false_lost == 1
    found = potential([episode("timeout", 0.5, 0.0, 0.4), episode("success", 0.5, 0.0), lost])
    assert found is not None and found.false_lost == 2
