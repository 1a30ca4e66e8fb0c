"""The verb `pipeline`: the stages in a row, each the very command that a user could type.

    collect -> fit -> test (-> dagger -> test dagger) (-> awac -> test awac) -> evaluate (the teacher)

for each task. What is there already, made with the same settings, is reused; a killed pipeline goes on where
it stopped. The table at the end is made from the results files alone.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from lit_distill.cli import EXIT_INTERRUPTED, PROGRAM
from lit_distill.collection import CollectSettings
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Protocol
from lit_distill.lightning_cli import check_lightning
from lit_distill.remote_shards import refuse_to_write
from lit_distill.results import ResultName
from lit_distill.sim.states import check_task
from lit_distill.study.stages import TEACHER, Beside, Stage, Study, check_students, stages
from lit_distill.study.summary import TaskSummary, duration, print_summary
from lit_distill.tasks import embedding_row, get_task

PATIENCE = 30.0
"""Seconds that an interrupted stage has to end by itself."""

Runner = Callable[[list[str]], int]
"""Runs a command of ours (its words after `python -m lit_distill`) and returns its exit status."""


def run(
    tasks: list[str] | str,
    root: str = "data",
    fit_config: str = "conf/bc_fast.yaml",
    fit_options: dict[str, Any] = {},  # noqa: B006 (never changed)
    dagger_config: str | None = None,
    dagger_options: dict[str, Any] = {},  # noqa: B006 (never changed)
    awac_config: str | None = None,
    awac_options: dict[str, Any] = {},  # noqa: B006 (never changed)
    beside_awac: dict[str, Beside] = {},  # noqa: B006 (never changed)
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
        dagger_config: YAML file for DAgger, which begins with the student of `fit_config`; null: no DAgger.
        dagger_options: keys of that file with other values.
        awac_config: YAML file for AWAC, which begins with DAgger's student; null: no AWAC.
        awac_options: keys of that file with other values.
        beside_awac: controls and ablations, by the names of their results: `config` and `options` of students
            that begin where AWAC does.
        study: folder of the results files.
        method: what the results of the student of `fit_config` are called.
        results: root of the results files.
        videos: folder of the teacher's videos; the student's are beside its TensorBoard files.
        collect: how teacher rollouts are collected.
        protocol: how student and teacher are evaluated, on the same states.

    Raises:
        LitDistillError: a stage failed; names stage, task and the command to repeat. Or root is a URL.
    """
    refuse_to_write(root)
    wanted = Study(
        root=root,
        fit_config=fit_config,
        fit_options=flat(fit_options),
        dagger_config=dagger_config,
        dagger_options=flat(dagger_options),
        awac_config=awac_config,
        awac_options=flat(awac_options),
        beside_awac={name: replace(each, options=flat(each.options)) for name, each in beside_awac.items()},
        study=study,
        method=method,
        results=results,
        videos=videos,
        collect=collect,
        protocol=protocol,
    )
    run_with(run_command, [tasks] if isinstance(tasks, str) else tasks, wanted)


def run_with(runner: Runner, tasks: list[str], study: Study) -> None:
    """`run` with any way to run a command."""
    if not tasks:
        raise LitDistillError("tasks: name at least one")
    for task in tasks:
        known = get_task(task)
        embedding_row(known)
        check_students(known.name, study)
        rollouts = study.collect.rollouts(known)
        check_task(known, rollouts.split, rollouts.last_state())
        check_task(known, study.protocol.split, study.protocol.episodes - 1)
    for student in study.students:
        check_lightning(["fit", *student.arguments(tasks[0], study)])
    seconds: dict[str, dict[str, float | None]] = {task: {} for task in tasks}
    for position, task in enumerate(tasks):
        makers = stages(task, study)
        for number, maker in enumerate(makers):
            stage = maker()
            counter = f"[{position * len(makers) + number + 1}/{len(tasks) * len(makers)}]"
            seconds[task][stage.name] = _execute(runner, stage, f"{counter} {task}: {stage.name}", task)
    summaries = [
        TaskSummary(
            ResultName(study.study, task, TEACHER, study.results).path(study.protocol),
            [student.result(task, study).path(study.protocol) for student in study.students],
            [student.fit_config(task).logs for student in study.students],
        )
        for task in tasks
    ]
    print_summary(summaries, seconds, Path(study.videos))


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
