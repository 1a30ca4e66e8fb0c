"""Who acts and who labels: DAgger's mixture, on the toy world."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_training import tiny_network

from lit_distill.behaviours import Decision, MixtureActor, MixtureBehaviour, StudentActor, TeacherSpec
from lit_distill.errors import LitDistillError
from lit_distill.networks.checkpoint import save_student, student_sha256
from lit_distill.rollout import Episode, rollout
from lit_distill.schema import ChunkTransition, Observation
from lit_distill.sim.fake import FakeSimulator, FakeTeacher
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task

TASK = get_task("custom_libero_object_butter")
START = load_initial_state(TASK, "student", 4)
TEACHER = TeacherSpec("lit_distill.sim.fake.FakeTeacher")


class Wanders:
    """A student whose every chunk is another one, slow enough that the episode is long."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)
        self.asked = 0

    def act(self, observation: Observation) -> np.ndarray:
        self.asked += 1
        return self.random.uniform(-0.5, 0.4, (16, 7)).astype(np.float32)


def play(beta: float, *, seed: int = 11, hold: int = 0, policy: Any = None, **options: Any) -> Episode:
    behaviour = MixtureBehaviour(FakeTeacher(), policy or Wanders(), beta, hold)
    defaults = {"source": "dagger-1", "episode": 0, "seed": seed}
    return rollout(FakeSimulator(TASK), behaviour, START, **(defaults | options))


def label_of(transition: ChunkTransition) -> Any:
    """What the teacher says about the state that was observed."""
    simulator = FakeSimulator(TASK)
    simulator.reset(START)
    simulator.hand = transition.observation.eef_pos[:2].astype(np.float64)
    return FakeTeacher().query(transition.observation, simulator)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_every_visited_state_has_the_teachers_clean_label_and_value_whoever_acted(beta: float) -> None:
    transitions = play(beta).transitions
    assert len(transitions) > 3
    for transition in transitions:
        label = label_of(transition)
        np.testing.assert_allclose(transition.teacher_actions, label.actions, atol=1e-4)
        assert transition.value == pytest.approx(label.value, abs=1e-4)
        assert transition.teacher == "fake/1"
        same = np.array_equal(transition.actions, transition.teacher_actions)
        assert same == (transition.behaviour == "teacher")
    for now, later in pairwise(transitions):
        assert now.next_value == later.value


def test_at_the_ends_of_beta_one_of_them_acts_alone() -> None:
    policy = Wanders()
    assert {t.behaviour for t in play(1.0, policy=policy).transitions} == {"teacher"}
    assert policy.asked == 0
    alone = play(0.0)
    assert {t.behaviour for t in alone.transitions} == {"student"}
    expected = Wanders()
    for transition in alone.transitions:
        np.testing.assert_array_equal(transition.actions, expected.act(transition.observation))


def acted(beta: float, decisions: int, seed: int) -> list[str]:
    """Who acts in a row of decisions."""
    behaviour, simulator = MixtureBehaviour(FakeTeacher(), Wanders(), beta), FakeSimulator(TASK)
    observation, random = simulator.reset(START), np.random.default_rng(seed)
    return [behaviour.decide(observation, simulator, random).behaviour for _ in range(decisions)]


def test_the_teacher_acts_in_the_asked_share_of_the_chunks() -> None:
    share = np.mean([name == "teacher" for name in acted(0.25, 3000, seed=0)])
    assert share == pytest.approx(0.25, abs=0.03)


def test_the_seed_decides_who_acts_and_a_larger_beta_only_adds_to_the_teachers_chunks() -> None:
    assert acted(0.5, 50, seed=1) == acted(0.5, 50, seed=1) != acted(0.5, 50, seed=2)
    fewer, more = acted(0.25, 200, seed=1), acted(0.5, 200, seed=1)
    assert {pair for pair in zip(fewer, more, strict=True) if pair[0] == "teacher"} == {
        ("teacher", "teacher")
    }
    assert fewer != more


