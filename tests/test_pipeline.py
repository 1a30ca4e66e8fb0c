"""The pipeline: stages, what is reused, what is done again, how it fails, what it shows."""

from __future__ import annotations

import functools
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from lit_distill.cli import main
from lit_distill.collection import CollectSettings
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Protocol, evaluate
from lit_distill.sim.fake import FakeSimulator
from lit_distill.study import pipeline
from lit_distill.study.pipeline import run_with
from lit_distill.study.stages import Beside, Study, changed
from lit_distill.study.summary import duration
from lit_distill.study.training import FitConfig
from lit_distill.tasks import STATES_FOLDER
from lit_distill.teachers.spec import EMBEDDED_TEACHER

TASK = "custom_libero_object_ketchup"
OTHER = "custom_libero_object_milk"
REPOSITORY = Path(__file__).parents[1]

# a network and a schedule that are trained in a second
TINY = {
    "model": {
        "class_path": "lit_distill.algorithms.bc.BehaviorCloning",
        "init_args": {
            "network": {"channels": [8, 8, 16], "image_size": 32, "hidden": 16},
            "lr": 0.001,
            "seed": "${seed_everything}",
        },
    },
    "data": {
        "class_path": "datamodules.chunks.ChunkDataModule",
        "init_args": {"task": TASK, "batch_size": 8},
    },
    "trainer": {
        "max_epochs": 1,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": {"init_args": {"name": "tiny/${data.init_args.task}"}},
        "callbacks": [
            {
                "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                "init_args": {
                    "dirpath": "runs/tiny/${data.init_args.task}",
                    "filename": "best",
                    "monitor": "val/loss",
                    "save_last": True,
                    "enable_version_counter": False,
                },
            },
            {
                "class_path": "callbacks.libero_evaluation.LiberoEvaluation",
                "init_args": {"protocol": {"split": "eval", "image_size": 32, "workers": 0}},
            },
        ],
    },
}


