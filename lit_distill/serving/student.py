"""The verb `serve student`: a robot asks over the network, in openpi's protocol, and gets an action chunk.

A request holds either our keys or those of openpi's LIBERO clients, which then work unchanged:

| key                       | dtype, shape     | meaning                                                    |
|---------------------------|------------------|------------------------------------------------------------|
| `agentview`, `wrist`      | uint8 [H, H, 3]  | the views, upright                                         |
| `proprio`                 | float [7]        | see `lit_distill/schema.py`                                |
| `observation/image`,      | uint8 [H, H, 3]  | the views turned by 180 degrees from LIBERO's raw          |
| `observation/wrist_image` |                  | pictures, so upright and mirrored: they are mirrored back  |
| `observation/state`       | float [8]        | gripper position (m, world) 3, orientation of the hand     |
|                           |                  | (world, axis-angle) 3, finger joints (m) 2: made `proprio` |
| `prompt`                  | text             | may be left out; another task's is refused                 |

Views larger than the student's are made smaller by averaging areas; smaller ones, and those that are not
square, are refused. The answer is `actions`, float32 [16, 7] in [-1, 1], as LIBERO takes them (gripper: -1
opens).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from lit_distill.errors import LitDistillError
from lit_distill.runtime import Policy, PolicyError
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, CONTROL_HZ, PROPRIO_DIM
from lit_distill.serving.server import RequestError, check_place, serve_policy
from lit_distill.tasks import embedding_row, get_task
from lit_distill.teachers.remote import token_from

IMAGE, WRIST, STATE, PROMPT = "observation/image", "observation/wrist_image", "observation/state", "prompt"
"""The keys of openpi's LIBERO clients."""
STATE_DIM = 8
HOME_HAND = Rotation.from_quat([0.9995966, 0.0002462, -0.0284001, -0.0000070])
"""Orientation of LIBERO's hand (xyzw, world) in the home pose, which `proprio` counts from."""


def serve_student(
    student: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_env: str | None = None,
    backend: str | None = None,
    threads: int = 1,
) -> None:
    """Answer a robot over the network with a student, in openpi's protocol.

    Args:
        student: a checkpoint, or a folder that `export` made.
        host: where to listen; other machines can reach anything but 127.0.0.1, which needs a token.
        port: TCP port, 0 for any that is free.
        token_env: name of the environment variable that holds the token which clients have to send.
        backend: of a folder: `onnxruntime` or `openvino`; by default what is installed and fits.
        threads: processor threads for one chunk.

    Raises:
        LitDistillError: no such student, an option that cannot be met, a port that is taken, or a host beyond
            this machine without a token.
    """
    token = token_from(token_env)
    check_place(host, port, token)
    policy = load_policy(student, backend, threads)
    serve_policy(
        StudentService(policy).infer, metadata(policy), host, port, token, name=policy.config["task"]
    )


def load_policy(student: str, backend: str | None = None, threads: int = 1) -> Policy:
    """Open an exported folder, or a checkpoint (which needs torch), as what a robot asks.

    Raises:
        LitDistillError: it is neither, or an option that it does not have.
    """
    try:
        if Path(student).is_dir():
            return Policy.load(student, backend, threads)
        if backend is not None:
            raise LitDistillError(f"backend: {student} is a checkpoint, which torch runs; export it first")
        return _checkpoint_policy(student, threads)
    except PolicyError as error:
        raise LitDistillError(str(error)) from None


def _checkpoint_policy(checkpoint: str, threads: int) -> Policy:
    import torch

    from lit_distill.export.graph import DeployedStudent
    from lit_distill.networks.checkpoint import load_saved_student

    if threads < 1:
        raise LitDistillError(f"threads: must be a whole number from 1 on, got {threads}")
    saved = load_saved_student(checkpoint)
    if saved.task is None:
        raise LitDistillError(f"{checkpoint}: does not say for which task; `export --task NAME` does")
    task = get_task(saved.task)
    network = DeployedStudent(saved.network, embedding_row(task))
    torch.set_num_threads(threads)

    def run(arrays: list[np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            chunk: np.ndarray = network(*map(torch.from_numpy, arrays)).numpy()
        return chunk

    config = {
        "task": task.name,
        "language": task.language,
        "image_size": saved.network.image_size,
        "chunk_length": CHUNK_LENGTH,
        "action_dim": ACTION_DIM,
        "control_hz": CONTROL_HZ,
    }
    return Policy(config, run)


def metadata(policy: Policy) -> dict[str, Any]:
    """What a client is told first."""
    told = ("task", "language", "image_size", "chunk_length", "action_dim", "control_hz", "execute_steps")
    return {"policy": "lit_distill student", **{key: policy.config.get(key) for key in told}}


class StudentService:
    """Answers requests with a student."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._size = policy.config["image_size"]

    def infer(self, request: dict[str, Any]) -> dict[str, Any]:
        """`actions` for a request; see the module's table.

        Raises:
            RequestError: a key is missing or not as in the table, or the prompt is another task's.
        """
        self._check_prompt(request.get(PROMPT))
        if "agentview" in request:
            views = self._view(request, "agentview"), self._view(request, "wrist")
            proprio = _numbers(request, "proprio", PROPRIO_DIM)
        else:
            views = self._view(request, IMAGE)[:, ::-1], self._view(request, WRIST)[:, ::-1]
            proprio = proprio_of_state(_numbers(request, STATE, STATE_DIM))
        try:
            with np.errstate(over="ignore"):  # beyond a float32 is inf, which the policy refuses
                return {"actions": self._policy(*views, proprio.astype(np.float32))}
        except PolicyError as error:
            raise RequestError(str(error)) from None

    def _check_prompt(self, prompt: Any) -> None:
        known = str(self._policy.config.get("language"))
        if prompt is not None and _plain(str(prompt)) != _plain(known):
            raise RequestError(f"{PROMPT}: this student does one task, {known!r}, not {str(prompt)[:80]!r}")

    def _view(self, request: dict[str, Any], key: str) -> np.ndarray:
        image = _array(request, key)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise RequestError(f"{key}: expected uint8 [H, H, 3], got {image.dtype} {list(image.shape)}")
        height, width, _ = image.shape
        if height != width or height < self._size:
            raise RequestError(
                f"{key}: must be square and of {self._size} pixels or more, got {height} x {width}"
            )
        return smaller(image, self._size)


def smaller(image: np.ndarray, size: int) -> np.ndarray:
    """Average the areas of a square image, uint8 [H, H, 3], down to [size, size, 3]."""
    if len(image) == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX))


def proprio_of_state(state: np.ndarray) -> np.ndarray:
    """openpi's LIBERO state [8] -> our proprioception, float64 [7]."""
    relative = (Rotation.from_rotvec(state[3:6]) * HOME_HAND.inv()).as_rotvec()
    return np.concatenate([state[:3], relative, [state[6] - state[7]]])


def _array(request: dict[str, Any], key: str) -> np.ndarray:
    value = request.get(key)
    if not isinstance(value, np.ndarray):
        raise RequestError(f"{key}: {'is missing' if value is None else 'must be an array'}")
    return value


def _numbers(request: dict[str, Any], key: str, size: int) -> np.ndarray:
    """Finite numbers, float64 [size]."""
    value = _array(request, key)
    if value.dtype.kind != "f" or value.shape != (size,) or not np.isfinite(value).all():
        raise RequestError(f"{key}: expected {size} finite numbers, got {value.dtype} {list(value.shape)}")
    return value.astype(np.float64)


def _plain(text: str) -> str:
    """Case, spaces and a full stop do not matter."""
    return " ".join(text.lower().strip().rstrip(".").split())
