"""AWAC's data set: eq. (2), balanced, the actions that were executed, and what counts at the ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.multistep import multistep, transition_arrays
from datamodules.replay import ReplayDataModule, Side, balanced_indices
from datamodules.selection import all_rounds, is_held_out
from lit_distill.collection import CollectSettings
from lit_distill.errors import LitDistillError
from lit_distill.schema import ChunkTransition
from lit_distill.shards import ShardWriter
from lit_distill.tasks import get_task

TASK = "custom_libero_object_ketchup"
MakeEpisode = Callable[..., list[ChunkTransition]]


def store(root: Path, make_episode: MakeEpisode, source: str, total: int) -> None:
    writer = ShardWriter(root / TASK, TASK, source, {}, episodes_per_shard=4)
    for episode in range(total):
        outcome = "failure" if episode % 3 == 1 else "success"
        writer.add(episode, make_episode(TASK, source, episode, 2 + episode % 3, outcome, 8))
    writer.finish(total)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_episode: MakeEpisode) -> Path:
    """Twelve teacher episodes and thirty of the student."""
    folder = tmp_path_factory.mktemp("data")
    store(folder, make_episode, "teacher", 12)
    store(folder, make_episode, "student", 30)
    return folder


@pytest.fixture
def data(root: Path) -> ReplayDataModule:
    module = ReplayDataModule(TASK, str(root), batch_size=8, steps_per_epoch=5)
    module.setup()
    return module


def test_the_action_is_the_one_that_was_executed(make_episode: MakeEpisode):
    transition = make_episode(TASK, "teacher", 0)[0]
    np.testing.assert_array_equal(transition_arrays([transition])["actions"], transition.actions)
    assert (transition.actions != transition.teacher_actions).any()


@pytest.mark.parametrize(("outcome", "potential"), [("success", 1.0), ("timeout", 0.0), ("failure", 0.0)])
def test_after_the_end_the_potential_is_that_of_the_outcome(
    make_episode: MakeEpisode, outcome: str, potential: float
):
    *_, last = make_episode(TASK, "student", 0, outcome=outcome)
    arrays = transition_arrays([last])
    assert arrays["next_value"] == potential and arrays["terminal"]
    assert arrays["value"] == np.float32(last.value)


def test_a_value_that_the_teacher_did_not_give_is_not_a_number(make_episode: MakeEpisode):
    first, *_, last = make_episode(TASK, "student", 0)
    silent = dataclasses.replace(first, value=None, next_value=None)
    arrays = transition_arrays([silent])
    assert np.isnan(arrays["value"]) and np.isnan(arrays["next_value"])
    assert not np.isnan(transition_arrays([dataclasses.replace(last, value=None)])["next_value"])


def test_steps_to_success_never_is_infinite_and_unknown_is_not_a_number(make_episode: MakeEpisode):
    """gamma^n makes 0 of never; at the end n is 0 after a success, else never."""
    first, *_, last = make_episode(TASK, "student", 0)
    known = dataclasses.replace(first, steps_to_success=-1, next_steps_to_success=30)
    arrays = transition_arrays([known])
    assert arrays["steps_to_success"] == np.inf and arrays["next_steps_to_success"] == 30
    assert np.isnan(transition_arrays([first])["steps_to_success"])
    assert np.isnan(transition_arrays([first])["next_steps_to_success"])
    assert transition_arrays([last])["next_steps_to_success"] == 0
    *_, failed = make_episode(TASK, "student", 1, outcome="timeout")
    assert transition_arrays([failed])["next_steps_to_success"] == np.inf


def test_a_teachers_own_chunk_is_no_second_action(make_episode: MakeEpisode):
    transition = make_episode(TASK, "student", 0)[0]
    assert transition_arrays([dataclasses.replace(transition, behaviour="student")])["relabelled"]
    assert not transition_arrays([dataclasses.replace(transition, behaviour="teacher")])["relabelled"]
    unlabelled = dataclasses.replace(transition, behaviour="student", teacher_actions=None)
    assert not transition_arrays([unlabelled])["relabelled"]


def steps_of(episode: list[ChunkTransition], *executed: int) -> list[ChunkTransition]:
    """The episode's transitions with so many executed steps each; row k of part i is i + k / 100."""
    made = []
    for number, (transition, steps) in enumerate(zip(episode, executed, strict=True)):
        rows = np.broadcast_to(number + np.arange(16)[:, None] / 100, (16, 7)).astype(np.float32)
        rewards = np.zeros(16, np.float32)
        rewards[steps - 1] = number + 1
        mask = np.arange(16) < steps
        changes = {"executed": steps, "actions": rows, "rewards": rewards, "mask": mask}
        made.append(dataclasses.replace(transition, **changes))
    return made


