"""The log-std head of the student's Gaussian (§3.4): AWAC trains it, nothing that is deployed has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH

LOG_STD_MIN, LOG_STD_MAX = -3.0, 0.0
"""Clamp of the log standard deviation (action units); the authors of AWAC use [-6, 0], but a student that
always answers by its mean has none, and 1 / variance says how firmly it is held to what it did."""


class LogStdHead(nn.Sequential):
    """Log standard deviation of every number of an action chunk, from the features that the mean is made of.

    It starts the same for every state, in the middle of its range.

    Args:
        feature_dim: length of a state's feature vector.
    """

    def __init__(self, feature_dim: int) -> None:
        linear = nn.Linear(feature_dim, CHUNK_LENGTH * ACTION_DIM)
        nn.init.zeros_(linear.weight)
        nn.init.constant_(linear.bias, 0.5 * (LOG_STD_MIN + LOG_STD_MAX))
        super().__init__(linear, nn.Unflatten(-1, (CHUNK_LENGTH, ACTION_DIM)))

    def forward(self, features: Tensor) -> Tensor:
        """float32 [B, F] -> float32 [B, K, A] in [LOG_STD_MIN, LOG_STD_MAX]."""
        with torch.autocast(features.device.type, enabled=False):
            log_std: Tensor = super().forward(features.float())
        return torch.clamp(log_std, LOG_STD_MIN, LOG_STD_MAX)
