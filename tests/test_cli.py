"""The command line: commands, overrides, errors in one line, checkpoints."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml
from malicious_files import MALICIOUS, MARKER
from torch.utils.data import DataLoader, TensorDataset

from lit_distill.arguments import describe, parse
from lit_distill.cli import LIGHTNING_COMMANDS, VERBS, Verb, main, run_verb, teacher_option, verb_parser
from lit_distill.errors import LitDistillError
from lit_distill.lightning_cli import HELP_OF, DistillCLI
from lit_distill.study.stages import Beside, Study

REPOSITORY = Path(__file__).parents[1]
CONFIGS = sorted((REPOSITORY / "conf").rglob("*.yaml"))

# ---- a tiny model, data set, callback and command of our own; YAML names them as `test_cli.X`

SEEN: dict[str, Any] = {}


class TinyNetwork(torch.nn.Module):
    """One linear layer."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, width)


class TinyModel(pl.LightningModule):
    """Drives its network's outputs to zero; stores its hyperparameters in the checkpoint."""

    def __init__(self, network: TinyNetwork, scale: float = 1.0, task: str = "none") -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["network"])
        self.network, self.scale, self.task = network, scale, task

    def loss(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return self.scale * self.network.layer(batch[0]).square().mean()

    def training_step(self, batch: list[torch.Tensor], batch_index: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: list[torch.Tensor], batch_index: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: list[torch.Tensor], batch_index: int) -> None:
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class TinyData(pl.LightningDataModule):
    """Eight rows of ones."""

    def __init__(self, task: str = "milk", batch_size: int = 4) -> None:
        super().__init__()
        self.task, self.batch_size = task, batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=self.batch_size)

    val_dataloader = test_dataloader = train_dataloader


class Recorder(pl.Callback):
    """Writes down with what a run started."""

    def __init__(self, task: str = "none", interrupt: bool = False) -> None:
        self.task, self.interrupt = task, interrupt

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        SEEN.update(task=self.task, data_task=trainer.datamodule.task, precision=trainer.precision)
        SEEN.update(model_task=pl_module.task, scale=pl_module.scale, epochs=trainer.max_epochs)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        SEEN.update(scale=pl_module.scale)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        SEEN.setdefault("started_epochs", []).append(trainer.current_epoch)
        if self.interrupt:
            raise KeyboardInterrupt


class NotPlain:
    """Something that a checkpoint must not hold."""


@dataclass
class Settings:
    """Settings of the tiny command.

    Attributes:
        episodes: how many.
        label: what to call them.
    """

    episodes: int = 5
    label: str = "plain"


def tiny_command(task: str, settings: Settings, count: int = 1) -> Any:
    """Do something tiny, and say with what.

    Args:
        task: the name of a task.
        settings: more of it.
        count: how often.
    """
    SEEN.update(task=task, count=count, settings=settings)
    if task == "unknown":
        raise LitDistillError("unknown: no such task")
    if task == "defect":
        raise RuntimeError("a defect")
    if task == "interrupt":
        raise KeyboardInterrupt
    return {"path": Path("made/here"), "list": ["one", "two"], "status": 1}.get(task)


CONFIG = """
trainer:
  max_epochs: 1
  precision: ${precision:}
  accelerator: cpu
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: test_cli.Recorder
      init_args:
        task: ${data.init_args.task}
model:
  class_path: test_cli.TinyModel
  init_args:
    network: {class_path: test_cli.TinyNetwork, init_args: {width: 3}}
    task: ${data.init_args.task}
data:
  class_path: test_cli.TinyData
  init_args: {task: milk}
"""


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SEEN.clear()
    Path("tiny.yaml").write_text(CONFIG)
    monkeypatch.setitem(VERBS, "tiny", Verb("test_cli:tiny_command", "something tiny"))


