"""What the files of conf/ log, what the README explains and what the board lays out are the same names."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagger_training import FAKE_TEACHER, TASK, make_data, use_toy_world
from ddp_world import evaluate_on_fakes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import callbacks.dagger
import callbacks.libero_evaluation
from callbacks.q_separation import LAYOUT
from lit_distill.cli import main

REPOSITORY = Path(__file__).parents[1]
NEEDS_A_GPU = {"hardware/gpu_utilization_percent_*", "hardware/gpu_memory_mib_*"}
PLUGINS = {"_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"}
PLUGINS |= {"custom_scalars__config__"}
"""Not curves or pictures, but what the hparams and custom-scalars tabs are made from."""


def shrunk(name: str, root: Path, folder: Path) -> str:
    """A file of conf/ with its own callbacks and their order, for the toy world."""
    config = yaml.safe_load((REPOSITORY / "conf" / f"{name}.yaml").read_text())
    rollouts = {"teacher": FAKE_TEACHER, "image_size": 16, "workers": 0}
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    model["network"] = {"channels": [8, 8, 16], "image_size": 16, "hidden": 16}
    data |= {"root": str(root), "task": TASK, "batch_size": 16}
    for key in ("collect", "collect_teacher"):
        if key in data:
            data[key] = None
    if name == "awac":
        model |= {"init_from": str(root / "bc.ckpt"), "actor_start": 1, "mean_every": 2}
        data |= {"steps_per_epoch": 3, "students": ["student"], "execute_steps": 16}
        data["collect_student"] |= {**rollouts, "student": str(root / "bc.ckpt"), "episodes": 10}
        data["collect_student"]["label_every"] = 16
    trainer = config["trainer"]
    trainer |= {"max_epochs": 2, "check_val_every_n_epoch": 1, "accelerator": "cpu", "devices": 1}
    trainer |= {"log_every_n_steps": 1, "enable_model_summary": False}
    trainer["logger"]["init_args"] |= {"save_dir": str(folder), "name": name}
    for callback in trainer["callbacks"]:
        options: dict[str, Any] = callback.setdefault("init_args", {})
        match callback["class_path"].rpartition(".")[2]:
            case "ModelCheckpoint":
                options["dirpath"] = str(folder / name)
            case "DAggerRounds":
                options |= {"init_from": str(root / "bc.ckpt"), "rounds": 2, "dev_episodes": 2}
                options["collect"] |= {**rollouts, "episodes": 3}
            case "LiberoEvaluation":
                options["protocol"] |= {"episodes": 3, "videos": 1, "image_size": 16, "workers": 0}
                options["results"] = str(folder / "results")
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """For BC, DAgger and AWAC, every tag in the event files of `fit` and of `test`."""
    folder = tmp_path_factory.mktemp("logged")
    root = make_data(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        use_toy_world(patch)
        patch.setattr(callbacks.dagger, "evaluate", evaluate_on_fakes)
        patch.setattr(callbacks.libero_evaluation, "evaluate", evaluate_on_fakes)
        for name in ("bc_fast", "dagger_fast", "awac"):
            config = shrunk(name, root, folder)
            assert main(["fit", "--config", config]) == 0
            assert main(["test", "--config", config, "--ckpt_path", str(folder / name / "last.ckpt")]) == 0
    tags: dict[str, set[str]] = {}
    for name in ("bc_fast", "dagger_fast", "awac"):
        tags[name] = set()
        for events in (folder / name).glob("**/events.out.*"):
            accumulator = EventAccumulator(str(events)).Reload()
            for kind in ("scalars", "images", "tensors"):
                tags[name] |= set(accumulator.Tags()[kind])
    return tags


def explained() -> list[str]:
    """The names in the README's table, as patterns; a name without prefix has that of the one before it."""
    readme = (REPOSITORY / "README.md").read_text()
    table = readme[readme.index("`tensorboard --logdir runs` shows") :]
    table = table[table.index("| name | meaning |") :].split("\n\n", 1)[0]
    names = []
    for row in table.splitlines()[2:]:
        prefix = ""
        for name in re.findall(r"`([^`]+)`", row.split(" | ")[0]):
            prefix = name[: name.index("/") + 1] if "/" in name else prefix
            names.append(name if "/" in name else prefix + name)
    return names


def test_every_logged_name_is_explained(logged: dict[str, set[str]]) -> None:
    found = set().union(*logged.values()) - PLUGINS
    assert len(found) > 40
    patterns = explained()
    assert {tag for tag in found if not any(fnmatch.fnmatch(tag, name) for name in patterns)} == set()


def test_every_name_that_is_explained_is_logged(logged: dict[str, set[str]]) -> None:
    found = set().union(*logged.values())
    missing = {name for name in explained() if not fnmatch.filter(found, name)}
    assert missing - NEEDS_A_GPU == set()


@pytest.mark.parametrize("picture", LAYOUT["AWAC"])
def test_every_picture_of_the_layout_shows_curves_of_awac(logged: dict[str, set[str]], picture: str) -> None:
    """TensorBoard matches the names of a Multiline as patterns, those of a Margin as they are."""
    kind, names = LAYOUT["AWAC"][picture]
    for name in names:
        assert isinstance(name, str)
        matches = re.compile(name).match if kind == "Multiline" else name.__eq__
        assert any(matches(tag) for tag in logged["awac"]), name
