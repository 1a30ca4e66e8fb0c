"""The stages of the pipeline: of each the command that a user could type, and whether it is done already."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lit_distill.behaviours import TeacherActor
from lit_distill.cli import PROGRAM
from lit_distill.collection import CollectSettings
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Protocol
from lit_distill.manifest import Manifest
from lit_distill.networks.checkpoint import checkpoint_sha256, student_sha256
from lit_distill.results import ResultName
from lit_distill.schema import STUDENT
from lit_distill.shards import discard
from lit_distill.study.evaluate import teacher_config
from lit_distill.study.stored import stored_result
from lit_distill.study.training import FitConfig, Training
from lit_distill.teachers.spec import TeacherSpec

TEACHER, DAGGER, AWAC = "teacher", "dagger", "awac"


class Student(NamedTuple):
    """One way to train a student.

    Attributes:
        method: what its results are called.
        config: YAML file for `fit` and `test`.
        options: keys of that file with other values.
        fit, test: what its stages are called.
        teacher: labels what it collects where its file names no teacher; None: the embedded one.
    """

    method: str
    config: str
    options: dict[str, Any]
    fit: str
    test: str
    teacher: dict[str, Any] | None

    def result(self, task: str, study: Study) -> ResultName:
        """Which result is its own."""
        return ResultName(study.study, task, self.method, study.results)

    def fit_config(self, task: str) -> FitConfig:
        """Its file, as it is for one task."""
        return FitConfig(self.config, task, self.options, self.teacher)

    def arguments(self, task: str, study: Study) -> list[str]:
        """Of `fit` and `test`: the teacher's data are what `collect` made, `fit` makes none of them."""
        config = self.fit_config(task)
        teacher_data = f"--data.{config.teacher_data}"
        options = ["--config", self.config, "--data.task", task, teacher_data, "null"]
        if study.root != Study.root:
            options += ["--data.root", study.root]
        if config.teacher is not None:
            options += ["--teacher", json.dumps(config.teacher)]
        for key in self.options:
            value = config.option(key)
            options += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
        return options


@dataclass(frozen=True)
class Beside:
    """A student that begins where AWAC does, with the same data: a control, or an ablation.

    Attributes:
        config: YAML file for `fit` and `test`.
        options: keys of that file with other values; its TensorBoard folder is named after its results.
    """

    config: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """What the stages are made from; attributes as the arguments of `pipeline.run`."""

    root: str = "data"
    fit_config: str = "conf/bc_fast.yaml"
    fit_options: dict[str, Any] = field(default_factory=dict)
    dagger_config: str | None = None
    dagger_options: dict[str, Any] = field(default_factory=dict)
    awac_config: str | None = None
    awac_options: dict[str, Any] = field(default_factory=dict)
    beside_awac: dict[str, Beside] = field(default_factory=dict)
    study: str = "demo"
    method: str = "bc"
    results: str = "experiments/results"
    videos: str = "runs/teacher"
    collect: CollectSettings = field(default_factory=CollectSettings)
    protocol: Protocol = field(default_factory=Protocol)

    @property
    def students(self) -> list[Student]:
        """In the order in which they are trained: each of a chain begins with the one before it."""
        spec = self.collect.teacher_spec()
        teacher = None if spec == TeacherSpec() else asdict(spec)
        students = [Student(self.method, self.fit_config, self.fit_options, "fit", "test", teacher)]
        for method, config, options in (
            (DAGGER, self.dagger_config, self.dagger_options),
            (AWAC, self.awac_config, self.awac_options),
        ):
            if config is not None:
                students.append(Student(method, config, options, method, f"test {method}", teacher))
        for method, beside in self.beside_awac.items():
            options = {"trainer.logger.init_args.name": method + "/${data.init_args.task}", **beside.options}
            students.append(Student(method, beside.config, options, method, f"test {method}", teacher))
        return students


class Stage(NamedTuple):
    """One stage of one task.

    Attributes:
        name: what it is called.
        arguments: the command's words.
        reused: what is there already, so that nothing need be done.
        before, after: what is noted around it.
    """

    name: str
    arguments: list[str]
    reused: str | None = None
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None