def fit(*options: str) -> int:
    return main(["fit", "--config", "tiny.yaml", *options])


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail with status 2; return what it says, which must be a single line."""
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    assert len(errors) == 1
    assert said[-1] == errors[0]
    return errors[0]


# ---- commands


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lit_distill.cli import main; status = main(['--help'])\n"
        "heavy = {'torch', 'lightning', 'mujoco', 'numpy', 'jsonargparse'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in (*LIGHTNING_COMMANDS, *VERBS):
        if command != "tiny":
            assert re.search(rf"^  {command} +\w", result.stdout, re.MULTILINE), command


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean collect?" in error_line(capsys, "colect")


@pytest.mark.parametrize("name", [name for name in VERBS if name != "tiny"])
def test_every_command_has_a_help_from_its_docstring(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_verb(name, ["--help"])
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    module, function = VERBS[name].target.split(":")
    description = " ".join(describe(getattr(sys.modules[module], function)).split())
    assert f"usage: python -m lit_distill {name}" in shown
    assert len(description) > 30
    assert description in shown


def test_fit_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help"])
    assert stop.value.code == 0
    assert "python -m lit_distill fit --config conf/bc.yaml" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "listed"),
    zip(HELP_OF, ("--model.lr", "--network.pooling", "--data.held_out", "videos", "betas"), strict=True),
)
def test_fit_help_tells_how_to_list_a_classs_options(
    options: str, listed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "5000")
    for arguments, expected in ((["--help"], options), (options.split(), listed)):
        with pytest.raises(SystemExit) as stop:
            main(["fit", *arguments])
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("collect", ("settings.episodes", "settings.noise.probability", "settings.workers")),
        ("pipeline", ("collect.episodes", "collect.noise.probability", "protocol.split")),
        ("evaluate", ("protocol.episodes", "noise.probability")),
    ],
)
def test_help_lists_nested_options(
    name: str, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert all(f"  --{option} " in shown for option in options)


def test_predict_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown command 'predict'" in error_line(capsys, "predict", "--config", "tiny.yaml")
    assert list(DistillCLI.subcommands()) == list(LIGHTNING_COMMANDS) == ["fit", "validate", "test"]


# ---- our own commands


def test_a_command_takes_its_parameters_from_yaml_and_options_win() -> None:
    Path("run.yaml").write_text("task: milk\ncount: 3\nsettings:\n  episodes: 7\n  label: ${task}-x\n")
    assert main(["tiny", "--config", "run.yaml", "--settings.episodes", "9", "--task", "butter"]) == 0
    assert (SEEN["task"], SEEN["count"]) == ("butter", 3)
    assert SEEN["settings"] == Settings(9, "butter-x")


def test_a_first_word_stands_for_the_first_parameter() -> None:
    assert main(["tiny", "ketchup", "--count", "2"]) == 0
    assert (SEEN["task"], SEEN["count"], SEEN["settings"]) == ("ketchup", 2, Settings())


def test_what_a_command_returns_is_printed_or_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny", "path"]) == 0
    assert main(["tiny", "list"]) == 0
    assert capsys.readouterr().out == "made/here\none\ntwo\n"
    assert main(["tiny", "status"]) == 1


def test_what_a_command_says_itself_is_not_printed_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(VERBS, "tiny", VERBS["tiny"]._replace(shows_result=False))
    assert main(["tiny", "path"]) == 0
    assert capsys.readouterr().out == ""
    assert not VERBS["collect"].shows_result


def test_a_users_error_is_one_line_and_a_defect_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert error_line(capsys, "tiny", "unknown") == "error: unknown: no such task"
    with pytest.raises(RuntimeError, match="a defect"):
        main(["tiny", "defect"])


def test_an_interrupted_command_exits_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny", "interrupt"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "task: required"),
        (["--tusk", "x"], "tusk: no such key; did you mean task?"),
        (["milk", "--count", "many"], "count: expected int, got many"),
        (["--config", "gone.yaml"], "--config gone.yaml: no such file"),
    ],
)
def test_wrong_options_of_a_command_are_named(
    options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error_line(capsys, "tiny", *options).startswith(f"error: {expected}")


# ---- fit and its configuration


def test_overrides_reach_trainer_and_data_and_whoever_refers_to_them() -> None:
    assert fit("--trainer.max_epochs", "2", "--data.task", "butter") == 0
    assert SEEN["epochs"] == 2
    assert (SEEN["data_task"], SEEN["task"], SEEN["model_task"]) == ("butter", "butter", "butter")


def test_precision_is_resolved_to_the_machines_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_distill.precision.best_precision", lambda: "bf16-mixed")
    assert fit() == 0
    assert SEEN["precision"] == "bf16-mixed"
    monkeypatch.setattr("lit_distill.precision.best_precision", lambda: "32-true")
    assert fit() == 0
    assert SEEN["precision"] == "32-true"


def test_precision_can_be_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_distill.precision.best_precision", lambda: "bf16-mixed")
    assert fit("--trainer.precision", "32-true") == 0
    assert SEEN["precision"] == "32-true"


def test_a_run_goes_to_runs_with_a_fixed_seed_and_its_config_can_be_run_again() -> None:
    assert fit("--data.task", "butter") == 0
    (saved,) = Path("runs").rglob("config.yaml")
    assert yaml.safe_load(saved.read_text())["seed_everything"] == 0
    SEEN.clear()
    options = ["--trainer.logger.init_args.version", "again"]
    assert main(["fit", "--config", str(saved), *options]) == 0
    assert main(["fit", "--config", str(saved), *options]) == 0  # over its own config.yaml
    assert SEEN["data_task"] == "butter"


def test_a_second_file_appends_callbacks() -> None:
    Path("more.yaml").write_text(
        "trainer:\n  callbacks+:\n    - class_path: lightning.pytorch.callbacks.ModelCheckpoint\n"
        "      init_args: {dirpath: kept, filename: last}\n"
    )
    assert fit("--config", "more.yaml") == 0
    assert Path("kept/last.ckpt").is_file()
    assert SEEN["task"] == "milk"  # the first file's callback is still there


def test_fit_needs_neither_mujoco_nor_gl() -> None:
    code = (
        "import sys; from lit_distill.cli import main\n"
        "status = main(['fit', '--config', 'tiny.yaml', '--trainer.fast_dev_run', 'true'])\n"
        "found = {'mujoco', 'robosuite', 'libero', 'OpenGL'} & set(sys.modules)\n"
        "sys.exit(f'imported {found}' if found else status)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "MUJOCO_GL": "none"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        (
            None,
            ["--trainer.max_epoch", "2"],
            "trainer.max_epoch: no such key; did you mean trainer.max_epochs?",
        ),
        (None, ["--trainer.max_epochs", "two"], "trainer.max_epochs: expected int or null, got two"),
        (None, ["--data.tusk", "x"], "data.tusk: test_cli.TinyData has no such option; did you mean task?"),
        (None, ["--model.network.width", "x"], "model.network.width: expected int, got x"),
        (("max_epochs", "max_epoch"), [], "trainer.max_epoch: no such key; did you mean trainer.max_epochs?"),
        (("task: milk", "tusk: milk"), [], "data.tusk: test_cli.TinyData has no such option"),
        (("width: 3", "width: three"), [], "model.network.width: expected int, got three"),
        (("test_cli.TinyData", "test_cli.Gone"), [], "data: class_path test_cli.Gone: module 'test_cli'"),
        (("test_cli.TinyModel", "gone.Model"), [], "model: class_path gone.Model: No module named 'gone'"),
        (("        task: $", "        tusk: $"), [], "trainer.callbacks.tusk: test_cli.Recorder has no such"),
        (("args.task}", "args.tusk}"), [], "trainer.callbacks[0].init_args.task: Interpolation key"),
        (("max_epochs: 1", "max_epochs: [1"), [], "--config tiny.yaml: line 4, column 12: not valid YAML"),
        (None, ["--trainer.accelerator", "gpu"], "No supported gpu backend found"),
    ],
)
def test_wrong_keys_and_values_are_named_in_one_line(
    change: tuple[str, str] | None, options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if change:
        assert change[0] in CONFIG
        Path("tiny.yaml").write_text(CONFIG.replace(*change))
    assert error_line(capsys, "fit", "--config", "tiny.yaml", *options).startswith(f"error: {expected}")


def test_a_missing_file_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    line = error_line(capsys, "fit", "--config", "tiney.yaml")
    assert line == "error: --config tiney.yaml: no such file; did you mean tiny.yaml?"


def test_fit_without_a_file_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert error_line(capsys, "fit").startswith("error: model: required, but neither a --config file")


def test_an_interrupted_training_exits_with_130() -> None:
    text = CONFIG.replace("        task: $", "        interrupt: true\n        task: $")
    Path("tiny.yaml").write_text(text)
    assert fit() == 130


# ---- checkpoints


@pytest.fixture
def checkpoint() -> str:
    assert fit("--model.scale", "2") == 0
    (path,) = Path("runs").rglob("*.ckpt")
    return str(path)


def test_the_command_line_wins_over_a_checkpoints_hyperparameters(checkpoint: str) -> None:
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["scale"] == 2
    assert main(["test", "--config", "tiny.yaml", "--ckpt_path", checkpoint, "--model.scale", "3"]) == 0
    assert SEEN["scale"] == 3
    assert main(["test", "--config", "tiny.yaml", "--ckpt_path", checkpoint]) == 0
    assert SEEN["scale"] == 1  # what the file says, or its default


def test_a_run_is_resumed_where_it_stopped(checkpoint: str) -> None:
    SEEN.clear()
    assert fit("--ckpt_path", checkpoint, "--trainer.max_epochs", "3") == 0
    assert SEEN["started_epochs"] == [1, 2]


def test_a_missing_or_damaged_checkpoint_is_named(
    checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stem = ("test", "--config", "tiny.yaml", "--ckpt_path")
    assert error_line(capsys, *stem, "gone.ckpt").startswith("error: --ckpt_path gone.ckpt: no such file")
    Path("half.ckpt").write_bytes(Path(checkpoint).read_bytes()[:1000])
    assert error_line(capsys, *stem, "half.ckpt").startswith("error: --ckpt_path half.ckpt: not a checkpoint")


@pytest.mark.parametrize("command", ["test", "validate"])
def test_a_measurement_needs_a_checkpoint_file(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    stem = (command, "--config", "tiny.yaml")
    line = error_line(capsys, *stem)
    assert line.startswith("error: --ckpt_path: required") and "runs/bc/TASK/best.ckpt" in line
    for word in ("best", "last", "hpc"):
        line = error_line(capsys, *stem, "--ckpt_path", word)
        assert line.startswith(f"error: --ckpt_path {word}: give {command} a file")
        assert "runs/bc/TASK/best.ckpt" in line


KEEP = """
trainer:
  callbacks+:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args:
        {dirpath: kept, filename: best, monitor: val_loss, save_last: true, enable_version_counter: false}
