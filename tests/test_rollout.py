"""The one rollout loop, on the toy world: what is stored, how episodes end, what is random."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lit_distill.behaviours import (
    ActionNoise,
    Decision,
    MixtureBehaviour,
    StudentBehaviour,
    TeacherBehaviour,
)
from lit_distill.errors import LitDistillError
from lit_distill.rollout import Episode, rollout
from lit_distill.schema import ChunkTransition, Observation, TeacherChunk
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.sim.fake import FakeSimulator, FakeTeacher
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task

TASK = get_task("custom_libero_object_butter")
START = load_initial_state(TASK, "dev", 2)


def play(
    noise: ActionNoise | None = None, *, behaviour: Any = None, horizon: int = 280, **options: Any
) -> Episode:
    simulator = FakeSimulator(dataclasses.replace(TASK, horizon=horizon))
    behaviour = behaviour or TeacherBehaviour(FakeTeacher(), noise or ActionNoise())
    defaults = {"source": "teacher", "episode": 3, "seed": 11}
    return rollout(simulator, behaviour, START, **(defaults | options))


class Policy:
    """A student that always commands the same chunk."""

    def __init__(self, actions: np.ndarray) -> None:
        self.actions = actions

    def act(self, observation: Observation) -> np.ndarray:
        return self.actions


def student(actions: np.ndarray) -> StudentBehaviour:
    return StudentBehaviour(Policy(actions))


STILL = np.zeros((16, 7), dtype=np.float32)


def digest(episode: Episode) -> list[tuple[bytes, bytes]]:
    return [(t.actions.tobytes(), t.observation.agentview.tobytes()) for t in episode.transitions]


def test_every_transition_keeps_the_contract():
    episode = play()
    assert len(episode.transitions) > 2
    for index, transition in enumerate(episode.transitions):
        transition.validate()
        assert transition.key == f"{TASK.name}-teacher-00003-{index:03d}"
        assert (transition.initial_state, transition.seed) == ("dev/2", 11)
        assert (transition.behaviour, transition.teacher) == ("teacher", "fake/1")
        assert transition.outcome == "success"
    assert episode.steps == sum(transition.executed for transition in episode.transitions)
    assert len(episode.decision_ms) == len(episode.transitions)


def test_next_value_is_the_value_of_the_next_chunk_and_none_at_the_end():
    transitions = play().transitions
    for now, later in pairwise(transitions):
        assert now.value is not None
        assert now.next_value == later.value
        assert not now.terminal
        assert now.executed == 16
    assert transitions[-1].terminal
    assert transitions[-1].next_value is None
    assert transitions[-1].value is not None


def test_the_observation_of_a_chunk_is_what_was_seen_before_it():
    transitions = play().transitions
    for now, later in pairwise(transitions):
        moved = now.observation.eef_pos[:2] + 0.02 * now.actions[:, :2].sum(axis=0)
        np.testing.assert_allclose(later.observation.eef_pos[:2], moved, atol=1e-5)


def test_success_ends_the_episode_and_the_chunk_is_stored_as_commanded():
    last = play().transitions[-1]
    assert 1 <= last.executed < 16
    assert last.rewards.tolist() == [0.0] * (last.executed - 1) + [1.0] + [0.0] * (16 - last.executed)
    assert last.mask.tolist() == [True] * last.executed + [False] * (16 - last.executed)
    np.testing.assert_array_equal(last.actions, last.teacher_actions)  # all sixteen rows, not padded


def test_the_horizon_makes_a_timeout():
    episode = play(behaviour=student(STILL), horizon=40)
    assert (episode.outcome, episode.steps) == ("timeout", 40)
    assert [t.executed for t in episode.transitions] == [16, 16, 8]
    assert [t.terminal for t in episode.transitions] == [False, False, True]
    assert {t.outcome for t in episode.transitions} == {"timeout"}
    assert {(t.value, t.next_value, t.teacher, t.behaviour) for t in episode.transitions} == {
        (None, None, None, "student")
    }
    assert all(t.teacher_actions is None for t in episode.transitions)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_ends_the_episode_as_a_failure(
    value: float, caplog: pytest.LogCaptureFixture
):
    actions = STILL.copy()
    actions[5, 2] = value
    episode = play(behaviour=student(actions))
    assert (episode.outcome, episode.steps) == ("failure", 5)
    assert [t.executed for t in episode.transitions] == [5]
    episode.transitions[0].validate()
    assert f"{TASK.name} dev/2: chunk 0 commands an action that is not finite" in caplog.text


def test_a_failure_at_a_chunks_first_action_makes_the_chunk_before_it_the_last():
    class Breaks:
        teacher = None
        decisions = 0

        def decide(self, *arguments: Any) -> Decision:
            self.decisions += 1
            return Decision(STILL if self.decisions < 3 else STILL + np.nan, None, "student")

    episode = play(behaviour=Breaks())
    assert (episode.outcome, episode.steps) == ("failure", 32)
    assert [t.terminal for t in episode.transitions] == [False, True]
    assert {t.outcome for t in episode.transitions} == {"failure"}


def test_execute_steps_looks_again_after_so_many_actions():
    often, seldom = play(execute_steps=4), play()
    assert often.outcome == "success"
    assert {t.executed for t in often.transitions[:-1]} == {4}
    assert often.transitions[0].mask.tolist() == [True] * 4 + [False] * 12
    assert often.transitions[0].actions[4:].any()  # the rest of the chunk is stored as commanded
    assert len(often.transitions) > 3 * len(seldom.transitions)
    for transition in often.transitions:
        transition.validate()


@pytest.mark.parametrize("execute_steps", [0, 17])
def test_execute_steps_out_of_range_is_refused(execute_steps: int):
    with pytest.raises(LitDistillError, match="^execute_steps: "):
        play(execute_steps=execute_steps)


def test_noise_perturbs_what_is_executed_and_leaves_the_label_clean():
    episode = play(ActionNoise(probability=1.0, position=0.5, rotation=0.2))
    for transition in episode.transitions:
        assert transition.behaviour == "teacher+noise"
        assert transition.teacher_actions is not None
        different = transition.actions != transition.teacher_actions
        assert different[:, 2:6].all()  # the first two columns are clipped at 1 for both, often
        assert not different[:, 6].any()
        assert not transition.teacher_actions[:, 2:].any()  # the toy teacher moves in the plane
        moved = transition.observation.eef_pos[:2] + 0.02 * transition.actions[: transition.executed, :2].sum(
            0
        )
        if not transition.terminal:
            later = episode.transitions[transition.chunk + 1].observation.eef_pos[:2]
            np.testing.assert_allclose(later, moved, atol=1e-5)  # the noisy actions were the executed ones


def test_noise_hits_the_asked_share_of_chunks_with_the_asked_spread():
    noise = ActionNoise(probability=0.25, position=0.3, rotation=0.1)
    random = np.random.default_rng(0)
    clean = np.zeros((16, 7), dtype=np.float32)
    drawn = [noise.perturb(clean, random) for _ in range(4000)]
    hits = np.array([perturbed for perturbed in drawn if perturbed is not None])
    assert len(hits) / len(drawn) == pytest.approx(0.25, abs=0.03)
    spread = hits.std(axis=(0, 1))
    # bias σ and independent steps of σ / 2: σ √1.25
    np.testing.assert_allclose(spread[:6], np.sqrt(1.25) * np.array([0.3] * 3 + [0.1] * 3), rtol=0.08)
    assert spread[6] == 0.0
    assert hits.mean(axis=1).std(axis=0)[0] == pytest.approx(0.3, rel=0.1)  # the bias stays for a chunk
    assert not clean.any()


def test_noise_draws_the_same_numbers_whether_it_hits_or_not():
    after = []
    for probability in (0.0, 1.0):
        random = np.random.default_rng(5)
        ActionNoise(probability).perturb(STILL, random)
        after.append(random.random())
    assert after[0] == after[1]


@pytest.mark.parametrize(
    "options",
    [
        {"probability": 1.1},
        {"probability": -0.1},
        {"probability": np.nan},
        {"position": -1.0},
        {"position": np.nan},
        {"rotation": np.inf},
        {"gripper": 2.0},
    ],
)
def test_noise_out_of_range_is_refused(options: dict[str, float]):
    with pytest.raises(LitDistillError, match="^noise: "):
        ActionNoise(**options)


def test_commands_out_of_range_are_clipped_and_counted():
    actions = STILL.copy()
    actions[0, :3] = [1.5, -2.0, 1.0]
    episode = play(behaviour=student(actions), horizon=32)
    assert episode.clipped == 4  # two values, two chunks
    actions[9, 0] = 3.0
    assert (
        play(behaviour=student(actions), horizon=32, execute_steps=4).clipped == 16
    )  # of executed ones alone
    assert episode.transitions[0].actions[0, :3].tolist() == [1.0, -1.0, 1.0]
    episode.transitions[0].validate()


def test_the_seed_decides_everything_random():
    noise = ActionNoise(probability=0.5)
    assert digest(play(noise, seed=1)) == digest(play(noise, seed=1))
    assert digest(play(noise, seed=1)) != digest(play(noise, seed=2))


def test_frames_are_recorded_every_so_many_steps_from_the_start():
    episode = play(record_every=4)
    assert len(episode.frames) == 1 + episode.steps // 4
    assert {frame.shape for frame in episode.frames} == {(32, 64, 3)}
    first = episode.transitions[0].observation
    np.testing.assert_array_equal(episode.frames[0], np.concatenate([first.agentview, first.wrist], axis=1))
    np.testing.assert_array_equal(episode.frames[4][:, :32], episode.transitions[1].observation.agentview)
    assert play().frames == []


def test_a_teacher_that_breaks_the_contract_is_named():
    class Careless(FakeTeacher):
        def query(self, *arguments: Any) -> Any:
            return dataclasses.replace(super().query(*arguments), value=1.5)

    with pytest.raises(LitDistillError, match="^value: a potential must lie in"):
        play(behaviour=TeacherBehaviour(Careless(), ActionNoise()))


def test_transitions_are_frozen():
    transition: ChunkTransition = play().transitions[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        transition.value = 0.0  # type: ignore[misc]


def test_noise_forces_the_gripper_of_the_asked_share_of_perturbed_chunks():
    noise = ActionNoise(probability=0.5, position=0.6, rotation=0.2, gripper=0.3)
    random = np.random.default_rng(0)
    drawn = [noise.perturb(STILL, random) for _ in range(4000)]
    commands = np.array([perturbed[:, 6] for perturbed in drawn if perturbed is not None])
    assert (commands == commands[:, :1]).all(), "one command throughout a chunk"
    shares = [float((commands[:, 0] == command).mean()) for command in (-1.0, 0.0, 1.0)]
    assert shares == pytest.approx([0.15, 0.7, 0.15], abs=0.03)


def test_without_forced_grippers_the_noise_is_what_it_was_before_there_were_any():
    random, same = np.random.default_rng(3), np.random.default_rng(3)
    perturbed = ActionNoise(1.0, 0.6, 0.2).perturb(STILL, random)
    same.random()
    scale = np.array([0.6] * 3 + [0.2] * 3)
    expected = same.normal(size=6) * scale + 0.5 * same.normal(size=(16, 6)) * scale
    assert perturbed is not None
    np.testing.assert_allclose(perturbed[:, :6], expected, rtol=1e-6)
    assert random.random() == same.random()


class LosingTeacher(FakeTeacher):
    """Says at its third query that the goal is lost."""

    def __init__(self, value: float | None) -> None:
        self.value, self.queries = value, 0

    def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
        self.queries += 1
        value = self.value if self.queries == 3 else 0.5
        return TeacherChunk(STILL, value)


def lose(value: float | None = 0.0, **options: Any) -> Episode:
    behaviour = TeacherBehaviour(LosingTeacher(value), ActionNoise())
    return play(behaviour=behaviour, horizon=160, **options)


def test_a_lost_state_is_labelled_executed_and_the_last_if_asked_for():
    episode = lose(end_when_lost=True)
    assert (episode.outcome, episode.steps) == ("timeout", 48)
    assert [transition.value for transition in episode.transitions] == [0.5, 0.5, 0.0]
    last = episode.transitions[-1]
    assert (last.terminal, last.executed, last.outcome, last.next_value) == (True, 16, "timeout", None)
    for transition in episode.transitions:
        transition.validate()


def test_an_episode_goes_on_to_the_horizon_unless_asked_otherwise():
    assert (lose().steps, len(lose().transitions)) == (160, 10)
    assert lose(0.01, end_when_lost=True).steps == 160
    assert lose(None, end_when_lost=True).steps == 160


@pytest.mark.parametrize("mixed", [False, True])
def test_a_value_of_0_that_is_only_low_ends_nothing(mixed: bool):
    teacher = LosingTeacher(0.0)
    teacher.zero_is_lost = False
    behaviour = MixtureBehaviour(teacher, None, 1.0) if mixed else TeacherBehaviour(teacher, ActionNoise())
    episode = play(behaviour=behaviour, horizon=160, end_when_lost=True)
    assert (episode.steps, episode.transitions[2].value) == (160, 0.0)


def test_a_success_in_the_chunk_that_was_called_lost_is_a_success():
    class Wrong(FakeTeacher):
        def query(self, observation: Observation, simulator: ChunkSimulator) -> TeacherChunk:
            answer = super().query(observation, simulator)
            assert answer.value is not None
            return TeacherChunk(answer.actions, 0.0 if answer.value > 0.95 else answer.value)

    assert play(behaviour=TeacherBehaviour(Wrong(), ActionNoise()), end_when_lost=True).outcome == "success"
