"""The controls beside AWAC: what they imitate, and that they draw what AWAC draws."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.imitation import to_imitate
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


def test_what_was_executed_is_imitated_in_the_executed_rows_of_successes_and_never_noise(root: Path):
    whole = data(root)
    batch = whole.gather(np.arange(sum(whole.counts().values())))
    imitated = to_imitate(batch, "executed")
    torch.testing.assert_close(imitated["teacher_actions"], batch["actions"])
    chosen = batch["success"] & ~batch["perturbed"]
    assert not imitated["mask"][~chosen].any()
    torch.testing.assert_close(imitated["mask"][chosen], batch["mask"][chosen])
    assert (batch["success"] & batch["perturbed"]).any() and (~batch["success"] & ~batch["perturbed"]).any()


def test_what_was_executed_in_failures_can_be_imitated_too(root: Path):
    whole = data(root)
    batch = whole.gather(np.arange(sum(whole.counts().values())))
    mask = to_imitate(batch, "all")["mask"]
    torch.testing.assert_close(mask, batch["mask"] & ~batch["perturbed"][:, None])
    assert mask[~batch["success"]].any()


def test_of_the_teachers_label_all_rows_count_but_those_beyond_the_end(
    tmp_path: Path, make_episode: MakeEpisode
):
    for source in ("teacher", "student"):
        store(tmp_path, make_episode, source, executed=8, mask=np.arange(16) < 8, rewards=np.zeros(16, "f4"))
    whole = data(tmp_path, execute_steps=8)
    batch = whole.gather(np.arange(sum(whole.counts().values())))
    assert not batch["mask"][:, 8:].any()
    imitated = to_imitate(batch, "teacher")
    torch.testing.assert_close(imitated["teacher_actions"], batch["teacher_actions"])
    assert (batch["teacher_actions"] != batch["actions"]).any()
    assert imitated["mask"][~batch["terminal"]].all()
    last = batch["terminal"]
    torch.testing.assert_close(imitated["mask"][last], batch["mask"][last])
    assert not imitated["mask"][last].all()


@pytest.mark.parametrize("imitate", ["executed", "all", "teacher"])
def test_a_control_draws_what_awac_draws_failures_included(root: Path, imitate: str):
    awac, control = data(root), data(root, imitate=imitate)
    for name in ("train_dataloader", "val_dataloader"):
        batches = list(getattr(control, name)())
        for drawn, taken in zip(getattr(awac, name)(), batches, strict=True):
            torch.testing.assert_close(taken["proprio"], drawn["proprio"])
            assert "rewards" in drawn and "rewards" not in taken
            assert taken["teacher_actions"].shape == (len(taken["mask"]), 16, 7)


def test_rollouts_without_labels_cannot_be_relabelled(tmp_path: Path, make_episode: MakeEpisode):
    store(tmp_path, make_episode, "teacher")
    store(tmp_path, make_episode, "student", teacher_actions=None)
    data(tmp_path, imitate="executed")
    with pytest.raises(LitDistillError, match="some rollouts have no labels of the teacher"):
        data(tmp_path, imitate="teacher")


@pytest.mark.parametrize(
    ("learner", "imitate", "suits"),
    [("AWAC", None, True), ("AWAC", "executed", False), ("BC", None, False), ("BC", "teacher", True)],
)
def test_what_does_not_suit_the_learner_is_refused_in_one_line(
    root: Path, learner: str, imitate: str | None, suits: bool
):
    made: Any = types.SimpleNamespace(critic=None) if learner == "AWAC" else types.SimpleNamespace()
    module = ReplayDataModule(TASK, str(root), batch_size=8, imitate=imitate)  # type: ignore[arg-type]
    module.trainer = types.SimpleNamespace(lightning_module=made)  # type: ignore[assignment]
    if suits:
        return module.setup()
    line = "^imitate: null is for AWAC, executed, all or teacher for Behavior"
    with pytest.raises(LitDistillError, match=line):
        module.setup()