def test_a_multistep_transition_is_what_was_executed_and_then_what_was_commanded(make_episode: MakeEpisode):
    """Four steps, four steps, and two of the last chunk, in which the episode ends."""
    episode = steps_of(make_episode(TASK, "student", 0, chunks=3), 4, 4, 2)
    first, second, third = multistep(episode, first=10, execute_steps=16)
    executed = [0, 0.01, 0.02, 0.03, 1, 1.01, 1.02, 1.03, 2, 2.01]
    commanded = [2.02, 2.03, 2.04, 2.05, 2.06, 2.07]
    np.testing.assert_allclose(first["actions"][:, 0], executed + commanded, rtol=1e-6)
    assert first["executed"] == 10 and first["mask"].sum() == 10 and first["mask"][:10].all()
    assert first["rewards"].tolist() == [0, 0, 0, 1, 0, 0, 0, 2, 0, 3] + [0] * 6
    assert first["terminal"] and first["next_value"] == 1.0 and first["value"] == np.float32(episode[0].value)
    assert [int(part["index"]) for part in (first, second, third)] == [10, 11, 12]
    assert second["executed"] == 6 and third["executed"] == 2 and third["terminal"]


def test_a_multistep_transition_stops_before_it_would_be_too_long(make_episode: MakeEpisode):
    episode = steps_of(make_episode(TASK, "student", 0, chunks=4), 4, 4, 4, 4)
    first, second, third, _ = multistep(episode, first=0, execute_steps=8)
    assert first["executed"] == 8 and not first["terminal"] and first["next_index"] == 2
    assert first["next_value"] == np.float32(episode[2].value) == np.float32(episode[1].next_value)
    assert second["next_index"] == 3 and not second["terminal"]
    assert third["terminal"]
    np.testing.assert_allclose(first["actions"][8:, 0], 1.04 + np.arange(8) / 100, rtol=1e-6)


def test_a_multistep_transition_begins_with_its_first_part_and_ends_with_its_last(make_episode: MakeEpisode):
    """What is seen and said at the beginning, and what is hoped at the end, is never another part's."""
    made = steps_of(make_episode(TASK, "student", 0, chunks=3), 4, 4, 4)
    steps = [(90, 86), (86, 82), (82, None)]
    episode = [
        dataclasses.replace(part, steps_to_success=now, next_steps_to_success=after)
        for part, (now, after) in zip(made, steps, strict=True)
    ]
    first, *_ = multistep(episode, first=0, execute_steps=8)
    assert first["executed"] == 8
    for view in ("agentview", "wrist", "proprio"):
        np.testing.assert_array_equal(first[view], getattr(episode[0].observation, view))
        assert (first[view] != getattr(episode[1].observation, view)).any()
    np.testing.assert_array_equal(first["teacher_actions"], episode[0].teacher_actions)
    assert (first["steps_to_success"], first["next_steps_to_success"]) == (90, 82)
    silent = [dataclasses.replace(episode[0], teacher_actions=None), *episode[1:]]
    assert not next(multistep(silent, first=0, execute_steps=8))["labelled"]


