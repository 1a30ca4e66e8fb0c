"""Serves Cosmos Policy for LIBERO. This file runs inside Cosmos Policy's own environment: copy it there.

It needs nothing but `cosmos_policy`, numpy and Python 3.10 or later, and nothing of the package that it comes
with. In the folder of NVlabs/cosmos-policy:

    uv run --extra cu128 --group libero --python 3.10 python cosmos_server.py embed --prompts prompts.txt
    uv run --extra cu128 --group libero --python 3.10 python cosmos_server.py serve

`embed` computes the T5 embeddings of our prompts once, with the large text encoder, beside the published
ones; `serve` never loads that encoder. Requests are answered one after the other by one thread that owns the
GPU. Data and kept answers know the hash of the file of embeddings, so that with another one, of more prompts
too, it is another teacher: compute them all before anything is collected.

    GET  /healthz   200 "OK" once the model is loaded
    GET  /metadata  {"policy": "cosmos-policy", "checkpoint": ..., "config": ..., "dataset_stats_sha256": ...,
                     "embeddings_sha256": ...}
    POST /act       {"observation": {"primary_image", "wrist_image": uint8 [256, 256, 3], upright, not
                                     mirrored; "proprio": float64 [9] gripper_qpos 2, eef_pos 3, eef_quat
                                     xyzw 4},
                     "task_description": str, "seed": int, "num_denoising_steps_action": int,
                     "use_jpeg_compression": bool, "trained_with_image_aug": bool}
                 -> {"actions": [16][7], "value_prediction": float in [0, 1]}
                 -> status 4xx or 5xx and {"error": "one line"}

Arrays are as json-numpy writes them: {"__numpy__": base64, "dtype": "|u1", "shape": [256, 256, 3]}.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import hashlib
import hmac
import ipaddress
import json
import math
import os
import pickle
import queue
import select
import signal
import socket
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable  # noqa: UP035 (Python 3.10)

import numpy as np

REPOSITORY = "nvidia/Cosmos-Policy-LIBERO-Predict2-2B"
CONFIG = "cosmos_predict2_2b_480p_libero__inference_only"
EMBEDDINGS = "lit_distill_t5_embeddings.pkl"
MAX_BODY_BYTES = 8 * 2**20
IDLE_SECONDS = 60.0
DISCARD_SECONDS = 2.0
IMAGE_SHAPE = (256, 256, 3)
PROPRIO_SHAPE = (9,)
ACTION_DIM = 7


class RequestError(Exception):
    """The client's mistake; the text is sent to it."""


# -- the policy ------------------------------------------------------------------------------------------


def import_cosmos() -> tuple[Any, Any]:
    """cosmos_policy's modules for LIBERO: it chooses the robot by looking for its name in sys.argv."""
    os.environ.setdefault("DETERMINISTIC", "True")  # as upstream's evaluation sets it
    arguments, sys.argv = sys.argv, [sys.argv[0], "libero"]
    try:
        from cosmos_policy.constants import ACTION_DIM as action_dim
        from cosmos_policy.experiments.robot import cosmos_utils
        from cosmos_policy.experiments.robot.libero.run_libero_eval import PolicyEvalConfig
    finally:
        sys.argv = arguments
    if action_dim != ACTION_DIM:
        raise RuntimeError(f"cosmos_policy is set up for another robot: {action_dim} action dimensions")
    return cosmos_utils, PolicyEvalConfig


def local(path: str) -> str:
    """A path that is here made absolute: upstream looks up `a/b` and `../a/b` on the Hugging Face hub."""
    return os.path.abspath(path) if os.path.exists(path) else path


