"""Runs an exported student with numpy and onnxruntime or OpenVINO, and nothing else.

    policy = Policy.load("folder")
    chunk = policy(agentview, wrist, proprio)      # float32 [16, 7] in [-1, 1]: 16 control steps at 20 Hz

The inputs are two upright RGB views, uint8 [H, H, 3], and `proprio`, float32 [7]: position of the gripper
(m, world) 3, its orientation relative to the home pose as axis-angle (rad, world) 3, its opening (m) 1. An
action is position delta (x 0.05 m) 3, axis-angle delta (x 0.5 rad, world) 3, gripper (-1 opens, +1 closes).

`python -m lit_distill export` copies this file into the folder as `policy.py`, so that a robot's computer
needs nothing of lit_distill. The files of a folder have fixed names, and no other of them can run code.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

MODEL_TYPE = "lit_distill_student"
FORMAT_VERSION = 1
CONFIG, ONNX, OPENVINO = "config.json", "model.onnx", "model.xml"
BACKENDS = {"onnxruntime": (ONNX,), "openvino": (OPENVINO, ONNX)}
"""What runs which file, in order of preference."""
PRECISIONS = ("f32", "bf16", "f16")
"""Of the arithmetic; the last two need OpenVINO and a processor that has them, else f32 is used."""
LARGEST_CONFIG = 1 << 20
LARGEST_IMAGE = 4096


class PolicyError(ValueError):
    """One line: what is wrong with a folder, an option, an input or an answer."""


class Policy:
    """A student for one task: observation in, action chunk out. Thread-safe: one chunk at a time.

    Args:
        config: The folder's config.json.
        run: Takes (agentview, wrist, proprio), each with a leading 1, and returns float32 [1, K, A].

    Attributes:
        config: What the folder says of the student: `task`, `language`, `image_size`, `chunk_length`,
            `action_dim`, `control_hz`, `execute_steps` (actions of a chunk that were executed in its check).
    """

    def __init__(self, config: dict[str, Any], run: Callable[[list[np.ndarray]], np.ndarray]) -> None:
        self.config = config
        size = config["image_size"]
        self._image = (size, size, 3)
        self._chunk = (1, config["chunk_length"], config["action_dim"])
        self._run = run
        self._lock = threading.Lock()
        self.infer(np.zeros(self._image, np.uint8), np.zeros(self._image, np.uint8), np.zeros(7, np.float32))

    @classmethod
    def load(
        cls, folder: str | Path, backend: str | None = None, threads: int = 1, precision: str | None = None
    ) -> Policy:
        """Open an exported folder.

        Args:
            folder: What `python -m lit_distill export` made.
            backend: `onnxruntime` or `openvino`; None: what is installed and fits the file.
            threads: Processor threads for one chunk.
            precision: `f32`, or `bf16` and `f16` with OpenVINO; None: what the folder was checked in.

        Raises:
            PolicyError: A file is missing or not ours, an option cannot be met; in one line.
        """
        folder = Path(folder)
        config = read_config(folder)
        if type(threads) is not int or threads < 1:
            raise PolicyError(f"threads: must be a whole number from 1 on, got {threads!r}")
        name, path = _choose(folder, backend)
        precision = precision or config.get("precision", "f32")
        if precision not in PRECISIONS:
            raise PolicyError(f"precision: must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if precision != "f32" and name == "onnxruntime":
            raise PolicyError(
                f"precision: onnxruntime computes in f32, not {precision}; backend='openvino' can"
            )
        size = config["image_size"]
        shapes = {"agentview": [1, size, size, 3], "wrist": [1, size, size, 3], "proprio": [1, 7]}
        try:
            if path.name == ONNX and b"location" in path.read_bytes():  # the key of weights in another file
                raise PolicyError("asks for weights in other files, which may be anybody's; export it again")
            if name == "onnxruntime":
                run = _onnxruntime(path, threads, shapes)
            else:
                run = _openvino(path, threads, shapes, precision)
            return cls(config, run)
        except PolicyError as error:
            raise PolicyError(f"{path}: {error}") from None
        except Exception as error:  # bytes of unknown origin: the backends raise many types on them
            reason = " ".join(str(error).split())[:160]
            raise PolicyError(f"{path}: {name} cannot run it: {reason}; export it again") from None

    def __call__(self, agentview: np.ndarray, wrist: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        """The next action chunk, float32 [K, A], clipped to [-1, 1].

        Args:
            agentview: uint8 [H, H, 3].
            wrist: uint8 [H, H, 3].
            proprio: float32 [7] (m, rad).

        Raises:
            PolicyError: An input is not that, or the answer is not finite; in one line.
        """
        chunk = self.infer(agentview, wrist, proprio)
        if not np.isfinite(chunk).all():
            raise PolicyError("chunk: the student's answer is not finite; do not execute it")
        return np.clip(chunk, -1.0, 1.0)

    def infer(self, agentview: np.ndarray, wrist: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        """The chunk as the network gives it, float32 [K, A]: neither clipped nor checked; else as a call."""
        for key, image in (("agentview", agentview), ("wrist", wrist)):
            _check(key, image, np.uint8, self._image)
        _check("proprio", proprio, np.float32, (7,))
        if not np.isfinite(proprio).all():
            raise PolicyError("proprio: holds a value that is not finite")
        with self._lock:
            chunk = self._run([np.ascontiguousarray(array)[None] for array in (agentview, wrist, proprio)])
        if chunk.shape != self._chunk:
            raise PolicyError(f"chunk: expected {list(self._chunk)}, the file gives {list(chunk.shape)}")
        return chunk[0]


class AsynchronousPolicy:
    """Gives an action per control step, and computes the next chunk while the current one runs.

        with AsynchronousPolicy(policy) as robot:
            while True:
                action = robot.act(agentview, wrist, proprio)     # at 20 Hz, with the newest observation

    When `lead` actions of the current chunk are left, the next one is begun, from the observation of that
    moment; when they are used up it takes over. By then its observation is `lead` control steps (50 ms each)
    old, so its first `lead` rows, meant for the time in which the old chunk still ran, are left out: row
    `lead` is the action for now. With `lead` 0 nothing is computed ahead: `act` looks, waits and starts at
    row 0, as in the evaluation. A chunk that is not ready in time is waited for (`late` counts these).

    Args:
        policy: Anything that makes a chunk [K, A] of an observation.
        execute_steps: Actions executed of each chunk; `execute_steps + lead` must not exceed its K rows.
            None: as many as the policy's folder was checked with, less `lead` if there are not as many.
        lead: Control steps in which the next chunk is computed, at most `execute_steps`.

    Raises:
        PolicyError: A number cannot be right.
    """

    def __init__(self, policy: Policy, execute_steps: int | None = None, lead: int = 1) -> None:
        rows = policy.config["chunk_length"]
        if execute_steps is None:
            execute_steps = min(policy.config.get("execute_steps", rows), rows - lead)
        if lead < 0 or execute_steps < max(lead, 1) or execute_steps + lead > rows:
            raise PolicyError(
                f"execute_steps, lead: 0 <= lead <= execute_steps and execute_steps + lead <= {rows} must "
                f"hold, got {execute_steps} and {lead}"
            )
        self.execute_steps, self.lead, self.late = execute_steps, lead, 0
        self._policy = policy
        self._worker: ThreadPoolExecutor | None = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self.reset()

    def reset(self) -> None:
        """Forget the current chunk, and the next: a new episode begins."""
        self._actions: list[np.ndarray] = []
        self._next: Future[np.ndarray] | None = None

    def act(self, agentview: np.ndarray, wrist: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        """The action of this control step, float32 [A].

        The observation is copied where it is used, so a camera may write into its arrays again.

        Raises:
            PolicyError: As a call of the policy; or this is closed. The next call begins a new chunk.
        """
        if self._worker is None:
            raise PolicyError("closed: make a new AsynchronousPolicy")
        observation = (agentview, wrist, proprio)
        try:
            if not self._actions:
                first = 0 if self._next is None else self.lead
                chunk = self._policy(*observation) if self._next is None else self._finished(self._next)
                self._next = None
                self._actions = list(chunk[first : first + self.execute_steps])
            if self.lead and len(self._actions) == self.lead:
                seen = [np.array(array) for array in observation]
                self._next = self._worker.submit(self._policy, *seen)
        except BaseException:
            self.reset()
            raise
        return self._actions.pop(0)

    def _finished(self, chunk: Future[np.ndarray]) -> np.ndarray:
        self.late += not chunk.done()
        return chunk.result()

    def close(self) -> None:
        """Wait for a chunk that is being computed, and end the thread; may be called twice."""
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)
            self._worker = None

    def __enter__(self) -> AsynchronousPolicy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json, its sizes checked.

    Raises:
        PolicyError: It is missing, not ours, of another version, or says what cannot be right.
    """
    path = folder / CONFIG
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError("too large")
        config = json.loads(path.read_text(encoding="utf-8"))
        ours = config["model_type"] == MODEL_TYPE
    except FileNotFoundError:
        raise PolicyError(f"{path}: no such file; `python -m lit_distill export` makes the folder") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        ours = False
    if not ours:
        raise PolicyError(f"{path}: not an exported student; `python -m lit_distill export` makes one")
    if config.get("format_version") != FORMAT_VERSION:
        raise PolicyError(f"{path}: format_version {config.get('format_version')!r}, known: {FORMAT_VERSION}")
    for key, largest in (("image_size", LARGEST_IMAGE), ("chunk_length", 1024), ("action_dim", 1024)):
        value = config.get(key)
        if type(value) is not int or not 1 <= value <= largest:
            raise PolicyError(f"{path}: {key}: must be a whole number in 1..{largest}, got {str(value)[:40]}")
    return config