class CommandsInThisProcess:
    """Runs the very commands, on the toy world; a stage named in `failing` is not run and fails."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.failing: str | None = None

    def __call__(self, arguments: list[str]) -> int:
        self.commands.append(arguments)
        return 9 if arguments[0] == self.failing else main(arguments)

    def take(self) -> list[str]:
        """Names of the commands since the last call."""
        names = [arguments[0] for arguments in self.commands]
        self.commands = []
        return names


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study in an empty folder, on the toy world, with all episodes in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lit_distill.collection.Simulator", FakeSimulator)
    monkeypatch.setattr("lit_distill.study.evaluate.Simulator", FakeSimulator)
    on_fake = functools.partial(evaluate, simulator=FakeSimulator)
    monkeypatch.setattr("callbacks.libero_evaluation.evaluate", on_fake)
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    teacher = {"class_path": "lit_distill.sim.fake.FakeTeacher"}
    return Study(
        fit_config="tiny.yaml",
        collect=CollectSettings(episodes=20, teacher=teacher, image_size=32, workers=0),
        protocol=Protocol(split="dev", episodes=3, image_size=32, workers=0, videos=1),
    )


@pytest.fixture
def commands() -> CommandsInThisProcess:
    return CommandsInThisProcess()


def test_the_stages_run_in_order_and_a_second_run_reuses_them_all(
    study: Study, commands: CommandsInThisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    run_with(commands, [TASK], study)
    first = capsys.readouterr().out
    shown = [
        shlex.split(line)[4:] for line in first.splitlines() if line.startswith("$ python -m lit_distill")
    ]
    assert shown == commands.commands
    assert commands.take() == ["collect", "fit", "test", "evaluate"]
    result = json.loads(Path(f"experiments/results/demo/{TASK}-bc-dev3.json").read_text())
    assert (result["n"], result["method"], result["complete"]) == (3, "bc", True)
    teacher = json.loads(Path(f"experiments/results/demo/{TASK}-teacher-dev3.json").read_text())
    assert (teacher["success"], teacher["n"]) == (3, 3)
    assert "3/3 = 1.00 [0.44, 1.00]" in first
    assert f"{result['success']}/3 = " in first
    assert f"{result['config']['parameters']:,}" in first
    assert "tensorboard --logdir runs" in first
    assert f"videos    runs/teacher/{TASK}" in first
    assert f"videos    runs/tiny/{TASK}/version_" in first
    for folder in (Path(f"runs/teacher/{TASK}"), Path(f"runs/tiny/{TASK}")):
        assert len(list(folder.rglob("dev-0-*.mp4"))) == len(list(folder.rglob("dev-0-*.png"))) == 1

    run_with(commands, [TASK], study)
    again = capsys.readouterr().out
    assert commands.take() == ["collect"]
    for name in (f"data/{TASK}: 20 teacher episodes, all there", f"runs/tiny/{TASK}/best.ckpt is there"):
        assert f"{name}: reused" in again
    assert again.count("is there: reused") == 3


def test_only_what_changed_is_done_again(study: Study, commands: CommandsInThisProcess) -> None:
    run_with(commands, [TASK], study)
    commands.take()
    run_with(commands, [TASK], replace(study, protocol=replace(study.protocol, seed=5)))
    assert commands.take() == ["collect", "test", "evaluate"]
    run_with(commands, [TASK], replace(study, fit_options={"model.init_args.lr": 0.002}))
    assert commands.take() == ["collect", "fit", "test", "evaluate"]
    run_with(commands, [TASK], study)
    assert commands.take() == ["collect", "fit", "test"]
    best = Path(f"runs/tiny/{TASK}/best.ckpt")
    best.write_bytes(Path(f"runs/tiny/{TASK}/last.ckpt").read_bytes() + b"another")
    run_with(commands, [TASK], study)
    assert commands.take()[:2] == ["collect", "fit"]
    run_with(commands, [TASK], replace(study, collect=replace(study.collect, episodes=30)))
    assert commands.take() == ["collect", "fit", "test"]


def test_a_killed_training_goes_on_from_its_last_checkpoint(
    study: Study, commands: CommandsInThisProcess
) -> None:
    def dies_after_fit(arguments: list[str]) -> int:
        status = commands(arguments)
        return 137 if arguments[0] == "fit" else status

    with pytest.raises(LitDistillError):
        run_with(dies_after_fit, [TASK], study)
    commands.take()
    run_with(commands, [TASK], study)
    assert commands.commands[1][-2:] == ["--ckpt_path", f"runs/tiny/{TASK}/last.ckpt"]
    assert commands.take() == ["collect", "fit", "test", "evaluate"]


def test_a_checkpoint_of_another_training_is_never_resumed(
    study: Study, commands: CommandsInThisProcess
) -> None:
    folder = Path(f"runs/tiny/{TASK}")
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(b"of another")
    commands.failing = "fit"
    with pytest.raises(LitDistillError):
        run_with(commands, [TASK], study)
    assert "--ckpt_path" not in commands.commands[-1]
    assert not (folder / "last.ckpt").exists()


@pytest.mark.parametrize("stage", ["collect", "fit", "test", "evaluate"])
def test_a_failing_stage_is_named_with_the_command_to_repeat(
    stage: str, study: Study, commands: CommandsInThisProcess
) -> None:
    commands.failing = stage
    with pytest.raises(LitDistillError) as caught:
        run_with(commands, [TASK, OTHER], study)
    message = str(caught.value)
    assert message.startswith(
        f"stage {stage} of {TASK} failed (status 9); to repeat it: python -m lit_distill"
    )
    assert shlex.split(message.partition("python -m lit_distill ")[2]) == commands.commands[-1]
    assert "\n" not in message
    assert commands.take()[-1] == stage


def test_an_interrupted_stage_interrupts_the_pipeline(study: Study) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_with(lambda arguments: 130, [TASK], study)


def test_an_evaluation_with_errors_left_ends_the_pipeline(
    study: Study, commands: CommandsInThisProcess
) -> None:
    def leaves_errors(arguments: list[str]) -> int:
        status = commands(arguments)
        if arguments[0] == "test":
            path = Path(f"experiments/results/demo/{TASK}-bc-dev3.json")
            path.write_text(json.dumps(json.loads(path.read_text()) | {"complete": False, "error": 1}))
        return status

    with pytest.raises(LitDistillError, match=f"{TASK}-bc-dev3.json: incomplete.*to repeat it: python"):
        run_with(leaves_errors, [TASK], study)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda config: config["trainer"]["callbacks"].reverse(), "LiberoEvaluation must be the last one"),
        (lambda config: config["trainer"]["callbacks"].pop(0), "needs a ModelCheckpoint with a dirpath"),
        (lambda config: config["data"]["init_args"].update(root="${gone}"), "gone"),
    ],
)
def test_a_fit_file_that_the_pipeline_cannot_use_is_refused_before_anything_runs(
    change: Callable[[dict[str, Any]], Any], expected: str, study: Study, commands: CommandsInThisProcess
) -> None:
    config = json.loads(json.dumps(TINY))
    change(config)
    Path("tiny.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(LitDistillError, match=f"tiny.yaml: .*{expected}"):
        run_with(commands, [TASK], study)
    assert not commands.commands


def test_an_unknown_task_or_none_is_refused_before_anything_runs(
    study: Study, commands: CommandsInThisProcess
) -> None:
    with pytest.raises(LitDistillError, match="did you mean"):
        run_with(commands, [TASK, "custom_libero_object_mlk"], study)
    with pytest.raises(LitDistillError, match="name at least one"):
        run_with(commands, [], study)
    assert not commands.commands


@pytest.mark.parametrize("form", [TASK, f"[{TASK}]"])
def test_one_task_needs_no_list_and_nested_options_reach_fit(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested = [
        "--fit_options.trainer.max_epochs",
        "2",
        "--fit_options",
        '{"model": {"init_args": {"lr": 0.1}}}',
    ]
    seen: list[tuple[list[str], Study]] = []
    monkeypatch.setattr(pipeline, "run_with", lambda runner, tasks, study: seen.append((tasks, study)))
    assert main(["pipeline", "--tasks", form, "--fit_config", "tiny.yaml", *nested[:2]]) == 0
    assert main(["pipeline", "--tasks", form, "--fit_config", "tiny.yaml", *nested[2:]]) == 0
    assert [tasks for tasks, _ in seen] == [[TASK], [TASK]]
    assert [study.fit_options for _, study in seen] == [
        {"trainer.max_epochs": 2},
        {"model.init_args.lr": 0.1},
    ]


def test_nested_keys_become_dotted_and_the_later_wins() -> None:
    nested = {"trainer.max_epochs": 3, "trainer": {"max_epochs": "9", "callbacks": []}, "model": {}}
    assert pipeline.flat(nested) == {"trainer.max_epochs": 9, "trainer.callbacks": [], "model": {}}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("trainer.max_epoch", "trainer.max_epoch: no such key; did you mean trainer.max_epochs?"),
        (
            "trainer.callbacks.protocol.episodes",
            "tiny.yaml: trainer.callbacks.protocol.episodes: not a key",
        ),
        (
            "trainer.callbacks.dev_episodes",
            "tiny.yaml: trainer.callbacks.dev_episodes: not a key",
        ),
        ("model.init_args.lr.x", "model.lr: expected float, got "),
        ("model.init_args.rate", "BehaviorCloning has no such option"),
    ],
)
def test_a_wrong_fit_option_is_refused_before_anything_runs(
    key: str, expected: str, study: Study, commands: CommandsInThisProcess
) -> None:
    with pytest.raises(LitDistillError, match=expected) as caught:
        run_with(commands, [TASK], replace(study, fit_options={key: 3}))
    assert "\n" not in str(caught.value)
    assert not commands.commands


def test_states_that_do_not_fit_are_refused_before_anything_runs(
    study: Study, commands: CommandsInThisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of any of the tasks, whichever comes first."""
    for name in (TASK, OTHER):
        with np.load(STATES_FOLDER / f"{name}.npz") as arrays:
            states = {key: array[:, :-1] if name == OTHER else array for key, array in arrays.items()}
        np.savez(tmp_path / f"{name}.npz", **states)
    monkeypatch.setattr("lit_distill.sim.states.STATES_FOLDER", tmp_path)
    with pytest.raises(LitDistillError, match=f"{OTHER}.npz: initial state .* has shapes .* draws them"):
        run_with(commands, [TASK, OTHER], study)
    assert not commands.commands


