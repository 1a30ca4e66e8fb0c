"""A server that speaks openpi's protocol as teacher: π0.5 on LIBERO, and whatever else answers its keys."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lit_distill.errors import LitDistillError
from lit_distill.schema import CHUNK_LENGTH, Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.teachers.answer_cache import AUTO
from lit_distill.teachers.base import view
from lit_distill.teachers.remote import Delivery, RemoteTeacher, check_url, token_from
from lit_distill.teachers.replies import Reply, read_reply
from lit_distill.teachers.websocket import WebsocketConnection

IMAGE_SIZE = 224
"""Edge (pixels) of the images that are sent."""


class OpenPiTeacher(RemoteTeacher):
    """A policy behind an openpi server, asked as openpi's LIBERO example asks it.

    It sees LIBERO's raw rendering rotated by 180 degrees, that is ours mirrored, rendered at 256 px and
    resized to 224. It gives no values: AWAC on its data runs unshaped, and says so.

    An answer may have fewer than the 16 rows of a chunk (π0.5 on LIBERO: 10), or be trusted for fewer
    (`replan_steps`). The chunk is then what the policy itself would do: these rows are executed in the
    simulator, it is asked again about what is seen there, and so on; the simulator is put back afterwards.
    Rows that nobody commanded are never made up, except that a goal that is met on the way repeats the last
    row.

    Args:
        server: `ws://HOST:8000`.
        name: what is served there, say the checkpoint: part of the teacher's identity, since the protocol
            does not tell.
        replan_steps: rows of an answer that are used before the policy is asked again; null: all, at most 16.
        timeout_s, outage_s, attempts, cache: see `remote.Delivery`.
        token_env: environment variable that holds the server's key, sent as `Authorization: Api-Key KEY`.

    Raises:
        LitDistillError: settings that cannot be right.

    Attributes:
        acts_within_chunk: whether it is known to act in the simulator to fill a chunk.
    """

    image_size = 256

    def __init__(
        self,
        server: str,
        name: str,
        replan_steps: int | None = None,
        timeout_s: float = 60.0,
        outage_s: float = 600.0,
        attempts: int = 3,
        cache: str | None = AUTO,
        token_env: str | None = None,
    ) -> None:
        if not name:
            raise LitDistillError("name: say what the server serves, pi05_libero for example")
        if replan_steps is not None and not 1 <= replan_steps <= CHUNK_LENGTH:
            raise LitDistillError(f"replan_steps: must be in 1..{CHUNK_LENGTH} or null, got {replan_steps}")
        connection = WebsocketConnection(check_url(server, ("ws", "wss")), timeout_s, token_from(token_env))
        super().__init__(connection, Delivery(timeout_s, outage_s, attempts, cache))
        self._name, self._rows = name, replan_steps or CHUNK_LENGTH
        self._expected_rows = replan_steps or CHUNK_LENGTH // 2
        self.acts_within_chunk = self._rows < CHUNK_LENGTH

    def describe(self, metadata: dict[str, Any]) -> str:
        """`openpi/` and the name that it was given."""
        return f"openpi/{self._name}"

    def request(self, observation: Observation, simulator: ChunkSimulator) -> dict[str, Any]:
        """The keys of openpi's LIBERO policies."""
        state = (observation.eef_pos, axis_angle(observation.eef_quat), observation.gripper_qpos)
        return {
            "observation/image": rotated_and_resized(observation.agentview),
            "observation/wrist_image": rotated_and_resized(observation.wrist),
            "observation/state": np.concatenate(state).astype(np.float64),
            "prompt": simulator.task.language,
        }

    def longest_wait(self, queries: int) -> float:
        """It is asked several times for a chunk; half a chunk a time if its rows are not known."""
        return super().longest_wait(queries * math.ceil(CHUNK_LENGTH / self._expected_rows))

    def read(self, answer: dict[str, Any]) -> Reply:
        """Any number of rows, no value."""
        return read_reply({"actions": answer.get("actions")}, rows=None)

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        """See `Teacher.query`."""
        rows: list[np.ndarray] = []
        before: Any = None
        try:
            while True:
                reply = self.ask(self.request(observation, simulator))
                wanted = min(self._rows, CHUNK_LENGTH - len(rows))
                taken = list(self.clipped(reply.actions[:wanted]))
                rows += taken
                if len(rows) == CHUNK_LENGTH:
                    return TeacherChunk(np.stack(rows))
                before = simulator.snapshot() if before is None else before
                if any([simulator.step(row) for row in taken]):
                    return TeacherChunk(np.stack(rows + rows[-1:] * (CHUNK_LENGTH - len(rows))))
                observation = view(self.image_size, simulator.observe(), simulator)
        finally:
            if before is not None:
                simulator.restore(before)


def rotated_and_resized(image: np.ndarray) -> np.ndarray:
    """uint8 [H, H, 3], upright -> uint8 [224, 224, 3], LIBERO's raw rendering rotated by 180 degrees."""
    from PIL import Image

    mirrored = Image.fromarray(np.ascontiguousarray(image[:, ::-1]))
    return np.asarray(mirrored.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))


def axis_angle(quaternion: np.ndarray) -> np.ndarray:
    """Axis-angle vector (rad) [3] of a quaternion xyzw [4]; w as it comes, as openpi has it: up to 2 π."""
    w = float(np.clip(quaternion[3], -1.0, 1.0))
    sine = math.sqrt(1.0 - w * w)
    if math.isclose(sine, 0.0):
        return np.zeros(3)
    return np.asarray(quaternion[:3], dtype=np.float64) * (2.0 * math.acos(w) / sine)
