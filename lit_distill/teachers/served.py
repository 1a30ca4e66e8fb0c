"""A teacher behind our own `serve teacher`, whichever it is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lit_distill.errors import LitDistillError
from lit_distill.schema import OBSERVATION_SPECS, SCHEMA_VERSION, Observation
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.environment import ORIGINAL
from lit_distill.teachers.answer_cache import AUTO
from lit_distill.teachers.base import Refusal
from lit_distill.teachers.remote import Delivery, RemoteTeacher, check_url, token_from
from lit_distill.teachers.replies import Reply, read_reply
from lit_distill.teachers.websocket import WebsocketConnection

VIEWS = ("agentview", "wrist")


class ServedTeacher(RemoteTeacher):
    """The teacher that a server has, with its identity, values and refusals.

    One that looks at images gets them; a privileged one gets the simulator's state in their place, and
    answers bit for bit what it would answer here.

    Args:
        server: `ws://HOST:8000`.
        timeout_s, outage_s, attempts, cache: see `remote.Delivery`.
        token_env: environment variable that holds the server's token.

    Raises:
        LitDistillError: another kind of server, or another schema version.
    """

    def __init__(
        self,
        server: str,
        timeout_s: float = 60.0,
        outage_s: float = 600.0,
        attempts: int = 3,
        cache: str | None = AUTO,
        token_env: str | None = None,
    ) -> None:
        url = check_url(server, ("ws", "wss"))
        connection = WebsocketConnection(url, timeout_s, token_from(token_env))
        super().__init__(connection, Delivery(timeout_s, outage_s, attempts, cache))
        self._met()
        metadata = self._patiently(connection.metadata)
        self.looks_at_images = bool(metadata["looks_at_images"])
        self.image_size = metadata["image_size"]
        self.meshes = metadata.get("meshes", ORIGINAL)
        self.zero_is_lost = bool(metadata.get("zero_is_lost", False))
        self._bddl = Path()

    def describe(self, metadata: dict[str, Any]) -> str:
        """That of the teacher that is served.

        Raises:
            LitDistillError: another kind of server, or another schema version.
        """
        if metadata.get("schema_version") != SCHEMA_VERSION or "teacher" not in metadata:
            raise LitDistillError(
                f"server: {self.connection.name} is no `serve teacher` of schema version {SCHEMA_VERSION}; "
                "start one, or choose the class_path of what is served there"
            )
        return str(metadata["teacher"])

    def settings(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """The recipe of the teacher that is served, in place of the one that asks it."""
        return dict(metadata.get("depends_on", {}))

    def request(self, observation: Observation, simulator: ChunkSimulator) -> dict[str, Any]:
        """See `serving.teacher`."""
        self._bddl = simulator.task.bddl
        keys = [key for key in OBSERVATION_SPECS if self.looks_at_images or key not in VIEWS]
        request: dict[str, Any] = {
            "task": simulator.task.name,
            "bddl_sha256": hashlib.sha256(self._bddl.read_bytes()).hexdigest(),
            "observation": {key: getattr(observation, key) for key in keys},
        }
        if not self.looks_at_images:
            request["state"] = simulator.export_state()
        return request

    def read(self, answer: dict[str, Any]) -> Reply:
        """Sixteen rows, value and steps to success if the teacher gives them.

        Raises:
            Refusal: the teacher cannot act in this task.
        """
        if "refused" in answer:
            raise Refusal(self._bddl, str(answer["refused"])[:200])
        return read_reply(answer)
