"""What a teacher is."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from lit_distill.errors import LitDistillError
from lit_distill.schema import Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator


class Refusal(LitDistillError):
    """A task that a teacher cannot act in.

    Args:
        bddl: the task's BDDL file.
        reason: what is missing, in a few words.
    """

    def __init__(self, bddl: Path, reason: str) -> None:
        super().__init__(bddl, reason)
        self.bddl, self.reason = bddl, reason

    def __str__(self) -> str:
        return f"{self.bddl}: the teacher {self.reason}; choose another teacher"


@runtime_checkable
class Teacher(Protocol):
    """Answers an observation with an action chunk and, if it can, a potential.

    Attributes:
        identity: id and version, stored with every label it gives.
        looks_at_images: whether it sees the observation's images, which then have to show LIBERO's own
            meshes: such a teacher was trained on them. One that does not is privileged: it looks at the
            simulator.
        image_size: edge (pixels) of the views that it wants to be asked with; None: those of the student.
    """

    identity: str
    looks_at_images: bool
    image_size: int | None

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        """Return the chunk (float32 [16, 7] in [-1, 1]) and V*(s) in [0, 1] or None.

        A value of exactly 0 says that the goal can no longer be reached: a collection ends the episode there.

        Args:
            observation: what the student sees, too, but for the size of the views.
            simulator: the simulator in the state that was observed. Only a privileged teacher may look
                at it, and must leave it exactly as it was.

        Raises:
            Refusal: it cannot act in this task at all.
        """
        ...
