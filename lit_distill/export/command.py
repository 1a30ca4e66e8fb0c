"""The verb `export`: a checkpoint becomes a folder laid out as a Hugging Face model repository."""

from __future__ import annotations

import glob
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lit_distill import __version__, runtime
from lit_distill.atomic import sync_folder
from lit_distill.errors import LitDistillError
from lit_distill.export.acting import Acting, choose_acting
from lit_distill.export.card import matching_results, model_card
from lit_distill.export.check import Check, check_agreement
from lit_distill.export.formats import FILES, Format, Precision, check_format, write_model
from lit_distill.networks.checkpoint import (
    SAFETENSORS,
    SavedStudent,
    checkpoint_sha256,
    load_saved_student,
    student_sha256,
)
from lit_distill.results import commit
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, CONTROL_HZ
from lit_distill.tasks import Task, embedding_row, get_task

CARD, POLICY = "README.md", "policy.py"
ABANDONED_S = 3600.0
"""A folder that is being written for longer belongs to an export that was killed."""
BYTECODE = "__pycache__"
"""Python's own, of a policy.py that was imported from the folder."""
KNOWN_FILES = {runtime.CONFIG, SAFETENSORS, CARD, POLICY, *FILES["onnx"], *FILES["openvino"]}
"""What an exported folder may hold; a folder with anything else is never replaced."""