"""


@pytest.fixture
def keep() -> tuple[str, str]:
    """Options for a fit that keeps best.ckpt and last.ckpt in kept/."""
    Path("keep.yaml").write_text(KEEP)
    return ("--config", "keep.yaml")


def test_fit_resumes_the_last_checkpoint_only_where_there_is_one(
    keep: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    stem = ("fit", "--config", "tiny.yaml", *keep)
    line = error_line(capsys, *stem, "--ckpt_path", "last")
    assert line.startswith("error: --ckpt_path last: no last.ckpt in kept;")
    assert error_line(capsys, *stem, "--ckpt_path", "best").startswith("error: --ckpt_path best: give fit")
    assert fit(*keep) == 0
    SEEN.clear()
    assert fit(*keep, "--ckpt_path", "last", "--trainer.max_epochs", "2") == 0
    assert SEEN["started_epochs"] == [1]


def test_a_checkpoint_of_another_task_is_refused_before_anything_is_collected(
    keep: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(*keep) == 0
    content = torch.load("kept/last.ckpt", weights_only=True)
    torch.save({**content, "student": {"task": "milk"}}, "kept/last.ckpt")
    monkeypatch.setattr(TinyData, "prepare_data", lambda self: pytest.fail("collects"))
    for command in ("fit", "test", "validate"):
        stem = (command, "--config", "tiny.yaml", *keep, "--data.task", "butter", "--ckpt_path")
        expected = (
            "error: --ckpt_path kept/last.ckpt: its student was trained on milk, but data.task is butter"
        )
        for path in ("kept/last.ckpt", *["last"] * (command == "fit")):
            assert error_line(capsys, *stem, path).startswith(expected)
    monkeypatch.undo()


def test_the_task_of_a_checkpoint_is_accepted(keep: tuple[str, str]) -> None:
    assert fit(*keep) == 0
    content = torch.load("kept/best.ckpt", weights_only=True)
    torch.save({**content, "student": {"task": "milk"}}, "milk.ckpt")
    assert main(["test", "--config", "tiny.yaml", "--ckpt_path", "milk.ckpt"]) == 0


def test_fit_says_what_it_writes_over(keep: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    said = "kept/best.ckpt and last.ckpt will be overwritten; to resume instead: --ckpt_path kept/last.ckpt\n"
    assert fit(*keep) == 0
    assert "overwritten" not in capsys.readouterr().out
    assert fit(*keep, "--ckpt_path", "kept/last.ckpt", "--trainer.max_epochs", "2") == 0
    assert "overwritten" not in capsys.readouterr().out
    assert fit(*keep) == 0
    assert said in capsys.readouterr().out


def test_epochs_that_would_leave_no_checkpoint_are_told(
    keep: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    every = ("--trainer.check_val_every_n_epoch", "2", "--trainer.max_epochs")
    assert fit(*keep, *every, "4") == 0
    assert "warning: " not in capsys.readouterr().err
    assert fit(*keep, *every, "3") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "no checkpoint of what follows epoch 2; better: --trainer.max_epochs 2 or 4" in line
    assert torch.load("kept/last.ckpt", weights_only=True)["epoch"] == 1  # the second of three
    line = error_line(capsys, "fit", "--config", "tiny.yaml", *keep, *every, "1")
    assert line.startswith(
        "error: trainer.max_epochs 1, trainer.check_val_every_n_epoch 2: there would be no"
    )


def test_a_checkpoint_with_objects_is_refused(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "extra": NotPlain()}, "objects.ckpt")
    line = error_line(capsys, "test", "--config", "tiny.yaml", "--ckpt_path", "objects.ckpt")
    assert "more than tensors, numbers and strings" in line


@pytest.mark.parametrize("command", ["fit", "test", "validate"])
@pytest.mark.parametrize("name", ["pickle", "zip", "torch_record", "torch_callbacks", "torch_legacy"])
def test_a_malicious_checkpoint_never_runs(
    checkpoint: str, command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("evil.ckpt").write_bytes(MALICIOUS[name]())
    line = error_line(capsys, command, "--config", "tiny.yaml", "--ckpt_path", "evil.ckpt")
    assert "could run code" in line or "not a checkpoint" in line
    assert not MARKER.exists()


# ---- the files in conf/


class ParseOnlyCLI(DistillCLI):
    """Parses and instantiates as a command would, and stops there."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


