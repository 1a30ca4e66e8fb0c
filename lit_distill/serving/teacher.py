"""The verb `serve teacher`: any teacher answers over the network, in openpi's protocol.

    metadata  {"teacher": identity, "depends_on": its recipe, "looks_at_images": bool,
               "image_size": int | None, "meshes": str | None, "zero_is_lost": bool, "schema_version": int}
    request   {"task": name, "bddl_sha256": of its BDDL file, "observation": {the arrays of the schema},
               "state": {the arrays of `sim/transfer.py`}}
    answer    {"actions": float32 [16, 7], "value": float, "steps_to_success": int}, or {"refused": why}

A teacher that looks at images is sent them and no state; a privileged one the state and no images. What a
teacher does not give (a value, say) has no key in the answer.

One that looks at images has no simulator here. So an openpi policy that gives fewer than the 16 rows of a
chunk (π0.5 on LIBERO: 10), whose first rows would have to be executed before it is asked again, cannot be
served: it is refused at the start if `replan_steps` tells, else at the first question. Ask it directly.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np

from lit_distill.errors import LitDistillError
from lit_distill.schema import CHUNK_LENGTH, OBSERVATION_SPECS, SCHEMA_VERSION, Observation, TeacherChunk
from lit_distill.serving.server import RequestError, check_place, serve_policy
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.environment import ORIGINAL
from lit_distill.sim.simulator import Simulator
from lit_distill.tasks import Task, get_task
from lit_distill.teachers.base import Refusal, Teacher
from lit_distill.teachers.remote import token_from
from lit_distill.teachers.served import VIEWS
from lit_distill.teachers.spec import EMBEDDED_TEACHER, TeacherSpec

SIMULATORS = 2
"""Of as many tasks a privileged teacher keeps its simulators, about 1.2 GB each."""
IMAGE_SIZE = 64
"""Edge (pixels) of the buffer of a simulator in which nothing is looked at."""
NEEDS_SIMULATOR = (
    f"it gives fewer than {CHUNK_LENGTH} rows and would have to execute them in the simulator, which a "
    "server does not have; ask it directly, with its own class_path"
)
NO_IMAGE = np.zeros((2, 2, 3), dtype=np.uint8)


def serve_teacher(
    teacher: dict[str, Any] = {"class_path": EMBEDDED_TEACHER},  # noqa: B006 (never changed)
    host: str = "127.0.0.1",
    port: int = 8000,
    token_env: str | None = None,
) -> None:
    """Answer queries over the network with any teacher; ServedTeacher asks them.

    Args:
        teacher: which teacher: `class_path` and, if it takes any, `init_args`.
        host: where to listen; other machines can reach anything but 127.0.0.1, which needs a token.
        port: TCP port, 0 for any that is free.
        token_env: name of the environment variable that holds the token which clients have to send.

    Raises:
        LitDistillError: no such teacher, one that needs the simulator though it looks at images, a port that
            is taken, or a host beyond this machine without a token.
    """
    token = token_from(token_env)
    check_place(host, port, token)
    spec = TeacherSpec.of(teacher)
    built = spec.build()
    service = TeacherService(built, depends_on=spec.what_answers_depend_on(built))
    name = f"teacher {service.metadata['teacher']}"
    serve_policy(service.infer, service.metadata, host, port, token, name=name, close=service.close)


class TeacherService:
    """Answers requests with a teacher; used in one thread.

    Args:
        teacher: who answers.
        simulator: class of the simulators that a privileged one looks at.
        depends_on: what its answers depend on, see `TeacherSpec.what_answers_depend_on`.

    Raises:
        LitDistillError: a teacher that looks at images, yet has to act in the simulator for a whole chunk.
    """

    def __init__(
        self, teacher: Teacher, simulator: Any = Simulator, depends_on: dict[str, Any] | None = None
    ) -> None:
        if teacher.looks_at_images and getattr(teacher, "acts_within_chunk", False):
            raise LitDistillError(f"teacher: {NEEDS_SIMULATOR}")
        self._teacher, self._make_simulator = teacher, simulator
        self._simulators: OrderedDict[str, ChunkSimulator] = OrderedDict()
        self.metadata: dict[str, Any] = {
            "teacher": teacher.identity,
            "depends_on": depends_on or {},
            "looks_at_images": teacher.looks_at_images,
            "image_size": teacher.image_size,
            "meshes": getattr(teacher, "meshes", ORIGINAL),
            "zero_is_lost": teacher.zero_is_lost,
            "schema_version": SCHEMA_VERSION,
        }

    def infer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            RequestError: names what is wrong with it.
        """
        try:
            task = named_task(request)
            observation = read_observation(request, self._teacher.looks_at_images)
            simulator = self._simulator(task, request)
        except LitDistillError as error:
            raise RequestError(str(error)) from None
        try:
            chunk = self._teacher.query(observation, simulator)
        except Refusal as refusal:
            return {"refused": refusal.reason}
        except LitDistillError as error:
            raise RequestError(str(error)) from None
        chunk.validate()
        return answer_of(chunk)

    def close(self) -> None:
        """Free the simulators."""
        while self._simulators:
            self._simulators.popitem()[1].close()

    def _simulator(self, task: Task, request: dict[str, Any]) -> ChunkSimulator:
        """A simulator in the state that was sent; for a teacher that looks at images, only the task."""
        if self._teacher.looks_at_images:
            return _TaskOnly(task)  # type: ignore[return-value]
        state = request.get("state")
        if not isinstance(state, dict):
            raise LitDistillError("state: missing; this teacher looks at the simulator")
        if task.name not in self._simulators:
            if len(self._simulators) >= SIMULATORS:
                self._simulators.popitem(last=False)[1].close()
            self._simulators[task.name] = self._make_simulator(task, IMAGE_SIZE)
        self._simulators.move_to_end(task.name)
        simulator = self._simulators[task.name]
        simulator.import_state(state)
        return simulator


class _TaskOnly:
    """What a teacher that looks at images may know of the simulator."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def snapshot(self) -> None:
        """Refused."""
        raise RequestError(NEEDS_SIMULATOR)


def named_task(request: dict[str, Any]) -> Task:
    """The task of a request: one that has a name, and the same BDDL file on both sides.

    Raises:
        LitDistillError: names what is wrong.
    """
    name = request.get("task")
    if not isinstance(name, str) or name.endswith(".bddl") or "/" in name:
        raise LitDistillError("task: expected a task's name")
    task = get_task(name)
    if request.get("bddl_sha256") != hashlib.sha256(task.bddl.read_bytes()).hexdigest():
        raise LitDistillError(
            f"bddl_sha256: {name} is defined otherwise here; use the same version on both sides"
        )
    return task


def read_observation(request: dict[str, Any], with_images: bool) -> Observation:
    """The observation of a request; without images, its views are blank.

    Raises:
        LitDistillError: names the first key that breaks the schema.
    """
    arrays = request.get("observation")
    if not isinstance(arrays, dict):
        raise LitDistillError("observation: missing")
    blank: dict[str, Any] = {} if with_images else dict.fromkeys(VIEWS, NO_IMAGE)
    known: dict[str, Any] = {key: (arrays | blank).get(key) for key in OBSERVATION_SPECS}
    Observation(**known).validate()
    return Observation(
        **{key: array.copy() for key, array in known.items()}
    )  # those of a frame are read-only


def answer_of(chunk: TeacherChunk) -> dict[str, Any]:
    """What is sent of a teacher's answer."""
    optional = {"value": chunk.value, "steps_to_success": chunk.steps_to_success}
    return {"actions": chunk.actions, **{key: value for key, value in optional.items() if value is not None}}
