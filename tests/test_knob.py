"""Turning a stove's knob on and off, from where it is and from half way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lit_distill.sim.scene import Scene
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.hand import Hand
from lit_distill.teachers.knob import GRIP_IN_KNOB_M, TurnKnob

pytestmark = pytest.mark.libero
TASK = get_task("custom_libero_10_stove_on")
KNOB = "flat_stove_1_button"


@pytest.fixture(scope="module")
def kitchen() -> Iterator[Simulator]:
    simulator = Simulator(TASK, image_size=32)
    yield simulator
    simulator.close()


def begin(simulator: Simulator, angle: float, on: bool) -> tuple[Scene, TurnKnob]:
    simulator.reset(load_initial_state(TASK, "dev", 0))
    simulator.data.joint(KNOB).qpos[:] = angle
    simulator.refresh()
    scene = Scene(simulator)
    return scene, TurnKnob(scene, Hand(scene), "flat_stove_1", on)


@pytest.mark.parametrize(("angle", "on", "most_steps"), [(0.0, True, 90), (0.4, True, 70), (1.5, False, 150)])
def test_a_knob_is_turned_and_let_go(kitchen: Simulator, angle: float, on: bool, most_steps: int):
    scene, skill = begin(kitchen, angle, on)
    assert not skill.done()
    estimate = skill.remaining()
    steps = 0
    while not skill.done() and steps < most_steps:
        kitchen.step(skill.act())
        kitchen.refresh()
        steps += 1
    assert skill.done()
    assert scene.joint_position(KNOB) >= 0.5 if on else scene.joint_position(KNOB) < 0.0
    assert scene.fingers_touching("flat_stove_1") < 2
    assert 0.5 * steps < estimate < 1.5 * steps


def test_a_gripped_knob_is_not_done_before_the_hand_lets_go(kitchen: Simulator):
    scene, skill = begin(kitchen, 0.0, on=True)
    while scene.joint_position(KNOB) < 0.55:
        kitchen.refresh()
        kitchen.step(skill.act())
    assert scene.met(["turnon", "flat_stove_1"])
    assert not skill.done()


def test_the_grip_turns_with_the_knob(kitchen: Simulator):
    _, skill = begin(kitchen, 0.0, on=True)
    origin, _ = skill.scene.joint_frame(KNOB)
    ahead = skill._grip(0.3) - origin
    _, skill = begin(kitchen, 0.3, on=True)
    np.testing.assert_allclose(skill._grip() - origin, ahead, atol=1e-9)
    assert np.linalg.norm(ahead) == pytest.approx(np.linalg.norm(GRIP_IN_KNOB_M))


def test_a_hand_blocked_by_the_knob_rises_first(kitchen: Simulator):
    """Beside the bar at its height, the fingers must not sweep across it."""
    scene, skill = begin(kitchen, 0.0, on=True)
    for _ in range(60):
        kitchen.refresh()
        beside = skill._grip() + np.array([0.0, 0.035, 0.0]) - scene.eef_position
        kitchen.step(skill.hand.servo(beside, 0.0, -1.0))
    kitchen.refresh()
    action = skill.act()
    assert action[2] > 0.5
    assert np.abs(action[:2]).max() < 0.01