class CosmosPolicy:
    """The model, asked as upstream's LIBERO evaluation asks it.

    Args:
        checkpoint: repository or folder of the weights.
        config: upstream's name of the model's configuration.
        dataset_stats: JSON of the action and proprio ranges; None: the checkpoint repository's.
        embeddings: pickle of the prompts' T5 embeddings, made by `embed`; read only your own.
    """

    def __init__(
        self,
        checkpoint: str = REPOSITORY,
        config: str = CONFIG,
        dataset_stats: str | None = None,
        embeddings: str = EMBEDDINGS,
    ) -> None:
        self._cosmos, make_config = import_cosmos()
        if not os.path.exists(embeddings):
            raise FileNotFoundError(f"{embeddings}: no such file; `cosmos_server.py embed` makes it")
        stats = local(dataset_stats or f"{REPOSITORY}/libero_dataset_statistics.json")
        embeddings = local(embeddings)
        self._config = make_config(
            config=config,
            ckpt_path=local(checkpoint),
            config_file="cosmos_policy/config/config.py",
            dataset_stats_path=stats,
            t5_text_embeddings_path=embeddings,
            use_wrist_image=True,
            use_proprio=True,
            normalize_proprio=True,
            unnormalize_actions=True,
            chunk_size=16,
            num_open_loop_steps=16,
            trained_with_image_aug=True,
            use_jpeg_compression=True,
            flip_images=True,
            num_denoising_steps_action=5,
            num_denoising_steps_future_state=1,
            num_denoising_steps_value=1,
        )
        self._stats = self._cosmos.load_dataset_stats(stats)
        self._cosmos.init_t5_text_embeddings_cache(embeddings)
        self._model, _ = self._cosmos.get_model(self._config)
        self.metadata = {
            "policy": "cosmos-policy",
            "checkpoint": str(checkpoint),
            "config": config,
            "dataset_stats_sha256": content_sha256(self._stats),
            "embeddings_sha256": file_sha256(embeddings),
        }
        if os.path.exists(checkpoint):  # a path says less than a repository's name of what lies there
            self.metadata["weights_sha256"] = weights_sha256(checkpoint)

    def act(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request of `POST /act` whose arrays are numpy's.

        The images are upright already, so nothing is flipped; upstream resizes, compresses and crops them
        itself, normalises the proprioception, and gives the value in [0, 1].
        """
        observation, prompt = check_request(request)
        if prompt not in self._cosmos.t5_text_embeddings_cache:
            raise RequestError(f"prompt {prompt!r} has no embedding; `cosmos_server.py embed` makes it")
        config = copy.copy(self._config)
        for key in ("use_jpeg_compression", "trained_with_image_aug"):
            setattr(config, key, request[key])
        answer = self._cosmos.get_action(
            config,
            self._model,
            self._stats,
            observation,
            prompt,
            seed=request["seed"],
            num_denoising_steps_action=request["num_denoising_steps_action"],
            generate_future_state_and_value_in_parallel=True,
        )
        actions = np.asarray(answer["actions"], dtype=np.float64)
        value = answer.get("value_prediction")
        return {"actions": actions.tolist(), "value_prediction": None if value is None else float(value)}


def content_sha256(statistics: dict[str, Any]) -> str:
    """Hash of the numbers in the statistics, whatever file they were read from."""
    numbers = {key: np.asarray(value).tolist() for key, value in statistics.items()}
    return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()


def file_sha256(path: str) -> str:
    """Hash of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def weights_sha256(checkpoint: str) -> str:
    """Tells weights in a file or folder apart without reading gigabytes: names, sizes, both ends of each."""
    paths = [checkpoint]
    if os.path.isdir(checkpoint):
        paths = [os.path.join(folder, name) for folder, _, names in os.walk(checkpoint) for name in names]
    digest = hashlib.sha256()
    for path in sorted(paths):
        size = os.path.getsize(path)
        digest.update(f"{os.path.relpath(path, checkpoint)} {size}\n".encode())
        with open(path, "rb") as stream:
            digest.update(stream.read(2**20))
            stream.seek(max(0, size - 2**20))
            digest.update(stream.read(2**20))
    return digest.hexdigest()


def check_request(request: Any) -> tuple[dict[str, np.ndarray], str]:
    """The observation and the prompt of a request; raises RequestError that names what is wrong."""
    if not isinstance(request, dict) or not isinstance(request.get("observation"), dict):
        raise RequestError("observation: missing")
    observation, prompt = request["observation"], request.get("task_description")
    shapes = {"primary_image": IMAGE_SHAPE, "wrist_image": IMAGE_SHAPE, "proprio": PROPRIO_SHAPE}
    for key, shape in shapes.items():
        array = observation.get(key)
        if not isinstance(array, np.ndarray) or array.shape != shape:
            raise RequestError(f"observation.{key}: expected an array {list(shape)}")
        if key != "proprio" and array.dtype != np.uint8:
            raise RequestError(f"observation.{key}: expected uint8, got {array.dtype}")
    if observation["proprio"].dtype.kind != "f" or not np.isfinite(observation["proprio"]).all():
        raise RequestError("observation.proprio: must be finite floats")
    if not isinstance(prompt, str) or not prompt:
        raise RequestError("task_description: missing")
    for key, kind in (
        ("seed", int),
        ("num_denoising_steps_action", int),
        ("use_jpeg_compression", bool),
        ("trained_with_image_aug", bool),
    ):
        if type(request.get(key)) is not kind:
            raise RequestError(f"{key}: expected {kind.__name__}")
    if not 1 <= request["num_denoising_steps_action"] <= 1000 or request["seed"] < 0:
        raise RequestError("num_denoising_steps_action, seed: out of range")
    return {key: observation[key] for key in shapes}, prompt


# -- the wire --------------------------------------------------------------------------------------------


def from_json(value: Any) -> Any:
    """A copy in which arrays are numpy's; raises RequestError for one that is not as it says."""
    if isinstance(value, list):
        return [from_json(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "__numpy__" not in value:
        return {key: from_json(entry) for key, entry in value.items()}
    try:
        dtype = np.dtype({"|u1": "|u1", "<f4": "<f4", "<f8": "<f8"}[value["dtype"]])
        shape = [int(size) for size in value["shape"]]
        data = base64.b64decode(value["__numpy__"], validate=True)
        if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError("its size")
        return np.frombuffer(data, dtype).reshape(shape).copy()
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f"array: not uint8, float32 or float64 as json-numpy writes it ({error})"
        ) from None


class Job:
    """One request in the queue."""

    def __init__(self, request: Any) -> None:
        self.request, self.done, self.abandoned = request, threading.Event(), False
        self.status = 500
        self.answer: dict[str, Any] = {"error": "not answered"}


class Queue:
    """Requests, answered one at a time by one thread: the one that built the policy."""

    def __init__(self, make_policy: Callable[[], CosmosPolicy]) -> None:
        self._jobs: queue.Queue[Job] = queue.Queue()
        self._make_policy = make_policy
        self.metadata: dict[str, str] | None = None
        self.failure: Exception | None = None

    def start(self) -> None:
        """Begin to load the policy; should that fail, `failure` says why and this process gets a SIGTERM."""
        threading.Thread(target=self._work, daemon=True).start()

    def put(self, request: Any) -> Job:
        """Queue a request; its job says when it is done."""
        job = Job(request)
        self._jobs.put(job)
        return job

    def _work(self) -> None:
        try:
            policy = self._make_policy()
        except Exception as error:
            self.failure = error
            traceback.print_exc()
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self.metadata = policy.metadata
        say("model loaded")
        while True:
            job = self._jobs.get()
            if not job.abandoned:
                self._answer(policy, job)
            job.done.set()

    def _answer(self, policy: CosmosPolicy, job: Job) -> None:
        started = time.perf_counter()
        try:
            job.status, job.answer = 200, policy.act(job.request)
            say(f"answered in {1e3 * (time.perf_counter() - started):.0f} ms")
        except RequestError as error:
            job.status, job.answer = 422, {"error": one_line(error)}
        except Exception as error:
            traceback.print_exc()
            text = f"the policy failed with {type(error).__name__}; the server's log says more"
            job.status, job.answer = 500, {"error": text}


def one_line(error: BaseException) -> str:
    """An exception's text without line breaks."""
    return " ".join(str(error).split())[:300]


def make_handler(jobs: Queue, token: str | None) -> type[BaseHTTPRequestHandler]:
    """The class that handles one connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE_SECONDS
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path == "/healthz":
                loaded = jobs.metadata is not None
                self.reply(200 if loaded else 503, b"OK" if loaded else b"loading", "text/plain")
            elif (refusal := self.refusal()) is not None:
                self.refuse(*refusal)
            elif self.path != "/metadata":
                self.refuse(404, "there are /act, /metadata and /healthz")
            elif jobs.metadata is None:
                self.refuse(503, "loading")
            else:
                self.answer(200, jobs.metadata)

        def do_POST(self) -> None:
            try:
                length = int(self.headers.get("Content-Length", ""))
            except ValueError:
                length = -1
            if (refusal := self.refusal()) is not None:
                self.refuse(*refusal, length)
            elif self.path != "/act":
                self.refuse(404, "there are /act, /metadata and /healthz", length)
            elif not 0 <= length <= MAX_BODY_BYTES:
                self.refuse(413, f"Content-Length: must be given and at most {MAX_BODY_BYTES}", length)
            elif jobs.metadata is None:
                self.refuse(503, "loading", length)
            elif len(body := self.rfile.read(length)) == length:
                self.act(body)

        def act(self, body: bytes) -> None:
            try:
                request = from_json(json.loads(body))
            except (RequestError, ValueError, RecursionError) as error:
                self.answer(400, {"error": one_line(error)})
                return
            self.wait(jobs.put(request))

        def wait(self, job: Job) -> None:
            while not job.done.wait(0.5):
                if self.left():
                    job.abandoned = True
                    self.close_connection = True
                    return
            self.answer(job.status, job.answer)

        def left(self) -> bool:
            """Whether the client has closed its side: it sends nothing while it waits."""
            waiting = select.poll()  # select knows no file number from 1024 on
            waiting.register(self.connection, select.POLLIN)
            try:
                return bool(waiting.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)
            except OSError:  # it broke off
                return True

        def refusal(self) -> tuple[int, str] | None:
            """Why this client is not served: browsers send an Origin, simulators send none."""
            if "Origin" in self.headers:
                return 403, "web pages are not served"
            given = self.headers.get("Authorization", "").encode(errors="replace")
            if token is None or hmac.compare_digest(given, f"Api-Key {token}".encode()):
                return None
            return 401, "a token is needed: Authorization: Api-Key ..."

        def refuse(self, status: int, text: str, length: int = 0) -> None:
            """Answer what cannot be answered, before its body of `length` bytes, and close the connection."""
            self.close_connection = True
            self.answer(status, {"error": text})
            self.discard(min(length, MAX_BODY_BYTES))

        def discard(self, length: int) -> None:
            """Let a client finish sending, for a moment: a body left unread would cost it the answer."""
            self.connection.settimeout(DISCARD_SECONDS)
            end = time.monotonic() + DISCARD_SECONDS
            with contextlib.suppress(OSError):
                while length > 0 and time.monotonic() < end:
                    piece = self.rfile.read1(min(length, 2**16))
                    if not piece:
                        return
                    length -= len(piece)

        def answer(self, status: int, value: dict[str, Any]) -> None:
            self.reply(status, json.dumps(value).encode(), "application/json")

        def reply(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """One line for each answer is enough; `Queue` prints it."""

    return Handler


class Server(ThreadingHTTPServer):
    """Connections in threads of their own, ended with the process."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is no news."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


# -- the commands ----------------------------------------------------------------------------------------


def serve(arguments: argparse.Namespace) -> None:
    """Serve until interrupted."""
    token = os.environ.get(arguments.token_env, "").strip() if arguments.token_env else None
    if arguments.token_env and not token:
        sys.exit(f"error: --token_env: the environment variable {arguments.token_env} is not set")
    if token is None and not is_loopback(arguments.host):
        sys.exit(f"error: --host {arguments.host} can be reached from other machines: give --token_env, too")
    if not 0 <= arguments.port <= 65535:
        sys.exit(f"error: --port: must be in 0..65535, got {arguments.port}")

    def make_policy() -> CosmosPolicy:
        return CosmosPolicy(
            arguments.checkpoint, arguments.config, arguments.dataset_stats, arguments.embeddings
        )

    jobs = Queue(make_policy)
    try:
        server = Server((arguments.host, arguments.port), make_handler(jobs, token))
    except OSError as error:
        sys.exit(f"error: cannot listen on {arguments.host}:{arguments.port}: {error.strerror}")
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    jobs.start()  # which ends the server with that signal should loading fail
    say(f"cosmos-policy: serving at http://{arguments.host}:{server.server_address[1]}")
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    if jobs.failure is not None:
        sys.exit(f"error: the policy could not be loaded: {one_line(jobs.failure)}")


def say(line: str) -> None:
    """Print a line in one piece: `print` writes its end apart, and other threads print, too."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def embed(arguments: argparse.Namespace) -> None:
    """Compute the embeddings of the prompts that are missing; write all of them to one file."""
    try:
        with open(arguments.prompts, encoding="utf-8") as stream:
            prompts = [line.strip() for line in stream if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"error: --prompts {arguments.prompts}: cannot be read: {one_line(error)}")
    output = os.path.abspath(arguments.embeddings)
    cosmos, _ = import_cosmos()
    known: dict[str, Any] = {}
    for path in (local(arguments.published), output):
        cosmos.t5_text_embeddings_cache.clear()  # upstream reads a file into an empty cache only
        cosmos.init_t5_text_embeddings_cache(path)
        if path != output and not cosmos.t5_text_embeddings_cache:  # upstream says nothing of a failure
            sys.exit(
                f"error: --published {arguments.published}: no embeddings could be read; nothing was written"
            )
        known.update(cosmos.t5_text_embeddings_cache)
    missing = [prompt for prompt in prompts if prompt not in known]
    for number, prompt in enumerate(missing, 1):
        print(f"{number}/{len(missing)}: {prompt}", flush=True)
        known[prompt] = cosmos.get_text_embedding(prompt)
    temporary = output + ".tmp"
    with open(temporary, "wb") as stream:
        pickle.dump({prompt: on_cpu(embedding) for prompt, embedding in known.items()}, stream)
    os.replace(temporary, output)
    print(f"{arguments.embeddings}: {len(missing)} of {len(prompts)} prompts added", flush=True)


def on_cpu(embedding: Any) -> Any:
    """A tensor's copy in main memory, anything else as it is."""
    return embedding.cpu() if hasattr(embedding, "cpu") else embedding


def main(words: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="answer requests")
    serving.add_argument("--host", default="127.0.0.1")
    serving.add_argument("--port", type=int, default=8777)
    serving.add_argument("--token_env", help="environment variable with the token that clients must send")
    serving.add_argument("--checkpoint", default=REPOSITORY)
    serving.add_argument("--config", default=CONFIG)
    serving.add_argument("--dataset_stats", help="default: the checkpoint repository's")
    embedding = commands.add_parser("embed", help="compute text embeddings, once")
    embedding.add_argument("--prompts", required=True, help="a text file, a prompt a line")
    embedding.add_argument("--published", default=f"{REPOSITORY}/libero_t5_embeddings.pkl")
    for command in (serving, embedding):
        command.add_argument("--embeddings", default=EMBEDDINGS)
    arguments = parser.parse_args(words)
    {"serve": serve, "embed": embed}[arguments.command](arguments)


if __name__ == "__main__":
    main()
