"""DAgger (§3.3 of the paper; Ross et al. 2011): the quantities of its rounds.

    D <- D_BC
    for rounds k = 1, 2, ...:
        roll out the mixture: of each chunk, with probability beta_k the teacher's, else pi_{k-1}'s
        D <- D + {(o, a_teacher(o)) for every visited o}, whoever acted, whatever became of the episode
        pi_k <- the minimiser of L_BC, eq. (1), on D, trained from scratch

pi_0 is the BC student. The paper: beta = 0.5, 0.25, 0 in three rounds of 5 rollouts. `callbacks.dagger` runs
the rounds, `behaviours.MixtureBehaviour` is the mixture, `bc.BehaviorCloning` the training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def beta(betas: Sequence[float], round_number: int) -> float:
    """beta_k, k from 1; the last of `betas` holds for all later rounds."""
    return betas[min(round_number, len(betas)) - 1]


def first_state(round_number: int, rollouts: int) -> int:
    """The first initial state of a round, k from 1: every round goes on where the one before it ended."""
    return (round_number - 1) * rollouts


def disagreement(actions: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> float:
    """How far student and teacher are apart: the mean of abs(a_student - a_teacher), action units.

    Args:
        actions: float32 [N, K, A], what the student commanded, clipped to [-1, 1].
        labels: float32 [N, K, A], the teacher's chunks for the same observations.
        mask: bool [N, K], the rows that were executed; the others do not count.

    Returns:
        The mean over executed rows and A, in [0, 2]; NaN if no row was executed.
    """
    apart = np.abs(actions - labels)[mask]  # [executed rows, A]
    return float(apart.mean()) if len(apart) else float("nan")


def keeps_improving(scores: Sequence[float], patience: int) -> bool:
    """Whether one of the last `patience` scores is above all before them."""
    return len(scores) <= patience or max(scores[-patience:]) > max(scores[:-patience])


def best_round(scores: Sequence[float]) -> int:
    """The round, from 1, with the highest score; the earliest of equals."""
    return 1 + max(range(len(scores)), key=lambda index: (scores[index], -index))
