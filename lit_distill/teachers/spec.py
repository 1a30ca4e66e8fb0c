"""Which teacher: the recipe in a YAML file, from which every process builds its own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from lit_distill.errors import LitDistillError
from lit_distill.sim.environment import ORIGINAL
from lit_distill.teachers.base import Teacher
from lit_distill.teachers.remote import RemoteTeacher

EMBEDDED_TEACHER = "lit_distill.teachers.embedded.EmbeddedTeacher"
NEEDED, MISSING = (*Teacher.__annotations__, "query"), object()
"""What a `Teacher` has."""


@dataclass(frozen=True)
class TeacherSpec:
    """Which teacher.

    Attributes:
        class_path: import path of the teacher's class.
        init_args: its constructor's arguments.
    """

    class_path: str = EMBEDDED_TEACHER
    init_args: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: dict[str, Any]) -> TeacherSpec:
        """The recipe in a YAML file's `teacher:` entry.

        Raises:
            LitDistillError: a key that is neither `class_path` nor `init_args`.
        """
        if unknown := keys.keys() - {"class_path", "init_args"}:
            raise LitDistillError(
                f"teacher.{unknown.pop()}: no such key; known: class_path, init_args (a teacher's arguments "
                "go together: --teacher.init_args '{KEY: VALUE, KEY: VALUE}')"
            )
        return cls(keys.get("class_path") or EMBEDDED_TEACHER, keys.get("init_args") or {})

    def build(self) -> Teacher:
        """Import and construct the teacher.

        Raises:
            LitDistillError: no such class, not a teacher, or arguments that it does not take.
        """
        module, _, name = self.class_path.rpartition(".")
        try:
            teacher = getattr(importlib.import_module(module), name)(**self.init_args)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise LitDistillError(f"teacher.class_path: cannot build {self.class_path!r}: {error}") from None
        # Without asking for their values: an identity may be a server's, or a model's that is loaded for it.
        if any(inspect.getattr_static(teacher, name, MISSING) is MISSING for name in NEEDED):
            raise LitDistillError(
                f"teacher.class_path: {self.class_path} is no teacher: it needs {', '.join(NEEDED)}"
            )
        return cast(Teacher, teacher)

    def check_meshes(self, meshes: str) -> None:
        """Raise LitDistillError if this teacher looks at images of other meshes than it learnt from.

        Those are LIBERO's own, unless its `meshes` says otherwise; None: not known, so any.
        """
        teacher = self.build()
        known = getattr(teacher, "meshes", ORIGINAL)
        if teacher.looks_at_images and known not in (None, meshes):
            raise LitDistillError(
                f"meshes: {self.class_path} looks at images and learnt from those of {known} meshes; "
                f"use {known}, not {meshes}"
            )

    def identity(self) -> dict[str, Any]:
        """Id and version of the teacher, and how it is built."""
        teacher = self.build()
        return {"teacher": teacher.identity, "teacher_spec": self.what_answers_depend_on(teacher)}

    def what_answers_depend_on(self, teacher: Teacher) -> dict[str, Any]:
        """The recipe, without what only says where and how a teacher elsewhere is reached.

        A server's own settings are part of it; a teacher behind our `serve teacher` has the recipe that it
        has there, as if it were here.
        """
        delivery: frozenset[str] = getattr(teacher, "DELIVERY", frozenset())
        kept = {key: value for key, value in self.init_args.items() if key not in delivery}
        recipe: dict[str, Any] = {"class_path": self.class_path, "init_args": kept}
        return recipe | (teacher.depends_on if isinstance(teacher, RemoteTeacher) else {})

    def longest_wait(self, queries: int) -> float:
        """Seconds that so many queries may take beside what a rollout takes anyway, as the teacher says."""
        teacher = self.build()
        wait: Callable[[int], float] | None = getattr(teacher, "longest_wait", None)
        return wait(queries) if wait is not None else 0.0
