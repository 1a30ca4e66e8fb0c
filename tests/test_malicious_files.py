"""No checkpoint and no exported folder that a user downloads can run code, or take the machine's memory."""

from __future__ import annotations

import ast
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from exported_student import TASK, config, write_folder
from malicious_files import IMPOSSIBLE, MALICIOUS, MARKER, Attack
from onnx import TensorProto, helper
from tiny_training import TinyDataModule, tiny_module, tiny_network, tiny_trainer

from lit_distill.behaviours import ExportedActor, StudentActor
from lit_distill.cli import main
from lit_distill.errors import LitDistillError
from lit_distill.networks.checkpoint import (
    load_log_std_head,
    load_saved_student,
    save_student,
    student_sha256,
    warm_start,
)
from lit_distill.runtime import Policy, PolicyError
from lit_distill.serving.student import load_policy
from lit_distill.tasks import get_task

LOADERS: dict[str, Callable[[str], Any]] = {
    "load_saved_student": load_saved_student,
    "student_sha256": student_sha256,
    "StudentActor": lambda path: StudentActor(path).build(get_task(TASK)),
    "log_std_head": lambda path: load_log_std_head(path, tiny_network()),
    "serve": load_policy,
    "init_from": lambda path: warm_start(tiny_network(image_size=32), path),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(content: bytes) -> str:
    Path("evil.ckpt").write_bytes(content)
    return "evil.ckpt"


def test_the_attack_works_where_nobody_is_careful() -> None:
    torch.load(write(MALICIOUS["torch_record"]()), weights_only=False)
    assert MARKER.exists()


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", MALICIOUS)
def test_a_malicious_checkpoint_is_refused_and_never_runs(name: str, loader: str) -> None:
    path = write(MALICIOUS[name]())
    with pytest.raises(LitDistillError, match=r"evil\.ckpt: (refused|not a checkpoint)") as caught:
        LOADERS[loader](path)
    assert "\n" not in str(caught.value)
    assert not MARKER.exists()


@pytest.mark.parametrize("name", MALICIOUS)
def test_export_refuses_it_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--ckpt", write(MALICIOUS[name]())]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: evil.ckpt: ") and error.count("\n") == 1
    assert not MARKER.exists() and {path.name for path in Path().iterdir()} == {"evil.ckpt"}


@pytest.mark.parametrize("name", MALICIOUS)
def test_lightnings_own_resume_does_not_run_it(name: str) -> None:
    path = write(MALICIOUS[name]())
    for method in ("fit", "test", "validate"):
        trainer = tiny_trainer(Path.cwd(), max_epochs=2)
        with pytest.raises(Exception):  # noqa: B017 (any: the command line makes one line of it)
            getattr(trainer, method)(tiny_module(), TinyDataModule(), ckpt_path=path, weights_only=True)
        assert not MARKER.exists()


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_sizes_and_shapes_that_cannot_be_right_take_no_memory(name: str) -> None:
    path = write(IMPOSSIBLE[name]())
    with pytest.raises(LitDistillError, match=r"evil\.ckpt: its student does not fit this version") as caught:
        load_saved_student(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


# -- exported folders ------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Path:
    """A folder with weights and model."""
    from safetensors.torch import save_file

    network = tiny_network()
    made = write_folder(Path("folder"), network=network)
    (made / "config.json").write_text(json.dumps(config(network=network.arguments, training=None)))
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, made / "model.safetensors")
    save_student(network, "sound.ckpt", task=TASK)
    assert student_sha256(made) == student_sha256("sound.ckpt")
    Policy.load(made)
    return made


def refused(folder: Path) -> str:
    """What is said of the folder as weights and as a model; at least one has to refuse it."""
    said = []
    for load in (load_saved_student, lambda path: ExportedActor(str(path)).policy(), load_policy):
        try:
            load(str(folder))
        except LitDistillError as error:
            said.append(str(error))
    assert said and not MARKER.exists()
    assert not any("\n" in line for line in said)
    return " ".join(said)


