"""The last imagined future, kept, because the physics is deterministic.

A teacher that acts has imagined what it now executes, and at its next query much of what it would imagine
again. Here is what was done in each imagined state and what came of it. A state or an action that differs in
one bit is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from lit_distill.sim.simulator import Snapshot


class ImaginedStep(NamedTuple):
    """One control step of the future: the action float32 [7], and the state after it."""

    action: np.ndarray
    after: Snapshot


class Imagination:
    """One future: imagined control steps by the state that they start from."""

    def __init__(self) -> None:
        self._act: Callable[[], np.ndarray] | None = None
        self._steps: dict[bytes, ImaginedStep] = {}

    def __len__(self) -> int:
        """How many control steps are known."""
        return len(self._steps)

    def begin(self, act: Callable[[], np.ndarray], start: Snapshot) -> None:
        """Forget what was imagined, unless `start` was, by the same method of the same object."""
        if act != self._act or start.key not in self._steps:
            self.forget()
            self._act = act

    def record(self, before: Snapshot, action: np.ndarray, after: Snapshot) -> None:
        """Remember one control step."""
        self._steps[before.key] = ImaginedStep(action.copy(), after)

    def step_from(self, state: Snapshot) -> ImaginedStep | None:
        """What was done in a state, None if it was not imagined."""
        return self._steps.get(state.key)

    def after(self, state: Snapshot, action: np.ndarray) -> Snapshot | None:
        """The state after `action`, None if just that was not imagined."""
        known = self.step_from(state)
        same = known and action.dtype == known.action.dtype and action.tobytes() == known.action.tobytes()
        return known.after if known and same else None

    def forget(self) -> None:
        """Know nothing."""
        self._act = None
        self._steps.clear()
