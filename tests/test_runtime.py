"""The runtime: alone, with either backend, one line for what is wrong; asynchronous execution."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_student import ROW, SIZE, config, observation, write_folder
from tiny_training import tiny_network

from lit_distill import runtime
from lit_distill.export.graph import DeployedStudent
from lit_distill.networks.student import StudentNetwork
from lit_distill.runtime import AsynchronousPolicy, Policy, PolicyError

LOUD = 100.0
"""Factor on the head's weights, so that a tiny untrained student exceeds [-1, 1]."""


def loud_network(**arguments: Any) -> StudentNetwork:
    network = tiny_network(**arguments)
    with torch.no_grad():
        network.head[2].weight.mul_(LOUD)
    network.set_statistics([0.3] * 7, [0.2] * 7)
    return network


def chunk_of(network: StudentNetwork, seen: tuple[np.ndarray, ...]) -> np.ndarray:
    with torch.inference_mode():
        batch = [torch.from_numpy(array)[None] for array in seen]
        return network.eval()(*batch, torch.tensor([ROW]))[0].numpy()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("exported")
    network = loud_network(pooling="spatial_softmax")
    return {name: write_folder(root / name, name, network) for name in ("onnx", "openvino")}


@pytest.mark.parametrize("pooling", ["average", "weighted_average", "spatial_softmax"])
def test_the_deployed_graph_is_the_students_function(pooling: str) -> None:
    network = loud_network(pooling=pooling, image_size=36, strides=[4, 2, 2], kernel_sizes=[5, 3, 1])
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 or name.endswith("9.weight"):  # affine of GroupNorm, biases, pooling
                parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(len(name)))
    deployed = DeployedStudent(network, ROW)
    for seed in range(3):
        seen = observation(seed, 36)
        with torch.inference_mode():
            chunk = deployed(*(torch.from_numpy(array)[None] for array in seen))[0].numpy()
        np.testing.assert_allclose(chunk, chunk_of(network, seen), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("format", "backend"), [("onnx", "onnxruntime"), ("onnx", "openvino"), ("openvino", None)]
)
def test_each_backend_gives_the_checkpoints_chunk_clipped(
    folders: dict[str, Path], format: str, backend: str | None
) -> None:
    policy = Policy.load(folders[format], backend=backend, threads=2)
    network = loud_network(pooling="spatial_softmax")
    for seed in range(3):
        seen = observation(seed)
        raw = chunk_of(network, seen)
        assert np.abs(raw).max() > 1.5
        np.testing.assert_allclose(policy.infer(*seen), raw, atol=1e-4)
        chunk = policy(*seen)
        assert (chunk.dtype, chunk.shape) == (np.float32, (16, 7))
        np.testing.assert_allclose(chunk, np.clip(raw, -1, 1), atol=1e-4)


