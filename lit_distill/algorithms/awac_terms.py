"""AWAC's equations (§3.4 of the paper), one function each: tensors in, one value per transition out.

Symbols as in `lit_distill.algorithms.awac`, which reads in their order.
"""

from __future__ import annotations

import torch
from torch import Tensor

HALF_LOG_2PI = 0.9189385332046727


def chunk_return(rewards: Tensor, gamma: float) -> Tensor:
    """R_i = sum_{j < l} gamma^j r_{i+j}.

    Args:
        rewards: float32 [B, K], 0 beyond l.

    Returns:
        float32 [B].
    """
    discounts = gamma ** torch.arange(rewards.shape[1], dtype=rewards.dtype, device=rewards.device)
    return (rewards * discounts).sum(dim=-1)  # no product of matrices: autocast would round it to bfloat16


def chunk_discount(executed: Tensor, terminal: Tensor, gamma: float) -> Tensor:
    """Gamma_i = gamma^l, 0 at terminal chunks.

    Args:
        executed: int64 [B], l.
        terminal: bool [B]; a timeout is terminal.

    Returns:
        float32 [B].
    """
    return torch.where(terminal, 0.0, gamma ** executed.float())


def step_potential(steps: Tensor, gamma: float) -> Tensor:
    """V* of n steps to success: gamma^n.

    Args:
        steps: float32 [B], n, infinite for never, NaN where it is not known.

    Returns:
        float32 [B], 0 for never and NaN where n is not known, whatever gamma: both powers of 1 would be 1.
    """
    return (gamma**steps).masked_fill(steps.isinf(), 0.0).masked_fill(steps.isnan(), torch.nan)


def shaped_return(
    returns: Tensor,
    executed: Tensor,
    value: Tensor,
    next_value: Tensor,
    gamma: float,
    lambda_tpr: float,
) -> Tensor:
    """R~_i of eq. (3).

    Args:
        returns: float32 [B], R_i.
        executed: int64 [B], l.
        value: float32 [B], V*(s_i), NaN where the teacher gave none.
        next_value: float32 [B], V*(s_{i+l}), at terminal chunks 1 or 0, NaN where there is none.

    Returns:
        float32 [B]; R_i where an endpoint has no value.
    """
    shaping = lambda_tpr * (gamma ** executed.float() * next_value - value)
    return returns + torch.where(shaping.isnan(), 0.0, shaping)


def td_target(shaped: Tensor, discount: Tensor, next_q: Tensor) -> Tensor:
    """y_i of eq. (4).

    Args:
        shaped: float32 [B], R~_i.
        discount: float32 [B], Gamma_i.
        next_q: float32 [B, 2], target critics at (s_{i+l}, mu(s_{i+l})).

    Returns:
        float32 [B].
    """
    return shaped + discount * next_q.min(dim=-1).values


def critic_error(q: Tensor, target: Tensor) -> Tensor:
    """The sum in eq. (5).

    Args:
        q: float32 [B, 2].
        target: float32 [B], y_i, without gradient.

    Returns:
        float32 [B].
    """
    return (q - target[:, None]).square().sum(dim=-1)


def advantage(q_action: Tensor, q_mean: Tensor) -> Tensor:
    """A_i of eq. (6).

    Args:
        q_action: float32 [B, 2], critics at the stored action.
        q_mean: float32 [B, 2], critics at the policy's mean.

    Returns:
        float32 [B].
    """
    return q_action.min(dim=-1).values - q_mean.min(dim=-1).values


def advantage_weight(advantage: Tensor, lambda_awac: float, w_max: float) -> Tensor:
    """w_i of eq. (7), float32 [B] in (0, w_max]."""
    return (advantage / lambda_awac).exp().clamp(max=w_max)


def log_probability(actions: Tensor, mean: Tensor, log_std: Tensor, mask: Tensor) -> Tensor:
    """log pi(a | s) of a diagonal Gaussian, summed over the executed rows and their dimensions.

    Args:
        actions, mean, log_std: float32 [B, K, A].
        mask: bool [B, K], the executed rows.

    Returns:
        float32 [B].
    """
    z = (actions - mean) * (-log_std).exp()
    log_density = -0.5 * z.square() - log_std - HALF_LOG_2PI  # [B, K, A]
    return (mask * log_density.sum(dim=-1)).sum(dim=-1)


def actor_error(weight: Tensor, log_probability: Tensor) -> Tensor:
    """The term in eq. (8): -w_i log pi, float32 [B]; the weight is without gradient."""
    return -weight * log_probability


def effective_sample_size(weight: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 as a share of B, in (0, 1]: 1 if all weights are equal."""
    return weight.sum().square() / (len(weight) * weight.square().sum())
