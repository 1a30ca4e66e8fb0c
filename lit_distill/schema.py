"""The data contract: what an observation, a teacher's answer and a chunk transition are.

Everything that the simulator, the teachers, the shards, the learners and the robot exchange is
defined here, once. Letters: `B` batch, `K` = 16 control steps in a chunk, `A` = 7 action dimensions,
`ℓ` control steps of a chunk that were executed before its episode ended (1 ≤ ℓ ≤ K).

| key                | dtype, shape    | unit, frame, range                                             |
|--------------------|-----------------|----------------------------------------------------------------|
| `agentview`        | uint8 [H, W, 3] | RGB of the fixed camera, upright, H = W, 0..255                |
| `wrist`            | uint8 [H, W, 3] | RGB of the hand camera, upright, same H and W                  |
| `proprio`          | float32 [7]     | eef position (m, world) 3; eef orientation relative to the     |
|                    |                 | home pose, axis-angle (rad, world) 3; gripper opening (m) 1    |
| `gripper_qpos`     | float32 [2]     | finger joints (m), raw                                         |
| `eef_pos`          | float32 [3]     | grip site position (m, world), raw                             |
| `eef_quat`         | float32 [4]     | hand orientation, xyzw (world), raw                            |
| `actions`          | float32 [K, A]  | the chunk as commanded, every row, in [-1, 1]: position delta  |
|                    |                 | (x 0.05 m) 3, axis-angle delta (x 0.5 rad, world) 3, gripper 1 |
|                    |                 | (-1 opens, +1 closes); 20 Hz                                   |
| `mask`             | bool [K]        | row k was executed: k < ℓ                                      |
| `teacher_actions`  | float32 [K, A]  | the teacher's chunk for this observation (the label), or None  |
| `rewards`          | float32 [K]     | reward of each control step, 0 beyond ℓ                        |
| `value`            | float, [0, 1]   | V*(s), the teacher's potential of this observation, or None    |
| `next_value`       | float, [0, 1]   | V*(s'), None at a terminal chunk or where the teacher gave none|
| `steps_to_success` | int             | control steps (20 Hz) that the teacher would take from this    |
|                    |                 | observation to success, -1: never within the task's horizon,   |
|                    |                 | None: the teacher did not try; γ^n of it is a potential        |
| `next_steps_to_    | int             | the same of s', None at a terminal chunk                       |
|  success`          |                 |                                                                |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, get_args

import numpy as np

from lit_distill.errors import LitDistillError

if TYPE_CHECKING:
    import torch

SCHEMA_VERSION = 2
CHUNK_LENGTH = 16
ACTION_DIM = 7
PROPRIO_DIM = 7
CONTROL_HZ = 20
"""Control steps per second of robot time."""
IMAGE_CONVENTION = "uint8 RGB HWC, upright (not mirrored)"

Outcome = Literal["success", "failure", "timeout"]
"""How an episode ended: goal met; ended by a non-finite action; horizon reached, or ended early in a
collection because the teacher says that the goal can no longer be reached."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

NEVER = -1
"""`steps_to_success` where the teacher does not get there within the task's horizon."""

TEACHER, STUDENT, DAGGER = "teacher", "student", "dagger-"
"""Whose rollouts a source holds, and who acted; how the name of a DAgger round's source begins."""
SOURCE_PATTERN = re.compile(rf"{TEACHER}|{STUDENT}|{DAGGER}[1-9][0-9]*")


class ArraySpec(NamedTuple):
    """Dtype, shape (-1: any size) and closed value range of one array of the schema."""

    dtype: type[np.generic]
    shape: tuple[int, ...]
    low: float = -np.inf
    high: float = np.inf

    def check(self, key: str, array: Any) -> None:
        """Raise LitDistillError that names `key` unless `array` is as specified and finite."""
        if not isinstance(array, np.ndarray):
            raise LitDistillError(f"{key}: expected a numpy array, got {type(array).__name__}")
        matches = len(array.shape) == len(self.shape) and all(
            want in (-1, have) for want, have in zip(self.shape, array.shape, strict=True)
        )
        if array.dtype != self.dtype or not matches:
            raise LitDistillError(
                f"{key}: expected {np.dtype(self.dtype).name}{list(self.shape)}, "
                f"got {array.dtype.name}{list(array.shape)}"
            )
        if array.dtype.kind == "f":
            if not np.isfinite(array).all():
                raise LitDistillError(f"{key}: holds a value that is not finite")
            if array.size and (array.min() < self.low or array.max() > self.high):
                raise LitDistillError(
                    f"{key}: values must lie in [{self.low}, {self.high}], "
                    f"got {array.min():.4g} .. {array.max():.4g}"
                )


