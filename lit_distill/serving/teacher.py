"""The verb `serve teacher`: any teacher answers over the network, in openpi's protocol."""

from __future__ import annotations

from typing import Any

from lit_distill.errors import LitDistillError
from lit_distill.teachers.spec import EMBEDDED_TEACHER, TeacherSpec


def serve_teacher(
    teacher: dict[str, Any] = {"class_path": EMBEDDED_TEACHER},  # noqa: B006 (never changed)
    host: str = "127.0.0.1",
    port: int = 8000,
    token_env: str | None = None,
) -> None:
    """Answer queries over the network with any teacher.

    Args:
        teacher: which teacher: `class_path` and, if it takes any, `init_args`.
        host: where to listen; other machines can reach anything but 127.0.0.1, which needs a token.
        port: TCP port, 0 for any that is free.
        token_env: name of the environment variable that holds the token which clients have to send.
    """
    TeacherSpec.of(teacher).build()
    raise LitDistillError("serve teacher: not yet")