def check_students(task: str, study: Study) -> None:
    """Raise LitDistillError unless every student begins with the checkpoint that the one before it writes.

    One beside AWAC begins where that does, and has a folder of its own. What is collected on the way is
    labelled by the teacher of the pipeline: labels of two are never mixed, so a file that names another one
    is refused.
    """
    configs = [student.fit_config(task) for student in study.students]
    for student, config in zip(study.students, configs, strict=True):
        key, other = config.labels or ("", None)
        if other is not None and other != study.collect.teacher_spec():
            theirs, wanted = (json.dumps(asdict(spec)) for spec in (other, study.collect.teacher_spec()))
            raise LitDistillError(
                f"{student.config}: the rollouts of {student.method} would be labelled by {theirs}, the "
                f"teacher's by {wanted} (collect.teacher); leave {key} out of that file"
            )
    folders = [config.checkpoints for config in configs]
    for number, (student, config) in enumerate(zip(study.students[1:], configs[1:], strict=True), 1):
        if folders[number] in folders[:number]:
            raise LitDistillError(
                f"{student.config}: {student.method} would write over the checkpoints in {folders[number]}; "
                "let their dirpath be runs/${trainer.logger.init_args.name}"
            )
        if student.method in study.beside_awac:
            if study.awac_config is None:
                raise LitDistillError(
                    f"beside_awac: {student.method} needs awac_config, which collects its data"
                )
            number = [other.method for other in study.students].index(AWAC)
        before = configs[number - 1]
        if config.init_from != [str(before.chosen)]:
            raise LitDistillError(
                f"{student.config}: its init_from is {', '.join(config.init_from) or 'null'}, but the stage "
                f"before it writes {before.chosen}"
            )


def stages(task: str, study: Study) -> list[Callable[[], Stage]]:
    """Makers of a task's stages, in their order; each is called when those before it are done."""
    makers: list[Callable[[], Stage]] = [lambda: collect_stage(task, study)]
    for student in study.students:
        makers += [
            lambda student=student: fit_stage(task, study, student),  # type: ignore[misc]
            lambda student=student: test_stage(task, study, student),  # type: ignore[misc]
        ]
    return [*makers, lambda: teacher_stage(task, study)]


def collect_stage(task: str, study: Study) -> Stage:
    """Teacher rollouts; `collect` itself knows what is missing."""
    options = changed(study.collect, asdict(CollectSettings()), "settings")
    return Stage("collect", ["collect", "--task", task, "--root", study.root, *options])


def fit_stage(task: str, study: Study, student: Student) -> Stage:
    """Training, resumed from last.ckpt if it was begun."""
    config = student.fit_config(task)
    training = Training.of(config, study.root, task)
    resume = ["--ckpt_path", str(training.last)] if training.can_resume() else []

    def begin() -> None:
        if config.makes and not training.is_begun():
            _discard_others(Path(study.root) / task, config)
        training.begin()

    return Stage(
        student.fit,
        ["fit", *student.arguments(task, study), *resume],
        str(training.chosen) if training.is_done() else None,
        begin,
        training.finish,
    )


def _discard_others(folder: Path, config: FitConfig) -> None:
    """Rollouts of another training's students go, as its checkpoints do."""
    present = Manifest.load(folder).sources
    sources = [source for source in present if source.startswith(str(config.makes))]
    if sources == [STUDENT]:
        acting = present[STUDENT].identity.get("student_sha256")
        sources = [] if [acting] == [student_sha256(path) for path in config.init_from] else sources
    for line in discard(folder, sources):
        print(f"{line}: they were of another training", flush=True)


def test_stage(task: str, study: Study, student: Student) -> Stage:
    """A student's evaluation; the options of LiberoEvaluation are those of the last callback."""
    config = student.fit_config(task)
    chosen = config.chosen
    name = student.result(task, study)
    callback = "trainer.callbacks"
    arguments = ["test", *student.arguments(task, study), "--ckpt_path", str(chosen)]
    for option in ("study", "method"):
        arguments += [f"--{callback}.{option}", getattr(name, option)]
    if study.results != Study.results:
        arguments += [f"--{callback}.results", study.results]
    arguments += changed(study.protocol, config.protocol, f"{callback}.protocol")
    return _evaluation(student.test, arguments, name, study, {"checkpoint": checkpoint_sha256(chosen)})


def teacher_stage(task: str, study: Study) -> Stage:
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
