"""What AWAC knows of every observation of its replay data, by number, so that no update computes it again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_distill.errors import LitDistillError
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

    def state_dict(self) -> dict[str, Any]:
        """What cannot be computed again: mu(s) as of the last `update`, and of which observations."""
        return {"mean": self.mean.cpu(), "sha256": self._sha256()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`.

        Raises:
            LitDistillError: They are not the observations that it was of, in their order.
        """
        if state["sha256"] != self._sha256():
            raise LitDistillError(
                f"--ckpt_path: its run learnt from {len(state['mean'])} observations, and the "
                f"{len(self.features)} of these data are others: bring back its episodes and options of the "
                "data (students, held_out), or fit without --ckpt_path"
            )
        self.mean = state["mean"].to(self.device)

    def _sha256(self) -> str:
        """Tells observations and their order apart by their proprioception."""
        digest = hashlib.sha256()
        for _, _, proprio, _ in self.observations:
            digest.update(proprio.numpy().tobytes())
        return digest.hexdigest()
