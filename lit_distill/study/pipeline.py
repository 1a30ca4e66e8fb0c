"""The verb `pipeline`: the stages in a row, each the very command that a user could type.

    collect -> fit -> test -> evaluate (the teacher, on the same states)

for each task. What is there already, made with the same settings, is reused; a killed pipeline goes on where
it stopped. The table at the end is made from the results files alone.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lit_distill.behaviours import TeacherActor
from lit_distill.cli import EXIT_INTERRUPTED, PROGRAM
from lit_distill.collection import CollectSettings
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Protocol
from lit_distill.lightning_cli import check_lightning
from lit_distill.networks.checkpoint import checkpoint_sha256
from lit_distill.results import ResultName
from lit_distill.study.evaluate import teacher_config
from lit_distill.study.stored import stored_result
from lit_distill.study.summary import duration, print_summary
from lit_distill.study.training import FitConfig, Training
from lit_distill.tasks import embedding_row, get_task

TEACHER = "teacher"
PATIENCE = 30.0
"""Seconds that an interrupted stage has to end by itself."""

Runner = Callable[[list[str]], int]
"""Runs a command of ours (its words after `python -m lit_distill`) and returns its exit status."""


@dataclass(frozen=True)
class Study:
    """What the stages are made from; attributes as the arguments of `run`."""

    root: str = "data"
    fit_config: str = "conf/bc_fast.yaml"
    fit_options: dict[str, Any] = field(default_factory=dict)
    study: str = "demo"
    method: str = "bc"
    results: str = "experiments/results"
    videos: str = "runs/teacher"
    collect: CollectSettings = field(default_factory=CollectSettings)
    protocol: Protocol = field(default_factory=Protocol)


class Stage(NamedTuple):
    """One stage of one task.

    Attributes:
        name: its command.
        arguments: the command's words.
        reused: what is there already, so that nothing need be done.
        before, after: what is noted around it.
    """

    name: str
    arguments: list[str]
    reused: str | None = None
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None


def run(
    tasks: list[str] | str,
    root: str = "data",
    fit_config: str = "conf/bc_fast.yaml",
    fit_options: dict[str, Any] = {},  # noqa: B006 (never changed)
    study: str = "demo",
    method: str = "bc",
    results: str = "experiments/results",
    videos: str = "runs/teacher",
    collect: CollectSettings = CollectSettings(),  # noqa: B008 (frozen)
    protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
) -> None:
    """Teacher rollouts, shards, training and evaluation of each task, and a table of what came out.

    Every stage is one of the other commands, which is shown, so that it can be run alone. What is there
    already, made with the same settings, is reused; a killed pipeline goes on where it stopped.

    Args:
        tasks: a task's name, or a list of names.
        root: folder of the data sets.
        fit_config: YAML file for `fit` and `test`.
        fit_options: keys of that file with other values: `--fit_options.trainer.max_epochs 10`, or in a file
            `trainer.max_epochs: 10`.
        study: folder of the results files.
        method: what the student's results are called.
        results: root of the results files.
        videos: folder of the teacher's videos; the student's are beside its TensorBoard files.
        collect: how teacher rollouts are collected.
        protocol: how student and teacher are evaluated, on the same states.

    Raises:
        LitDistillError: a stage failed; names stage, task and the command to repeat.
    """
    options = flat(fit_options)
    wanted = Study(root, fit_config, options, study, method, results, videos, collect, protocol)
    run_with(run_command, [tasks] if isinstance(tasks, str) else tasks, wanted)


def run_with(runner: Runner, tasks: list[str], study: Study) -> None:
    """`run` with any way to run a command."""
    if not tasks:
        raise LitDistillError("tasks: name at least one")
    for task in tasks:
        embedding_row(get_task(task))
    configs = {task: FitConfig(study.fit_config, get_task(task).name, study.fit_options) for task in tasks}
    check_lightning(["fit", *_fit_options(tasks[0], study)])
    makers = (collect_stage, fit_stage, test_stage, teacher_stage)
    seconds: dict[str, dict[str, float | None]] = {task: {} for task in tasks}
    for position, task in enumerate(tasks):
        for number, maker in enumerate(makers):
            stage = maker(task, study, configs[task])
            counter = f"[{position * len(makers) + number + 1}/{len(tasks) * len(makers)}]"
            seconds[task][stage.name] = _execute(runner, stage, f"{counter} {task}: {stage.name}", task)
    names = [
        (ResultName(study.study, task, TEACHER, study.results), student_name(task, study)) for task in tasks
    ]
    paths = [(teacher.path(study.protocol), student.path(study.protocol)) for teacher, student in names]
    print_summary(paths, seconds, [configs[task].logs for task in tasks], Path(study.videos))


def _execute(runner: Runner, stage: Stage, title: str, task: str) -> float | None:
    """Run a stage; return its wall time in seconds, None if there was nothing to do."""
    if stage.reused is not None:
        print(f"{title}: {stage.reused} is there: reused", flush=True)
        return None
    command = f"{PROGRAM} {shlex.join(stage.arguments)}"
    print(f"{title}\n$ {command}", flush=True)
    started = time.monotonic()
    stage.before()
    status = runner(stage.arguments)
    if status == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if status != 0:
        raise LitDistillError(
            f"stage {stage.name} of {task} failed (status {status}); to repeat it: {command}"
        )
    stage.after()
    elapsed = time.monotonic() - started
    print(f"{title}: done in {duration(elapsed)}", flush=True)
    return elapsed


# -- the stages ------------------------------------------------------------------------------------------


def collect_stage(task: str, study: Study, config: FitConfig) -> Stage:
    """Teacher rollouts; `collect` itself knows what is missing."""
    options = changed(study.collect, asdict(CollectSettings()), "settings")
    return Stage("collect", ["collect", "--task", task, "--root", study.root, *options])


def fit_stage(task: str, study: Study, config: FitConfig) -> Stage:
    """Training, resumed from last.ckpt if it was begun."""
    training = Training.of(config, study.root, task)
    resume = ["--ckpt_path", str(training.last)] if training.can_resume() else []
    return Stage(
        "fit",
        ["fit", *_fit_options(task, study), *resume],
        str(training.best) if training.is_done() else None,
        training.begin,
        training.finish,
    )


def test_stage(task: str, study: Study, config: FitConfig) -> Stage:
    """The student's evaluation; the options of LiberoEvaluation are those of the last callback."""
    best = Training.of(config, study.root, task).best
    name = student_name(task, study)
    callback = "trainer.callbacks"
    arguments = ["test", *_fit_options(task, study), "--ckpt_path", str(best)]
    for option in ("study", "method"):
        arguments += [f"--{callback}.{option}", getattr(name, option)]
    if study.results != Study.results:
        arguments += [f"--{callback}.results", study.results]
    arguments += changed(study.protocol, config.protocol, f"{callback}.protocol")
    return _evaluation("test", arguments, name, study, {"checkpoint": checkpoint_sha256(best)})


