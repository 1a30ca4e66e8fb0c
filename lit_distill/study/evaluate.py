"""The verb `evaluate`: the teacher, measured as a student is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lit_distill.behaviours import ActionNoise, TeacherActor
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Protocol, evaluate
from lit_distill.results import ResultName, write_refusal, write_result
from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import check_task, files_sha256
from lit_distill.study.stored import stored_result
from lit_distill.tasks import get_task, task_names
from lit_distill.teachers.base import Refusal
from lit_distill.teachers.spec import EMBEDDED_TEACHER, TeacherSpec
from lit_distill.videos import save_episode
from lit_distill.workers import MakeSimulator


def evaluate_teacher(
    task: list[str] | str,
    protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
    teacher: dict[str, Any] = {"class_path": EMBEDDED_TEACHER},  # noqa: B006 (never changed)
    noise: ActionNoise = ActionNoise(),  # noqa: B008 (frozen)
    study: str = "runs",
    method: str = "teacher",
    results: str = "experiments/results",
    videos: str = "runs/teacher",
) -> None:
    """Measure the teacher in LIBERO, by the code that measures the students, and write the results files.

    A result that is there already, from the same teacher and protocol, is reused. A task that the teacher
    cannot act in gets a result that says why, and is tried again the next time.

    Args:
        task: a task's name, `all` (of the table), an official suite such as `libero_goal`, one of its tasks
            such as `libero_goal/turn_on_the_stove`, a BDDL file, or a list of these.
        protocol: which initial states, how many, how many actions of a chunk are executed, ...
        teacher: which teacher: `class_path` and, if it takes any, `init_args`.
        noise: perturbs what the teacher commands; off by default.
        study: folder of the results files.
        method: what the result is called.
        results: root of the results files.
        videos: folder for mp4s and filmstrips of the first `protocol.videos` episodes, one folder per task.

    Raises:
        LitDistillError: unknown task or teacher, or episodes that no worker could finish.
    """
    actor = TeacherActor(TeacherSpec.of(teacher), noise)
    names = task_names(task)
    for each in names:
        check_task(get_task(each), protocol.split, protocol.episodes - 1)
    for each in names:
        name = ResultName(study, get_task(each).name, method, results)
        evaluate_from(Simulator, each, name, actor, protocol, Path(videos))


def evaluate_from(
    simulator: MakeSimulator,
    task: str,
    name: ResultName,
    actor: TeacherActor,
    protocol: Protocol,
    videos: Path,
) -> None:
    """Evaluate one task, in any simulator class (picklable)."""
    actor.teacher.check_meshes(protocol.meshes)
    config = teacher_config(actor)
    if files := files_sha256(get_task(task)):
        config |= {"files": files}
    if stored := stored_result(name, protocol, config):
        print(f"{stored} is there: reused", flush=True)
        return
    label = f"{name.task}: {name.method} on {protocol.split}"
    try:
        evaluation = evaluate(task, actor, protocol, label, simulator=simulator)
    except Refusal as refusal:
        path = write_refusal(name, protocol, refusal.reason, config=config, noise=_noise(actor))
        print(f"{name.task} {name.method}: refused: it {refusal.reason}; {path}", flush=True)
        return
    path = write_result(name, protocol, evaluation, config=config, noise=_noise(actor))
    outcomes = {episode["state"]: episode["outcome"] for episode in evaluation.episodes}
    for job, frames in evaluation.videos.items():
        state = job.split()[-1]
        save_episode(videos / name.task, state, outcomes[state], frames)
    print(f"{name.task} {name.method}: success {evaluation.describe()}; {path}", flush=True)
    if errors := evaluation.counts["error"]:
        raise LitDistillError(
            f"{path}: {errors} episodes ended in an error (see the log above); run it again"
        )


def teacher_config(actor: TeacherActor) -> dict[str, Any]:
    """What a teacher's result depends on beside the protocol."""
    teacher = actor.teacher.build()
    spec = actor.teacher.what_answers_depend_on(teacher)
    return {"teacher": {"identity": teacher.identity, **spec}, "noise": _noise(actor)}


def _noise(actor: TeacherActor) -> dict[str, Any] | None:
    return asdict(actor.noise) if actor.noise.probability else None