def test_rows_that_nobody_commanded_are_not_shown_to_the_critics(tmp_path: Path, make_episode: MakeEpisode):
    """Of a chunk of 16 that is executed whole and labelled every 4 steps, 4 rows follow the last label."""
    store(tmp_path, make_episode, "teacher", 12)
    writer = ShardWriter(tmp_path / TASK, TASK, "student", {"execute_steps": 16, "label_every": 4})
    for episode in range(12):
        writer.add(episode, make_episode(TASK, "student", episode))
    writer.finish(12)
    line = (
        "student episodes in .* execute 16 actions of a chunk and are labelled every 4, so only 4 rows follow"
    )
    with pytest.raises(LitDistillError, match=line):
        ReplayDataModule(TASK, str(tmp_path)).setup()


def test_rollouts_that_are_not_drawn_from_are_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[str | None] = []
    monkeypatch.setattr(
        "lit_distill.collection.collect_missing",
        lambda task, root, place, settings: asked.append(settings.student),
    )
    own = {"collect_teacher": CollectSettings(), "collect_student": CollectSettings(student="student.ckpt")}
    for students, expected in ((["student"], [None, "student.ckpt"]), (["dagger"], [None])):
        asked.clear()
        with pytest.raises(LitDistillError):  # nothing is there in the end
            ReplayDataModule(TASK, str(tmp_path), students=students, **own).prepare_data()
        assert asked == expected


def test_transitions_that_executed_more_than_the_critics_see_are_refused(root: Path):
    """As the paper collects, 16 at a time, for the 8 of conf/awac.yaml."""
    reason = rf"^execute_steps: is 8, but \w+ episodes in {root / TASK} executed 16 .* set it to 16"
    with pytest.raises(LitDistillError, match=reason):
        ReplayDataModule(TASK, str(root), batch_size=8, steps_per_epoch=5, execute_steps=8).setup()


def test_a_chunk_that_somebody_else_took_part_in_can_be_relabelled(make_episode: MakeEpisode):
    episode = steps_of(make_episode(TASK, "student", 0, chunks=3), 4, 4, 4)
    taught = [dataclasses.replace(part, behaviour="teacher") for part in episode]
    assert not any(part["relabelled"] for part in multistep(taught, 0, 8))
    mixed = [taught[0], dataclasses.replace(taught[1], behaviour="student"), taught[2]]
    assert [bool(part["relabelled"]) for part in multistep(mixed, 0, 8)] == [True, True, False]


def test_noise_in_any_part_is_told(make_episode: MakeEpisode):
    episode = steps_of(make_episode(TASK, "student", 0, chunks=3), 4, 4, 4)
    names = ("student", "student+noise", "student")
    mixed = [dataclasses.replace(part, behaviour=name) for part, name in zip(episode, names, strict=True)]
    assert [bool(part["perturbed"]) for part in multistep(mixed, 0, 8)] == [True, True, False]


def test_batches_are_half_teacher_half_student_whatever_their_numbers():
    teacher, student = (Side.of([episode], "transition") for episode in (range(3), range(100, 1000)))
    drawn = balanced_indices(teacher, student, 64, seed=0, step=7)
    assert np.isin(drawn[0::2], teacher.numbers).all() and np.isin(drawn[1::2], student.numbers).all()
    assert len(drawn) == 64 and len(np.unique(drawn[0::2])) == 3  # with replacement


def test_every_transition_or_every_episode_is_drawn_alike():
    """An episode of 90 transitions and one of 10: shares 9 to 1, or 1 to 1."""
    episodes = [range(10, 100), range(200, 210)]
    for draw, share in (("transition", 0.1), ("episode", 0.5)):
        side = Side.of(episodes, draw)
        assert side.shares[-10:].sum() == pytest.approx(share)
        drawn = side.drawn(20_000, np.random.default_rng(0))
        assert (drawn >= 200).mean() == pytest.approx(share, abs=0.02)
        assert set(drawn.tolist()) == {*range(10, 100), *range(200, 210)}


