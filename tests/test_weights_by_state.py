"""experiments/benchmarks/weights_by_state.py: its groups and their figures."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_training import tiny_network, tiny_trainer

from datamodules.replay import ReplayDataModule
from lit_distill.algorithms.awac import AWAC
from lit_distill.networks.checkpoint import load_student, save_student
from lit_distill.schema import ChunkTransition
from lit_distill.shards import ShardWriter

FOLDER = Path(__file__).parents[1] / "experiments" / "benchmarks"
TASK = "custom_libero_object_ketchup"
ACTED = {"teacher": ["teacher"] * 3, "student": ["student", "teacher", "student+noise"]}


def test_where_awacs_weights_pull_is_told_by_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_episode: Callable[..., list[ChunkTransition]]
):
    """Of every look that noise was no part of: one group, and its figures by the run's own critics."""
    monkeypatch.syspath_prepend(str(FOLDER))
    script = importlib.import_module("weights_by_state")
    for source, behaviours in ACTED.items():
        writer = ShardWriter(tmp_path / TASK, TASK, source, {}, episodes_per_shard=4)
        for episode in range(12):
            chunks = make_episode(TASK, source, episode, 3, "success")
            pairs = zip(chunks, behaviours, strict=True)
            writer.add(episode, [dataclasses.replace(chunk, behaviour=name) for chunk, name in pairs])
        writer.finish(12)
    start = str(tmp_path / "student.ckpt")
    save_student(tiny_network(0), start, TASK)
    made = AWAC(tiny_network(1), start, lambda_awac=0.5, critic_hidden=8, actor_lr=1e-2)
    keep = ModelCheckpoint(tmp_path, save_last=True)
    trainer = tiny_trainer(tmp_path, max_epochs=1, enable_checkpointing=True, callbacks=[keep])
    data = ReplayDataModule(TASK, str(tmp_path), batch_size=8, steps_per_epoch=2)
    trainer.fit(made, datamodule=data, weights_only=True)
    output = tmp_path / "out.json"
    options = ["--root", str(tmp_path), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["weights_by_state", str(tmp_path / "last.ckpt"), *options])
    script.main()
    rows = json.loads(output.read_text())["groups"]
    looks: Counter[str] = Counter()
    for row in rows:
        looks[row["executed"]] += row["looks"]
    assert looks == {"teacher": 36, "student": 12, "teacher at a student's state": 12}
    mean = {key: sum(row["looks"] * row[key] for row in rows) / 60 for key in ("weight", "position_before")}
    every = data.gather(np.flatnonzero(~data.gather(np.arange(72))["perturbed"].numpy()))
    with torch.no_grad():
        seen = [every[key] for key in ("agentview", "wrist", "proprio", "task_index")]  # type: ignore[literal-required]
        chunk = load_student(start)(*seen).clamp(-1.0, 1.0)
        features = made.critic_encoder.encode(*seen)
        q, q_mean = (made.critic(features, each).min(dim=-1).values for each in (every["actions"], chunk))
    weight = ((q - q_mean) / 0.5).exp().clamp(max=20.0).mean()
    error = (chunk - every["teacher_actions"])[..., :3].square().mean(dim=(1, 2)).sqrt().mean()
    assert mean["weight"] == pytest.approx(float(weight), abs=2e-3)
    assert mean["position_before"] == pytest.approx(float(error), abs=2e-3)
    assert any(row["position_before"] != row["position_after"] for row in rows)
