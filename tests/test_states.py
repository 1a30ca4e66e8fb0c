"""Initial states: fixed splits, committed as drawn, and clear errors."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lit_distill.errors import LitDistillError
from lit_distill.sim import states
from lit_distill.sim.gl import configure_gl
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import SPLITS, load_initial_state, state_seed
from lit_distill.tasks import TASKS, get_task, task_names
from lit_distill.tasks.official import OFFICIAL_SUITES, suite_tasks

TASK = get_task("custom_libero_object_ketchup")
ARM = slice(1, 8)
"""The arm's joints in a state: after the time, qpos begins with the robot."""


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(states.STATES_FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def test_the_splits_hold_the_papers_states_and_ours_beside_them():
    assert SPLITS == {"teacher": 50, "student": 100, "eval": 50, "dev": 20}


@pytest.mark.parametrize("name", TASKS)
def test_every_split_is_committed_without_pickle(name: str):
    stored = arrays(name)
    assert stored.keys() == {f"{split}_{part}" for split in SPLITS for part in ("state", "fixtures")}
    for split, count in SPLITS.items():
        assert len(stored[f"{split}_state"]) == len(stored[f"{split}_fixtures"]) == count
        assert stored[f"{split}_state"].dtype == np.float64
        assert np.isfinite(stored[f"{split}_state"]).all()


@pytest.mark.parametrize("name", TASKS)
def test_no_two_states_of_a_task_are_equal_within_or_across_splits(name: str):
    stored = arrays(name)
    everything = np.concatenate([stored[f"{split}_state"] for split in SPLITS])
    assert len(np.unique(everything.round(6), axis=0)) == sum(SPLITS.values())


def test_no_two_states_of_any_task_share_a_seed():
    seeds = [
        state_seed(task, split, index)
        for task in TASKS.values()
        for split, count in SPLITS.items()
        for index in range(count)
    ]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("name", TASKS)
def test_the_arm_starts_with_liberos_joint_noise(name: str):
    stored = arrays(name)
    joints = np.concatenate([stored[f"{split}_state"] for split in SPLITS])[:, ARM]
    spread = joints.std(axis=0)
    assert (spread > 0.016).all() and (spread < 0.024).all()  # 0.02 rad; 220 samples


@pytest.mark.libero
def test_states_drawn_again_are_the_committed_ones():
    env = states.make_environment(TASK.bddl, image_size=64, joint_noise=True)
    try:
        for split, index in (("dev", 3), ("teacher", 0), ("eval", 49), ("student", 7)):
            drawn = states.draw_initial_state(env, TASK, split, index)
            committed = load_initial_state(TASK, split, index)
            assert drawn.name == committed.name == f"{split}/{index}"
            np.testing.assert_allclose(drawn.state, committed.state, rtol=0, atol=1e-6)
            np.testing.assert_allclose(drawn.fixtures, committed.fixtures, rtol=0, atol=1e-6)
    finally:
        env.close()


@pytest.mark.libero
@pytest.mark.parametrize("name", [name for name in TASKS if "libero_10" in name])
def test_no_object_is_inside_another(name: str):
    """Or it would be thrown across the room in the first step, where nobody can fetch it."""
    simulator = Simulator(get_task(name), image_size=32)
    try:
        for split, count in SPLITS.items():
            for index in range(count):
                simulator.place(load_initial_state(simulator.task, split, index))
                overlap = states.deepest_overlap(simulator.model, simulator.data)
                assert overlap <= states.OVERLAP_M, (split, index)
    finally:
        simulator.close()


def test_states_in_which_objects_overlap_are_drawn_again(monkeypatch: pytest.MonkeyPatch):
    depths = iter([0.007, 0.0005])
    monkeypatch.setattr(states, "deepest_overlap", lambda model, data: next(depths))
    seeds: list[int] = []

    @contextlib.contextmanager
    def seeded(seed: int) -> Iterator[None]:
        seeds.append(seed)
        yield

    monkeypatch.setattr(states, "numpy_seed", seeded)
    simulation = SimpleNamespace(
        model=SimpleNamespace(_model=None, body_pos=np.zeros((1, 3)), body_quat=np.zeros((1, 4))),
        data=SimpleNamespace(_data=None),
        get_state=lambda: SimpleNamespace(flatten=lambda: np.zeros(3)),
    )
    environment = SimpleNamespace(fixtures_dict={}, sim=simulation, reset=lambda: None)
    states.draw_initial_state(environment, TASK, "dev", 3)
    assert seeds == [states.state_seed(TASK, "dev", 3), states.state_seed(TASK, "dev", 3) + 1]


def test_data_say_which_states_they_begin_in_where_these_were_drawn_again():
    again = get_task("custom_libero_10_stove_on")
    assert set(states.files_sha256(again)) == {"states"}
    assert states.files_sha256(TASK) == {}


def test_loading_is_a_pure_function_of_task_split_and_index():
    first, again = load_initial_state(TASK, "eval", 5), load_initial_state(TASK, "eval", 5)
    np.testing.assert_array_equal(first.state, again.state)
    assert (first.state != load_initial_state(TASK, "dev", 5).state).any()
    assert (first.state != load_initial_state(TASK, "eval", 6).state).any()


def test_an_unknown_split_is_answered_with_the_known_ones():
    with pytest.raises(
        LitDistillError,
        match=f"unknown split 'test'; known splits of {TASK.name}: teacher, student, eval, dev",
    ):
        load_initial_state(TASK, "test", 0)


@pytest.mark.parametrize("index", [-1, 20])
def test_an_index_out_of_range_is_named(index: int):
    with pytest.raises(LitDistillError, match=f"has 20 initial states, no index {index}"):
        load_initial_state(TASK, "dev", index)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the task's file that the loader reads instead."""
    file = tmp_path / f"{TASK.name}.npz"
    shutil.copy(states.STATES_FOLDER / file.name, file)
    monkeypatch.setattr(states, "STATES_FOLDER", tmp_path)
    return file


def refused(file: Path) -> str:
    with pytest.raises(LitDistillError) as caught:
        load_initial_state(TASK, "dev", 0)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message


def test_a_missing_file_names_the_command_that_draws_it(copied: Path):
    copied.unlink()
    assert f"draw_states --task {TASK.name}" in refused(copied)


def test_a_damaged_file_is_named(copied: Path):
    whole = copied.read_bytes()
    for content in (b"", b"not an archive", whole[: len(whole) // 2]):
        copied.write_bytes(content)
        assert "damaged initial states" in refused(copied)


@pytest.mark.parametrize("place", [0.05, 0.3, 0.5, 0.7, 0.9])
def test_a_flipped_byte_is_noticed(copied: Path, place: float):
    """Wherever it is, either the array that we read is untouched or the file is named as damaged."""
    whole = bytearray(copied.read_bytes())
    before = [load_initial_state(TASK, split, 0).state for split in SPLITS]
    whole[int(place * len(whole))] ^= 0xFF
    copied.write_bytes(whole)
    refusals = []
    for split, state in zip(SPLITS, before, strict=True):
        try:
            np.testing.assert_array_equal(load_initial_state(TASK, split, 0).state, state)
        except LitDistillError as error:
            refusals.append(str(error))
    assert len(refusals) == 1
    assert "damaged" in refusals[0] and "\n" not in refusals[0]


def test_pickled_objects_are_refused(copied: Path):
    np.savez(copied, dev_state=np.array([{"a": 1}], dtype=object), dev_fixtures=np.zeros((1, 0, 7)))
    assert "damaged initial states" in refused(copied)


OFFICIAL = get_task("libero_goal/put_the_bowl_on_top_of_the_cabinet")


def test_an_official_task_has_the_fifty_states_that_libero_ships():
    first, last = (load_initial_state(OFFICIAL, "official", index) for index in (0, 49))
    assert first.name == "official/0"
    assert first.state.shape == (79,)
    assert (first.state != last.state).any()
    np.testing.assert_array_equal(first.fixtures, last.fixtures)
    with pytest.raises(LitDistillError, match="has 50 initial states, no index 50"):
        load_initial_state(OFFICIAL, "official", 50)
    with pytest.raises(LitDistillError, match="known splits of libero_goal_.*: official"):
        load_initial_state(OFFICIAL, "dev", 0)
    with pytest.raises(LitDistillError, match="known splits of custom_.*: teacher, student, eval, dev"):
        load_initial_state(TASK, "official", 0)


@pytest.mark.parametrize("suite", OFFICIAL_SUITES)
def test_where_official_fixtures_stand_is_committed_for_every_task(suite: str):
    for name in suite_tasks(suite):
        poses = load_initial_state(get_task(name), "official", 0).fixtures
        assert poses.ndim == 2 and poses.shape[1] == 7
        np.testing.assert_allclose(np.linalg.norm(poses[:, 3:], axis=1), 1.0, atol=1e-6)


@pytest.mark.libero
def test_official_fixtures_stand_where_a_stock_evaluation_finds_them():
    from libero.libero.envs import OffScreenRenderEnv

    configure_gl()
    stock = OffScreenRenderEnv(bddl_file_name=str(OFFICIAL.bddl), camera_heights=32, camera_widths=32)
    try:
        stock.seed(0)
        stock.reset()
        poses = states.fixture_poses(stock.env)
    finally:
        stock.close()
    committed = load_initial_state(OFFICIAL, "official", 0).fixtures
    np.testing.assert_allclose(poses, committed, rtol=0, atol=1e-6)
    np.testing.assert_allclose(states.official_fixtures(OFFICIAL), committed, rtol=0, atol=1e-6)


def test_the_states_of_a_bddl_file_lie_beside_it(tmp_path: Path):
    bddl = tmp_path / "mine.bddl"
    bddl.write_text(TASK.bddl.read_text())
    mine = get_task(str(bddl))
    assert (mine.name, mine.index, mine.horizon) == ("mine", None, 520)
    with pytest.raises(LitDistillError, match=f"mine.npz: no initial states; .* draw_states --task {bddl}`"):
        load_initial_state(mine, "dev", 0)
    shutil.copy(states.STATES_FOLDER / f"{TASK.name}.npz", tmp_path / "mine.npz")
    found, ours = (load_initial_state(task, "dev", 3) for task in (mine, TASK))
    np.testing.assert_array_equal(found.state, ours.state)


@pytest.mark.libero
@pytest.mark.parametrize("suite", ["all", *OFFICIAL_SUITES])
def test_the_states_of_every_task_fit_what_libero_builds(suite: str):
    for name in task_names(suite):
        task = get_task(name)
        for split, count in states.splits_of(task).items():
            states.check_task(task, split, count - 1)


@pytest.mark.libero
def test_states_that_do_not_fit_are_refused_without_building_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whichever task of several they are of, none of them begins."""
    monkeypatch.setattr(states, "make_environment", None)
    committed = arrays(TASK.name)
    monkeypatch.setattr(states, "STATES_FOLDER", tmp_path)
    file, again = (
        tmp_path / f"{TASK.name}.npz",
        f"`python -m lit_distill draw_states --task {TASK.name}` draws",
    )
    np.savez(file, **(committed | {"dev_state": committed["dev_state"][:, :-1]}))
    with pytest.raises(
        LitDistillError, match=rf"{file}: initial state dev/0 has shapes .* needs .*; {again}"
    ):
        states.check_task(TASK, "dev", 3)
    spoilt = committed["dev_state"].copy()
    spoilt[3, 5] = np.nan
    np.savez(file, **(committed | {"dev_state": spoilt}))
    states.check_task(TASK, "dev", 2)
    with pytest.raises(LitDistillError, match=rf"{file}: initial state dev/3 holds numbers .*; {again}"):
        states.check_task(TASK, "dev", 3)


def test_a_bddl_file_that_cannot_be_right_is_no_task(tmp_path: Path):
    bddl = tmp_path / "mine.bddl"
    bddl.write_text(TASK.bddl.read_text().replace("(In ketchup_1", "(In catchup_1"))
    with pytest.raises(LitDistillError, match=f"{bddl}, line .*: catchup_1 is no object"):
        get_task(str(bddl))


def test_the_states_of_one_official_task_are_not_drawn():
    with pytest.raises(LitDistillError, match="come with LIBERO; .* draw_states --task libero_goal"):
        states.draw_states("libero_goal/turn_on_the_stove")
