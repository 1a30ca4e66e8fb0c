"""The student as something that acts: one observation in, one action chunk out."""

from __future__ import annotations

import numpy as np
import torch

from lit_distill.errors import LitDistillError
from lit_distill.networks.log_std import LogStdHead
from lit_distill.networks.student import StudentNetwork
from lit_distill.schema import Observation


class StudentPolicy:
    """Acts with a student network, one observation at a time.

    Args:
        network: The student; moved to `device` and switched to evaluation mode, in place.
        task_index: The task's fixed number in the task table.
        device: Where the network computes.
        log_std_head: With it, actions can be sampled from the student's Gaussian.

    Raises:
        LitDistillError: The network knows fewer tasks than `task_index` asks for.
    """

    def __init__(
        self,
        network: StudentNetwork,
        task_index: int,
        device: str | torch.device = "cpu",
        log_std_head: LogStdHead | None = None,
    ) -> None:
        if not 0 <= task_index < network.num_tasks:
            raise LitDistillError(
                f"task_index: the student embeds tasks 0..{network.num_tasks - 1}, got {task_index}"
            )
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self._log_std_head = None if log_std_head is None else log_std_head.to(self.device).eval()
        self._task_index = torch.tensor([task_index], device=self.device)

    @torch.inference_mode()
    def act(self, observation: Observation) -> np.ndarray:
        """Action chunk float32 [K, A], as the network gives it: the rollout clips to [-1, 1] and counts.

        A value that is not finite is handed on as it is: the rollout ends such an episode as a failure.
        """
        return _on_host(self.network.head(self._features(observation)))

    @torch.inference_mode()
    def sample(self, observation: Observation, random: np.random.Generator) -> np.ndarray:
        """Action chunk float32 [K, A] sampled from the Gaussian pi_phi(. | s) of eq. (8), not clipped.

        Raises:
            LitDistillError: There is no log-std head.
        """
        if self._log_std_head is None:
            raise LitDistillError("log_std_head: there is none, so no action can be sampled")
        features = self._features(observation)
        mean, std = _on_host(self.network.head(features)), _on_host(self._log_std_head(features).exp())
        return mean + std * random.standard_normal(mean.shape, dtype=np.float32)

    def _features(self, observation: Observation) -> torch.Tensor:
        """float32 [1, F]."""
        return self.network.encode(
            self._batch(observation.agentview),
            self._batch(observation.wrist),
            self._batch(observation.proprio),
            self._task_index,
        )

    def _batch(self, array: np.ndarray) -> torch.Tensor:
        """[...] on the host -> [1, ...] on the device."""
        return torch.from_numpy(np.ascontiguousarray(array))[None].to(self.device)


def _on_host(chunks: torch.Tensor) -> np.ndarray:
    """[1, K, A] on the device -> float32 [K, A] on the host."""
    return chunks[0].float().cpu().numpy()
