"""The data contract: what is valid is let through, what breaks it is named by its key."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from lit_distill.errors import LitDistillError
from lit_distill.schema import (
    METADATA_KEYS,
    OBSERVATION_SPECS,
    ArraySpec,
    ChunkTransition,
    Observation,
    TeacherChunk,
)


@pytest.fixture
def transitions(make_episode: Any) -> list[ChunkTransition]:
    """Three chunks; nine rows of the last were executed."""
    return make_episode("custom_libero_object_milk", "teacher", 4)


def broken(transition: ChunkTransition, **changes: Any) -> str:
    """The one line that a changed transition is refused with."""
    with pytest.raises(LitDistillError) as caught:
        dataclasses.replace(transition, **changes).validate()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{dataclasses.replace(transition, **changes).key}: ")
    return message.split(": ", 1)[1]


def changed(observation: Observation, **changes: Any) -> Observation:
    return dataclasses.replace(observation, **changes)


def test_valid_transitions_pass(transitions: list[ChunkTransition]):
    for transition in transitions:
        transition.validate()
    dataclasses.replace(transitions[0], teacher_actions=None, value=None, next_value=None).validate()


def test_keys_name_task_source_episode_and_chunk(transitions: list[ChunkTransition]):
    assert transitions[2].key == "custom_libero_object_milk-teacher-00004-002"
    assert transitions[2].episode_key == "custom_libero_object_milk-teacher-00004"


@pytest.mark.parametrize("key", list(OBSERVATION_SPECS))
@pytest.mark.parametrize("fault", ["list", "dtype", "shape"])
def test_a_wrong_array_of_the_observation_is_named(transitions: list[ChunkTransition], key: str, fault: str):
    array = getattr(transitions[0].observation, key)
    wrong = {"list": array.tolist(), "dtype": array.astype(np.float64), "shape": array[..., :-1]}[fault]
    observation = changed(transitions[0].observation, **{key: wrong})
    assert broken(transitions[0], observation=observation).startswith(f"{key}: expected ")


@pytest.mark.parametrize("key", ["proprio", "gripper_qpos", "eef_pos", "eef_quat"])
def test_a_reading_that_is_not_finite_is_named(transitions: list[ChunkTransition], key: str):
    array = getattr(transitions[0].observation, key).copy()
    array[1] = np.nan
    observation = changed(transitions[0].observation, **{key: array})
    assert broken(transitions[0], observation=observation) == f"{key}: holds a value that is not finite"


def test_views_must_be_square_and_of_one_size(transitions: list[ChunkTransition]):
    observation = transitions[0].observation
    smaller = changed(observation, wrist=observation.wrist[:8, :8])
    assert broken(transitions[0], observation=smaller).startswith("agentview, wrist: ")
    oblong = changed(observation, agentview=observation.agentview[:8], wrist=observation.wrist[:8])
    assert broken(transitions[0], observation=oblong).startswith("agentview, wrist: ")


@pytest.mark.parametrize("key", ["actions", "teacher_actions"])
@pytest.mark.parametrize("value", [1.01, -1.01, np.nan, np.inf])
def test_actions_are_finite_and_within_bounds(transitions: list[ChunkTransition], key: str, value: float):
    actions = getattr(transitions[0], key).copy()
    actions[15, 6] = value
    assert broken(transitions[0], **{key: actions}).startswith(f"{key}: ")


def test_only_the_label_may_be_absent(transitions: list[ChunkTransition]):
    for key in ("actions", "mask", "rewards"):
        assert broken(transitions[0], **{key: None}).startswith(f"{key}: expected a numpy array")


@pytest.mark.parametrize("executed", [0, -1, 17])
def test_executed_is_one_to_sixteen(transitions: list[ChunkTransition], executed: int):
    assert broken(transitions[0], executed=executed).startswith("executed: ")


def test_mask_is_true_in_the_executed_rows_and_nowhere_else(transitions: list[ChunkTransition]):
    last = transitions[-1]
    for mask in (np.arange(16) < 8, np.arange(16) < 10, np.arange(16) > 6):
        assert broken(last, mask=mask).startswith("mask: ")


def test_rewards_are_zero_beyond_the_executed_rows(transitions: list[ChunkTransition]):
    last = transitions[-1]
    rewards = last.rewards.copy()
    rewards[last.executed] = 1.0
    assert broken(last, rewards=rewards).startswith("rewards: ")


def test_a_terminal_chunk_has_no_next_value(transitions: list[ChunkTransition]):
    assert broken(transitions[-1], next_value=1.0) == "next_value: must be None at a terminal chunk"


def test_a_number_of_steps_to_success_is_an_integer_from_never_on(transitions: list[ChunkTransition]):
    dataclasses.replace(transitions[0], steps_to_success=-1, next_steps_to_success=0).validate()
    for wrong in (-2, 3.0):
        message = f"steps_to_success: must be a number of control steps, or -1 for never, got {wrong}"
        assert broken(transitions[0], steps_to_success=wrong) == message
    terminal = broken(transitions[-1], next_steps_to_success=0)
    assert terminal == "next_steps_to_success: must be None at a terminal chunk"


@pytest.mark.parametrize("key", ["value", "next_value"])
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_potentials_lie_in_zero_to_one(transitions: list[ChunkTransition], key: str, value: float):
    assert broken(transitions[0], **{key: value}).startswith(f"{key}: a potential must lie in [0, 1]")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", ""),
        ("task", "a.b"),
        ("task", "a/b"),
        ("source", "expert"),
        ("source", "dagger-0"),
        ("source", "teacher\n"),
        ("outcome", "error"),
    ],
)
def test_names_are_checked(transitions: list[ChunkTransition], key: str, value: str):
    changes: dict[str, Any] = {key: value}
    with pytest.raises(LitDistillError, match=f"{key}: must be "):
        dataclasses.replace(transitions[0], **changes).validate()


def test_a_teachers_answer_is_checked():
    actions = np.zeros((16, 7), dtype=np.float32)
    TeacherChunk(actions).validate()
    TeacherChunk(actions, 1.0).validate()
    with pytest.raises(LitDistillError, match="^teacher_actions: expected float32"):
        TeacherChunk(actions[:15], 0.5).validate()
    with pytest.raises(LitDistillError, match="^value: "):
        TeacherChunk(actions, 1.5).validate()


def test_range_is_closed():
    spec = ArraySpec(np.float32, (-1,), -1.0, 1.0)
    spec.check("key", np.array([-1.0, 1.0], dtype=np.float32))
    spec.check("key", np.empty(0, dtype=np.float32))
    with pytest.raises(LitDistillError, match=r"^key: values must lie in \[-1.0, 1.0\], got 0 .. 1.5"):
        spec.check("key", np.array([0.0, 1.5], dtype=np.float32))


def test_metadata_is_every_field_that_is_no_array():
    fields = {field.name for field in dataclasses.fields(ChunkTransition)}
    arrays = {"observation", "actions", "mask", "teacher_actions", "rewards"}
    assert set(METADATA_KEYS) == fields - arrays
