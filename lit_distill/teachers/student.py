"""Another checkpoint of ours as teacher: a big student teaches a small one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lit_distill.schema import Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.tasks import Task, embedding_row
from lit_distill.teachers.base import Refusal
from lit_distill.teachers.cost import QueryCost

if TYPE_CHECKING:  # torch is imported where a checkpoint acts, and nowhere else
    from lit_distill.networks.policy import StudentPolicy


class CheckpointTeacher:
    """A student that teaches. It gives no values: AWAC on its data runs unshaped, and says so.

    It sees the views at the size that it was built for, of the meshes that it learnt from.

    Args:
        checkpoint: path of a student's file or a Lightning checkpoint.
        device: torch device to run it on.
        threads: torch threads, so that an answer does not depend on how many workers share the machine.

    Raises:
        LitDistillError: no such checkpoint, or a damaged one.

    Attributes:
        counts: what it was asked so far, and how many of its values were clipped.
    """

    DELIVERY: ClassVar[frozenset[str]] = frozenset({"checkpoint", "device", "threads"})
    looks_at_images = True
    zero_is_lost = False

    def __init__(self, checkpoint: str, device: str = "cpu", threads: int = 1) -> None:
        from lit_distill.networks.checkpoint import load_saved_student, student_sha256

        self.identity = f"checkpoint/{student_sha256(checkpoint)}"
        saved = load_saved_student(checkpoint, map_location=device)
        self.counts = QueryCost()
        self.meshes: str | None = ((saved.training or {}).get("data") or {}).get("meshes")
        self._task, self._network = saved.task, saved.network
        self.image_size: int | None = self._network.image_size
        self._device, self._threads = device, threads
        self._policy: tuple[Task, StudentPolicy] | None = None

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        """See `Teacher.query`.

        Raises:
            Refusal: it was trained on another task.
            LitDistillError: a task outside the task table.
        """
        task = simulator.task
        if self._task not in (None, task.name):
            raise Refusal(task.bddl, f"is a student that was trained on {self._task}")
        actions = self._policy_for(task).act(observation)
        self.counts += QueryCost(queries=1, clipped=int(np.sum(np.abs(actions) > 1.0)))
        return TeacherChunk(np.clip(actions, -1.0, 1.0))

    def _policy_for(self, task: Task) -> StudentPolicy:
        import torch

        from lit_distill.networks.policy import StudentPolicy

        if self._policy is None or self._policy[0] != task:
            torch.set_num_threads(self._threads)
            self._policy = (task, StudentPolicy(self._network, embedding_row(task), self._device))
        return self._policy[1]
