"""BC and DAgger on two processes (gloo), by the command that users type, against one process."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagger_training import EPISODES, EPOCHS, FAKE_TEACHER, TASK, make_data, use_toy_world
from ddp_launch import LIMIT_S, SHORT, launch
from ddp_world import evaluate_on_fakes

import callbacks.libero_evaluation
from lit_distill.cli import main
from lit_distill.manifest import Manifest
from lit_distill.results import read_result

EQUAL, NOISE = 1e-5, 2e-3
"""Relative difference that the order of floating-point sums makes in the first steps, and after some: where a
gradient is all noise, AdamW makes a whole step of it."""


def write_config(folder: Path, root: Path | str, name: str, dagger: bool, *more: dict[str, Any]) -> str:
    """A small conf/bc_fast.yaml or conf/dagger_fast.yaml, whose processes write down what they do."""
    best = {
        "dirpath": str(folder / name),
        "filename": "best",
        "monitor": "val/loss",
        "save_last": True,
        "save_on_train_epoch_end": False,
        "enable_version_counter": False,
    }
    collect = {"teacher": FAKE_TEACHER, "image_size": 16, "workers": 0}
    rounds = {"init_from": f"{root}/bc.ckpt", "rounds": 2, "collect": {**collect, "episodes": 3}}
    protocol = {"split": "dev", "episodes": 5, "image_size": 16, "workers": 0}
    callbacks: list[tuple[str, dict[str, Any]]] = [
        ("callbacks.weight_averaging.ExponentialMovingAverage", {"decay": 0.9}),
        ("lightning.pytorch.callbacks.ModelCheckpoint", best),
        ("ddp_world.Trace", {"folder": str(folder), "name": name}),
    ]
    if dagger:
        callbacks.append(("callbacks.dagger.DAggerRounds", rounds))
    else:
        evaluation = {"protocol": protocol, "every_n_epochs": EPOCHS, "dev_episodes": 5}
        evaluation |= {"study": name, "results": str(folder / "results")}
        callbacks.append(("callbacks.libero_evaluation.LiberoEvaluation", evaluation))
    network = {"channels": [8, 8, 16], "image_size": 16, "hidden": 16}
    model = {"network": network, "lr": 0.001, "schedule": "cosine", "shift_pixels": 2}
    data = {
        "task": TASK,
        "root": str(root),
        "batch_size": 16,
        "collect": {**collect, "episodes": EPISODES},
    }
    config = {
        "model": {"class_path": "lit_distill.algorithms.bc.BehaviorCloning", "init_args": model},
        "data": {"class_path": "datamodules.chunks.ChunkDataModule", "init_args": data},
        "trainer": {
            "max_epochs": EPOCHS,
            "reload_dataloaders_every_n_epochs": 1,
            "precision": "32-true",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": {"init_args": {"save_dir": str(folder), "name": f"log-{name}"}},
            "callbacks": [
                *more,
                *({"class_path": path, "init_args": options} for path, options in callbacks),
            ],
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def on_one(
    folder: Path, root: Path, dagger: bool = False, command: str = "fit", ckpt: str | None = None
) -> dict[str, Any]:
    """In this process, in the toy world."""
    config = write_config(folder, root, "one", dagger)
    one = ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]
    with pytest.MonkeyPatch.context() as patch:
        use_toy_world(patch)
        patch.setattr(callbacks.libero_evaluation, "evaluate", evaluate_on_fakes)
        assert main([command, "--config", config, *one, *(["--ckpt_path", ckpt] if ckpt else [])]) == 0
    return json.loads((folder / "one-0.json").read_text())


def on_two(
    folder: Path,
    root: Path | str,
    dagger: bool = False,
    *more: dict[str, Any],
    command: str = "fit",
    ckpt: str | None = None,
    takes_s: float = 0.0,
) -> Any:
    """What two processes wrote down, or the exit status where they did not come to that."""
    world = {"class_path": "ddp_world.ToyWorld", "init_args": {"takes_s": takes_s}}
    config = write_config(folder, root, "two", dagger, world, *more)
    options = [*(["--ckpt_path", ckpt] if ckpt else []), *(SHORT if takes_s else [])]
    return launch(config, folder, *options, command=command)


def check_shared(two: list[dict[str, Any]]) -> None:
    """Both take the same batches, equal parts of each, and no sample comes twice in an epoch."""
    assert [step[:2] for step in two[0]["steps"]] == [step[:2] for step in two[1]["steps"]]
    epochs: dict[int, list[str]] = {}
    for left, right in zip(two[0]["steps"], two[1]["steps"], strict=True):
        assert len(left[2]) == len(right[2])
        epochs.setdefault(left[0], []).extend(left[2] + right[2])
    for rows in epochs.values():
        assert len(rows) == len(set(rows))
    assert two[0]["weights"] == two[1]["weights"]


def check_same_losses(one: list[Any], two: list[list[Any]]) -> None:
    """Step by step: the same samples but for one that cannot be shared, and the same loss."""
    for number, (alone, *parts) in enumerate(zip(one, *two, strict=True)):
        assert [part[:2] for part in parts] == [alone[:2]] * 2
        rows, together = alone[2], parts[0][2] + parts[1][2]
        assert rows[: len(together)] == together and len(rows) - len(together) < 2
        if len(together) == len(rows):
            mean = (parts[0][3] + parts[1][3]) / 2
            assert mean == pytest.approx(alone[3], rel=EQUAL if number < 3 else NOISE)


@pytest.fixture(scope="module")
def bc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """BC on one process and on two: the folder, and what they wrote down."""
    folder = tmp_path_factory.mktemp("bc")
    root = make_data(folder / "data")
    return folder, on_one(folder, root), on_two(folder, root)


def test_bc_on_two_processes_is_bc_on_one(bc: tuple[Path, Any, Any]) -> None:
    _, one, two = bc
    check_shared(two)
    check_same_losses(one["steps"], [rank["steps"] for rank in two])
    for rank in two:
        assert rank["training_loss"] == pytest.approx(one["training_loss"], rel=NOISE)
        assert rank["validation"] == pytest.approx(one["validation"], rel=NOISE)
        assert rank["success"] == one["success"]
        for name, values in one["weights"].items():
            apart = math.dist(rank["weights"][name], values) / max(math.hypot(*values), 1e-2)
            assert apart < 0.05, name
    assert one["success"][-1] >= 0.0  # LiberoEvaluation ran


def test_evaluations_in_fit_are_shared(bc: tuple[Path, Any, Any]) -> None:
    _, one, two = bc
    assert one["states"] == [f"dev/{index}" for index in range(5)]
    assert [rank["states"] for rank in two] == [one["states"][0::2], one["states"][1::2]]


def test_validation_of_one_checkpoint_is_the_same_on_two_processes(bc: tuple[Path, Any, Any]) -> None:
    """An odd number of samples; and the two read their shards through a URL."""
    folder, _, _ = bc
    best = str(folder / "one" / "best.ckpt")
    one = on_one(folder, folder / "data", command="validate", ckpt=best)
    two = on_two(folder, f"file://{folder}/data", command="validate", ckpt=best)
    assert one["described"]["val_samples"] % 2 == 1
    assert [rank["described"] for rank in two] == [one["described"]] * 2
    for rank in two:
        assert rank["validated"].keys() == one["validated"].keys() >= {"val/loss", "val/position_error"}
        assert rank["validated"] == pytest.approx(one["validated"], rel=1e-6)


def test_a_test_run_on_two_processes_shares_the_episodes_and_writes_one_result(
    bc: tuple[Path, Any, Any],
) -> None:
    folder, _, _ = bc
    best = str(folder / "one" / "best.ckpt")
    one = on_one(folder, folder / "data", command="test", ckpt=best)
    two = on_two(folder, folder / "data", command="test", ckpt=best)
    assert [rank["states"] for rank in two] == [one["states"][0::2], one["states"][1::2]]
    assert len(one["states"]) == 5
    path = folder / "results" / "two" / f"{TASK}-bc-dev5.json"
    assert [rank["written"] for rank in two] == [[str(path)], []]
    result = read_result(path)
    assert result["complete"] and result["n"] == 5
    assert result["episodes"] == read_result(folder / "results" / "one" / path.name)["episodes"]
    for rank in two:
        assert rank["test"]["test/loss"] == pytest.approx(one["test"]["test/loss"], rel=1e-6)


@pytest.fixture(scope="module")
def dagger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Two rounds on two processes: the folder, and what they wrote down.

    They begin with unlike weights, and collecting takes longer than collectives may.
    """
    folder = tmp_path_factory.mktemp("dagger")
    unlike = {"class_path": "ddp_world.UnlikeBeginnings"}
    return folder, on_two(folder, make_data(folder / "data"), True, unlike, takes_s=LIMIT_S + 5.0)