IMAGE = ArraySpec(np.uint8, (-1, -1, 3))
ACTIONS = ArraySpec(np.float32, (CHUNK_LENGTH, ACTION_DIM), -1.0, 1.0)

OBSERVATION_SPECS: dict[str, ArraySpec] = {
    "agentview": IMAGE,
    "wrist": IMAGE,
    "proprio": ArraySpec(np.float32, (PROPRIO_DIM,)),
    "gripper_qpos": ArraySpec(np.float32, (2,)),
    "eef_pos": ArraySpec(np.float32, (3,)),
    "eef_quat": ArraySpec(np.float32, (4,), -1.0, 1.0),
}

TRANSITION_SPECS: dict[str, ArraySpec] = {
    "actions": ACTIONS,
    "mask": ArraySpec(np.bool_, (CHUNK_LENGTH,)),
    "teacher_actions": ACTIONS,
    "rewards": ArraySpec(np.float32, (CHUNK_LENGTH,)),
}


def _check_value(key: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise LitDistillError(f"{key}: a potential must lie in [0, 1], got {value}")


def _check_steps(key: str, steps: int | None) -> None:
    if steps is not None and (type(steps) is not int or steps < NEVER):
        raise LitDistillError(f"{key}: must be a number of control steps, or {NEVER} for never, got {steps}")


@dataclass(frozen=True)
class Observation:
    """What a policy sees at a chunk boundary; keys, shapes and units in the module's table."""

    agentview: np.ndarray
    wrist: np.ndarray
    proprio: np.ndarray
    gripper_qpos: np.ndarray
    eef_pos: np.ndarray
    eef_quat: np.ndarray

    def validate(self) -> None:
        """Raise LitDistillError naming the first key that breaks the contract."""
        for key, spec in OBSERVATION_SPECS.items():
            spec.check(key, getattr(self, key))
        height, width, _ = self.agentview.shape
        if height != width or self.wrist.shape != self.agentview.shape:
            raise LitDistillError(
                "agentview, wrist: both views must be square and of one size, "
                f"got {self.agentview.shape} and {self.wrist.shape}"
            )


@dataclass(frozen=True)
class TeacherChunk:
    """A teacher's answer to one observation.

    Attributes:
        actions: float32 [K, A] in [-1, 1], the chunk to command.
        value: V*(s) in [0, 1] (§3.4: the potential of the queried state under the teacher's own
            continuation), None if this teacher gives no values.
        steps_to_success: control steps that the teacher would take from the queried state to success,
            `NEVER` beyond the task's horizon, None if it did not try.
    """

    actions: np.ndarray
    value: float | None = None
    steps_to_success: int | None = None

    def validate(self) -> None:
        """Raise LitDistillError naming what breaks the contract."""
        ACTIONS.check("teacher_actions", self.actions)
        _check_value("value", self.value)
        _check_steps("steps_to_success", self.steps_to_success)


@dataclass(frozen=True)
class ChunkTransition:
    """One chunk of one episode, raw facts only: no discount, weight or β is baked in.

    s_{i+ℓ} is the observation of the same episode's next chunk; a terminal chunk needs none.

    Attributes:
        task: name in the task table.
        source: `teacher`, `student` or `dagger-k`.
        episode: index of the episode within (task, source), from 0.
        chunk: index of the chunk within the episode, from 0.
        executed: ℓ, control steps of `actions` that were executed.
        terminal: the episode ended within this chunk (success, failure or timeout).
        outcome: how the whole episode ended, the same in each of its chunks.
        behaviour: which policy chose `actions` (`teacher`, `teacher+noise`, `student`, ...).
        initial_state: `split/index` of the state the episode started from.
        seed: seed of everything random in the episode (noise, β draws).
        teacher: id and version of the teacher that gave label and values, None without one.
        The arrays and values are in the module's table.
    """

    task: str
    source: str
    episode: int
    chunk: int
    observation: Observation
    actions: np.ndarray
    executed: int
    mask: np.ndarray
    rewards: np.ndarray
    terminal: bool
    outcome: Outcome
    behaviour: str
    initial_state: str
    seed: int
    teacher_actions: np.ndarray | None = None
    value: float | None = None
    next_value: float | None = None
    steps_to_success: int | None = None
    next_steps_to_success: int | None = None
    teacher: str | None = None

    @property
    def episode_key(self) -> str:
        """`task-source-episode`, unique per episode."""
        return f"{self.task}-{self.source}-{self.episode:05d}"

    @property
    def key(self) -> str:
        """`task-source-episode-chunk`, the key of the WebDataset sample."""
        return f"{self.episode_key}-{self.chunk:03d}"

    @property
    def success(self) -> bool:
        """Whether the whole episode met its goal."""
        return self.outcome == "success"

    def validate(self) -> None:
        """Raise LitDistillError naming the sample and the first key that breaks the contract."""
        try:
            self._validate()
        except LitDistillError as error:
            raise LitDistillError(f"{self.key}: {error}") from None

    def _validate(self) -> None:
        if "." in self.task or "/" in self.task or not self.task:
            raise LitDistillError(f"task: must be a name without '.' and '/', got {self.task!r}")
        if not SOURCE_PATTERN.fullmatch(self.source):
            raise LitDistillError(f"source: must be teacher, student or dagger-k, got {self.source!r}")
        if self.outcome not in OUTCOMES:
            raise LitDistillError(f"outcome: must be one of {', '.join(OUTCOMES)}, got {self.outcome!r}")
        self.observation.validate()
        for key, spec in TRANSITION_SPECS.items():
            array = getattr(self, key)
            if array is not None or key != "teacher_actions":
                spec.check(key, array)
        if not 1 <= self.executed <= CHUNK_LENGTH:
            raise LitDistillError(f"executed: must be in 1..{CHUNK_LENGTH}, got {self.executed}")
        if not np.array_equal(self.mask, np.arange(CHUNK_LENGTH) < self.executed):
            raise LitDistillError("mask: must be true in its first `executed` rows and nowhere else")
        if self.rewards[self.executed :].any():
            raise LitDistillError("rewards: must be 0 beyond the executed rows")
        _check_value("value", self.value)
        _check_value("next_value", self.next_value)
        _check_steps("steps_to_success", self.steps_to_success)
        _check_steps("next_steps_to_success", self.next_steps_to_success)
        for key in ("next_value", "next_steps_to_success"):
            if self.terminal and getattr(self, key) is not None:
                raise LitDistillError(f"{key}: must be None at a terminal chunk")


METADATA_KEYS: tuple[str, ...] = tuple(
    field.name for field in fields(ChunkTransition) if field.name not in ("observation", *TRANSITION_SPECS)
)
"""The fields of a transition that are neither arrays nor the observation: one JSON object on disk."""


class ChunkBatch(TypedDict):
    """What a learner gets: torch tensors with a leading `B`.

    Images stay uint8 and channels last ([B, H, W, 3]); the network scales and permutes them itself.
    """

    agentview: torch.Tensor  # uint8 [B, H, W, 3]
    wrist: torch.Tensor  # uint8 [B, H, W, 3]
    proprio: torch.Tensor  # float32 [B, 7]
    task_index: torch.Tensor  # int64 [B], the task's number in the task table
    actions: torch.Tensor  # float32 [B, K, A], as commanded
    mask: torch.Tensor  # bool [B, K], m of eq. (1): all rows; of a terminal chunk those that were executed
    teacher_actions: torch.Tensor  # float32 [B, K, A]


class ReplayBatch(TypedDict):
    """What an offline actor-critic gets: chunk transitions with both ends, torch tensors with a leading `B`.

    Observations are numbered, so that what is computed from one can be kept; the next observation of a
    terminal chunk is its own, and Γ = 0.
    """

    index: torch.Tensor  # int64 [B], the number of s_i
    next_index: torch.Tensor  # int64 [B], the number of s_{i+ℓ}
    agentview: torch.Tensor  # uint8 [B, H, W, 3]
    wrist: torch.Tensor  # uint8 [B, H, W, 3]
    proprio: torch.Tensor  # float32 [B, 7]
    task_index: torch.Tensor  # int64 [B], the task's number in the task table
    actions: torch.Tensor  # float32 [B, K, A], as commanded
    mask: torch.Tensor  # bool [B, K], the executed rows
    executed: torch.Tensor  # int64 [B], ℓ
    rewards: torch.Tensor  # float32 [B, K], 0 beyond ℓ
    terminal: torch.Tensor  # bool [B]
    success: torch.Tensor  # bool [B], of the whole episode
    value: torch.Tensor  # float32 [B], V*(s_i), NaN without one
    next_value: torch.Tensor  # float32 [B], V*(s_{i+ℓ}); at terminal chunks 1 (success) or 0; NaN without one
    steps_to_success: torch.Tensor  # float32 [B], n of s_i, infinite for never, NaN where it is not known
    next_steps_to_success: torch.Tensor  # float32 [B], n of s_{i+ℓ}; at terminal chunks 0 or infinite
    teacher_actions: torch.Tensor  # float32 [B, K, A], 0 where `labelled` is false
    labelled: torch.Tensor  # bool [B], the teacher labelled this state
    relabelled: torch.Tensor  # bool [B], the teacher labelled this state, but somebody else acted
    perturbed: torch.Tensor  # bool [B], part of the action was noise, which nobody chose