def teacher_stage(task: str, study: Study, config: FitConfig) -> Stage:
    """The teacher's evaluation on the student's states, without noise."""
    name = ResultName(study.study, task, TEACHER, study.results)
    arguments = ["evaluate", "--task", task, "--study", study.study]
    for option, value, default in (
        ("results", study.results, Study.results),
        ("videos", study.videos, Study.videos),
        ("teacher", json.dumps(study.collect.teacher), json.dumps(CollectSettings().teacher)),
    ):
        arguments += [f"--{option}", value] if value != default else []
    arguments += changed(study.protocol, asdict(Protocol()), "protocol")
    actor = TeacherActor(study.collect.teacher_spec())
    return _evaluation("evaluate", arguments, name, study, teacher_config(actor))


def student_name(task: str, study: Study) -> ResultName:
    """Which result the student's is."""
    return ResultName(study.study, task, study.method, study.results)


def changed(settings: Any, defaults: dict[str, Any], prefix: str) -> list[str]:
    """The options that turn `defaults` into the dataclass `settings`."""
    options = []
    for item in fields(settings):
        value, default = getattr(settings, item.name), defaults.get(item.name)
        key = f"{prefix}.{item.name}"
        if is_dataclass(value):
            options += changed(value, default or {}, key)
        elif value != default:
            options += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    return options


def flat(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys for nested ones, a later value in place of an earlier one.

    `--fit_options.trainer.max_epochs 10` comes as {"trainer": {"max_epochs": "10"}}, YAML not yet read.
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            found |= flat(value, f"{key}.")
        else:
            found[key] = yaml.safe_load(value) if isinstance(value, str) else value
    return found


def _fit_options(task: str, study: Study) -> list[str]:
    """The training data are what `collect` made: `fit` makes none."""
    options = ["--config", study.fit_config, "--data.task", task, "--data.collect", "null"]
    if study.root != Study.root:
        options += ["--data.root", study.root]
    for key, value in study.fit_options.items():
        options += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    return options


def _evaluation(
    stage: str, arguments: list[str], name: ResultName, study: Study, config: dict[str, Any]
) -> Stage:
    """A stage that writes a results file; done if the file is from the same settings, and complete."""

    def check() -> None:
        if stored_result(name, study.protocol, config) is None:
            raise LitDistillError(
                f"{name.path(study.protocol)}: incomplete, or not of stage {stage} of {name.task} as it was "
                f"just run; to repeat it: {PROGRAM} {shlex.join(arguments)}"
            )

    stored = stored_result(name, study.protocol, config)
    return Stage(stage, arguments, str(stored) if stored else None, after=check)


# -- running a command -----------------------------------------------------------------------------------


def run_command(arguments: list[str]) -> int:
    """Run `python -m lit_distill ...` with its output passed through; end it if this process is ended."""
    # When this process is told to end, that becomes an exception, so `finally` ends the stage as well.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    process = subprocess.Popen([sys.executable, "-m", "lit_distill", *arguments])
    try:
        return process.wait()
    except KeyboardInterrupt:  # the terminal has interrupted the stage as well: let it close its files
        _end(process)
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            _end(process)
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