def _choose(folder: Path, backend: str | None) -> tuple[str, Path]:
    """Which backend runs which file."""
    if backend is not None and backend not in BACKENDS:
        raise PolicyError(f"backend: must be one of {', '.join(BACKENDS)}, got {backend!r}")
    fitting = [
        (name, folder / file)
        for name, files in BACKENDS.items()
        for file in files
        if (folder / file).is_file() and backend in (None, name)
    ]
    if not fitting:
        files = f" for {backend}" if backend else ""
        raise PolicyError(f"{folder}: holds neither {ONNX} nor {OPENVINO}{files}; export it again")
    for name, path in fitting:
        if importlib.util.find_spec(name) is not None:
            return name, path
    names = " or ".join(dict.fromkeys(name for name, _ in fitting))
    raise PolicyError(f"{folder}: needs {names}, which is not installed: pip install {names.split()[0]}")


def _onnxruntime(
    path: Path, threads: int, shapes: dict[str, list[int]]
) -> Callable[[list[np.ndarray]], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.force_spinning_stop", "1")  # no busy waiting between chunks
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    _check_shapes(shapes, {node.name: list(node.shape) for node in session.get_inputs()})
    (output,) = (node.name for node in session.get_outputs())
    return lambda arrays: session.run([output], dict(zip(shapes, arrays, strict=True)))[0]


@functools.lru_cache(maxsize=1)
def openvino_core() -> Any:
    """OpenVINO's Core, one for the process, which is never given up.

    The last one takes with it the memory that signal handlers run on, if another thread ends it than the one
    that began it: the next signal then ends the process without a word.
    """
    import openvino

    return openvino.Core()


def _openvino(
    path: Path, threads: int, shapes: dict[str, list[int]], precision: str
) -> Callable[[list[np.ndarray]], np.ndarray]:
    import openvino

    compiled = openvino_core().compile_model(
        str(path),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": precision,
        },
    )
    _check_shapes(shapes, {port.any_name: list(port.shape) for port in compiled.inputs})
    request = compiled.create_infer_request()
    buffers = [np.zeros(shape, np.float32 if key == "proprio" else np.uint8) for key, shape in shapes.items()]
    for key, buffer in zip(shapes, buffers, strict=True):
        request.set_tensor(key, openvino.Tensor(buffer, shared_memory=True))
    answer = request.get_output_tensor(0)

    def run(arrays: list[np.ndarray]) -> np.ndarray:
        for buffer, array in zip(buffers, arrays, strict=True):
            np.copyto(buffer, array)
        request.infer()
        return answer.data.copy()

    return run


def _check_shapes(wanted: dict[str, list[int]], found: dict[str, list[Any]]) -> None:
    if found != wanted:
        raise PolicyError(f"its inputs are {str(found)[:200]}, but {CONFIG} asks for {wanted}")


def _check(key: str, array: Any, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise PolicyError(f"{key}: expected {np.dtype(dtype).name} {list(shape)}, got {got}")
