"""collect -> fit (killed and resumed) -> test, through the command line that users type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_distill.cli import main
from lit_distill.collection import CollectSettings, collect_from
from lit_distill.manifest import Manifest
from lit_distill.networks.checkpoint import load_saved_student
from lit_distill.sim.fake import FakeSimulator

TASK = "custom_libero_object_set_tomato_sauce"
TEACHER = {"class_path": "lit_distill.sim.fake.FakeTeacher"}
EPISODES = 30
KILL_AT_STEP = 11
"""In the middle of an epoch, several epochs after the first checkpoint."""


class KillItself(Callback):
    """Ends its own process as a power cut does."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        if trainer.global_step == KILL_AT_STEP:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the toy world."""
    root = tmp_path_factory.mktemp("data")
    settings = CollectSettings(EPISODES, TEACHER, image_size=32, workers=0)
    collect_from(FakeSimulator, TASK, str(root), settings)
    return root


def write_config(folder: Path, data: Path, *callbacks: str) -> Path:
    """A small `conf/bc_fast.yaml`: averaged weights, a cosine schedule, the newest checkpoint kept."""
    keep = {"dirpath": str(folder), "filename": "best", "monitor": "val/loss", "save_last": True}
    collect = {"episodes": EPISODES, "teacher": TEACHER, "image_size": 32}
    config = {
        "model": {
            "class_path": "lit_distill.algorithms.bc.BehaviorCloning",
            "init_args": {
                "network": {
                    "channels": [8, 8, 16],
                    "image_size": 32,
                    "hidden": 16,
                    "pooling": "weighted_average",
                },
                "lr": 0.01,
                "schedule": "cosine",
                "shift_pixels": 2,
            },
        },
        "data": {
            "class_path": "datamodules.chunks.ChunkDataModule",
            "init_args": {"task": TASK, "root": str(data), "batch_size": 32, "collect": collect},
        },
        "trainer": {
            "accelerator": "cpu",
            "precision": "32-true",
            "max_epochs": 5,
            "enable_progress_bar": False,
            "logger": {"init_args": {"save_dir": str(folder), "name": "log"}},
            "callbacks": [
                {
                    "class_path": "callbacks.weight_averaging.ExponentialMovingAverage",
                    "init_args": {"decay": 0.9},
                },
                {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": keep},
                *({"class_path": name} for name in callbacks),
            ],
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Averaged and raw weights and the optimizer's memory of a checkpoint."""
    checkpoint = torch.load(path, weights_only=True)
    tensors = dict(checkpoint["state_dict"])
    tensors |= {f"raw {name}": tensor for name, tensor in checkpoint["current_model_state"].items()}
    for index, state in checkpoint["optimizer_states"][0]["state"].items():
        tensors |= {f"{index} {name}": torch.as_tensor(value) for name, value in state.items()}
    return tensors


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("run")
    assert main(["fit", "--config", str(write_config(folder, data))]) == 0
    return folder


def test_training_lowers_the_loss_and_keeps_the_best_student(uninterrupted: Path):
    saved = load_saved_student(uninterrupted / "best.ckpt")
    assert saved.task == TASK
    assert saved.training is not None
    assert saved.training["algorithm"] == "bc"
    scores = torch.load(uninterrupted / "last.ckpt", weights_only=True)["callbacks"]
    best = next(state for name, state in scores.items() if name.startswith("ModelCheckpoint"))
    # An untrained student is off by about the label's square: 16 rows of two saturated actions, so about 30.
    assert best["best_model_score"] < 15.0


def test_killed_and_resumed_training_gives_the_same_weights(tmp_path: Path, data: Path, uninterrupted: Path):
    config = write_config(tmp_path, data, "test_end_to_end.KillItself")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    killed = subprocess.run(
        [sys.executable, "-m", "lit_distill", "fit", "--config", str(config)],
        env=environment,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL
    step = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < step < KILL_AT_STEP
    resumed = write_config(tmp_path, data)
    assert main(["fit", "--config", str(resumed), "--ckpt_path", str(tmp_path / "last.ckpt")]) == 0
    expected, found = weights(uninterrupted / "last.ckpt"), weights(tmp_path / "last.ckpt")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)


def test_fit_collects_nothing_twice_and_refuses_other_settings(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
):
    config = str(write_config(tmp_path, data))
    assert main(["fit", "--config", config, "--trainer.max_epochs", "1"]) == 0
    assert f"{data / TASK}: {EPISODES} teacher episodes, all there: reused" in capsys.readouterr().out
    assert main(["fit", "--config", config, "--data.collect.seed", "1"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "seed = 0, now it is 1" in error


def test_verify_lists_the_shards(data: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["verify", str(data / TASK)]) == 0
    *shards, total = capsys.readouterr().out.splitlines()
    assert len(shards) == EPISODES // 10
    assert all(line.endswith(" MB: whole") and ".tar: 10 episodes, " in line for line in shards)
    assert total == f"{EPISODES // 10} shards whole"


@pytest.mark.libero
def test_test_measures_the_student_in_libero(tmp_path: Path, data: Path, uninterrupted: Path):
    config = write_config(tmp_path, data)
    content = yaml.safe_load(config.read_text())
    protocol = {"split": "dev", "episodes": 1, "image_size": 32, "workers": 1, "videos": 1}
    content["trainer"]["callbacks"] = [
        {
            "class_path": "callbacks.libero_evaluation.LiberoEvaluation",
            "init_args": {"protocol": protocol, "study": "tiny", "results": str(tmp_path / "results")},
        }
    ]
    config.write_text(yaml.safe_dump(content))
    assert main(["test", "--config", str(config), "--ckpt_path", str(uninterrupted / "best.ckpt")]) == 0
    result = json.loads((tmp_path / "results" / "tiny" / f"{TASK}-bc-dev1.json").read_text())
    # Trained on the toy world it knows nothing of LIBERO; what counts is that the whole chain was run.
    assert (result["n"], result["error"], result["complete"]) == (1, 0, True)
    assert result["steps_mean"] == 280 or result["success"] == 1
    assert result["train_seed"] == 0
    assert result["config"]["training"]["schedule"] == "cosine"
    samples = Manifest.load(data / TASK).sources["teacher"].counts()["samples"]
    assert result["data_queries"]["teacher"]["queries"] == samples  # each state was asked about once
    assert list((tmp_path / "log").rglob("videos/*/dev-0-*.mp4"))
