"""How fast is a control step without images? Ours, stock LIBERO's `env.step`, and 25 bare `mj_step`s.

    python experiments/benchmarks/control_step.py --output experiments/results/benchmarks/control_step.json

The three take turns of 10 control steps from the same states of one episode, with the same random actions.
`stock_over_ours` says how many times faster we are, `ours_over_bare` how far from MuJoCo itself, and
`largest_difference` by how much a joint or position differs from stock over 16 random steps. The last line
is one JSON object.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import BASKET, median_ms, options, report, seconds

from lit_distill.sim.environment import make_environment
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import Task, get_task

STEPS = 10
COMPARED_STEPS = 16
WARM_UP = 2


class SideBySide:
    """Our simulator and stock LIBERO, both with cameras off."""

    def __init__(self, task: Task) -> None:
        self.ours = Simulator(task, image_size=64)
        self.stock: Any = make_environment(task.bddl, image_size=64)
        self.start = load_initial_state(task, "dev", 0)
        self.ours.reset(self.start)

    def synchronise(self) -> None:
        """Bring stock LIBERO into our present state."""
        stock, controller = self.stock, self.ours.controller
        stock.sim.model.body_pos[:] = self.ours.model.body_pos
        stock.sim.model.body_quat[:] = self.ours.model.body_quat
        stock.sim.set_state_from_flattened(self.ours.env.sim.get_state().flatten())
        stock.sim.data.qacc_warmstart[:] = self.ours.data.qacc_warmstart
        stock.sim.forward()
        robot = stock.robots[0]
        robot.controller.new_update = True
        robot.controller.goal_ori = controller.goal_rotation.copy()
        robot.gripper.current_action = controller.gripper_command.copy()

    def difference(self, actions: np.ndarray) -> float:
        """Largest difference in a position or joint (m, rad) along the actions [n, 7]."""
        self.synchronise()
        largest = 0.0
        for action in actions:
            self.ours.step(action)
            self.stock.step(action)
            largest = max(largest, float(np.abs(self.ours.data.qpos - self.stock.sim.data.qpos).max()))
        return largest

    def bare(self) -> None:
        """The physics alone."""
        import mujoco  # once there is a simulator, which chooses the GL backend

        from lit_distill.sim.arm import PHYSICS_STEPS

        for _ in range(STEPS * PHYSICS_STEPS):
            mujoco.mj_step(self.ours.model, self.ours.data)

    def turn(self, actions: np.ndarray) -> dict[str, tuple[float, float]]:
        """Seconds per control step of each, all from the present state."""
        self.synchronise()
        before = self.ours.snapshot()
        times = {"bare": seconds(self.bare)}
        self.ours.restore(before)
        times["stock"] = seconds(lambda: [self.stock.step(action) for action in actions])
        times["ours"] = seconds(lambda: [self.ours.step(action) for action in actions])
        return {name: (wall / STEPS, processor / STEPS) for name, (wall, processor) in times.items()}


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = options(__doc__)
    parser.add_argument("--task", default=BASKET, help="name in the task table")
    parser.add_argument("--turns", type=int, default=60, help=f"of {STEPS} control steps each")
    arguments = parser.parse_args()
    pair = SideBySide(get_task(arguments.task))
    random = np.random.default_rng(0)
    difference = pair.difference(random.uniform(-1, 1, (COMPARED_STEPS, 7)).astype(np.float32))
    pair.ours.reset(pair.start)
    turns = [
        pair.turn(random.uniform(-0.5, 0.5, (STEPS, 7)).astype(np.float32))
        for _ in range(WARM_UP + arguments.turns)
    ][WARM_UP:]
    ms = {name: median_ms([turn[name] for turn in turns]) for name in ("ours", "stock", "bare")}
    figures = {
        "task": arguments.task,
        "turns": arguments.turns,
        "ms_per_control_step": ms,
        "stock_over_ours": ratios(ms["stock"], ms["ours"]),
        "ours_over_bare": ratios(ms["ours"], ms["bare"]),
        "largest_difference": difference,
    }
    pair.stock.close()
    pair.ours.close()
    report("control_step", figures, arguments.output)


def ratios(above: dict[str, float], below: dict[str, float]) -> dict[str, float]:
    """One by the other, by either clock."""
    return {clock: round(above[clock] / below[clock], 2) for clock in above}


if __name__ == "__main__":
    main()
