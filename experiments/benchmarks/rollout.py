"""How fast is a whole rollout? The teacher acting here, against a stock loop that renders in every step.

    python experiments/benchmarks/rollout.py --output experiments/results/benchmarks/rollout.json

One process, the same episodes. Ours: `lit_distill.rollout`, from setting the initial state (10 settling
steps) to the end, the embedded teacher deciding every 16 steps, both cameras of 128 px at the chunks' ends.
Stock: LIBERO's `set_init_state`, 10 settling steps and the very actions by `env.step`, with both cameras of
128 px in every step; neither `env.reset` nor a teacher counts against it. Variants of ours take away one
lever each. All take turns, episode by episode; `over_stock` compares the seconds of all episodes together.
The last line is one JSON object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from common import BASKET, options, report, seconds

from lit_distill.behaviours import Behaviour, TeacherActor
from lit_distill.rollout import Episode, rollout
from lit_distill.sim.environment import ORIGINAL, SIMPLIFIED
from lit_distill.sim.gl import configure_gl
from lit_distill.sim.imagination import Imagination
from lit_distill.sim.simulator import SETTLE_ACTION, SETTLE_STEPS, Simulator
from lit_distill.sim.states import SPLITS, InitialState, fixture_bodies, load_initial_state
from lit_distill.tasks import Task, get_task

IMAGE_SIZE = 128
SPLIT = "dev"
WARM_UP_STEPS = 8
"""Of the stock loop, before anything is timed."""


class NoMemory(Imagination):
    """Keeps no imagined step."""

    def record(self, *step: Any) -> None:
        """Forget it at once."""


class Stock:
    """LIBERO's own loop, rendering both cameras in every step."""

    def __init__(self, task: Task) -> None:
        configure_gl()
        from libero.libero.envs import OffScreenRenderEnv

        size = {"camera_heights": IMAGE_SIZE, "camera_widths": IMAGE_SIZE}
        self._env: Any = OffScreenRenderEnv(bddl_file_name=str(task.bddl), ignore_done=True, **size)

    def play(self, state: InitialState, actions: np.ndarray) -> None:
        """A whole episode: initial state with its fixtures, settling, actions [steps, 7]."""
        self._env.sim._render_context_offscreen.gl_ctx.make_current()
        bodies = fixture_bodies(self._env.env)
        self._env.sim.model.body_pos[bodies] = state.fixtures[:, :3]
        self._env.sim.model.body_quat[bodies] = state.fixtures[:, 3:]
        self._env.set_init_state(state.state)
        for action in (*[SETTLE_ACTION] * SETTLE_STEPS, *actions):
            observation = self._env.step(action)[0]
            assert observation["agentview_image"].shape == (IMAGE_SIZE, IMAGE_SIZE, 3)

    def close(self) -> None:
        """Free it."""
        self._env.sim._render_context_offscreen.gl_ctx.make_current()
        self._env.close()


def play(
    simulator: Simulator, behaviour: Behaviour, imagination: Imagination, state: InitialState
) -> Episode:
    """One episode of ours."""
    simulator.imagination = imagination
    return rollout(simulator, behaviour, state, source="teacher", episode=0, seed=0)


def executed(episode: Episode) -> np.ndarray:
    """The actions [steps, 7] of an episode."""
    return np.concatenate([t.actions[: t.executed] for t in episode.transitions])


def measure(task: Task, episodes: int) -> dict[str, Any]:
    """All figures, ready for JSON."""
    simulators = {meshes: Simulator(task, IMAGE_SIZE, meshes) for meshes in (ORIGINAL, SIMPLIFIED)}
    variants: dict[str, tuple[Simulator, Behaviour, Imagination]] = {
        name: (simulators[meshes], TeacherActor().build(task), imagination)
        for name, (meshes, imagination) in {
            "ours": (SIMPLIFIED, Imagination()),
            "original_meshes": (ORIGINAL, Imagination()),
            "steps_not_kept": (SIMPLIFIED, NoMemory()),
            "original_meshes_steps_not_kept": (ORIGINAL, NoMemory()),
        }.items()
    }
    stock = Stock(task)
    totals = {name: Total() for name in ("stock", *variants)}
    for index in range(-1, episodes):  # the first turn warms up
        state = load_initial_state(task, SPLIT, index % SPLITS[SPLIT])
        played: list[np.ndarray] = []
        for name, variant in variants.items():
            found: list[Episode] = []
            time = seconds(lambda: found.append(play(*variant, state)))  # noqa: B023 (called at once)
            totals[name].add(time, found[0].steps, warm_up=index < 0)
            played.append(executed(found[0]))
            print(f"{SPLIT}/{index}: {name}: {found[0].outcome}, {found[0].steps} steps in {time[0]:.2f} s")
        assert all(np.array_equal(played[0], actions) for actions in played)  # the levers change no action
        actions = played[0][:WARM_UP_STEPS] if index < 0 else played[0]
        time = seconds(lambda: stock.play(state, actions))  # noqa: B023 (called at once)
        totals["stock"].add(time, len(actions), warm_up=index < 0)
        print(f"{SPLIT}/{index}: stock: {len(actions)} steps in {time[0]:.2f} s", flush=True)
    stock.close()
    for simulator in simulators.values():
        simulator.close()
    return {
        name: total.figures() | {"over_stock": total.over(totals["stock"])} for name, total in totals.items()
    }


@dataclass
class Total:
    """What one variant has done in how many seconds, by either clock."""

    wall: float = 0.0
    processor: float = 0.0
    steps: int = 0

    def add(self, time: tuple[float, float], steps: int, warm_up: bool) -> None:
        """Add a turn, unless it is the first one."""
        if not warm_up:
            self.wall, self.processor = self.wall + time[0], self.processor + time[1]
            self.steps += steps

    def figures(self) -> dict[str, Any]:
        """Speeds, ready for JSON."""
        return {
            "control_steps": self.steps,
            "seconds": {"wall": round(self.wall, 2), "processor": round(self.processor, 2)},
        }

    def over(self, other: Total) -> dict[str, float]:
        """How many times as fast, for the same episodes."""
        assert self.steps == other.steps
        return {
            "wall": round(other.wall / self.wall, 2),
            "processor": round(other.processor / self.processor, 2),
        }


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = options(__doc__)
    parser.add_argument("--task", default=BASKET, help="name in the task table")
    parser.add_argument("--episodes", type=int, default=10, help="of each variant")
    arguments = parser.parse_args()
    figures = measure(get_task(arguments.task), arguments.episodes)
    settings = {"task": arguments.task, "episodes": arguments.episodes, "image_size": IMAGE_SIZE}
    report("rollout", settings | figures, arguments.output)


if __name__ == "__main__":
    main()
