"""The embedded teacher: a privileged expert that looks ahead in the simulator.

It has the shape of Cosmos Policy, chunk -> predicted future -> value: at a chunk boundary it saves the
simulator, lets a reactive controller act closed-loop for 16 control steps in imagination, records the
actions and the potential of the state that it reaches, and restores the simulator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lit_distill.errors import LitDistillError
from lit_distill.schema import CHUNK_LENGTH, Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.simulator import Simulator

if TYPE_CHECKING:  # MuJoCo is imported once there is a simulator, which has then chosen the GL backend
    from lit_distill.teachers.skills import Plan

VERSION = "2"


class EmbeddedTeacher:
    """Privileged teacher for the goals that `planner.make_plan` has skills for.

    Its value is the progress of the plan in the state that its own chunk leads to (§3.4: a
    teacher-conditioned potential, not a value of the queried state alone).
    """

    identity = f"embedded/{VERSION}"

    def __init__(self) -> None:
        self._plan: tuple[Simulator, Plan] | None = None

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
        finally:
            simulator.restore(snapshot)
        return TeacherChunk(np.clip(actions, -1.0, 1.0), value)

    def _plan_for(self, simulator: Simulator) -> Plan:
        from lit_distill.sim.scene import Scene
        from lit_distill.teachers.planner import make_plan

        if self._plan is None or self._plan[0] is not simulator:
            self._plan = (simulator, make_plan(Scene(simulator)))
        return self._plan[1]
