"""The controls beside AWAC: what they imitate, and that they draw what AWAC draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.imitation import teaches, to_imitate
from datamodules.replay import ReplayDataModule
from lit_distill.errors import LitDistillError
from lit_distill.schema import ChunkTransition
from lit_distill.shards import ShardWriter

TASK = "custom_libero_object_ketchup"
MakeEpisode = Callable[..., list[ChunkTransition]]


def store(root: Path, make_episode: MakeEpisode, source: str, **changes: object) -> None:
    """Twelve episodes of three chunks, of which four fail; every second chunk of a student was perturbed."""
    writer = ShardWriter(root / TASK, TASK, source, {}, episodes_per_shard=4)
    for episode in range(12):
        outcome = "failure" if episode % 3 == 1 else "success"
        chunks = make_episode(TASK, source, episode, 3, outcome, 8)
        names = [source, f"{source}+noise", source]
        pairs = zip(chunks, names, strict=True)
        writer.add(episode, [dataclasses.replace(chunk, behaviour=name, **changes) for chunk, name in pairs])
    writer.finish(12)


@pytest.fixture
def root(tmp_path: Path, make_episode: MakeEpisode) -> Path:
    for source in ("teacher", "student"):
        store(tmp_path, make_episode, source)
    return tmp_path


def data(root: Path, **options: object) -> ReplayDataModule:
    module = ReplayDataModule(TASK, str(root), batch_size=8, steps_per_epoch=5, **options)  # type: ignore[arg-type]
    module.setup()
    return module


@pytest.mark.parametrize(
    ("imitate", "taught"),
    [
        (None, [True, True, True, True]),
        ("executed", [True, False, True, False]),
        ("teacher", [True, False, True, True]),
    ],
)
def test_a_failure_teaches_only_what_the_teacher_says_of_it(imitate: str | None, taught: list[bool]):
    episodes = [("teacher", True), ("teacher", False), ("dagger-1", True), ("student", False)]
    assert [teaches(source, success, imitate) for source, success in episodes] == taught  # type: ignore[arg-type]


def test_what_was_executed_is_imitated_in_the_executed_rows_and_never_noise(root: Path):
    whole = data(root)
    batch = whole.gather(np.arange(sum(whole.counts().values())))
    imitated = to_imitate(batch, "executed")
    torch.testing.assert_close(imitated["teacher_actions"], batch["actions"])
    assert batch["perturbed"].any() and not imitated["mask"][batch["perturbed"]].any()
    torch.testing.assert_close(imitated["mask"][~batch["perturbed"]], batch["mask"][~batch["perturbed"]])


def test_of_the_teachers_label_all_rows_count_but_those_beyond_the_end(root: Path):
    whole = data(root, execute_steps=8)
    batch = whole.gather(np.arange(sum(whole.counts().values())))
    imitated = to_imitate(batch, "teacher")
    torch.testing.assert_close(imitated["teacher_actions"], batch["teacher_actions"])
    assert (batch["teacher_actions"] != batch["actions"]).any()
    assert imitated["mask"][~batch["terminal"]].all()
    last = batch["terminal"]
    torch.testing.assert_close(imitated["mask"][last], batch["mask"][last])
    assert not imitated["mask"][last].all()


@pytest.mark.parametrize(("imitate", "episodes"), [("executed", 8 + 8), ("teacher", 8 + 12)])
def test_the_loaders_give_what_eq_1_takes(root: Path, imitate: str, episodes: int):
    control = data(root, imitate=imitate)
    assert sum(control.counts().values()) == 3 * episodes
    for loader in (control.train_dataloader(), control.val_dataloader()):
        batches = list(loader)
        assert batches and all("rewards" not in batch for batch in batches)
        for batch in batches:
            assert batch["teacher_actions"].shape == (len(batch["mask"]), 16, 7)


def test_without_failures_a_control_draws_what_awac_draws(tmp_path: Path, make_episode: MakeEpisode):
    for source in ("teacher", "student"):
        writer = ShardWriter(tmp_path / TASK, TASK, source, {})
        for episode in range(10):
            writer.add(episode, make_episode(TASK, source, episode))
        writer.finish(10)
    drawn, imitated = (
        torch.cat([batch["proprio"] for batch in data(tmp_path, **options).train_dataloader()])
        for options in ({}, {"imitate": "executed"})
    )
    torch.testing.assert_close(drawn, imitated)


def test_rollouts_without_labels_cannot_be_relabelled(tmp_path: Path, make_episode: MakeEpisode):
    store(tmp_path, make_episode, "teacher")
    store(tmp_path, make_episode, "student", teacher_actions=None)
    control = data(tmp_path, imitate="teacher")
    with pytest.raises(LitDistillError, match="imitate: teacher, but some rollouts have no labels"):
        list(control.train_dataloader())