def test_dagger_on_two_processes_is_dagger_on_one(tmp_path: Path, dagger: tuple[Path, Any]) -> None:
    folder, two = dagger
    root = make_data(tmp_path / "data")
    one = on_one(tmp_path, root, dagger=True)
    assert (
        [rank["sources"] for rank in two] == [one["sources"]] * 2 == [["teacher", "dagger-1", "dagger-2"]] * 2
    )
    check_shared(two)
    first = [step for step in one["steps"] if step[0] < EPOCHS]
    check_same_losses(first, [rank["steps"][: len(first)] for rank in two])
    assert two[0]["validation"][0] == pytest.approx(one["validation"][0], rel=NOISE)
    alone, shared = (Manifest.load(where / "data" / TASK).sources for where in (tmp_path, folder))
    assert alone["dagger-1"] == shared["dagger-1"]
    # the second round's student differs by noise, and so may its rollouts
    assert shared["dagger-2"].counts()["episodes"] == 3
    samples = [
        sum(len(step[2]) for rank in two for step in rank["steps"] if step[0] == epoch) for epoch in (0, 2)
    ]
    assert samples[0] < samples[1]  # both processes train on the new rollouts


def test_killed_and_resumed_on_two_processes_it_is_the_same_run(
    tmp_path: Path, dagger: tuple[Path, Any]
) -> None:
    folder, whole = dagger
    root = make_data(tmp_path / "data")
    steps = len(whole[0]["steps"])
    kill = {"class_path": "ddp_world.KillAll", "init_args": {"step": steps - 1}}
    assert on_two(tmp_path, root, True, kill) == -signal.SIGKILL
    resumed = on_two(tmp_path, root, True, ckpt=str(tmp_path / "two" / "last.ckpt"))
    for before, after in zip(whole, resumed, strict=True):
        rest = after["steps"]
        assert 0 < len(rest) < steps
        assert rest == before["steps"][steps - len(rest) :]
        assert after["weights"] == before["weights"]
        assert after["training_loss"] == before["training_loss"]
    assert Manifest.load(root / TASK) == Manifest.load(folder / "data" / TASK)
