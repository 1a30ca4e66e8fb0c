"""Saving a student and loading it again, from our small files and from Lightning's checkpoints alike.

Both are dictionaries with `state_dict` (weights and normalisation, names beginning with `network.`) and
`student` (what `student_record` returns). Only tensors and primitives are ever unpickled, and no name of a
class is taken from a file. A folder that `export` made is read, too: its config.json and model.safetensors.
No memory is taken for a network before its shapes are found to be those of the stored weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_distill.errors import LitDistillError
from lit_distill.networks.log_std import LogStdHead
from lit_distill.networks.student import StudentNetwork
from lit_distill.runtime import PolicyError, read_config

PREFIX, LOG_STD_PREFIX = "network.", "log_std_head."
SAFETENSORS = "model.safetensors"
HOW_TO_MAKE = "`python -m lit_distill fit --config conf/bc.yaml` makes one"


def check_there(path: str | Path) -> None:
    """Raise LitDistillError with the command that makes it if there is no such checkpoint.

    Our files in conf/ write to `runs/<name of the file>/<task>/`.
    """
    if Path(path).is_file() or (Path(path) / SAFETENSORS).is_file():
        return
    remedy = HOW_TO_MAKE
    match Path(path).parts:
        case (*_, "runs", name, task, _) if Path(f"conf/{name}.yaml").is_file():
            remedy = f"`python -m lit_distill fit --config conf/{name}.yaml --data.task {task}` makes it"
    raise LitDistillError(f"{path}: no such checkpoint; {remedy}")


@dataclass(frozen=True)
class SavedStudent:
    """What a checkpoint holds about a student.

    Attributes:
        network: Rebuilt and filled with the saved weights, in evaluation mode.
        task: The task it was trained on, None if unknown.
        training: How it was trained (primitives only), None if unknown.
    """

    network: StudentNetwork
    task: str | None
    training: dict[str, Any] | None


def student_record(
    network: StudentNetwork, task: str | None = None, training: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The `student` entry of a checkpoint: everything but the weights, primitives only."""
    return {"arguments": network.arguments, "task": task, "training": training}


