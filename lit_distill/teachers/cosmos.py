"""Cosmos Policy (NVlabs/cosmos-policy) as teacher: in its own environment, or behind `cosmos_server.py`."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np

from lit_distill.errors import LitDistillError
from lit_distill.schema import Observation
from lit_distill.sim.chunks import ChunkSimulator
from lit_distill.teachers.answer_cache import AUTO
from lit_distill.teachers.cosmos_server import RequestError
from lit_distill.teachers.http_connection import HttpConnection
from lit_distill.teachers.remote import (
    Connection,
    Delivery,
    RemoteTeacher,
    check_url,
    one_line,
    token_from,
)
from lit_distill.teachers.replies import BadAnswer, Reply, read_reply

DEPENDS_ON = ("config", "dataset_stats_sha256", "embeddings_sha256", "weights_sha256")
"""Keys of the metadata that its answers depend on, beside the checkpoint."""


class CosmosPolicyTeacher(RemoteTeacher):
    """Cosmos Policy for LIBERO.

    It sees both views at 256 px of the original meshes, upright and not mirrored: LIBERO's raw rendering
    flipped vertically only, as it was trained, and as ours are. Resizing to 224 px, JPEG and crop happen
    inside. Its value comes in [0, 1] and is used as it comes.

    Args:
        server: `http://HOST:8777` of a `cosmos_server.py serve`; null: `cosmos_policy` is imported here.
        seed: of its sampling, the same in each query, as upstream.
        denoising_steps: of actions, future and value together.
        jpeg: whether the images go through JPEG, as in its training.
        crop: whether they are cropped to 90 % of their area, as its training with augmentation wants.
        checkpoint, dataset_stats, embeddings: without a server: weights, statistics, and the file of text
            embeddings that `cosmos_server.py embed` makes; null: the usual ones.
        timeout_s, outage_s, attempts, cache: see `remote.Delivery`.
        token_env: environment variable that holds the server's token.

    Raises:
        LitDistillError: settings that cannot be right, or neither a server nor `cosmos_policy`.
    """

    image_size = 256

    def __init__(
        self,
        server: str | None = None,
        seed: int = 195,
        denoising_steps: int = 5,
        jpeg: bool = True,
        crop: bool = True,
        checkpoint: str | None = None,
        dataset_stats: str | None = None,
        embeddings: str | None = None,
        timeout_s: float = 60.0,
        outage_s: float = 600.0,
        attempts: int = 3,
        cache: str | None = AUTO,
        token_env: str | None = None,
    ) -> None:
        if seed < 0 or denoising_steps < 1:
            raise LitDistillError(
                f"seed must not be negative, denoising_steps at least 1, got {seed}, {denoising_steps}"
            )
        own = {"checkpoint": checkpoint, "dataset_stats": dataset_stats, "embeddings": embeddings}
        given = {key: value for key, value in own.items() if value is not None}
        if server is not None and given:
            raise LitDistillError(
                f"{min(given)}: is the server's business; leave it out, or leave out server"
            )
        super().__init__(
            _connect(server, timeout_s, token_env, given), Delivery(timeout_s, outage_s, attempts, cache)
        )
        self._settings = {
            "seed": seed,
            "num_denoising_steps_action": denoising_steps,
            "use_jpeg_compression": jpeg,
            "trained_with_image_aug": crop,
        }

    def describe(self, metadata: dict[str, Any]) -> str:
        """`cosmos-policy/` and the checkpoint."""
        return f"cosmos-policy/{metadata.get('checkpoint', 'unknown')}"

    def settings(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Upstream's configuration, and what tells its files apart, as far as it tells."""
        return {key: metadata[key] for key in DEPENDS_ON if key in metadata}

    def request(self, observation: Observation, simulator: ChunkSimulator) -> dict[str, Any]:
        """See `cosmos_server`."""
        raw = (observation.gripper_qpos, observation.eef_pos, observation.eef_quat)
        return {
            "observation": {
                "primary_image": observation.agentview,
                "wrist_image": observation.wrist,
                "proprio": np.concatenate(raw).astype(np.float64),
            },
            "task_description": simulator.task.language,
            **self._settings,
        }

    def read(self, answer: dict[str, Any]) -> Reply:
        """Sixteen rows, and the value as it comes."""
        return read_reply(answer, value_key="value_prediction")


class _InProcess:
    """The policy in this process, asked as the server asks it.

    Args:
        options: arguments of `cosmos_server.CosmosPolicy`.
    """

    name = "cosmos_policy"

    def __init__(self, options: dict[str, str]) -> None:
        self._options = tuple(sorted(options.items()))

    def metadata(self) -> dict[str, Any]:
        """What a server would say."""
        metadata: dict[str, Any] = _loaded(self._options).metadata
        return metadata

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            LitDistillError: the policy refuses it.
            BadAnswer: the policy failed, as where a server answers with status 500.
        """
        policy = _loaded(self._options)
        try:
            answer: dict[str, Any] = policy.act(request)
        except RequestError as error:
            raise LitDistillError(f"{self.name}: refuses the request: {error}") from None
        except Exception as error:  # upstream's code: memory of the GPU, say
            raise BadAnswer(f"the policy failed with {one_line(error)[:200]}") from error
        return answer


@functools.lru_cache(maxsize=1)
def _loaded(options: tuple[tuple[str, str], ...]) -> Any:
    """The policy with these arguments: gigabytes, so a process loads it once, however many teachers ask.

    Raises:
        LitDistillError: a file is missing, or it cannot be loaded.
    """
    from lit_distill.teachers.cosmos_server import CosmosPolicy

    try:
        return CosmosPolicy(**dict(options))
    except FileNotFoundError as error:
        raise LitDistillError(f"embeddings: {error}") from None
    except Exception as error:  # upstream's code
        raise LitDistillError(f"cosmos_policy: cannot be loaded here: {one_line(error)[:200]}") from error


def _connect(
    server: str | None, timeout_s: float, token_env: str | None, options: dict[str, str]
) -> Connection:
    if server is not None:
        return HttpConnection(check_url(server, ("http", "https")), timeout_s, token_from(token_env))
    if importlib.util.find_spec("cosmos_policy") is None:
        raise LitDistillError(
            "server: cosmos_policy cannot be imported here; start cosmos_server.py where it can be (README, "
            "`Other teachers`) and give init_args {server: http://HOST:8777}"
        )
    return _InProcess(options)