@pytest.mark.parametrize("name", ["bc", "dagger_fast", "awac"])
def test_one_option_puts_a_teacher_wherever_a_file_asks_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    fake = "lit_distill.sim.fake.FakeTeacher"
    cli = ParseOnlyCLI(["fit", "--config", f"conf/{name}.yaml", "--teacher.class_path", fake])
    config = cli.config["fit"].as_dict()
    collections = [
        value for key, value in config["data"]["init_args"].items() if key.startswith("collect") and value
    ]
    collections += [
        callback["init_args"]["collect"]
        for callback in config["trainer"]["callbacks"]
        if "DAggerRounds" in callback["class_path"]
    ]
    assert len(collections) == {"bc": 1, "dagger_fast": 2, "awac": 2}[name]
    assert all(settings["teacher"] == {"class_path": fake} for settings in collections)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--teacher.class_pth", "x"], "teacher.class_pth: no such key"),
        (["--teacher.class_path", "x", "--data.collect", "null"], "--teacher: no teacher is asked"),
    ],
)
def test_a_teacher_that_is_misspelt_or_that_nobody_asks_is_refused(
    options: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(LitDistillError, match=said):
        ParseOnlyCLI(["fit", "--config", "conf/bc.yaml", *options])


def test_there_are_configurations() -> None:
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_is_parsed_by_the_command_in_its_first_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    first = path.read_text().splitlines()[0]
    match = re.fullmatch(r"# python -m lit_distill (\w+ .*)", first)
    assert match, f"{path.name}: the first line must be the command that uses it: # python -m lit_distill ..."
    command, *options = shlex.split(match[1])
    assert f"conf/{path.relative_to(REPOSITORY / 'conf')}" in options
    if command in LIGHTNING_COMMANDS:
        ParseOnlyCLI([command, *options])
    else:
        module, function_name = VERBS[command].target.split(":")
        function = getattr(__import__(module, fromlist=[function_name]), function_name)
        parser = verb_parser(command, function)
        parser.instantiate(parse(parser, options))


@pytest.mark.parametrize("name", ["demo", "baskets", "chain"])
def test_the_stages_of_a_pipeline_are_commands_that_can_be_typed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the values that its file gives to other files' keys, up to what these make."""
    monkeypatch.chdir(REPOSITORY)
    content = yaml.safe_load(Path(f"conf/{name}.yaml").read_text())
    files = {key: content[key] for key in content if re.fullmatch("(fit|dagger|awac)_(config|options)", key)}
    beside = {method: Beside(**each) for method, each in content.get("beside_awac", {}).items()}
    study = Study(**files, beside_awac=beside)
    for student in study.students:
        ParseOnlyCLI(["fit", *student.arguments(content["tasks"][0], study)])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_key_of_a_configuration_has_a_comment(path: Path) -> None:
    def bare(line: str) -> bool:
        return bool(re.match(r"\s*-?\s*[\w+]+:", line)) and "#" not in line

    lines = path.read_text().splitlines()
    structural = (
        r"\s*-?\s*(class_path|init_args|trainer|model|data|callbacks\+?|logger|settings|seed_everything):"
    )
    missing = [line.strip() for line in lines if bare(line) and not re.match(structural, line)]
    assert not missing, f"{path.name}: {json.dumps(missing)}"


@pytest.mark.parametrize(
    ("command", "option", "where"),
    [
        ("collect", "settings.teacher", ("settings",)),
        ("pipeline", "collect.teacher", ("collect",)),
        ("evaluate", "teacher", ()),
        ("serve teacher", "teacher", ()),
        ("collect", "teacher", ("settings",)),
        ("pipeline", "teacher", ("collect",)),
    ],
)
def test_a_teacher_is_chosen_by_class_path_in_every_command_that_asks_one(
    command: str, option: str, where: tuple[str, ...]
) -> None:
    module, name = VERBS[command].target.split(":")
    parser = verb_parser(command, getattr(importlib.import_module(module), name))
    path, arguments = "lit_distill.teachers.cosmos.CosmosPolicyTeacher", "{server: http://host:8777, seed: 3}"
    task = [] if command == "serve teacher" else [f"--{'tasks' if command == 'pipeline' else 'task'}", "x"]
    words = [f"--{option}.class_path", path, f"--{option}.init_args", arguments, *task]
    config = parser.instantiate(parse(parser, [teacher_option(VERBS[command], word) for word in words]))
    for key in where:
        config = getattr(config, key)
    init_args = {"server": "http://host:8777", "seed": 3}
    assert config.teacher == {"class_path": path, "init_args": init_args}


def test_only_the_option_is_renamed() -> None:
    words = ["--teacher=x", "--teachers", "--teacher_x", "x--teacher", "--task", "--teacher"]
    expected = ["--settings.teacher=x", *words[1:5], "--settings.teacher"]
    assert [teacher_option(VERBS["collect"], word) for word in words] == expected
    assert [teacher_option(VERBS["evaluate"], word) for word in words] == words


def test_a_command_of_two_words_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve"]) == 2
    assert (
        "error: serve: what? `python -m lit_distill serve student` or `python -m lit_distill serve teacher`"
        in capsys.readouterr().err
    )
    assert main(["serve", "teacher", "--teacher.checkpoint", "x"]) == 2
    assert "a teacher's arguments go together: --teacher.init_args '{KEY: VALUE" in capsys.readouterr().err


def test_what_a_class_says_of_its_values_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for option, said in (
        ("--data.batch_size", "batch_size: must be at least 1, got 0"),
        ("--model.lr", "lr must be positive, weight_decay and seed 0 or more, got lr 0.0"),
        ("--trainer.callbacks.every_n_epochs", "every_n_epochs: must be 0 (off) or more, got -1"),
    ):
        value = said.rpartition(" ")[2]
        assert main(["fit", "--config", str(REPOSITORY / "conf" / "bc_fast.yaml"), option, value]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {said}")


def test_a_server_that_does_not_answer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    init_args = "{server: http://127.0.0.1:9, outage_s: 0, cache: null}"
    words = ["--teacher.class_path", "lit_distill.teachers.cosmos.CosmosPolicyTeacher"]
    assert main(["serve", "teacher", *words, "--teacher.init_args", init_args]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line.startswith("error: http://127.0.0.1:9: not reached for 0 s: ConnectError")


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_is_none_is_refused_before_anything_is_loaded(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["student", "no_such.ckpt"], ["teacher", "--teacher.class_path", "no.such.Teacher"]):
        assert main(["serve", *words, "--port", port]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"error: port: must be in 0..65535, got {port}"


def test_a_package_that_only_some_commands_need_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("lit_distill.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "msgpack", None)
    assert main(["serve", "student", "some.ckpt"]) == 2
    line = "error: serve student: needs msgpack; python -m pip install 'lit_distill[serve]'"
    assert capsys.readouterr().err.splitlines()[-1] == line


@pytest.mark.parametrize(("file", "makes"), [("awac", "dagger_fast"), ("dagger", "bc")])
def test_a_missing_first_student_is_told_before_anything_is_collected(
    file: str, makes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lit_distill.collection.collect_missing", lambda *arguments: pytest.fail("collects"))
    Path("conf").symlink_to(REPOSITORY / "conf")
    assert main(["fit", "--config", f"conf/{file}.yaml"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(
        f"error: runs/{makes}/custom_libero_object_ketchup/best.ckpt: no such checkpoint; "
    )
    assert f"`python -m lit_distill fit --config conf/{makes}.yaml --data.task custom_libero_" in line


def test_a_checkpoint_with_other_weights_is_refused_before_anything_is_done(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "state_dict": {**content["state_dict"], "more": torch.zeros(1)}}, "other.ckpt")
    monkeypatch.setattr(TinyData, "prepare_data", lambda self: pytest.fail("collects"))
    for command in ("fit", "test", "validate"):
        line = error_line(capsys, command, "--config", "tiny.yaml", "--ckpt_path", "other.ckpt")
        assert (
            line.startswith("error: --ckpt_path other.ckpt: holds other weights than ") and "(more)" in line
        )
    monkeypatch.undo()
