"""The embedded teacher: a privileged expert that looks ahead in the simulator.

It has the shape of Cosmos Policy, chunk -> predicted future -> value: at a chunk boundary it saves the
simulator, lets a reactive controller act closed-loop for 16 control steps in imagination, records the
actions and the potential of the state that it reaches, and restores the simulator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lit_distill.errors import LitDistillError
from lit_distill.schema import CHUNK_LENGTH, NEVER, Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.simulator import Simulator, Snapshot

if TYPE_CHECKING:  # MuJoCo is imported once there is a simulator, which has then chosen the GL backend
    from lit_distill.teachers.skills import Plan

VERSION = "12"
CONTINUATION_S = 12.0
"""Imagining a whole horizon takes 2 s; so long on a machine that is busy with other things."""


class EmbeddedTeacher:
    """Privileged teacher for the goals that `planner.make_plan` has skills for.

    Its value is the progress of the plan in the state that its own chunk leads to (§3.4: a
    teacher-conditioned potential, not a value of the queried state alone).

    Args:
        continuation: also imagine the whole way from the queried state to success, at most the task's
            horizon, and tell how many control steps it takes. While the teacher acts undisturbed it has
            imagined that way before; from any other state a query takes as long as simulating it.
    """

    identity = f"embedded/{VERSION}"
    looks_at_images = False
    image_size = None
    zero_is_lost = True

    def __init__(self, continuation: bool = False) -> None:
        self._continuation = continuation
        self._plan: tuple[Simulator, Plan] | None = None

    def longest_wait(self, queries: int) -> float:
        """Seconds that the ways to success of so many queries may take: a whole horizon each, at worst."""
        return queries * CONTINUATION_S if self._continuation else 0.0

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        """See `Teacher.query`.

        Raises:
            LitDistillError: the simulator is not LIBERO, or the goal is none that it can plan.
        """
        if not isinstance(simulator, Simulator):
            raise LitDistillError(
                f"teacher {self.identity} needs LIBERO's simulator, got {type(simulator).__name__}"
            )
        plan = self._plan_for(simulator)
        snapshot = simulator.snapshot()
        try:
            actions, success = simulator.imagine(plan.act, CHUNK_LENGTH)
            value = 1.0 if success else plan.progress()
            steps = self._steps_to_success(simulator, plan, snapshot, value) if self._continuation else None
        finally:
            simulator.restore(snapshot)
        return TeacherChunk(np.clip(actions, -1.0, 1.0), value, steps)

    def _steps_to_success(self, simulator: Simulator, plan: Plan, start: Snapshot, value: float) -> int:
        """Control steps from `start` to success; `NEVER` if it takes longer than the task's horizon."""
        if value == 0.0:
            return NEVER
        simulator.restore(start)  # what was imagined from here is known and goes on
        _, success = simulator.imagine(plan.act, simulator.task.horizon)
        return simulator.timestep - start.timestep if success else NEVER

    def _plan_for(self, simulator: Simulator) -> Plan:
        from lit_distill.sim.scene import Scene
        from lit_distill.teachers.planner import make_plan

        if self._plan is None or self._plan[0] is not simulator:
            self._plan = (simulator, make_plan(Scene(simulator)))
        return self._plan[1]
