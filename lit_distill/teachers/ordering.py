"""Skills that depend on other skills: a drawer that has to be open only until the bowl is in it.

Both wrap a skill and are skills themselves; see `skills.Skill`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lit_distill.teachers.skills import Skill

UNDOING_STEPS = 60.0
"""Control steps, estimated, to bring about once more what a skill before it has to undo."""


class WhileNeeded:
    """A precondition: brought about while something needs it, then left alone.

    Args:
        skill: what brings the precondition about.
        needed: whether it is still needed in the present state.
    """

    def __init__(self, skill: Skill, needed: Callable[[], bool]) -> None:
        self.skill, self.needed = skill, needed

    def done(self) -> bool:
        """Whether it holds, or nothing needs it."""
        return not self.needed() or self.skill.done()

    def act(self) -> np.ndarray:
        """See `Skill`."""
        return self.skill.act()

    def remaining(self) -> float:
        """See `Skill`."""
        return self.skill.remaining()


class Afterwards:
    """A skill that others undo: to be done, or done again, after them.

    Args:
        skill: what is to be brought about last.
        before: the skills that come before it.
    """

    def __init__(self, skill: Skill, before: Sequence[Skill]) -> None:
        self.skill, self.before = skill, list(before)

    def done(self) -> bool:
        """Whether it holds and nothing will undo it."""
        return self._its_turn() and self.skill.done()

    def act(self) -> np.ndarray:
        """See `Skill`."""
        return self.skill.act()

    def remaining(self) -> float:
        """Its own steps; while others come first, at least those of doing it again."""
        steps = self.skill.remaining()
        return steps if self._its_turn() else max(steps, UNDOING_STEPS)

    def _its_turn(self) -> bool:
        return all(skill.done() for skill in self.before)