def save_student(
    network: StudentNetwork,
    path: str | Path,
    task: str | None = None,
    training: dict[str, Any] | None = None,
) -> None:
    """Write a small checkpoint (about 1.2 MB) that `load_student` reads; appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = {
        "state_dict": {PREFIX + name: tensor for name, tensor in network.state_dict().items()},
        "student": student_record(network, task, training),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save(checkpoint, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def checkpoint_sha256(path: str | Path) -> str:
    """Hash of a checkpoint's bytes: what a results file says of the student that it measured.

    Raises:
        LitDistillError: There is no such file.
    """
    check_there(path)
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def student_sha256(path: str | Path) -> str:
    """Hash of a student's architecture and weights: the same in whatever file it is saved.

    Raises:
        LitDistillError: As `load_saved_student`.
    """
    network = load_student(path)
    return _sha256(json.dumps(network.arguments, sort_keys=True), network)


def log_std_sha256(path: str | Path) -> str:
    """Hash of the weights of a student's log-std head.

    Raises:
        LitDistillError: As `load_log_std_head`.
    """
    return _sha256("", load_log_std_head(path, load_student(path)))


def _sha256(text: str, module: nn.Module) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_student(path: str | Path, map_location: str | torch.device = "cpu") -> StudentNetwork:
    """The network in a checkpoint; errors as in `load_saved_student`."""
    return load_saved_student(path, map_location).network


def load_saved_student(path: str | Path, map_location: str | torch.device = "cpu") -> SavedStudent:
    """Read a file written by `save_student` or by Lightning during `fit`, or a folder made by `export`.

    From a run with weight averaging this gives the averaged weights, since those are its `state_dict`.

    Raises:
        LitDistillError: The file is missing, damaged, not a checkpoint, holds anything but tensors and
            primitives, or no student.
    """
    stored, record, state = _read_stored(Path(path), map_location)
    try:
        weights = {name.removeprefix(PREFIX): state[name] for name in state if name.startswith(PREFIX)}
        network = _fill(record["arguments"], weights, stored.stat().st_size)
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        RuntimeError,
        LitDistillError,
    ) as error:
        raise LitDistillError(f"{path}: its student does not fit this version: {_one_line(error)}") from None
    return SavedStudent(network.to(map_location).eval(), record.get("task"), record.get("training"))


def load_log_std_head(
    path: str | Path, network: StudentNetwork, map_location: str | torch.device = "cpu"
) -> LogStdHead:
    """The log-std head beside a student in a checkpoint of AWAC, in evaluation mode.

    Args:
        path: The checkpoint.
        network: The student of the same file.
        map_location: Where the head's weights are put.

    Raises:
        LitDistillError: The file cannot be read, or has no such head, or one that does not fit.
    """
    _, _, state = _read_stored(Path(path), map_location)
    weights = {
        name.removeprefix(LOG_STD_PREFIX): value
        for name, value in state.items()
        if isinstance(name, str) and name.startswith(LOG_STD_PREFIX)
    }
    if not weights:
        raise LitDistillError(
            f"{path}: its student has no log-std head to sample actions with; AWAC trains one: "
            "runs/awac/TASK/last.ckpt"
        )
    head = LogStdHead(network.feature_dim)
    try:
        head.load_state_dict(weights)
    except RuntimeError as error:
        raise LitDistillError(
            f"{path}: its log-std head does not fit this version: {_one_line(error)}"
        ) from None
    return head.to(map_location).eval()


def warm_start(network: StudentNetwork, path: str | Path, task: str | None = None) -> None:
    """Take weights and normalisation of a saved student of the same architecture.

    Args:
        network: What is filled.
        path: The saved student.
        task: The task that the student must have been trained on; None: any.

    Raises:
        LitDistillError: As `load_saved_student`; it has another architecture, or is another task's.
    """
    student = load_saved_student(path)
    for name, value in network.arguments.items():
        if student.network.arguments[name] != value:
            raise LitDistillError(
                f"init_from: {path} has {name} {student.network.arguments[name]}, "
                f"but network.{name} is {value}"
            )
    if task is not None and student.task not in (None, task):
        raise LitDistillError(f"init_from: {path} was trained on {student.task}, not on {task}")
    network.load_state_dict(student.network.state_dict())


def _fill(arguments: dict[str, Any], weights: dict[str, Tensor], stored_bytes: int) -> StudentNetwork:
    """The network with these weights, which are `stored_bytes` on disk at most."""
    with torch.device("meta"):
        network = StudentNetwork(**arguments)
    network.load_state_dict(weights, assign=True)
    if sum(weight.numel() * weight.element_size() for weight in weights.values()) > stored_bytes:
        raise ValueError("its weights are larger than the file")  # views of a few numbers
    return network.float().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


Stored = tuple[Path, dict[str, Any], dict[str, Tensor]]
"""The file with the weights, `student` and `state_dict`."""


def _read_stored(path: Path, map_location: str | torch.device) -> Stored:
    return (_read_folder if path.is_dir() else _read_file)(path, map_location)


def _read_file(path: Path, map_location: str | torch.device) -> Stored:
    checkpoint = _read(path, map_location)
    record, state = checkpoint.get("student"), checkpoint.get("state_dict")
    if not isinstance(record, dict) or not isinstance(state, dict):
        raise LitDistillError(f"{path}: holds no student (keys: {_names(checkpoint)}); {HOW_TO_MAKE}")
    return path, record, state


def _read_folder(folder: Path, map_location: str | torch.device) -> Stored:
    check_there(folder)
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise LitDistillError(
            f"{folder}: needs safetensors; python -m pip install 'lit_distill[export]'"
        ) from None
    file = folder / SAFETENSORS
    try:
        config = read_config(folder)
        weights = load_file(file, device=str(map_location))
    except PolicyError as error:
        raise LitDistillError(str(error)) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise LitDistillError(f"{file}: damaged: {_one_line(error)}; export again") from None
    record = {"arguments": config.get("network"), **{key: config.get(key) for key in ("task", "training")}}
    return file, record, {PREFIX + name: tensor for name, tensor in weights.items()}


def _read(path: Path, map_location: str | torch.device) -> dict[str, Any]:
    """The dictionary in a checkpoint file, unpickling tensors and primitives only."""
    check_there(path)
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise LitDistillError(
                f"{path}: refused, it holds more than tensors and primitives and could run code when loaded"
            ) from None
        raise LitDistillError(f"{path}: not a checkpoint, or a damaged one; {HOW_TO_MAKE}") from None
    except Exception:  # bytes of unknown origin: torch raises many types on them, all mean the same
        raise LitDistillError(f"{path}: not a checkpoint, or a damaged one; {HOW_TO_MAKE}") from None
    if not isinstance(checkpoint, dict):
        raise LitDistillError(f"{path}: holds no student but a {type(checkpoint).__name__}; {HOW_TO_MAKE}")
    return checkpoint


def _names(checkpoint: dict[str, Any]) -> str:
    return ", ".join(str(key) for key in list(checkpoint)[:8]) or "none"


def _one_line(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else text[:197] + "..."
