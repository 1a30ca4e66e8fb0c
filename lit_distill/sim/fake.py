"""A toy world with the real schema, for tests of everything around the simulator.

A point hand moves in the unit square; the goal is to bring it within 0.1 of a mark. Both can be seen in
the pictures. A step costs microseconds, so a whole rollout is cheap; nothing measured here is a result.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkResult, ChunkSimulator, run_chunk
from lit_distill.sim.environment import ORIGINAL
from lit_distill.sim.states import InitialState
from lit_distill.sim.transfer import check_state
from lit_distill.tasks import Task

STEP_SIZE = 0.02
GOAL_RADIUS = 0.1


class FakeSimulator:
    """Stands in for `Simulator`: same methods, same observation, a point instead of an arm.

    Args:
        task: only its name, index and horizon are used.
        image_size: edge of the square pictures, pixels.
        meshes: there are none; taken because `Simulator` takes it.
    """

    def __init__(self, task: Task, image_size: int = 32, meshes: str = ORIGINAL) -> None:
        self.task, self.image_size = task, image_size
        self.hand = np.zeros(2)
        self.mark = np.zeros(2)
        self.timestep = 0

    def reset(self, initial_state: InitialState) -> Observation:
        """Place hand and mark, a pure function of the state's numbers."""
        random = np.random.default_rng(zlib.crc32(initial_state.state.tobytes()))
        self.hand, self.mark = random.uniform(-0.9, -0.3, 2), random.uniform(0.2, 0.9, 2)
        self.timestep = 0
        return self.observe()

    def step_chunk(self, actions: np.ndarray, on_step: Callable[[], None] | None = None) -> ChunkResult:
        """Execute a chunk; see `run_chunk`."""
        return run_chunk(self, actions, on_step)

    def step(self, action: np.ndarray) -> bool:
        """Move the hand; return whether it is at the mark."""
        self.hand = np.clip(self.hand + STEP_SIZE * action[:2], -1.0, 1.0)
        self.timestep += 1
        return bool(np.linalg.norm(self.hand - self.mark) < GOAL_RADIUS)

    def observe(self) -> Observation:
        """Pictures of hand (red) and mark (green); the hand's position as proprio."""
        hand = np.array([*self.hand, 0.0], dtype=np.float32)
        return Observation(
            agentview=self.render("agentview"),
            wrist=self.render("wrist"),
            proprio=np.concatenate([hand, np.zeros(4, dtype=np.float32)]),
            gripper_qpos=np.zeros(2, dtype=np.float32),
            eef_pos=hand,
            eef_quat=np.array([0.0, 0.0, 0.0, 1.0], dtype=np.float32),
        )

    def render(self, view: str, size: int | None = None) -> np.ndarray:
        """The square from above; the wrist view is centred on the hand."""
        size = size or self.image_size
        image = np.zeros((size, size, 3), dtype=np.uint8)
        origin = self.hand if view == "wrist" else np.zeros(2)
        radius = max(1, size // 16)
        for channel, point in ((0, self.hand), (1, self.mark)):
            row, column = (np.clip((point - origin + 1) / 2, 0, 1) * (size - 1)).astype(int)
            image[
                max(0, row - radius) : row + radius + 1,
                max(0, column - radius) : column + radius + 1,
                channel,
            ] = 255
        return image

    def snapshot(self) -> dict[str, np.ndarray]:
        """Everything."""
        return self.export_state()

    def restore(self, snapshot: dict[str, np.ndarray]) -> None:
        """Go back."""
        self.import_state(snapshot)

    def export_state(self) -> dict[str, np.ndarray]:
        """Hand and mark, float64 [2] each, and the control steps of the episode."""
        clock = np.array([self.timestep], dtype=np.int64)
        return {"hand": self.hand.copy(), "mark": self.mark.copy(), "clock": clock}

    def import_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Inverse of `export_state`."""
        check_state(arrays, self.export_state())
        self.hand, self.mark = arrays["hand"].copy(), arrays["mark"].copy()
        self.timestep = int(arrays["clock"][0])

    def close(self) -> None:
        """Nothing to free."""


class FakeTeacher:
    """Privileged teacher of the toy world: straight to the mark; value = 1 - distance / 3."""

    identity = "fake/1"
    looks_at_images = False
    image_size = None
    zero_is_lost = True

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        """See `Teacher.query`."""
        assert isinstance(simulator, FakeSimulator)
        actions = np.zeros((CHUNK_LENGTH, ACTION_DIM), dtype=np.float32)
        hand = simulator.hand.copy()
        for k in range(CHUNK_LENGTH):
            actions[k, :2] = np.clip((simulator.mark - hand) / STEP_SIZE, -1.0, 1.0)
            hand = hand + STEP_SIZE * actions[k, :2]
        distance = float(np.linalg.norm(simulator.mark - hand))
        return TeacherChunk(actions, float(np.clip(1.0 - distance / 3.0, 0.0, 1.0)))
