"""What AWAC knows of every observation of its replay data, by number, so that no update computes it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_distill.networks.student import StudentNetwork


@dataclass
class EncodedObservations:
    """Features for the critics, and the student's answers.

    Attributes:
        observations: batches of (agentview, wrist, proprio, task_index), see StudentNetwork.encode.
        device: where features and means are computed and kept.
        features: float32 [N, F], of encoders that stay as they are.
        mean: float32 [N, K, A], mu(s) as of the last `update`.
    """

    observations: Sequence[tuple[Tensor, ...]]
    device: torch.device
    features: Tensor
    mean: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, encoder: StudentNetwork, observations: Sequence[tuple[Tensor, ...]], device: torch.device
    ) -> EncodedObservations:
        """Encode every observation once."""
        features = [encoder.encode(*(part.to(device) for part in batch)).float() for batch in observations]
        return cls(observations, device, torch.cat(features), torch.empty(0, device=device))

    @torch.no_grad()
    def update(self, network: StudentNetwork) -> None:
        """Bring mu(s) of every observation up to a student."""
        means = [network(*(part.to(self.device) for part in batch)) for batch in self.observations]
        self.mean = torch.cat(means).float()