def test_between_its_ends_a_chunk_goes_on_and_the_teacher_is_asked_again() -> None:
    policy = Wanders()
    episode = play(0.3, hold=16, execute_steps=4, policy=policy)
    transitions = episode.transitions
    assert {t.executed for t in transitions[:-1]} == {4}
    starts = [i for i in range(len(transitions)) if i % 4 == 0]
    for start in starts:
        chunk = transitions[start]
        for part in range(1, min(4, len(transitions) - start)):
            inside = transitions[start + part]
            done = 4 * part
            np.testing.assert_array_equal(inside.actions[: 16 - done], chunk.actions[done:])
            np.testing.assert_array_equal(inside.actions[16 - done :], np.repeat(chunk.actions[-1:], done, 0))
            assert inside.behaviour == chunk.behaviour
            np.testing.assert_allclose(inside.teacher_actions, label_of(inside).actions, atol=1e-4)
    students = [i for i in starts if transitions[i].behaviour == "student"]
    assert policy.asked == len(students) < len(starts)


def test_denser_labels_do_not_change_what_is_executed() -> None:
    sparse, dense = play(0.3), play(0.3, hold=16, execute_steps=4)
    assert (sparse.outcome, sparse.steps) == (dense.outcome, dense.steps)
    assert len(dense.transitions) > 3 * len(sparse.transitions)
    for index, transition in enumerate(sparse.transitions):
        np.testing.assert_array_equal(transition.actions, dense.transitions[4 * index].actions)
        np.testing.assert_array_equal(
            transition.observation.agentview, dense.transitions[4 * index].observation.agentview
        )


def test_a_new_episode_begins_with_a_new_chunk() -> None:
    behaviour = MixtureBehaviour(FakeTeacher(), Wanders(), 0.0, hold=16)
    options = {"source": "dagger-1", "episode": 0, "execute_steps": 4}
    ended = [rollout(FakeSimulator(TASK), behaviour, START, seed=seed, **options) for seed in (0, 1)]
    first, second = (episode.transitions[0].actions for episode in ended)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(ended[1].transitions[1].actions[:12], second[4:])


def test_a_careless_teacher_is_named_also_where_the_student_acts() -> None:
    class Careless(FakeTeacher):
        def query(self, *arguments: Any) -> Any:
            chunk = super().query(*arguments)
            return type(chunk)(chunk.actions, 1.5)

    behaviour = MixtureBehaviour(Careless(), Wanders(), 0.0)
    with pytest.raises(LitDistillError, match="^value: a potential must lie in"):
        rollout(FakeSimulator(TASK), behaviour, START, source="dagger-1", episode=0, seed=0)


def test_the_recipe_is_picklable_and_loads_the_student_of_its_checkpoint(tmp_path: Path) -> None:
    network = tiny_network(seed=4, image_size=32)
    save_student(network, tmp_path / "student.ckpt", TASK.name)
    actor = pickle.loads(pickle.dumps(MixtureActor(TEACHER, StudentActor(str(tmp_path / "student.ckpt")))))
    observation = FakeSimulator(TASK).reset(START)
    simulator = FakeSimulator(TASK)
    simulator.reset(START)
    decision: Decision = actor.build(TASK).decide(observation, simulator, np.random.default_rng(0))
    expected = StudentActor(str(tmp_path / "student.ckpt")).policy(TASK).act(observation)
    np.testing.assert_array_equal(decision.actions, expected)
    assert decision.label is not None and decision.behaviour == "student"


def test_the_identity_names_the_student_itself_and_beta_not_its_file(tmp_path: Path) -> None:
    for name in ("one.ckpt", "two.ckpt"):
        save_student(tiny_network(), tmp_path / name, training={"file": name})
    one, two = (MixtureActor(TEACHER, StudentActor(str(tmp_path / n)), 0.5) for n in ("one.ckpt", "two.ckpt"))
    assert one.identity() == two.identity()
    assert one.identity()["student_sha256"] == student_sha256(tmp_path / "one.ckpt")
    assert (one.identity()["beta"], one.identity()["teacher"]) == (0.5, "fake/1")


@pytest.mark.parametrize("beta", [-0.1, 1.1])
def test_a_beta_that_is_no_probability_is_refused(beta: float) -> None:
    with pytest.raises(LitDistillError, match="^beta: "):
        MixtureActor(TEACHER, StudentActor("x"), beta)
