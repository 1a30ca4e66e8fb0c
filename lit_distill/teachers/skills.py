"""What the embedded teacher's plans are made of.

A skill brings about one predicate of the goal (an object in its place, a knob turned, a door or drawer open
or closed) from any state that it can be brought about from. It is decided from the present state alone,
never from time or memory, so that it can be asked in any state that a student got itself into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

FULL_SKILL_STEPS = 160.0
"""Control steps of the longest way to bring about one predicate that is worth a potential above the least."""
LEAST_PROGRESS = 0.01
"""Potential of a state that is far from the goal but not lost: 0 is kept for what is lost, since a collection
ends an episode there."""


class Skill(Protocol):
    """Brings about one predicate."""

    def done(self) -> bool:
        """Whether the predicate holds in the present state, so that the next skill may go on."""
        ...

    def act(self) -> np.ndarray:
        """Return the action [7] for the present state."""
        ...

    def remaining(self) -> float:
        """Control steps until it is done, estimated; infinite if it can no longer be brought about."""
        ...


class Plan:
    """Skills in the order in which they have to be brought about.

    Args:
        skills: the plan; one that a later state undoes (a door pushed shut) is simply done again.
    """

    def __init__(self, skills: Sequence[Skill]) -> None:
        self.skills = list(skills)

    def act(self) -> np.ndarray:
        """Return the action [7] of the first skill that is not done."""
        undone = [skill for skill in self.skills if not skill.done()]
        return (undone[0] if undone else self.skills[-1]).act()

    def progress(self) -> float:
        """Potential of the present state in [0, 1]: 1 - remaining steps / a full plan's; 0 says lost."""
        remaining = sum(skill.remaining() for skill in self.skills if not skill.done())
        if np.isinf(remaining):
            return 0.0
        return float(np.clip(1.0 - remaining / (FULL_SKILL_STEPS * len(self.skills)), LEAST_PROGRESS, 1.0))
