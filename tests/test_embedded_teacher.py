"""The embedded teacher: looks ahead without leaving a trace, solves, recovers, and knows its limits."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lit_distill.behaviours import ActionNoise, Decision, TeacherBehaviour
from lit_distill.errors import LitDistillError
from lit_distill.rollout import Episode, rollout
from lit_distill.schema import Observation
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.fake import FakeSimulator
from lit_distill.sim.simulator import Simulator, Snapshot
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.base import Teacher
from lit_distill.teachers.embedded import EmbeddedTeacher
from lit_distill.teachers.spec import TeacherSpec

libero = pytest.mark.libero
TASK = get_task("custom_libero_object_ketchup")
START = load_initial_state(TASK, "dev", 0)


def assert_equal(first: Snapshot, second: Snapshot) -> None:
    np.testing.assert_array_equal(first.physics, second.physics)
    np.testing.assert_array_equal(first.controller.goal_rotation, second.controller.goal_rotation)
    np.testing.assert_array_equal(first.controller.gripper_command, second.controller.gripper_command)
    np.testing.assert_array_equal(first.site_rgba, second.site_rgba)
    assert (first.timestep, first.success) == (second.timestep, second.success)


@libero
def test_a_query_leaves_the_simulator_as_it_was_and_is_repeatable(simulator: Simulator):
    teacher = EmbeddedTeacher()
    observation = simulator.reset(START)
    for _ in range(3):  # free motion, approach, grasp
        before = simulator.snapshot()
        answer = teacher.query(observation, simulator)
        assert_equal(simulator.snapshot(), before)
        again, others = teacher.query(observation, simulator), EmbeddedTeacher().query(observation, simulator)
        np.testing.assert_array_equal(answer.actions, again.actions)
        np.testing.assert_array_equal(answer.actions, others.actions)
        assert answer.value == again.value == others.value
        answer.validate()
        result = simulator.step_chunk(answer.actions)
        assert result.observation is not None
        observation = result.observation


@libero
def test_the_continuation_tells_the_steps_that_the_teacher_then_takes(simulator: Simulator):
    """Undisturbed it keeps its word, chunk by chunk, and the rest of its answer is as without."""
    teacher, plain = EmbeddedTeacher(continuation=True), EmbeddedTeacher()
    observation: Observation | None = simulator.reset(START)
    told = []
    while observation is not None:
        before = simulator.snapshot()
        answer = teacher.query(observation, simulator)
        assert_equal(simulator.snapshot(), before)
        without = plain.query(observation, simulator)
        assert (without.value, without.steps_to_success) == (answer.value, None)
        np.testing.assert_array_equal(without.actions, answer.actions)
        assert answer.steps_to_success is not None
        told.append(simulator.timestep + answer.steps_to_success)
        observation = simulator.step_chunk(answer.actions).observation
    assert simulator.success
    assert set(told) == {simulator.timestep}


@libero
def test_a_chunk_executed_open_loop_reaches_the_imagined_state(simulator: Simulator):
    teacher = EmbeddedTeacher()
    observation = simulator.reset(START)
    imagined: list[Snapshot] = []
    restore = simulator.restore

    def remember(snapshot: Snapshot) -> None:
        imagined.append(simulator.snapshot())
        restore(snapshot)

    simulator.restore = remember  # type: ignore[method-assign]
    try:
        answer = teacher.query(observation, simulator)
    finally:
        del simulator.restore  # type: ignore[method-assign]
    simulator.step_chunk(answer.actions)
    reached = simulator.snapshot()
    assert reached.timestep == imagined[0].timestep == 16
    # Image rendering refreshes derived quantities alone; the physical state is the imagined one, bit for bit.
    np.testing.assert_array_equal(qpos(simulator, reached), qpos(simulator, imagined[0]))


def qpos(simulator: Simulator, snapshot: Snapshot) -> np.ndarray:
    simulator.restore(snapshot)
    return simulator.data.qpos.copy()


class Disturbed(TeacherBehaviour):
    """The teacher acts, but something happens before its fourth chunk."""

    def __init__(self, disturb: Callable[[ChunkSimulator], np.ndarray | None]) -> None:
        super().__init__(EmbeddedTeacher(), ActionNoise())
        self.disturb = disturb
        self.decisions = 0

    def decide(
        self, observation: Observation, simulator: ChunkSimulator, random: np.random.Generator
    ) -> Decision:
        self.decisions += 1
        decision = super().decide(observation, simulator, random)
        actions = self.disturb(simulator) if self.decisions == 4 else None
        return decision if actions is None else decision._replace(actions=actions)


def nothing(simulator: ChunkSimulator) -> None:
    """No disturbance."""


def close_on_nothing(simulator: ChunkSimulator) -> np.ndarray:
    """Rise with the gripper opening, then close it on nothing."""
    actions = np.zeros((16, 7), dtype=np.float32)
    actions[:, 2] = 1.0
    actions[:, 6] = np.where(np.arange(16) < 8, -1.0, 1.0)
    return actions


def move_object(simulator: ChunkSimulator) -> None:
    """Someone pushes the bottle to another place, with the hand already down at it."""
    assert isinstance(simulator, Simulator)
    joint = simulator.data.joint("ketchup_1_joint0")
    joint.qpos[:3] += [-0.03, 0.05, 0.06]
    joint.qvel[:] = 0.0
    simulator._mujoco.mj_forward(simulator.model, simulator.data)


def shake(simulator: ChunkSimulator) -> np.ndarray:
    """Noise of the size that collection offers, instead of what was planned."""
    noisy = ActionNoise(1.0).perturb(np.zeros((16, 7), dtype=np.float32), np.random.default_rng(0))
    assert noisy is not None
    return np.clip(noisy, -1.0, 1.0)


def act(simulator: Simulator, disturb: Callable[[ChunkSimulator], Any]) -> Episode:
    return rollout(simulator, Disturbed(disturb), START, source="teacher", episode=0, seed=0)


@libero
def test_it_solves_a_state_with_a_value_that_grows(simulator: Simulator):
    episode = act(simulator, nothing)
    assert episode.outcome == "success"
    assert episode.steps < 150
    for transition in episode.transitions:
        transition.validate()
        assert transition.teacher == EmbeddedTeacher.identity
        np.testing.assert_array_equal(transition.actions, transition.teacher_actions)
    values = np.array([transition.value for transition in episode.transitions], dtype=float)
    assert ((values >= 0) & (values <= 1)).all()
    assert values[-1] == 1.0  # the last chunk's imagined future meets the goal
    assert values[0] < 0.6
    assert (np.diff(values) > -0.1).all()
    assert values[-2] > values[0] + 0.2


@libero
@pytest.mark.parametrize("disturb", [close_on_nothing, move_object, shake])
def test_it_recovers_from_a_disturbance(simulator: Simulator, disturb: Callable[[ChunkSimulator], Any]):
    undisturbed, episode = act(simulator, nothing), act(simulator, disturb)
    assert episode.outcome == "success"
    assert episode.steps > undisturbed.steps  # it did cost something


@libero
def test_one_teacher_serves_several_simulators(simulator: Simulator):
    other = Simulator(get_task("custom_libero_object_milk"), image_size=32)
    try:
        teacher = EmbeddedTeacher()
        first = teacher.query(simulator.reset(START), simulator)
        milk = teacher.query(other.reset(load_initial_state(other.task, "dev", 0)), other)
        again = teacher.query(simulator.observe(), simulator)
    finally:
        other.close()
    np.testing.assert_array_equal(first.actions, again.actions)
    assert (first.actions != milk.actions).any()


def test_it_needs_libero_and_says_so(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    simulator = FakeSimulator(TASK)
    with pytest.raises(
        LitDistillError, match=r"^teacher embedded/\d+ needs LIBERO's simulator, got FakeSimulator$"
    ):
        EmbeddedTeacher().query(simulator.reset(START), simulator)


def test_it_is_a_teacher():
    assert isinstance(EmbeddedTeacher(), Teacher)


def test_naming_the_teacher_imports_no_simulator():
    """`fit` asks for the identity to see whether the data are there: that must need neither MuJoCo nor GL."""
    code = (
        "import sys, lit_distill.collection as c; c.CollectSettings().teacher_spec().build().identity;"
        "assert not {'mujoco', 'robosuite', 'libero', 'numba'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_whole_ways_to_success_may_take_as_long_as_they_do():
    """A state that is never solved is simulated to the horizon at each query: such a worker does not hang."""
    for continuation, seconds in ((False, 0.0), (True, 120.0)):
        spec = TeacherSpec(init_args={"continuation": continuation})
        assert spec.longest_wait(10) == seconds