def test_the_results_of_the_fit_files_are_apart_and_ignored_by_git() -> None:
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert {"/experiments/results/demo/", "/experiments/results/runs/"} <= set(ignored)
    for name in ("bc", "bc_fast"):
        content = yaml.safe_load((REPOSITORY / "conf" / f"{name}.yaml").read_text())
        assert content["trainer"]["callbacks"][-1]["init_args"]["study"] == f"runs/{name}"


def test_only_settings_that_differ_become_options() -> None:
    settings = CollectSettings(episodes=7, teacher={"class_path": "some.Teacher"})
    settings = replace(settings, noise=replace(settings.noise, probability=0.25))
    defaults = {"episodes": 50, "beta": 0.0, "sample_actions": False, "workers": 3} | {
        "noise": {"probability": 0.0, "position": 0.3, "rotation": 0.1}
    }
    options = changed(settings, defaults, "settings")
    assert options[:4] == ["--settings.episodes", "7", "--settings.teacher", '{"class_path": "some.Teacher"}']
    assert options[4:6] == ["--settings.noise.probability", "0.25"]
    assert options[-2:] == ["--settings.workers", "2"]


def test_a_command_really_runs_and_gives_its_status(capfd: pytest.CaptureFixture[str]) -> None:
    assert pipeline.run_command(["--version"]) == 0
    assert capfd.readouterr().out.startswith("lit_distill ")
    assert pipeline.run_command(["no_such_command"]) == 2


