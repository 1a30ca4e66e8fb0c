"""The twin critic of AWAC (§3.4): two Q(s, a) over a state's features and the rows of an action chunk."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lit_distill.errors import LitDistillError
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH


class TwinCritic(nn.Module):
    """Q_θ1 and Q_θ2: (features, action chunk) -> one number each.

    The two share nothing. The paper gives no architecture; ours is two hidden layers with layer
    normalisation, which keeps Q bounded where actions leave the data (Ball et al. 2023, RLPD).

    Args:
        feature_dim: Length of a state's feature vector.
        execute_steps: Rows of the chunk that are executed before the next look: those the critic sees.
        hidden: Width of both hidden layers.

    Raises:
        LitDistillError: A value cannot be right.
    """

    def __init__(self, feature_dim: int, execute_steps: int = CHUNK_LENGTH, hidden: int = 256) -> None:
        super().__init__()
        if not 1 <= execute_steps <= CHUNK_LENGTH:
            raise LitDistillError(f"execute_steps: must be in 1..{CHUNK_LENGTH}, got {execute_steps}")
        if hidden < 1:
            raise LitDistillError(f"critic_hidden: must be at least 1, got {hidden}")
        self.execute_steps = execute_steps
        self.q = nn.ModuleList(_q(feature_dim + execute_steps * ACTION_DIM, hidden) for _ in range(2))

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        """Q values.

        Args:
            features: float32 [B, F].
            actions: float32 [B, K, A], commanded chunks in [-1, 1].

        Returns:
            float32 [B, 2], one column for each critic.
        """
        seen = actions[:, : self.execute_steps].flatten(1)  # [B, execute_steps x A]
        inputs = torch.cat([features, seen], dim=-1)
        with torch.autocast(inputs.device.type, enabled=False):  # advantages are small differences
            return torch.cat([q(inputs.float()) for q in self.q], dim=-1)

    def frozen_copy(self) -> TwinCritic:
        """A copy that no optimizer touches: the start of the target critic."""
        return copy.deepcopy(self).requires_grad_(False)


def _q(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LayerNorm(hidden),
        nn.SiLU(),
        nn.Linear(hidden, hidden),
        nn.LayerNorm(hidden),
        nn.SiLU(),
        nn.Linear(hidden, 1),
    )
