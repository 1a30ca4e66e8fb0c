"""What a teacher is."""

from __future__ import annotations

import dataclasses
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
        zero_is_lost: whether its value is 0 where the goal can no longer be reached, and nowhere else: a
            collection may end the episode there. Elsewhere 0 is only a low value.

    One whose queries take longer than a rollout takes anyway says how long: `longest_wait`, see
    `TeacherSpec.longest_wait`. One that looks at images and learnt from others than LIBERO's own meshes says
    so: `meshes`, see `TeacherSpec.check_meshes`.
    """

    identity: str
    looks_at_images: bool
    image_size: int | None
    zero_is_lost: bool

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        """Return the chunk (float32 [16, 7] in [-1, 1]) and V*(s) in [0, 1] or None.

        Args:
            observation: what the student sees, too, but for the size of the views.
            simulator: the simulator in the state that was observed. Only a privileged teacher may look
                at it, and must leave it exactly as it was.

        Raises:
            Refusal: it cannot act in this task at all.
        """
        ...


def view(size: int | None, observation: Observation, simulator: ChunkSimulator) -> Observation:
    """The observation with views of the size (edge, pixels) that a teacher wants; None: as they are."""
    if size is None or size == len(observation.agentview):
        return observation
    return dataclasses.replace(
        observation,
        agentview=simulator.render("agentview", size),
        wrist=simulator.render("wrist", size),
    )
