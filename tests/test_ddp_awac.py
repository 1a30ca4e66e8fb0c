"""AWAC on two processes (gloo), by the command that users type, against one process."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagger_training import FAKE_TEACHER, TASK, make_data, use_toy_world
from ddp_launch import launch

from lit_distill.cli import main

EQUAL = 1e-4
STEPS = 6
WEIGHTS = ("advantage/mean", "advantage/std", "weight/max", "weight/clipped", "weight/effective_sample_size")
"""Terms that are of a whole batch, not means of its parts."""


def write_config(folder: Path, root: Path, name: str, *more: dict[str, Any]) -> str:
    """A small conf/awac.yaml, whose processes write down what they do; it collects the student's episodes."""
    student = str(root / "bc.ckpt")
    network = {"channels": [8, 8, 16], "image_size": 16, "hidden": 16}
    rollouts = {"student": student, "teacher": FAKE_TEACHER, "episodes": 20, "image_size": 16, "workers": 0}
    toy = [{"class_path": "ddp_world.ToyWorld"}] if name == "two" else []
    keep = {"dirpath": str(folder / name), "save_last": True, "save_top_k": 0, "every_n_train_steps": 1}
    config = {
        "model": {
            "class_path": "lit_distill.algorithms.awac.AWAC",
            "init_args": {
                **{"network": network, "init_from": student, "mean_every": 2, "shift_pixels": 2},
                **{"actor_start": 2, "lambda_awac": 0.1, "w_max": 1.1},  # some weights are clipped
            },
        },
        "data": {
            "class_path": "datamodules.replay.ReplayDataModule",
            "init_args": {
                **{"task": TASK, "root": str(root), "batch_size": 8, "steps_per_epoch": STEPS // 2},
                "collect_student": rollouts,
            },
        },
        "trainer": {
            "max_epochs": 2,
            "precision": "32-true",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": {"init_args": {"save_dir": str(folder), "name": f"log-{name}"}},
            "callbacks": [
                *toy,
                *more,
                {"class_path": "callbacks.q_separation.QSeparation"},
                {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": keep},
                {
                    "class_path": "ddp_world.TraceReplay",
                    "init_args": {"folder": str(folder), "name": name},
                },
            ],
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What two processes wrote down."""
    folder = tmp_path_factory.mktemp("two")
    return launch(write_config(folder, make_data(folder / "data"), "two"), folder)


def test_awac_on_two_processes_is_awac_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two: Any
) -> None:
    """Same transitions in every global batch; losses, terms, Q and weights but for the order of sums."""
    use_toy_world(monkeypatch)
    config = write_config(tmp_path, make_data(tmp_path / "data"), "one")
    assert main(["fit", "--config", config, "--trainer.accelerator", "cpu", "--trainer.devices", "1"]) == 0
    one = json.loads((tmp_path / "one-0.json").read_text())
    assert not isinstance(two, int), two
    assert len(one["steps"]) == len(two[0]["steps"]) == STEPS
    for (drawn, loss), left, right in zip(one["steps"], two[0]["steps"], two[1]["steps"], strict=True):
        assert drawn == left[0] + right[0]
        assert (left[1] + right[1]) / 2 == pytest.approx(loss, rel=EQUAL)
    for rank in two:
        for found, expected in zip(rank["terms"], one["terms"], strict=True):
            assert found.keys() == expected.keys() >= set(WEIGHTS)
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
        for found, expected in zip(rank["q"], one["q"], strict=True):
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert two[0]["weights"] == two[1]["weights"]
    for name, values in one["weights"].items():
        apart = math.dist(two[0]["weights"][name], values) / max(math.hypot(*values), 1e-2)
        assert apart < 0.01, name


def test_killed_and_resumed_on_two_processes_it_is_the_same_run(tmp_path: Path, two: Any) -> None:
    """Killed in the second epoch, after a refresh of mu."""
    root = make_data(tmp_path / "data")
    kill = {"class_path": "ddp_world.KillAll", "init_args": {"step": STEPS}}
    assert launch(write_config(tmp_path, root, "two", kill), tmp_path) == -signal.SIGKILL
    last = str(tmp_path / "two" / "last.ckpt")
    resumed = launch(write_config(tmp_path, root, "two"), tmp_path, "--ckpt_path", last)
    assert not isinstance(resumed, int), resumed
    for before, after in zip(two, resumed, strict=True):
        assert after["steps"] == before["steps"][STEPS - 1 :]
        assert after["terms"] == before["terms"][STEPS - 1 :]
        assert after["q"][-1] == before["q"][-1]
        assert after["weights"] == before["weights"] and after["memory"] == before["memory"]