def test_an_answer_is_the_callers_own(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        policy = Policy.load(folder)
        first = policy.infer(*observation(0))
        kept = first.copy()
        policy.infer(*observation(1))
        np.testing.assert_array_equal(first, kept)


def test_several_threads_may_share_a_policy(folders: dict[str, Path]) -> None:
    policy = Policy.load(folders["openvino"])
    expected = [policy.infer(*observation(seed)) for seed in range(4)]
    wrong = []

    def ask(seed: int) -> None:
        for _ in range(50):
            if not np.array_equal(policy.infer(*observation(seed)), expected[seed]):
                wrong.append(seed)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


ALONE = """
import sys
sys.path.insert(0, {path!r})
import numpy as np
from {module} import Policy
policy = Policy.load({folder!r})
image = np.zeros((16, 16, 3), np.uint8)
assert policy(image, image, np.zeros(7, np.float32)).shape == (16, 7)
heavy = "torch lightning mujoco libero robosuite scipy jsonargparse".split()
print([name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize("format", ["onnx", "openvino"])
@pytest.mark.parametrize("module", ["policy", "lit_distill.runtime"])
def test_it_needs_neither_torch_nor_lightning_nor_a_simulator(
    folders: dict[str, Path], tmp_path: Path, module: str, format: str
) -> None:
    shutil.copyfile(runtime.__file__, tmp_path / "policy.py")
    path = str(tmp_path) if module == "policy" else str(Path(runtime.__file__).parents[1])
    program = ALONE.format(path=path, module=module, folder=str(folders[format]))
    options = ["-I"] if module == "policy" else []  # isolated: not even this checkout on the path
    result = subprocess.run(
        [sys.executable, *options, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({0: np.zeros((SIZE, SIZE, 3), np.float32)}, "agentview: expected uint8 [16, 16, 3], got float32"),
        ({1: np.zeros((8, 8, 3), np.uint8)}, "wrist: expected uint8 [16, 16, 3], got uint8 [8, 8, 3]"),
        ({1: None}, "wrist: expected uint8 [16, 16, 3], got NoneType"),
        ({2: np.zeros(7)}, "proprio: expected float32 [7], got float64 [7]"),
        ({2: np.full(7, np.nan, np.float32)}, "proprio: holds a value that is not finite"),
    ],
)
def test_a_wrong_input_is_named_in_one_line(
    folders: dict[str, Path], changed: dict[int, Any], message: str
) -> None:
    policy = Policy.load(folders["onnx"])
    seen = [changed.get(index, array) for index, array in enumerate(observation())]
    with pytest.raises(PolicyError) as caught:
        policy(*seen)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_an_answer_that_is_not_finite_is_refused_and_told_by_infer(tmp_path: Path) -> None:
    network = tiny_network()
    with torch.no_grad():
        network.head[2].bias[3] = float("nan")
    policy = Policy.load(write_folder(tmp_path / "nan", network=network))
    assert np.isnan(policy.infer(*observation())).any()
    with pytest.raises(PolicyError, match="not finite; do not execute it"):
        policy(*observation())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorrt"}, "backend: must be one of onnxruntime, openvino, got 'tensorrt'"),
        ({"threads": 0}, "threads: must be a whole number from 1 on, got 0"),
        ({"precision": "int4"}, "precision: must be one of f32, bf16, f16"),
        ({"precision": "bf16", "backend": "onnxruntime"}, "precision: onnxruntime computes in f32"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(
    folders: dict[str, Path], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(PolicyError, match=f"^{message}"):
        Policy.load(folders["onnx"], **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json: no such file; `python -m lit_distill export` makes the folder"),
        ("{", "config.json: not an exported student"),
        ("[1]", "config.json: not an exported student"),
        ("[" * 100_000, "config.json: not an exported student"),
        (json.dumps({"model_type": "bert"}), "config.json: not an exported student"),
        (json.dumps(config(format_version=2)), "config.json: format_version 2, known: 1"),
        (json.dumps(config(image_size=10**9)), "config.json: image_size: must be a whole number in 1..4096"),
        (json.dumps(config(image_size="16")), "config.json: image_size: must be a whole number"),
        (json.dumps(config(chunk_length=-1)), "config.json: chunk_length: must be a whole number"),
        (json.dumps(config(image_size=32)), "model.onnx: its inputs are .* but config.json asks for"),
        (json.dumps(config(chunk_length=8)), r"model.onnx: chunk: expected \[1, 8, 7\]"),
        (json.dumps(config(precision="f64")), "precision: must be one of"),
        (json.dumps(config()) + " " * (1 << 20), "config.json: not an exported student"),
    ],
)
def test_a_config_that_cannot_be_right_is_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path, content: str | None, message: str
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(folders["onnx"], folder)
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    with pytest.raises(PolicyError, match=message) as caught:
        Policy.load(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize("format", ["onnx", "openvino"])
@pytest.mark.parametrize("content", [b"", b"hello", b"<?xml version='1.0'?><net/>", bytes(range(256)) * 9])
def test_a_damaged_model_is_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path, format: str, content: bytes
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(folders[format], folder)
    path = folder / ("model.onnx" if format == "onnx" else "model.xml")
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=rf"{path.name}: \w+ cannot run it") as caught:
        Policy.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "crafted"),
    [
        (r'size="\d+"', 'size="99999999999"'),
        (r'offset="\d+"', 'offset="99999999999"'),
        (r'offset="\d+"', 'offset="-8"'),
        (r'shape="[^"]*"', 'shape="1099511627776, 1099511627776"'),
        (r'type="Convolution"', 'type="RunThis"'),
    ],
)
def test_a_crafted_graph_is_refused_in_one_line(
    folders: dict[str, Path], tmp_path: Path, pattern: str, crafted: str
) -> None:
    """Weights from beyond the file, of sizes that no machine has, or an operation that nobody knows."""
    folder = tmp_path / "folder"
    shutil.copytree(folders["openvino"], folder)
    text, changed = re.subn(pattern, crafted, (folder / "model.xml").read_text(), count=1)
    assert changed
    (folder / "model.xml").write_text(text)
    with pytest.raises(PolicyError, match=r"model.xml: openvino cannot run it") as caught:
        Policy.load(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_or_for_the_other_backend_says_so(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(PolicyError, match="holds neither model.onnx nor model.xml for onnxruntime"):
        Policy.load(folders["openvino"], backend="onnxruntime")
    (tmp_path / "config.json").write_text(json.dumps(config()))
    with pytest.raises(PolicyError, match="holds neither model.onnx nor model.xml; export it again"):
        Policy.load(tmp_path)


def test_a_missing_backend_is_named_with_its_remedy(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PolicyError, match="needs openvino, which is not installed: pip install openvino"):
        Policy.load(folders["openvino"])
    with pytest.raises(PolicyError, match="needs onnxruntime or openvino.*pip install onnxruntime"):
        Policy.load(folders["onnx"])


# -- asynchronous execution ----------------------------------------------------------------------------


class CountingPolicy:
    """Its n-th chunk has n in its first column, the row in the second, what it saw (proprio) in the third."""

    def __init__(self) -> None:
        self.config = {"chunk_length": 16, "execute_steps": 16}
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fail = False

    def __call__(self, agentview: np.ndarray, wrist: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        self.gate.wait(10)
        self.asked.append(threading.current_thread().name)
        if self.fail:
            raise PolicyError("proprio: broken")
        chunk = np.zeros((16, 7), np.float32)
        chunk[:, 0], chunk[:, 1], chunk[:, 2] = len(self.asked), np.arange(16), proprio[0]
        return chunk


IMAGE = np.zeros((SIZE, SIZE, 3), np.uint8)


def act(robot: AsynchronousPolicy, step: int) -> list[float]:
    return robot.act(IMAGE, IMAGE, np.full(7, step, np.float32))[:3].tolist()


def test_the_next_chunk_is_begun_ahead_and_taken_where_time_is_by_then() -> None:
    policy = CountingPolicy()
    with AsynchronousPolicy(policy, execute_steps=5, lead=2) as robot:
        seen = [act(robot, step) for step in range(12)]
    # chunk, row, and the step whose observation it saw: begun at step 3 (2 left), in use from step 5 on
    first = [[1, row, 0] for row in range(5)]
    second = [[2, row, 3] for row in range(2, 7)]
    third = [[3, row, 8] for row in (2, 3)]
    assert seen == first + second + third
    assert policy.asked[0] == threading.current_thread().name
    assert all(name.startswith("policy") for name in policy.asked[1:])


def test_with_lead_zero_every_chunk_is_used_from_its_first_row() -> None:
    policy = CountingPolicy()
    with AsynchronousPolicy(policy, lead=0) as robot:
        assert robot.execute_steps == 16
        seen = [act(robot, step) for step in range(33)]
    assert seen[15:18] == [[1, 15, 0], [2, 0, 16], [2, 1, 16]]
    assert seen[32] == [3, 0, 32]
    assert len(set(policy.asked)) == 1


def test_by_default_as_many_actions_as_fit_beside_the_lead() -> None:
    with AsynchronousPolicy(CountingPolicy()) as robot:
        assert (robot.execute_steps, robot.lead) == (15, 1)


def test_acting_does_not_wait_for_the_next_chunk_until_it_is_needed() -> None:
    policy = CountingPolicy()
    with AsynchronousPolicy(policy, execute_steps=4, lead=3) as robot:
        act(robot, 0)
        policy.gate.clear()
        assert [act(robot, step)[1] for step in (1, 2, 3)] == [1, 2, 3]  # computing, and still acting
        threading.Timer(0.05, policy.gate.set).start()
        assert act(robot, 4) == [2, 3, 1]
        assert robot.late == 1


def test_the_camera_may_write_into_its_arrays_while_the_next_chunk_is_computed() -> None:
    policy = CountingPolicy()
    with AsynchronousPolicy(policy, execute_steps=2, lead=1) as robot:
        proprio = np.zeros(7, np.float32)
        robot.act(IMAGE, IMAGE, proprio)
        policy.gate.clear()
        proprio[:] = 1
        robot.act(IMAGE, IMAGE, proprio)
        proprio[:] = 99
        policy.gate.set()
        assert robot.act(IMAGE, IMAGE, proprio)[2] == 1


def test_what_the_policy_raises_in_the_thread_comes_out_of_act_and_a_new_chunk_follows() -> None:
    policy = CountingPolicy()
    with AsynchronousPolicy(policy, execute_steps=2, lead=1) as robot:
        act(robot, 0)
        policy.fail = True
        act(robot, 1)
        with pytest.raises(PolicyError, match="proprio: broken"):
            act(robot, 2)
        with pytest.raises(PolicyError, match="proprio: broken"):
            act(robot, 3)
        policy.fail = False
        assert act(robot, 4)[1:] == [0, 4]


def test_a_new_episode_begins_with_a_new_look() -> None:
    with AsynchronousPolicy(CountingPolicy(), execute_steps=4, lead=2) as robot:
        for step in range(3):
            act(robot, step)
        robot.reset()
        assert act(robot, 50)[1:] == [0, 50]


def test_closing_ends_the_thread_and_further_acting_is_refused() -> None:
    robot = AsynchronousPolicy(CountingPolicy(), execute_steps=1, lead=1)
    act(robot, 0)
    robot.close()
    robot.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("policy")]
    with pytest.raises(PolicyError, match="closed"):
        act(robot, 1)


@pytest.mark.parametrize(("steps", "lead"), [(0, 0), (4, 5), (16, 1), (4, -1)])
def test_numbers_that_cannot_be_right_are_refused(steps: int, lead: int) -> None:
    with pytest.raises(PolicyError, match="execute_steps, lead: 0 <= lead <= execute_steps"):
        AsynchronousPolicy(CountingPolicy(), execute_steps=steps, lead=lead)


def test_the_real_policy_runs_ahead(folders: dict[str, Path]) -> None:
    policy = Policy.load(folders["onnx"])
    with AsynchronousPolicy(policy, execute_steps=3, lead=1) as robot:
        actions = [robot.act(*observation(step)) for step in range(6)]
    np.testing.assert_array_equal(actions[:3], policy(*observation(0))[:3])
    np.testing.assert_array_equal(actions[3:], policy(*observation(2))[1:4])


ENDED_ELSEWHERE = """
import ctypes, faulthandler, gc, sys, threading
from lit_distill.runtime import Policy

class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

faulthandler.enable()
policies = [Policy.load(sys.argv[1])]

def end():
    policies.clear()
    gc.collect()

thread = threading.Thread(target=end)
thread.start()
thread.join()
stack = Stack()
assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
areas = [[int(end, 16) for end in line.split()[0].split("-")] for line in open("/proc/self/maps")]
print(any(low <= stack.start and stack.start + stack.size <= high for low, high in areas))
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
def test_a_policy_that_another_thread_ends_takes_nothing_from_signal_handlers(
    folders: dict[str, Path],
) -> None:
    """OpenVINO gives handlers another stack, and would unmap it without giving the first one back."""
    words = [sys.executable, "-c", ENDED_ELSEWHERE, str(folders["openvino"])]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == "True"
