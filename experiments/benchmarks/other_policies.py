"""How much faster than other projects' policies is the student? LeRobot's ACT and robomimic's BC beside it.

    python experiments/benchmarks/other_policies.py --prepare            # once: their environment
    python experiments/benchmarks/other_policies.py --output FILE.json

Their packages do not fit beside ours, so they get a virtual environment of their own (`--environment`, by
default `~/.cache/lit_distill/other_policies`), made at first use with the versions of `other_environment.py`,
and a process in it that answers "take a turn". Theirs and ours take turns in one run, so that a busy machine
slows both. Batch 1, two views of 128 px and seven numbers of proprioception, numpy in, numpy out; all weights
are random, as they do not matter here.

- `act`: LeRobot's ACT, its defaults, chunks of 16; with LeRobot's own processors (`act_network`: without);
- `robomimic_bc`: robomimic's BC-RNN-GMM for images. One action a call, where ours and ACT give 16;
- ours: the shape in `conf/` in torch, onnxruntime and OpenVINO, as in `latency.py`.

`times_ours` is their median over ours, call by call; ours has bf16 where `processor_has` names it. Takes four
minutes on two cores once the environment is there. The last line is one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from common import options, report
from latency import SHAPES, Bench
from other_environment import environment, own_variables, usual_folder
from turns import alternate, turn

from lit_distill.export.formats import processor_capabilities

WORKER = Path(__file__).with_name("other_policies_worker.py")
PATIENCE_S = 300.0
"""How long the other process may take to load, or beyond a turn's seconds."""


class Elsewhere:
    """The process in the other environment; a context manager.

    Attributes:
        about: policy -> what it is, or `not available: reason`.
        torch: version of its torch.

    Raises:
        SystemExit: one line: it ended, or does not answer.
    """

    def __init__(self, command: list[str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            command,
            env=own_variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        said = self._answer(PATIENCE_S)
        self.about: dict[str, dict[str, Any] | str] = said["about"]
        self.torch: str = said["torch"]

    @property
    def policies(self) -> list[str]:
        """Those that can be timed."""
        return [name for name, about in self.about.items() if not isinstance(about, str)]

    def turn(self, policy: str, threads: int, calls: int, seconds: float) -> list[float]:
        """Milliseconds of each call of one turn there."""
        assert self._process.stdin is not None
        request = {"policy": policy, "threads": threads, "calls": calls, "seconds": seconds}
        with contextlib.suppress(BrokenPipeError):  # `_answer` says why
            print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._answer(seconds + PATIENCE_S)
        if "error" in answer:
            raise SystemExit(f"{policy}: {answer['error']}")
        times: list[float] = answer["ms"]
        return times

    def _answer(self, patience_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        deadline = threading.Timer(patience_s, give_up)
        deadline.daemon = True  # an interrupted benchmark does not wait for it
        deadline.start()
        try:
            line = self._process.stdout.readline()
        finally:
            deadline.cancel()
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            if late.is_set():
                raise SystemExit(
                    f"the other policies' process: no answer in {patience_s:g} s: {self._last_words()}"
                ) from None
            raise SystemExit(f"the other policies' process ended: {self._last_words()}") from None
        return answer

    def _last_words(self) -> str:
        self._process.kill()
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else f"exit status {code}"

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def times_ours(
    latency_ms: Mapping[str, Mapping[str, float]], others: list[str]
) -> dict[str, dict[str, float]]:
    """Each other policy's median over the median of each of our formats."""
    ours = [name for name in latency_ms if name not in others]
    return {
        other: {name: round(latency_ms[other]["p50"] / latency_ms[name]["p50"], 1) for name in ours}
        for other in others
    }


def measure(
    bench: Bench, elsewhere: Elsewhere, shape: str, threads: int, turns: int, calls: int, seconds: float
) -> dict[str, Any]:
    """Latencies and ratios with one number of threads."""
    torch.set_num_threads(threads)
    ours = {"torch_eager": bench.torch_formats(shape)["torch_eager"]} | bench.deployed(shape, threads)
    takers: dict[str, Callable[[], list[float]]] = {
        name: partial(turn, infer, calls) for name, infer in ours.items()
    }
    for name in elsewhere.policies:
        takers[name] = partial(elsewhere.turn, name, threads, calls, seconds)
    with torch.inference_mode():
        latency_ms = alternate(takers, turns)
    return {"latency_ms": latency_ms, "times_ours": times_ours(latency_ms, elsewhere.policies)}


def main() -> None:
    """Parse the arguments, make the environment, measure, print."""
    parser = options(__doc__)
    parser.add_argument("--environment", type=Path, default=usual_folder(), help="folder of their packages")
    parser.add_argument("--prepare", action="store_true", help="only make the environment and try it")
    parser.add_argument("--shape", choices=SHAPES, default="bc_fast", help="ours")
    parser.add_argument("--image-size", type=int, default=128, help="pixels")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--calls", type=int, default=100, help="timed calls in a turn, at most")
    parser.add_argument("--seconds", type=float, default=3.0, help="a turn of another policy ends then")
    arguments = parser.parse_args()
    python = environment(arguments.environment)
    load = os.getloadavg()[0]
    command = [str(python), str(WORKER), str(arguments.image_size)]
    with Elsewhere(command) as elsewhere, tempfile.TemporaryDirectory() as root:
        if arguments.prepare:
            print(json.dumps({"torch": elsewhere.torch, "others": elsewhere.about}))
            return
        bench = Bench(Path(root), arguments.image_size)
        figures: dict[str, Any] = {
            "image_size": arguments.image_size,
            "shape": arguments.shape,
            "parameters": bench.network(arguments.shape).parameter_count,
            "others": elsewhere.about,
            "others_torch": elsewhere.torch,
            "processor_has": processor_capabilities(),
            "load_average_before": round(load, 2),
        }
        for threads in arguments.threads:
            found = measure(
                bench,
                elsewhere,
                arguments.shape,
                threads,
                arguments.turns,
                arguments.calls,
                arguments.seconds,
            )
            figures[f"{threads}_threads"] = found
            print(f"{threads} threads: {found}", file=sys.stderr, flush=True)
    report("other_policies", figures, arguments.output)


if __name__ == "__main__":
    main()