def test_a_stage_ends_with_the_pipeline(tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    stage.write_text("#!/bin/sh\necho $$ > pid.tmp; mv pid.tmp pid; exec sleep 60\n")
    stage.chmod(0o755)
    code = (
        "import sys; from lit_distill.study.pipeline import run_command\n"
        "sys.executable = './stage'; run_command([])"
    )
    outer = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    while outer.poll() is None and not (tmp_path / "pid").exists():
        time.sleep(0.05)
    outer.terminate()
    assert outer.wait(60) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_the_files_for_the_pipeline_name_files_that_it_can_use() -> None:
    for name in ("demo.yaml", "baskets.yaml"):
        content = yaml.safe_load((REPOSITORY / "conf" / name).read_text())
        for task in content["tasks"]:
            fit_file = REPOSITORY / content["fit_config"]
            config = FitConfig(str(fit_file), task, content.get("fit_options", {}))
            assert config.checkpoints == Path("runs") / fit_file.stem / task == config.logs


def test_dagger_until_is_dagger_fast_but_for_when_it_ends() -> None:
    """Two files that a user compares line by line must not drift apart."""
    fast, until = (
        (REPOSITORY / "conf" / f"{name}.yaml").read_text().replace(name, "NAME").splitlines()
        for name in ("dagger_fast", "dagger_until")
    )
    assert len(fast) == len(until)
    pairs = [(a.split("#")[0].rstrip(), b.split("#")[0].rstrip()) for a, b in zip(fast, until, strict=True)]
    differing = {a.split(":")[0].strip() for a, b in pairs if a != b}
    assert differing == {"rounds", "dev_episodes", "patience"}


# ---- DAgger after BC


def dagger_config(**changes: Any) -> dict[str, Any]:
    """TINY with two rounds of two rollouts."""
    config: dict[str, Any] = json.loads(json.dumps(TINY).replace("tiny", "tiny_dagger"))
    rounds = {
        "init_from": "runs/tiny/${data.init_args.task}/best.ckpt",
        "rounds": 2,
        "collect": {
            "episodes": 2,
            "image_size": 32,
            "workers": 0,
        },
    }
    best, evaluation = config["trainer"]["callbacks"]
    best["init_args"]["save_on_train_epoch_end"] = False
    callback = {"class_path": "callbacks.dagger.DAggerRounds", "init_args": rounds | changes}
    config["trainer"] |= {"reload_dataloaders_every_n_epochs": 1, "callbacks": [best, callback, evaluation]}
    return config


@pytest.fixture
def dagger(study: Study) -> Study:
    Path("tiny_dagger.yaml").write_text(yaml.safe_dump(dagger_config()))
    return replace(study, dagger_config="tiny_dagger.yaml")


def test_dagger_follows_bc_and_is_reused(
    dagger: Study, commands: CommandsInThisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    run_with(commands, [TASK], dagger)
    first = capsys.readouterr().out
    assert commands.take() == ["collect", "fit", "test", "fit", "test", "evaluate"]
    for number, stage in enumerate(("collect", "fit", "test", "dagger", "test dagger", "evaluate"), 1):
        assert f"[{number}/6] {TASK}: {stage}\n$ python -m lit_distill" in first
    results = {
        method: json.loads(Path(f"experiments/results/demo/{TASK}-{method}-dev3.json").read_text())
        for method in ("teacher", "bc", "dagger")
    }
    training = results["dagger"]["config"]["training"]
    assert (training["algorithm"], training["round"]) == ("dagger", 2)
    assert results["bc"]["config"]["checkpoint"] != results["dagger"]["config"]["checkpoint"]
    assert "steps, ms per chunk (p50): teacher / bc / dagger" in first
    assert f"videos    runs/tiny_dagger/{TASK}/version_" in first

    run_with(commands, [TASK], dagger)
    assert commands.take() == ["collect"]
    assert capsys.readouterr().out.count("is there: reused") == 5


def test_another_bc_student_makes_other_rounds(
    dagger: Study, commands: CommandsInThisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    run_with(commands, [TASK], dagger)
    commands.take()
    capsys.readouterr()
    run_with(commands, [TASK], replace(dagger, fit_options={"model.init_args.lr": 0.002}))
    assert commands.take() == ["collect", "fit", "test", "fit", "test"]
    assert (
        f"{Path('data') / TASK}: dagger-1 episodes deleted: they were of another training"
        in capsys.readouterr().out
    )
    run_with(commands, [TASK], replace(dagger, dagger_options={"model.init_args.lr": 0.002}))
    assert commands.take() == ["collect", "fit", "test", "fit", "test"]  # BC as it was at first, too


def test_a_killed_dagger_stage_goes_on_and_collects_nothing_twice(
    dagger: Study, commands: CommandsInThisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(arguments: list[str]) -> int:
        status = commands(arguments)
        return 137 if "tiny_dagger.yaml" in arguments else status

    with pytest.raises(LitDistillError, match=f"^stage dagger of {TASK} failed .status 137"):
        run_with(killed, [TASK], dagger)
    commands.take()
    capsys.readouterr()
    run_with(commands, [TASK], dagger)
    assert commands.commands[1][-2:] == ["--ckpt_path", f"runs/tiny_dagger/{TASK}/last.ckpt"]
    assert commands.take() == ["collect", "fit", "test", "evaluate"]
    said = capsys.readouterr().out
    assert "dagger-1 success" not in said and "episodes deleted" not in said


def test_a_dagger_file_that_begins_elsewhere_is_refused_before_anything_runs(
    dagger: Study, commands: CommandsInThisProcess
) -> None:
    wrong_key = replace(dagger, dagger_options={"model.init_args.rate": 1})
    with pytest.raises(LitDistillError, match="BehaviorCloning has no such option"):
        run_with(commands, [TASK], wrong_key)
    config = dagger_config(init_from="runs/other/${data.init_args.task}/best.ckpt")
    Path("tiny_dagger.yaml").write_text(yaml.safe_dump(config))
    line = f"^tiny_dagger.yaml: its init_from is runs/other/{TASK}/best.ckpt, but .* writes runs/tiny/"
    with pytest.raises(LitDistillError, match=line):
        run_with(commands, [TASK], dagger)
    assert not commands.commands


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("tiny_dagger", "collect.teacher of DAggerRounds"),
        ("tiny_awac", "data.init_args.collect_student.teacher"),
    ],
)
def test_a_file_that_names_another_teacher_is_refused_before_anything_runs(
    awac: Study, commands: CommandsInThisProcess, name: str, key: str
) -> None:
    path = Path(f"{name}.yaml")
    content = yaml.safe_load(path.read_text())
    part = content["trainer"]["callbacks"][1] if name == "tiny_dagger" else content["data"]
    settings = part["init_args"]["collect" if name == "tiny_dagger" else "collect_student"]
    settings["teacher"] = {"class_path": EMBEDDED_TEACHER}
    path.write_text(yaml.safe_dump(content))
    line = f"^{path}: the rollouts of .*EmbeddedTeacher.*FakeTeacher.*; leave {key} out of that file$"
    with pytest.raises(LitDistillError, match=line) as caught:
        run_with(commands, [TASK], awac)
    assert "\n" not in str(caught.value) and not commands.commands


def test_durations_are_read_at_a_glance() -> None:
    assert (duration(59.4), duration(60), duration(185)) == ("59 s", "1 min 0 s", "3 min 5 s")


# ---- AWAC after DAgger


def awac_config() -> dict[str, Any]:
    """Four updates on the rollouts of DAgger's student."""
    config: dict[str, Any] = json.loads(json.dumps(TINY).replace("tiny", "tiny_awac"))
    init_from = "runs/tiny_dagger/${data.init_args.task}/best.ckpt"
    config["model"] = {
        "class_path": "lit_distill.algorithms.awac.AWAC",
        "init_args": {"network": TINY["model"]["init_args"]["network"], "init_from": init_from},  # type: ignore[index]
    }
    rollouts = {"student": init_from, "episodes": 20, "image_size": 32, "workers": 0}
    config["data"] = {
        "class_path": "datamodules.replay.ReplayDataModule",
        "init_args": {"task": TASK, "batch_size": 8, "steps_per_epoch": 4, "collect_student": rollouts},
    }
    keep, _ = config["trainer"]["callbacks"]
    keep["init_args"] = {
        "dirpath": "runs/tiny_awac/${data.init_args.task}",
        "save_top_k": 0,
        "save_last": True,
        "enable_version_counter": False,
    }
    return config


@pytest.fixture
def awac(dagger: Study) -> Study:
    Path("tiny_awac.yaml").write_text(yaml.safe_dump(awac_config()))
    return replace(dagger, awac_config="tiny_awac.yaml")


def test_awac_follows_dagger_with_its_students_rollouts_and_is_reused(
    awac: Study, commands: CommandsInThisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    run_with(commands, [TASK], awac)
    assert commands.take() == ["collect", *["fit", "test"] * 3, "evaluate"]
    result = json.loads(Path(f"experiments/results/demo/{TASK}-awac-dev3.json").read_text())
    assert result["config"]["training"]["algorithm"] == "awac"
    assert {"draw", "students", "meshes", "execute_steps"} <= result["config"]["data"].keys()
    assert result["config"]["training"]["init_from"] == f"runs/tiny_dagger/{TASK}/best.ckpt"
    said = capsys.readouterr().out
    assert said.count("--teacher '{") == 5  # fit and test of DAgger and AWAC, evaluate
    assert f"{Path('data') / TASK}: student success" in said
    assert "steps, ms per chunk (p50): teacher / bc / dagger / awac" in said

    run_with(commands, [TASK], awac)
    assert commands.take() == ["collect"]
    assert capsys.readouterr().out.count("is there: reused") == 7


def test_controls_begin_where_awac_does_and_have_folders_of_their_own(
    awac: Study, commands: CommandsInThisProcess
) -> None:
    plain = {"model.init_args.lambda_tpr": 0.0}
    with pytest.raises(LitDistillError, match="unshaped would write over the checkpoints in runs/tiny_awac/"):
        run_with(commands, [TASK], replace(awac, beside_awac={"unshaped": Beside("tiny_awac.yaml", plain)}))
    config = awac_config()
    config["trainer"]["callbacks"][0]["init_args"]["dirpath"] = "runs/${trainer.logger.init_args.name}"
    Path("tiny_beside.yaml").write_text(yaml.safe_dump(config))
    study = replace(awac, beside_awac={"unshaped": Beside("tiny_beside.yaml", plain)})
    with pytest.raises(LitDistillError, match="beside_awac: unshaped needs awac_config"):
        run_with(commands, [TASK], replace(study, awac_config=None))
    run_with(commands, [TASK], study)
    assert commands.take() == ["collect", *["fit", "test"] * 4, "evaluate"]
    result = json.loads(Path(f"experiments/results/demo/{TASK}-unshaped-dev3.json").read_text())
    assert result["config"]["training"]["lambda_tpr"] == 0.0
    assert Path(f"runs/unshaped/{TASK}/last.ckpt").is_file()
    assert result["config"]["training"]["init_from"] == f"runs/tiny_dagger/{TASK}/best.ckpt"


def test_awac_depends_on_the_rollouts_that_were_there_before_it(
    awac: Study, commands: CommandsInThisProcess
) -> None:
    """The rounds of DAgger that it replays; not the student's, which it collects itself."""
    run_with(commands, [TASK], awac)
    options = {name: {"data.init_args.students": [name]} for name in ("student", "dagger", "dagger-1")}
    hashes = {
        name: FitConfig("tiny_awac.yaml", TASK, option).shards_sha256("data", TASK)
        for name, option in options.items()
    }
    assert len(set(hashes.values())) == 3


def test_other_settings_of_awac_collect_nothing_again_but_another_student_does(
    awac: Study, commands: CommandsInThisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    run_with(commands, [TASK], awac)
    capsys.readouterr()
    run_with(commands, [TASK], replace(awac, awac_options={"model.init_args.lambda_tpr": 0.0}))
    said = capsys.readouterr().out
    assert "20 student episodes, all there: reused" in said and "deleted" not in said
    run_with(commands, [TASK], replace(awac, dagger_options={"model.init_args.lr": 0.002}))
    said = capsys.readouterr().out
    assert "student episodes deleted: they were of another training" in said


def test_awac_misses_rollouts_before_it_collects_any(
    awac: Study, commands: CommandsInThisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    run_with(commands, [TASK], replace(awac, awac_config=None, dagger_config=None))
    capsys.readouterr()
    student = ["--model.init_from", f"runs/tiny/{TASK}/best.ckpt"]
    assert main(["fit", "--config", "tiny_awac.yaml", *student, "--data.root", "elsewhere"]) != 0
    line = f"elsewhere/{TASK}/manifest.json: no teacher episodes here: run `python -m lit_distill collect"
    assert line in capsys.readouterr().err
    assert not Path("elsewhere").exists()
