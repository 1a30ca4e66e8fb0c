"""What was imagined is not simulated again, and nothing that is seen or stored tells the difference."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lit_distill.behaviours import ActionNoise, TeacherBehaviour
from lit_distill.rollout import Episode, rollout
from lit_distill.sim.chunks import ChunkResult
from lit_distill.sim.imagination import Imagination
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.embedded import EmbeddedTeacher

libero = pytest.mark.libero
TASK = get_task("custom_libero_object_ketchup")
START = load_initial_state(TASK, "dev", 0)
ACTION = np.linspace(-0.5, 0.5, 7, dtype=np.float32)


def state(key: bytes) -> Any:
    return SimpleNamespace(key=key)


class Policy:
    """Acts by the hand's position, which it must therefore be told rightly; counts how often it is asked."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator, self.asked = simulator, 0

    def act(self) -> np.ndarray:
        self.asked += 1
        hand = self.simulator.data.site_xpos[self.simulator.controller.site]
        return np.array([*(20 * (np.array([0.1, 0.2, 0.15]) - hand)), 0.0, 0.1, 0.1, 1.0]).clip(-1, 1)

    def wait(self) -> np.ndarray:
        return np.zeros(7)


@pytest.fixture
def simulated(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The actions that were really simulated."""
    actions: list[np.ndarray] = []
    step = simulator.controller.step
    monkeypatch.setattr(simulator.controller, "step", lambda action: (actions.append(action), step(action)))
    return actions


def imagine(simulator: Simulator, act: Any, steps: int = 16, **options: Any) -> np.ndarray:
    snapshot = simulator.snapshot()
    try:
        return simulator.imagine(act, steps, **options)[0]
    finally:
        simulator.restore(snapshot)


# -- the memory ----------------------------------------------------------------------------------------


def test_a_recorded_step_is_known_for_its_state_and_its_action_alone():
    future, act = Imagination(), Policy.act
    future.begin(act, state(b"a"))  # type: ignore[arg-type]
    future.record(state(b"a"), ACTION, state(b"b"))
    known = future.step_from(state(b"a"))
    assert known is not None and known.after.key == b"b"
    assert future.step_from(state(b"b")) is None
    assert future.after(state(b"a"), ACTION) is known.after
    assert future.after(state(b"a"), np.nextafter(ACTION, np.float32(1))) is None
    assert future.after(state(b"a"), ACTION.astype(np.float64)) is None  # its arithmetic would differ
    assert future.after(state(b"b"), ACTION) is None


def test_only_the_last_future_is_kept():
    future, one, other = Imagination(), Policy(state(b"")), Policy(state(b""))
    future.begin(one.act, state(b"a"))
    future.record(state(b"a"), ACTION, state(b"b"))
    future.record(state(b"b"), ACTION, state(b"c"))
    future.begin(one.act, state(b"b"))  # goes on from the middle
    assert len(future) == 2
    for act, start in ((other.act, b"b"), (one.wait, b"b"), (one.act, b"z")):
        future.begin(one.act, state(b"a"))
        future.record(state(b"b"), ACTION, state(b"c"))
        future.begin(act, state(start))
        assert len(future) == 0
        future.record(state(b"a"), ACTION, state(b"b"))
    future.forget()
    assert len(future) == 0


# -- the simulator ---------------------------------------------------------------------------------------


@libero
def test_an_imagined_chunk_is_not_simulated_again_and_ends_in_the_same_state(
    simulator: Simulator, simulated: list[np.ndarray]
):
    simulator.reset(START)
    actions = imagine(simulator, Policy(simulator).act)
    simulated.clear()
    jumped = simulator.step_chunk(actions)
    assert (simulated, simulator.timestep) == ([], 16)
    there = after_chunk(simulator, jumped)
    simulator.reset(START)
    simulated.clear()
    executed = simulator.step_chunk(actions)
    assert len(simulated) == 16
    assert there == after_chunk(simulator, executed)


def after_chunk(simulator: Simulator, result: ChunkResult) -> list[Any]:
    """All that a teacher or a camera could see after a chunk, and the step that follows."""
    assert result.observation is not None
    data, observation = simulator.data, dataclasses.asdict(result.observation)
    seen = [value.tobytes() for value in observation.values()]
    seen += [
        data.xpos.tobytes(),
        data.geom_xmat.tobytes(),
        data.site_xpos.tobytes(),
        simulator.snapshot().key,
    ]
    seen += [data.contact.geom.tobytes(), result.rewards.tobytes(), result.executed, result.outcome]
    simulator.step(ACTION)
    return [*seen, simulator.snapshot().key]


@libero
def test_what_differs_in_one_bit_is_simulated_from_there_on(
    simulator: Simulator, simulated: list[np.ndarray]
):
    simulator.reset(START)
    actions = imagine(simulator, Policy(simulator).act)
    actions[5, 0] = np.nextafter(actions[5, 0], np.float32(2))
    simulated.clear()
    simulator.step_chunk(actions)
    assert len(simulated) == 11
    np.testing.assert_array_equal(simulated, actions[5:])
    reached = simulator.snapshot().key
    simulator.reset(START)
    simulator.step_chunk(actions)
    assert simulator.snapshot().key == reached


@libero
def test_a_changed_state_is_simulated_from(simulator: Simulator, simulated: list[np.ndarray]):
    simulator.reset(START)
    actions = imagine(simulator, Policy(simulator).act)
    simulated.clear()
    simulator.controller.gripper_command = simulator.controller.gripper_command + 1e-9
    simulator.step_chunk(actions[:4])
    assert len(simulated) == 4


@libero
def test_the_next_imagination_goes_on_where_the_last_one_ended(
    simulator: Simulator, simulated: list[np.ndarray]
):
    simulator.reset(START)
    policy = Policy(simulator)
    first = imagine(simulator, policy.act)
    simulator.step_chunk(first[:4])
    simulated.clear()
    second = imagine(simulator, policy.act)
    np.testing.assert_array_equal(second[:12], first[4:])
    assert (policy.asked, len(simulated)) == (20, 4)
    anew = Policy(simulator)
    np.testing.assert_array_equal(imagine(simulator, anew.act), second)
    assert anew.asked == 16  # another's future is not taken for one's own


@libero
@pytest.mark.parametrize("goal_ends", [True, False])
def test_a_goal_met_in_imagination_ends_the_chunk_at_the_same_step(
    simulator: Simulator, simulated: list[np.ndarray], goal_ends: bool
):
    def drop() -> None:
        simulator.reset(START)
        joint = simulator.data.joint("ketchup_1_joint0")
        joint.qpos[:3] = simulator.data.body("basket_1_main").xpos + np.array([0.0, 0.0, 0.1])

    drop()
    policy = Policy(simulator)
    actions = imagine(simulator, policy.act, goal_ends=goal_ends)
    simulated.clear()
    jumped = simulator.step_chunk(actions)
    assert simulated == []
    assert (jumped.outcome, jumped.observation) == ("success", None)
    assert 1 <= jumped.executed < 16
    assert (policy.asked < 16) == goal_ends
    if goal_ends:  # the rest of the chunk repeats the last action
        np.testing.assert_array_equal(
            actions[jumped.executed :], actions[-1:].repeat(16 - jumped.executed, 0)
        )
    drop()
    executed = simulator.step_chunk(actions)
    assert len(simulated) > 0
    assert (jumped.executed, jumped.rewards.tolist()) == (executed.executed, executed.rewards.tolist())
    simulator.reset(START)
    assert len(simulator.imagination) == 0


@libero
@pytest.mark.parametrize(
    ("probability", "execute_steps"), [(0.0, 16), (0.5, 16), (0.0, 4), (0.5, 4)], ids=str
)
def test_an_episode_is_the_same_with_and_without_the_memory(
    simulator: Simulator,
    simulated: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    probability: float,
    execute_steps: int,
):
    if probability or execute_steps != 16:  # rendering is what takes time
        monkeypatch.setattr(Simulator, "render", lambda *_: np.zeros((64, 64, 3), np.uint8))
    monkeypatch.setattr(simulator, "task", dataclasses.replace(TASK, horizon=96 if probability else 160))

    def play() -> Episode:
        behaviour = TeacherBehaviour(EmbeddedTeacher(), ActionNoise(probability))
        simulated.clear()
        options: Any = {"source": "teacher", "episode": 0, "seed": 3, "execute_steps": execute_steps}
        return rollout(simulator, behaviour, load_initial_state(TASK, "dev", 1), **options)

    kept, with_memory = play(), len(simulated)
    monkeypatch.setattr(Imagination, "record", lambda *_: None)
    fresh, without = play(), len(simulated)
    assert described(kept) == described(fresh)
    assert with_memory < without
    if not probability:
        assert (kept.outcome, with_memory) == ("success", 10 + kept.steps)  # each step once, in imagination


def described(episode: Episode) -> list[Any]:
    """All that is stored of an episode."""
    stored: list[Any] = [episode.outcome, episode.steps, episode.clipped]
    for transition in episode.transitions:
        fields = dataclasses.asdict(transition)
        fields |= fields.pop("observation")
        stored += [v.tobytes() if isinstance(v, np.ndarray) else (k, v) for k, v in sorted(fields.items())]
    return stored