def test_the_drawing_is_a_pure_function_of_seed_and_step():
    sides = Side.of([range(50)], "transition"), Side.of([range(50, 90)], "transition")
    first = balanced_indices(*sides, 16, seed=1, step=3)
    np.testing.assert_array_equal(first, balanced_indices(*sides, 16, seed=1, step=3))
    assert (first != balanced_indices(*sides, 16, seed=1, step=4)).any()
    assert (first != balanced_indices(*sides, 16, seed=2, step=3)).any()


def test_the_next_observation_is_the_next_chunks(data: ReplayDataModule, make_episode: MakeEpisode):
    everything = data.gather(np.arange(sum(data.counts().values())))
    assert everything["index"].tolist() == list(range(len(everything["index"])))
    rows = {row.numpy().tobytes(): place for place, row in enumerate(everything["proprio"])}
    for source, episodes in (("teacher", 12), ("student", 30)):
        for episode in range(episodes):
            outcome = "failure" if episode % 3 == 1 else "success"
            chunks = make_episode(TASK, source, episode, 2 + episode % 3, outcome, 8)
            places = [rows[chunk.observation.proprio.tobytes()] for chunk in chunks]
            following = everything["next_index"][places].tolist()
            assert following == [*places[1:], places[-1]]
            assert everything["terminal"][places].tolist() == [False] * (len(chunks) - 1) + [True]


def test_the_potentials_of_held_out_episodes_are_theirs(data: ReplayDataModule, make_episode: MakeEpisode):
    """In the order of their sources: three episodes of the student and one of the teacher."""
    expected = {}
    for source, total in (("teacher", 12), ("student", 30)):
        for episode in range(total):
            chunks, outcome = 2 + episode % 3, "failure" if episode % 3 == 1 else "success"
            if is_held_out(TASK, source, episode, 0.1):
                transitions = make_episode(TASK, source, episode, chunks, outcome, 8)
                expected[source, episode] = (outcome == "success", [t.value for t in transitions])
    found = data.held_out_potentials()
    assert [success for success, _ in found] == [success for success, _ in expected.values()]
    for (_, values), (_, wanted) in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(values, wanted, rtol=1e-6)


def test_results_are_told_what_was_drawn_and_how(tmp_path: Path, make_episode: MakeEpisode):
    for source in ("teacher", "student"):
        writer = ShardWriter(tmp_path / TASK, TASK, source, {"fingerprint": {"meshes": "simplified"}})
        for episode in range(12):
            writer.add(episode, make_episode(TASK, source, episode, 2, image_size=8))
        writer.finish(12)
    data = ReplayDataModule(TASK, str(tmp_path), draw="episode", execute_steps=16)
    data.setup()
    told = data.describe()
    names = ("students", "draw", "execute_steps", "imitate", "meshes")
    assert [told.pop(name) for name in names] == [["student"], "episode", 16, None, "simplified"]
    assert told == data.counts() and sum(told.values()) == 48


def test_failures_are_kept_and_told(data: ReplayDataModule):
    everything = data.gather(np.arange(sum(data.counts().values())))
    assert 0.2 < 1.0 - everything["success"].float().mean() < 0.5


def test_every_observation_comes_once_in_the_order_of_its_number(data: ReplayDataModule):
    proprio = torch.cat([batch[2] for batch in data.observations()])
    everything = data.gather(np.arange(len(proprio)))
    torch.testing.assert_close(proprio, everything["proprio"])
    assert all((batch[3] == get_task(TASK).index).all() for batch in data.observations())


def test_held_out_episodes_are_never_drawn(data: ReplayDataModule):
    held_out = {int(index) for batch in data.val_dataloader() for index in batch["index"]}
    drawn = {int(index) for step in range(200) for index in data.draw(step)}
    total = sum(data.counts().values())
    assert held_out and not held_out & drawn
    assert held_out | drawn == set(range(total))