@pytest.mark.parametrize(
    "network",
    [
        {"hidden": 10**12},
        {"channels": [8, 8, 8 * 10**9]},
        {"hidden": 17},
        {"hidden": "16; import os"},
        {"class_path": "os.system", "init_args": ["touch executed"]},
        None,
        7,
    ],
)
def test_a_network_that_is_not_that_of_the_weights_is_refused(folder: Path, network: Any) -> None:
    if isinstance(network, dict):
        network = tiny_network().arguments | network
    (folder / "config.json").write_text(json.dumps(config(network=network)))
    assert "folder: its student does not fit this version" in refused(folder)


def test_no_file_name_is_taken_from_the_config(folder: Path) -> None:
    """Whatever names a config holds, the files that are opened are the folder's own."""
    names = {"model": "../../etc/passwd", "weights": "/etc/passwd", "format": "../../../etc/passwd"}
    names |= {"backend": "os", "policy": "evil.py", "auto_map": {"AutoModel": "evil.Model"}}
    (folder / "evil.py").write_text(f"open({str(MARKER.absolute())!r}, 'w')")
    (folder / "config.json").write_text(json.dumps(config(network=tiny_network().arguments, **names)))
    Policy.load(folder)
    load_saved_student(folder)
    assert not MARKER.exists()


def header(content: dict[str, Any], data: bytes = b"") -> bytes:
    """A safetensors file."""
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(shape: list[int], end: int, data: bytes = b"") -> bytes:
    """A safetensors file with one tensor."""
    return header({"pixel_mean": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}, data)


SAFETENSORS: dict[str, bytes] = {
    "pickle": MALICIOUS["pickle"](),
    "torch": MALICIOUS["torch_record"](),
    "empty": b"",
    "length": struct.pack("<Q", 2**62) + b"{}",
    "huge": one([10**12], 4 * 10**12),
    "beyond": one([1], 4),
    "overflow": one([2**40, 2**40], 4, bytes(4)),
    "wrong_shape": one([1], 4, bytes(4)),
}


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors_that_are_not_as_they_say_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").write_bytes(SAFETENSORS[name])
    assert "folder" in refused(folder)


def test_an_onnx_file_cannot_read_files_beside_or_above_its_folder(folder: Path) -> None:
    for secret in (Path("secret.bin"), folder / "secret.bin"):
        secret.write_bytes(bytes(16 * 7 * 4))
    for location in ("../secret.bin", "secret.bin", str(Path("secret.bin").absolute())):
        tensor = TensorProto(name="x", data_type=TensorProto.FLOAT, dims=[1, 16, 7])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        shapes = {"agentview": [1, 16, 16, 3], "wrist": [1, 16, 16, 3], "proprio": [1, 7]}
        inputs = [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT if name == "proprio" else TensorProto.UINT8, shape
            )
            for name, shape in shapes.items()
        ]
        output = helper.make_tensor_value_info("chunk", TensorProto.FLOAT, [1, 16, 7])
        node = helper.make_node("Identity", ["x"], ["chunk"])
        graph = helper.make_graph([node], "g", inputs, [output], [tensor])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        assert onnx.load_model_from_string(model.SerializeToString()).graph.initializer[0].name == "x"
        for backend in ("onnxruntime", "openvino"):
            with pytest.raises(PolicyError, match="model.onnx: asks for weights in other files"):
                Policy.load(folder, backend=backend)


def test_an_attack_pickled_as_any_file_of_the_folder_never_runs(folder: Path) -> None:
    import pickle

    for name in ("config.json", "model.safetensors", "model.onnx"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(pickle.dumps(Attack()))
        assert "folder" in refused(folder)
        (folder / name).write_bytes(kept)


PACKAGES = ("lit_distill", "callbacks", "datamodules", "experiments")
ROOT = Path(__file__).parents[1]


def test_nothing_in_the_packages_reads_a_pickle() -> None:
    """Each `torch.load` is called with `weights_only=True`, and nothing else unpickles."""
    loads = 0
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            place = f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name == "torch.load":
                loads += 1
                assert options.get("weights_only") == "True", place
            if name == "np.load":
                assert options.get("allow_pickle", "False") == "False", place
            unpickles = name in ("eval", "exec") or name.split(".")[0] in (
                "pickle",
                "dill",
                "cloudpickle",
                "joblib",
            )
            assert not unpickles or name == "pickle.dump", place
    assert loads >= 2
