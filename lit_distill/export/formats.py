"""From a student to the file that onnxruntime or OpenVINO runs."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import torch

from lit_distill.errors import LitDistillError
from lit_distill.export.graph import DeployedStudent
from lit_distill.networks.student import StudentNetwork
from lit_distill.runtime import ONNX, OPENVINO, openvino_core
from lit_distill.schema import PROPRIO_DIM

Format = Literal["onnx", "openvino"]
Precision = Literal["f32", "bf16", "f16"]

FILES: dict[str, tuple[str, ...]] = {"onnx": (ONNX,), "openvino": (OPENVINO, "model.bin")}
"""What a format consists of; the first names the whole."""
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}
OPSET = 21
CAPABILITIES = {"bf16": "BF16", "f16": "FP16"}
"""OpenVINO's names."""
INPUTS, OUTPUT = ("agentview", "wrist", "proprio"), "chunk"


def check_format(format: str, precision: str) -> None:
    """Raise LitDistillError unless this machine can write and run the format in that precision."""
    if format not in get_args(Format):
        raise LitDistillError(f"format: must be one of {', '.join(get_args(Format))}, got {format!r}")
    if precision not in get_args(Precision):
        raise LitDistillError(
            f"precision: must be one of {', '.join(get_args(Precision))}, got {precision!r}"
        )
    if format == "onnx" and precision != "f32":
        raise LitDistillError(f"precision: onnxruntime computes in f32; for {precision} --format openvino")
    missing = [name for name in (*NEEDS[format], "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise LitDistillError(
            f"format {format}: needs {', '.join(missing)}; python -m pip install 'lit_distill[export]'"
        )
    if format == "openvino":
        check_arithmetic(precision)


def processor_capabilities() -> list[str]:
    """What OpenVINO can compute in on this processor, by its names."""
    able: list[str] = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return able


def check_arithmetic(precision: str) -> None:
    """Raise LitDistillError where OpenVINO would compute in f32 instead: the check would say nothing.

    Args:
        precision: of OpenVINO's arithmetic.
    """
    if precision != "f32" and CAPABILITIES[precision] not in processor_capabilities():
        raise LitDistillError(
            f"precision: this processor computes in f32 where {precision} is asked for, so nothing would be "
            f"checked; export on one that has {precision}, or take --precision f32"
        )


def write_model(network: StudentNetwork, task_row: int, format: Format, folder: Path) -> None:
    """Write the student for one task into `folder`, in float32.

    Args:
        network: The student, on the CPU.
        task_row: The task's row in its embedding.
        format: Which files, see `FILES`.
        folder: Where.
    """
    onnx_path = folder / ONNX
    _write_onnx(DeployedStudent(network, task_row), network.image_size, onnx_path)
    if format == "openvino":
        import openvino

        model = openvino_core().read_model(onnx_path)
        openvino.save_model(model, folder / OPENVINO, compress_to_fp16=False)
        onnx_path.unlink()


def _write_onnx(student: DeployedStudent, image_size: int, path: Path) -> None:
    image = torch.zeros(1, image_size, image_size, 3, dtype=torch.uint8)
    with torch.no_grad(), _quiet_exporter():
        torch.onnx.export(
            student,
            (image, image.clone(), torch.zeros(1, PROPRIO_DIM)),
            str(path),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    _forget_where_it_was_made(path)


def _forget_where_it_was_made(path: Path) -> None:
    """Remove the stack traces, with this machine's paths, that the exporter writes beside every operation."""
    import onnx

    model = onnx.load(path)
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for function in model.functions:
        for part in (function, *function.node):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    onnx.save(model, path)


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says of itself: packages that we do not use, its own deprecations."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
