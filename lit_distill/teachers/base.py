"""What a teacher is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lit_distill.schema import Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator


@runtime_checkable
class Teacher(Protocol):
    """Answers an observation with an action chunk and, if it can, a potential.

    Attributes:
        identity: id and version, stored with every label it gives.
    """

    identity: str

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        """Return the chunk (float32 [16, 7] in [-1, 1]) and V*(s) in [0, 1] or None.

        Args:
            observation: what the student sees, too.
            simulator: the simulator in the state that was observed. Only a privileged teacher may look
                at it, and must leave it exactly as it was.
        """
        ...
