"""Eqs. (3) to (8) by numbers worked out by hand: flip a sign, drop a γ, unmask a row: a test fails."""

from __future__ import annotations

import math

import pytest
import torch

from lit_distill.algorithms.awac_terms import (
    actor_error,
    advantage,
    advantage_weight,
    chunk_discount,
    chunk_return,
    critic_error,
    effective_sample_size,
    log_probability,
    shaped_return,
    step_potential,
    td_target,
)

NAN = float("nan")


def close(tensor: torch.Tensor, *expected: float) -> None:
    torch.testing.assert_close(tensor, torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_the_return_discounts_each_control_step():
    rewards = torch.zeros(3, 16)
    rewards[0, 0], rewards[1, 2], rewards[2, 0], rewards[2, 1] = 1.0, 1.0, 2.0, 4.0
    close(chunk_return(rewards, 0.5), 1.0, 0.25, 2.0 + 2.0)


def test_the_discount_is_gamma_to_the_executed_steps_and_zero_at_the_end():
    executed, terminal = torch.tensor([16, 3, 3]), torch.tensor([False, False, True])
    close(chunk_discount(executed, terminal, 0.5), 0.5**16, 0.125, 0.0)


def test_shaping_is_the_discounted_gain_in_potential():
    """R = 1, ℓ = 2, γ = 1/2: 1 + 3 (1/4 · 0.8 - 0.4) = 0.4; the end of a failure: 0 + 3 (0 - 0.4)."""
    shaped = shaped_return(
        returns=torch.tensor([1.0, 0.0]),
        executed=torch.tensor([2, 2]),
        value=torch.tensor([0.4, 0.4]),
        next_value=torch.tensor([0.8, 0.0]),
        gamma=0.5,
        lambda_tpr=3.0,
    )
    close(shaped, 0.4, -1.2)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_the_potential_of_a_lost_state_is_zero_and_of_an_unknown_one_unknown(gamma: float):
    """gamma = 1, too, where 1^inf = 1^nan = 1 would make the lost as good as the won."""
    got = step_potential(torch.tensor([0.0, 2.0, math.inf, NAN]), gamma)
    torch.testing.assert_close(got, torch.tensor([1.0, gamma**2, 0.0, NAN]), equal_nan=True)


@pytest.mark.parametrize(("value", "next_value"), [(NAN, 0.5), (0.5, NAN), (NAN, NAN)])
def test_a_missing_potential_leaves_the_return_unshaped(value: float, next_value: float):
    one = torch.ones(1)
    close(shaped_return(0.7 * one, one.long(), value * one, next_value * one, 0.9, 2.0), 0.7)


def test_lambda_tpr_zero_is_plain_awac():
    one = torch.ones(1)
    close(shaped_return(0.7 * one, one.long(), 0.1 * one, 0.9 * one, 0.9, 0.0), 0.7)


def test_shaping_telescopes_to_the_potential_of_the_start():
    """Σ_i Γ^i R̃_i = Σ Γ^i R_i + λ (γ^L V_end - V_0): the policy that is optimal stays so (Ng et al. 1999)."""
    gamma, values = 0.9, torch.tensor([0.2, 0.5, 0.4, 1.0])
    executed = torch.tensor([16, 16, 5])
    shaped = shaped_return(torch.zeros(3), executed, values[:-1], values[1:], gamma, 2.0)
    starts = torch.tensor([0.0, 16.0, 32.0])
    close((gamma**starts * shaped).sum()[None], 2.0 * (gamma**37 * 1.0 - 0.2))


def test_the_target_takes_the_smaller_critic_and_stops_at_the_end():
    next_q = torch.tensor([[2.0, 3.0], [5.0, 1.0], [9.0, 9.0]])
    close(td_target(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([0.5, 0.5, 0.0]), next_q), 2.0, 1.5, 1.0)


def test_the_critic_error_sums_both_critics():
    close(critic_error(torch.tensor([[1.0, 4.0]]), torch.tensor([2.0])), 1.0 + 4.0)


def test_the_advantage_compares_minima():
    close(advantage(torch.tensor([[3.0, 1.0]]), torch.tensor([[0.5, 2.0]])), 0.5)
    close(advantage(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 2.0]])), -0.5)


def test_the_weight_is_an_exponential_clipped_at_w_max():
    weight = advantage_weight(torch.tensor([0.0, 0.5, -0.5, 50.0]), lambda_awac=0.5, w_max=10.0)
    close(weight, 1.0, math.e, 1.0 / math.e, 10.0)


def test_the_log_probability_is_that_of_torch_over_the_executed_rows():
    generator = torch.Generator().manual_seed(0)
    actions, mean, log_std = (torch.randn(2, 16, 7, generator=generator) for _ in range(3))
    mask = torch.arange(16) < torch.tensor([[16], [5]])
    density = torch.distributions.Normal(mean, log_std.exp()).log_prob(actions).sum(dim=-1)
    expected = torch.stack([density[0].sum(), density[1, :5].sum()])
    torch.testing.assert_close(log_probability(actions, mean, log_std, mask), expected)


def test_one_row_by_hand():
    """a - μ = 1, σ = 2 in each of 7 dimensions: 7 (-1/8 - ln 2 - ln √(2π))."""
    rows = torch.zeros(1, 16, 7)
    mask = torch.arange(16)[None] < 1
    got = log_probability(rows + 1.0, rows, rows + math.log(2.0), mask)
    close(got, 7 * (-0.125 - math.log(2.0) - 0.5 * math.log(2.0 * math.pi)))


def test_the_actor_error_is_minus_the_weighted_log_probability():
    close(actor_error(torch.tensor([2.0]), torch.tensor([-3.0])), 6.0)


def test_the_effective_sample_size_is_a_share():
    close(effective_sample_size(torch.ones(4))[None], 1.0)
    close(effective_sample_size(torch.tensor([1.0, 0.0, 0.0, 0.0]))[None], 0.25)
    close(effective_sample_size(torch.tensor([3.0, 1.0]))[None], 16.0 / 20.0)