class Rank:
    """What a data module asks its trainer."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.global_rank, self.world_size = rank, world_size


def test_half_of_every_processs_part_is_the_teachers_or_it_is_refused(data: ReplayDataModule):
    data.trainer = Rank(0, 3)  # type: ignore[assignment]
    with pytest.raises(LitDistillError, match="batch_size: 8 must be divisible by twice the 3 processes"):
        data.train_dataloader()


def test_two_ranks_share_the_batches_of_one(root: Path):
    def epoch(rank: int, world_size: int) -> list[list[int]]:
        module = ReplayDataModule(TASK, str(root), batch_size=8, steps_per_epoch=5)
        module.setup()
        module.trainer = Rank(rank, world_size)  # type: ignore[assignment]
        return [batch["index"].tolist() for batch in module.train_dataloader()]

    whole, parts = epoch(0, 1), [epoch(rank, 2) for rank in (0, 1)]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole
    assert len(whole) == 5 and all(len(batch) == 8 for batch in whole)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch_size": 7}, "batch_size: must be even"),
        ({"steps_per_epoch": 0}, "steps_per_epoch: must be at least 1"),
        ({"held_out": 0.0}, "held_out: must be above 0"),
        ({"students": ["teacher"]}, "students: name at least one source but teacher"),
        ({"draw": "chunk"}, "draw: must be transition or episode"),
        ({"imitate": "student"}, "imitate: must be null, executed, all or teacher"),
        ({"students": []}, "students: name at least one"),
        (
            {"collect_student": CollectSettings(student="s.ckpt", label_every=4)},
            "collect_student.label_every: every 4 of 16 executed actions only 4 rows follow the last label",
        ),
        ({"students": ["foo"]}, "students: there are no foo rollouts; known: teacher, student, dagger"),
        ({"students": ["dagger-x"]}, "students: there are no dagger-x rollouts"),
        ({"students": ["dagger", "dagger-1"]}, "students: dagger stands for dagger-1, too"),
    ],
)
def test_what_cannot_be_right_is_refused(options: dict, complaint: str):
    with pytest.raises(LitDistillError, match=complaint):
        ReplayDataModule(TASK, **options)


def test_dagger_stands_for_all_of_its_rounds(tmp_path: Path, make_episode: MakeEpisode):
    for source in ("teacher", "dagger-10", "dagger-2"):
        store(tmp_path, make_episode, source, 10)
    folder = tmp_path / TASK
    assert all_rounds(folder, ["student", "dagger"]) == ["student", "dagger-2", "dagger-10"]

    def total(students: list[str]) -> int:
        data = ReplayDataModule(TASK, str(tmp_path), students=students)
        data.setup()
        return sum(data.counts().values())

    assert total(["dagger"]) == total(["dagger-10", "dagger-2"]) > total(["dagger-2"])


@pytest.mark.parametrize(
    ("students", "missing", "command"),
    [
        (["dagger"], "dagger-1", f"fit --config conf/dagger_fast.yaml --data.task {TASK} --data.root"),
        (["dagger-3"], "dagger-3", f"fit --config conf/dagger_fast.yaml --data.task {TASK} --data.root"),
        (["student"], "student", f"collect --config conf/collect_student.yaml --task {TASK} --root"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(
    tmp_path: Path, make_episode: MakeEpisode, students: list[str], missing: str, command: str
):
    store(tmp_path, make_episode, "teacher", 10)
    data = ReplayDataModule(TASK, str(tmp_path), students=students)
    line = rf"manifest\.json: no {missing} episodes here: run `python -m lit_distill {command} {tmp_path}`"
    for look in (data.check_ingredients, data.setup):
        with pytest.raises(LitDistillError, match=line):
            look()


def test_what_is_collected_before_training_need_not_be_there(tmp_path: Path):
    """But the rounds of DAgger, which nobody collects here, are missed before anything is collected."""
    settings = CollectSettings()
    student = CollectSettings(student="student.ckpt")
    own = {"collect_teacher": settings, "collect_student": student}
    ReplayDataModule(TASK, str(tmp_path), **own).check_ingredients()
    with pytest.raises(LitDistillError, match="no teacher episodes here: run `python -m lit_distill collect"):
        ReplayDataModule(TASK, str(tmp_path), collect_student=student).check_ingredients()
    with pytest.raises(LitDistillError, match="no dagger episodes here: run `python -m lit_distill fit"):
        ReplayDataModule(TASK, str(tmp_path), students=["student", "dagger"], **own).check_ingredients()


def test_rounds_of_five_episodes_as_in_the_paper_are_enough(tmp_path: Path, make_episode: MakeEpisode):
    """A round so small has a held-out episode or none; training takes all others."""
    store(tmp_path, make_episode, "teacher", 10)
    rounds = [f"dagger-{number}" for number in (1, 2, 3)]
    for source in rounds:
        store(tmp_path, make_episode, source, 5)
    held_out = sum(is_held_out(TASK, source, episode, 0.1) for source in rounds for episode in range(5))
    assert held_out < len(rounds)  # or there would be nothing to test
    data = ReplayDataModule(TASK, str(tmp_path), students=["dagger"])
    data.setup()
    assert len(data.held_out_potentials()) == 1 + held_out
    described = data.counts()
    assert described["train_student_transitions"] > 0
    total = sum(2 + episode % 3 for episode in range(5)) * len(rounds)
    assert described["train_student_transitions"] + described["val_student_transitions"] == total


def test_rollouts_that_show_different_meshes_are_not_mixed(tmp_path: Path, make_episode: MakeEpisode):
    for source, meshes in (("teacher", "original"), ("student", "simplified")):
        writer = ShardWriter(tmp_path / TASK, TASK, source, {"fingerprint": {"meshes": meshes}})
        for episode in range(10):
            writer.add(episode, make_episode(TASK, source, episode))
        writer.finish(10)
    line = "teacher has fingerprint.meshes = 'original', student has 'simplified'"
    with pytest.raises(LitDistillError, match=line):
        ReplayDataModule(TASK, str(tmp_path)).setup()


def test_without_the_teachers_values_it_says_that_the_reward_is_unshaped(
    tmp_path: Path, make_episode: MakeEpisode
):
    for source in ("teacher", "student"):
        writer = ShardWriter(tmp_path / TASK, TASK, source, {})
        for episode in range(12):
            chunks = make_episode(TASK, source, episode, 2, "success", 8)
            silent = {"value": None, "next_value": None}
            kept = source == "student" and episode == 3
            writer.add(episode, chunks if kept else [dataclasses.replace(t, **silent) for t in chunks])
        writer.finish(12)
    with pytest.warns(UserWarning, match="46 of 48 chunks have no value: they stay unshaped"):
        ReplayDataModule(TASK, str(tmp_path), batch_size=8, steps_per_epoch=5).setup()


def test_without_any_value_it_says_that_awac_runs_unshaped(tmp_path: Path, make_episode: MakeEpisode):
    for source in ("teacher", "student"):
        writer = ShardWriter(tmp_path / TASK, TASK, source, {})
        for episode in range(12):
            chunks = make_episode(TASK, source, episode, 1, "success", 8)
            writer.add(episode, [dataclasses.replace(t, value=None, next_value=None) for t in chunks])
        writer.finish(12)
    line = rf"{tmp_path / TASK}: the teacher gave no values: AWAC runs unshaped, lambda_tpr has no effect"
    with pytest.warns(UserWarning, match=line):
        ReplayDataModule(TASK, str(tmp_path), batch_size=8, steps_per_epoch=5).setup()


def test_it_names_the_teacher_and_the_students_as_its_sources():
    assert ReplayDataModule(TASK, students=["student", "dagger"]).sources == ["teacher", "student", "dagger"]
