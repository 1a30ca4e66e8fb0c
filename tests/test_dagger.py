"""The quantities of DAgger's rounds, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lit_distill.algorithms.dagger import best_round, beta, disagreement, first_state, keeps_improving


def test_the_papers_betas_and_after_them_the_last() -> None:
    assert [beta([0.5, 0.25, 0.0], k) for k in (1, 2, 3, 4, 9)] == [0.5, 0.25, 0.0, 0.0, 0.0]
    assert [beta([0.3], k) for k in (1, 2)] == [0.3, 0.3]


def test_rounds_take_one_block_of_states_after_another() -> None:
    assert [first_state(k, 5) for k in (1, 2, 3)] == [0, 5, 10]


def test_disagreement_by_hand() -> None:
    actions, labels = np.zeros((2, 3, 2), np.float32), np.zeros((2, 3, 2), np.float32)
    mask = np.array([[True, False, False], [True, True, False]])
    actions[0, 0] = [1.0, -1.0]
    labels[0, 0] = [0.5, 1.0]  # apart by 0.5 and 2
    labels[1, 1] = [-0.4, 0.0]  # by 0.4 and 0
    actions[0, 1] = 9.0  # not executed
    # (0.5 + 2 + 0 + 0 + 0.4 + 0) / (3 executed rows x 2 dimensions)
    assert disagreement(actions, labels, mask) == pytest.approx(2.9 / 6)
    assert math.isnan(disagreement(actions, labels, np.zeros_like(mask)))


@pytest.mark.parametrize(
    ("scores", "patience", "improving"),
    [
        ([0.5], 1, True),
        ([0.5, 0.6], 1, True),
        ([0.5, 0.5], 1, False),
        ([0.5, 0.4], 1, False),
        ([0.5, 0.4], 2, True),
        ([0.5, 0.4, 0.5], 2, False),
        ([0.5, 0.6, 0.4], 2, True),
        ([0.2, 0.6, 0.4, 0.6], 2, False),
    ],
)
def test_improving_means_above_all_before_within_the_patience(
    scores: list[float], patience: int, improving: bool
) -> None:
    assert keeps_improving(scores, patience) == improving


def test_the_best_round_is_the_earliest_of_the_best() -> None:
    assert best_round([0.2, 0.6, 0.4, 0.6]) == 2
    assert best_round([0.0]) == 1
