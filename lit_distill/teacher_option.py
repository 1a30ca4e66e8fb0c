"""`--teacher` of fit: one teacher wherever a configuration asks one."""

from __future__ import annotations

from typing import Any

from lit_distill.errors import LitDistillError
from lit_distill.teachers.spec import TeacherSpec

COLLECTIONS = ("collect", "collect_teacher", "collect_student")
"""Options of the data modules that collect."""
ROUNDS = "DAggerRounds"
"""The callback that collects."""


def set_teacher(config: Any, teacher: dict[str, Any]) -> None:
    """Put a teacher in every place of a configuration where one is asked.

    Args:
        config: `model`, `data` and `trainer`, as dicts or as jsonargparse's namespaces; changed in place.
        teacher: `class_path` and, if it takes any, `init_args`.

    Raises:
        LitDistillError: a key that is neither, or nothing there asks a teacher.
    """
    TeacherSpec.of(teacher)
    options = config["data"].get("init_args") or {}
    places = [options.get(key) for key in COLLECTIONS]
    callbacks = config["trainer"].get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if str(callback["class_path"]).endswith(f".{ROUNDS}"):
            places.append(callback["init_args"].get("collect"))
    asking = [settings for settings in places if settings is not None]
    if not asking:
        raise LitDistillError(
            "--teacher: no teacher is asked with this configuration, which collects nothing; leave it out"
        )
    for settings in asking:
        settings["teacher"] = teacher