def export(
    ckpt: str,
    format: Format = "onnx",
    output: str | None = None,
    precision: Precision = "f32",
    task: str | None = None,
    check: Check = Check(),  # noqa: B008 (frozen)
    results: str = "experiments/results",
) -> Path:
    """Export a student for a robot's computer, if the exported file acts as the checkpoint does.

    The folder is laid out as a Hugging Face model repository: the model, its weights as safetensors,
    config.json, a model card, and policy.py, which runs it without torch. It appears whole or not at all.

    Args:
        ckpt: the checkpoint, of bc, dagger or awac.
        format: `onnx` (onnxruntime) or `openvino`.
        output: the folder; by default beside the checkpoint, `best.ckpt` -> `best-onnx`. Only a folder that
            this command made is replaced.
        precision: arithmetic of OpenVINO: `f32`, `bf16` or `f16`; what the check and the folder's user run.
        task: the task, where the checkpoint does not say it.
        check: how the exported file is compared with the checkpoint.
        results: root of the results files, from which the card takes what was measured of this checkpoint,
            and the check how.

    Returns:
        The folder.

    Raises:
        LitDistillError: the checkpoint, an option or the place cannot be right, or the two do not agree.
    """
    check_format(format, precision)
    saved = load_saved_student(ckpt)
    chosen = _task(ckpt, saved, task)
    folder = Path(output) if output else Path(ckpt).with_name(f"{Path(ckpt).stem}-{format}")
    check_replaceable(folder)
    measured = matching_results(Path(results), _file_sha256(ckpt))
    acting = _acting(ckpt, saved, check, measured)
    print(f"check: {acting.describe()}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    restore_earlier(folder)
    temporary = own_path(folder, "tmp")
    temporary.mkdir()
    try:
        config = _config(ckpt, saved, chosen, format, precision, acting)
        _write_parts(temporary, saved, chosen, format, config)
        config["check"] = check_agreement(
            ckpt, temporary, chosen.name, precision, saved.network.image_size, check, acting
        )
        _write_json(temporary / runtime.CONFIG, config)
        card = model_card(config, FILES[format][0], saved.network.parameter_count, measured)
        (temporary / CARD).write_text(card, encoding="utf-8")
        check_replaceable(folder)
        put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(_summary(config), flush=True)
    return folder


def _task(ckpt: str, saved: SavedStudent, task: str | None) -> Task:
    """The task that the student is for."""
    name = saved.task or task
    if name is None:
        raise LitDistillError(f"{ckpt}: does not say for which task; add --task NAME")
    if task is not None and get_task(task).name != name:
        raise LitDistillError(f"{ckpt}: its student was trained on {name}, not {task}; leave --task out")
    chosen = get_task(name)
    embedding_row(chosen)
    return chosen


def _file_sha256(ckpt: str) -> str | None:
    """What results files say of the checkpoint; None for a folder that is exported again."""
    return checkpoint_sha256(ckpt) if Path(ckpt).is_file() else None


def _acting(ckpt: str, saved: SavedStudent, check: Check, measured: Sequence[dict[str, Any]]) -> Acting:
    """How the student acts in the check, and as its folder says."""
    exported = runtime.read_config(Path(ckpt)) if Path(ckpt).is_dir() else None
    return choose_acting(check.execute_steps, check.meshes, measured, exported, saved.training)


def _config(
    ckpt: str, saved: SavedStudent, task: Task, format: Format, precision: Precision, acting: Acting
) -> dict[str, Any]:
    return {
        "model_type": runtime.MODEL_TYPE,
        "format_version": runtime.FORMAT_VERSION,
        "format": format,
        "precision": precision,
        "task": task.name,
        "language": task.language,
        "task_index": embedding_row(task),
        "image_size": saved.network.image_size,
        "chunk_length": CHUNK_LENGTH,
        "action_dim": ACTION_DIM,
        "control_hz": CONTROL_HZ,
        "execute_steps": acting.execute_steps,
        "network": saved.network.arguments,
        "training": saved.training,
        "checkpoint_sha256": _file_sha256(ckpt),
        "student_sha256": student_sha256(ckpt),
        "made_by": f"lit_distill {__version__}, {commit()}",
    }


def _write_parts(
    folder: Path, saved: SavedStudent, task: Task, format: Format, config: dict[str, Any]
) -> None:
    from safetensors.torch import save

    weights = {name: tensor.contiguous() for name, tensor in saved.network.state_dict().items()}
    (folder / SAFETENSORS).write_bytes(save(weights, metadata={"format": "pt"}))
    write_model(saved.network, embedding_row(task), format, folder)
    shutil.copyfile(runtime.__file__, folder / POLICY)
    _write_json(folder / runtime.CONFIG, config)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def check_replaceable(folder: Path) -> None:
    """Raise LitDistillError unless `folder` is absent, empty, or made by `export` and left as it was."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise LitDistillError(f"--output {folder}: is there and no folder; choose another")
    files = {path.name for path in folder.iterdir()}
    if not files:
        return
    try:
        runtime.read_config(folder)
    except runtime.PolicyError:
        foreign = files
    else:
        foreign = files - KNOWN_FILES - {BYTECODE}
    if foreign:
        raise LitDistillError(
            f"--output {folder}: holds {min(foreign)}, which `export` did not make; choose another folder"
        )


def put_in_place(temporary: Path, folder: Path) -> None:
    """Give a finished folder its name, in place of an earlier one."""
    for path in temporary.iterdir():
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
    sync_folder(temporary)
    earlier = own_path(folder, "old")
    if folder.exists():
        os.rename(folder, earlier)
    os.rename(temporary, folder)
    sync_folder(folder.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def own_path(folder: Path, kind: str) -> Path:
    """A hidden name beside a folder that no other export, of now or earlier, uses."""
    return folder.with_name(f".{folder.name}.{os.urandom(4).hex()}.{kind}")


def restore_earlier(folder: Path) -> None:
    """Give a folder back that an export was replacing when it was killed, and clear what it left behind."""
    left = {
        kind: sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*.{kind}")) for kind in ("old", "tmp")
    }
    if left["old"] and not folder.exists():
        os.rename(left["old"].pop(), folder)
    for path in (*left["old"], *left["tmp"]):
        if time.time() - path.stat().st_mtime > ABANDONED_S:  # else of one that may be at work
            shutil.rmtree(path, ignore_errors=True)


def _summary(config: dict[str, Any]) -> str:
    """What was checked, in a line."""
    check = config["check"]
    ours, theirs = (
        sum(episode["outcome"] == "success" for episode in check[who]) for who in ("checkpoint", "exported")
    )
    n = len(check["checkpoint"])
    equal = sum(one == other for one, other in zip(check["checkpoint"], check["exported"], strict=True))
    return (
        f"agrees: chunks differ by at most {check['largest_difference']:g} on {check['observations']} "
        f"observations; closed loop {theirs}/{n}, checkpoint {ours}/{n}, {equal} of {n} episodes the same"
        + ("" if ours else "; the checkpoint succeeds nowhere here, so the closed loop says nothing")
    )
