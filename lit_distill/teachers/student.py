"""Another checkpoint of ours as teacher: a big student teaches a small one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lit_distill.schema import Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.tasks import Task, embedding_row

if TYPE_CHECKING:  # torch is imported where a checkpoint acts, and nowhere else
    from lit_distill.networks.policy import StudentPolicy


class CheckpointTeacher:
    """A student that teaches. It gives no values: AWAC on its data runs unshaped, and says so.

    It sees the views at the size that it was built for.

    Args:
        checkpoint: path of a student's file or a Lightning checkpoint.
        device: torch device to run it on.
        threads: torch threads, so that an answer does not depend on how many workers share the machine.

    Raises:
        LitDistillError: no such checkpoint, or a damaged one.
    """

    DELIVERY: ClassVar[frozenset[str]] = frozenset({"checkpoint", "device", "threads"})
    looks_at_images = True

    def __init__(self, checkpoint: str, device: str = "cpu", threads: int = 1) -> None:
        from lit_distill.networks.checkpoint import load_student, student_sha256

        self.identity = f"checkpoint/{student_sha256(checkpoint)}"
        self._network = load_student(checkpoint, map_location=device)
        self.image_size: int | None = self._network.image_size
        self._device, self._threads = device, threads
        self._policy: tuple[Task, StudentPolicy] | None = None

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        """See `Teacher.query`.

        Raises:
            LitDistillError: a task outside the task table.
        """
        actions = self._policy_for(simulator.task).act(observation)
        return TeacherChunk(np.clip(actions, -1.0, 1.0))

    def _policy_for(self, task: Task) -> StudentPolicy:
        import torch

        from lit_distill.networks.policy import StudentPolicy

        if self._policy is None or self._policy[0] != task:
            torch.set_num_threads(self._threads)
            self._policy = (task, StudentPolicy(self._network, embedding_row(task), self._device))
        return self._policy[1]
