"""How long does a chunk take the student, in each format, and how far is that from what the machine could do?

    python experiments/benchmarks/latency.py --output experiments/results/benchmarks/latency.json

Batch 1, two cameras, from numpy arrays to a numpy chunk, checks of the inputs included; weights are random,
as they do not matter here. Two parts, each with its formats taking turns in one run, so that a busy machine
slows all of them:
- `formats`: one shape (`--shape`) in torch (eager, TorchScript), onnxruntime and OpenVINO, with 1 and 2
  threads, and on a GPU, where there is one, as a CUDA graph;
- `shapes`: the shapes of `SHAPES` in the deployed formats, one thread.
Beside them `roofline_ms`: the convolutions' and matrix products' operations over the speed of a large matrix
product (torch, same threads and precision), and `memory_mib`: what loading and running adds to a fresh
process, and of the CUDA graph what torch takes of the GPU, without CUDA's own context. Takes two to three
minutes on two cores. The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import options, report
from torch.utils.flop_counter import FlopCounterMode
from turns import WARM_UP, alternate, turn

from lit_distill import runtime
from lit_distill.export.formats import processor_capabilities, write_model
from lit_distill.export.graph import DeployedStudent
from lit_distill.networks.student import StudentNetwork
from lit_distill.runtime import Policy
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, PROPRIO_DIM

SHAPES: dict[str, dict[str, Any]] = {
    "bc_fast": {"channels": (16, 32, 128), "hidden": 512},
    "wide": {"hidden": 512},
    "hidden_256": {"hidden": 256},
    "channels_16_64": {"channels": (16, 64, 128)},
    "channels_24_48": {"channels": (24, 48, 128)},
    "channels_16_48": {"channels": (16, 48, 128)},
    "channels_16_32": {"channels": (16, 32, 128)},
    "channels_16_32_weighted": {"channels": (16, 32, 128), "pooling": "weighted_average"},
    "strides_4_4_2": {"channels": (16, 32, 128), "hidden": 512, "strides": (4, 4, 2)},
    "kernels_3_3_3": {"kernel_sizes": (3, 3, 3)},
    "kernels_5_3_1": {"kernel_sizes": (5, 3, 1)},
}
"""Name -> what differs from the network's defaults, with a spatial softmax as in conf/bc_fast.yaml."""
TASK_ROW = 9
GEMM_SIZE = 1024
Infer = Callable[[], Any]

MEMORY_PROGRAM = """
import json, sys, psutil, numpy as np
sys.path.insert(0, {source!r})
rss = lambda: psutil.Process().memory_info().rss / 2**20
image, proprio = np.zeros(({size}, {size}, 3), np.uint8), np.zeros(7, np.float32)
before = rss()
{load}
loaded = rss()
for _ in range(200):
    infer()
print(json.dumps({{"before": before, "loading": loaded - before, "running": rss() - loaded}}))
"""
LOAD_POLICY = """
from policy import Policy
policy = Policy.load({folder!r}, precision={precision!r})
infer = lambda: policy(image, image, proprio)
"""
LOAD_TORCH = """
import torch
from lit_distill.networks.student import StudentNetwork
torch.set_num_threads(1)
network = StudentNetwork(**{arguments!r}).eval().requires_grad_(False)
inputs = [torch.from_numpy(part)[None] for part in (image, image, proprio)]
infer = lambda: network(*inputs, torch.tensor([0]))
"""
LOAD_TORCHSCRIPT = """
import torch
torch.set_num_threads(1)
network = torch.jit.optimize_for_inference(torch.jit.load({path!r}))
inputs = [torch.from_numpy(part)[None] for part in (image, image, proprio)]
infer = lambda: network(*inputs)
"""
GPU_MEMORY_PROGRAM = """
import json, sys
sys.path.insert(0, {benchmarks!r})
from pathlib import Path
import torch
from latency import Bench
infer = Bench(Path({root!r}), {size}).cuda_graph({shape!r})
for _ in range(200):
    infer()
print(json.dumps({{"gpu": torch.cuda.max_memory_reserved() / 2**20}}))
"""


class Bench:
    """One observation, and the folders that were exported for it."""

    def __init__(self, root: Path, image_size: int) -> None:
        random = np.random.default_rng(0)
        self.root, self.image_size = root, image_size
        views = random.integers(0, 256, (2, image_size, image_size, 3), dtype=np.uint8)
        self.seen = (views[0], views[1], random.normal(size=PROPRIO_DIM).astype(np.float32))

    def network(self, shape: str) -> StudentNetwork:
        """A student with random weights."""
        torch.manual_seed(0)
        arguments = {"pooling": "spatial_softmax", "image_size": self.image_size, **SHAPES[shape]}
        return StudentNetwork(**arguments).eval()

    def folder(self, shape: str, format: Any) -> Path:
        """The shape in a format; without the check, which needs a trained student and the simulator."""
        folder = self.root / shape / format
        if not folder.exists():
            folder.mkdir(parents=True)
            write_model(self.network(shape), TASK_ROW, format, folder)
            config = {
                "model_type": runtime.MODEL_TYPE,
                "format_version": runtime.FORMAT_VERSION,
                "image_size": self.image_size,
                "chunk_length": CHUNK_LENGTH,
                "action_dim": ACTION_DIM,
            }
            (folder / runtime.CONFIG).write_text(json.dumps(config))
        return folder

    def deployed(self, shape: str, threads: int) -> dict[str, Infer]:
        """The formats that need no torch."""
        policies = {
            name: Policy.load(self.folder(shape, format), threads=threads, precision=precision)
            for name, format, precision in deployed_formats()
        }
        return {name: lambda policy=policy: policy(*self.seen) for name, policy in policies.items()}

    def torch_formats(self, shape: str) -> dict[str, Infer]:
        """torch on the processor, with as many threads as are set when it is called."""
        network, row = self.network(shape), torch.tensor([TASK_ROW])
        traced = torch.jit.optimize_for_inference(self._traced(shape))
        return {
            "torch_eager": lambda: network(*self._batch(), row)[0].numpy(),
            "torchscript": lambda: traced(*self._batch())[0].numpy(),
        }

    def _traced(self, shape: str) -> Any:
        """The shape as TorchScript, frozen."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.freeze(
                torch.jit.trace(DeployedStudent(self.network(shape), TASK_ROW), self._batch())
            )

    def cuda_graph(self, shape: str) -> Infer:
        """torch on the GPU: pinned memory, both copies and the network in one graph, one wait at its end."""
        device = torch.device("cuda")
        student = DeployedStudent(self.network(shape), TASK_ROW).to(device)
        pinned = [part.pin_memory() for part in self._batch()]
        inputs = [part.to(device) for part in pinned]
        answer = torch.empty(1, CHUNK_LENGTH, ACTION_DIM).pin_memory()
        hosts = [part.numpy() for part in pinned]

        def step() -> None:
            for target, source in zip(inputs, pinned, strict=True):
                target.copy_(source, non_blocking=True)
            answer.copy_(student(*inputs), non_blocking=True)

        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()

        def infer() -> np.ndarray:
            for host, array in zip(hosts, self.seen, strict=True):
                host[0] = array
            graph.replay()
            torch.cuda.synchronize()
            return answer[0].numpy().copy()

        return infer

    def _batch(self) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(array)[None] for array in self.seen)

    def memory(self, shape: str) -> dict[str, dict[str, float]]:
        """MiB that each format of `formats` takes, one thread."""
        return {name: _run(program) for name, program in self.memory_programs(shape).items()}

    def memory_programs(self, shape: str) -> dict[str, str]:
        """What a fresh process runs of each format, to say what loading and running it has added."""
        source = self.root / "source"
        source.mkdir(exist_ok=True)
        (source / "policy.py").write_bytes(Path(runtime.__file__).read_bytes())
        traced = source / "torchscript.pt"
        torch.jit.save(self._traced(shape), str(traced))
        loads = {
            "torch_eager": LOAD_TORCH.format(arguments=self.network(shape).arguments),
            "torchscript": LOAD_TORCHSCRIPT.format(path=str(traced)),
        }
        for name, format, precision in deployed_formats():
            loads[name] = LOAD_POLICY.format(folder=str(self.folder(shape, format)), precision=precision)
        programs = {
            name: MEMORY_PROGRAM.format(source=str(source), size=self.image_size, load=load)
            for name, load in loads.items()
        }
        if torch.cuda.is_available():
            programs["cuda_graph"] = GPU_MEMORY_PROGRAM.format(
                benchmarks=str(Path(__file__).parent), root=str(self.root), size=self.image_size, shape=shape
            )
        return programs

    def megaflops(self, shape: str) -> float:
        """Operations of a chunk's convolutions and matrix products, a multiply-add is two."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.network(shape)(*self._batch(), torch.tensor([TASK_ROW]))
        return counter.get_total_flops() / 1e6


def _run(program: str) -> dict[str, float]:
    command = [sys.executable, "-c", program]
    last = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    return {key: round(value, 1) for key, value in json.loads(last).items()}


def deployed_formats() -> list[tuple[str, str, str]]:
    """Name, format and precision; bf16 where OpenVINO says that the processor has it."""
    formats = [("onnxruntime_f32", "onnx", "f32"), ("openvino_f32", "openvino", "f32")]
    if "BF16" in processor_capabilities():
        formats.append(("openvino_bf16", "openvino", "bf16"))
    return formats


def percentiles(formats: dict[str, Infer], turns: int, calls: int) -> dict[str, dict[str, float]]:
    """p50, p95 and p99 (ms) of each format; they take turns of `calls` calls, or fewer on a busy machine."""
    with torch.inference_mode():
        return alternate({name: partial(turn, infer, calls) for name, infer in formats.items()}, turns)


def peak_gflops(dtype: torch.dtype, device: str = "cpu") -> float:
    """Speed of a large matrix product, the best of a few (GFLOP/s)."""
    size = GEMM_SIZE if device == "cpu" else 8 * GEMM_SIZE
    matrix = torch.randn(size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def measure_formats(bench: Bench, shape: str, threads: list[int], turns: int, calls: int) -> dict[str, Any]:
    """One shape in every format, with each number of threads."""
    megaflops = bench.megaflops(shape)
    figures: dict[str, Any] = {}
    for number in threads:
        torch.set_num_threads(number)
        formats = bench.torch_formats(shape) | bench.deployed(shape, number)
        if torch.cuda.is_available():
            formats["cuda_graph"] = bench.cuda_graph(shape)
        peaks = {"f32": peak_gflops(torch.float32)}
        if len(deployed_formats()) > 2:
            peaks["bf16"] = peak_gflops(torch.bfloat16)
        if torch.cuda.is_available():
            peaks["cuda_f32"] = peak_gflops(torch.float32, "cuda")
        figures[f"{number}_threads"] = {
            "latency_ms": percentiles(formats, turns, calls),
            "peak_gflops": {name: round(peak, 1) for name, peak in peaks.items()},
            "roofline_ms": {name: round(megaflops / peak, 4) for name, peak in peaks.items()},
        }
        print(f"{shape}, {number} threads: {figures[f'{number}_threads']['latency_ms']}", flush=True)
    return figures


def measure_shapes(bench: Bench, shapes: list[str], turns: int, calls: int) -> dict[str, Any]:
    """Some shapes in the deployed formats, one thread, all taking turns."""
    torch.set_num_threads(1)
    formats = {
        f"{shape} {name}": infer for shape in shapes for name, infer in bench.deployed(shape, 1).items()
    }
    taken = percentiles(formats, turns, calls)
    figures = {}
    for shape in shapes:
        network = bench.network(shape)
        figures[shape] = {
            "network": network.arguments,
            "parameters": network.parameter_count,
            "megaflops": round(bench.megaflops(shape), 1),
            "p50_ms": {name.split()[1]: ms["p50"] for name, ms in taken.items() if name.split()[0] == shape},
        }
        print(f"{shape}: {figures[shape]['megaflops']} MFLOP, {figures[shape]['p50_ms']}", flush=True)
    return figures


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = options(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="bc_fast", help="of `formats` and `memory_mib`")
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=list(SHAPES), help="of `shapes`")
    parser.add_argument("--image-size", type=int, default=128, help="pixels")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--calls", type=int, default=100, help="timed calls of a format in a turn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        bench = Bench(Path(root), arguments.image_size)
        load = os.getloadavg()[0]
        formats = measure_formats(bench, arguments.shape, arguments.threads, arguments.turns, arguments.calls)
        shapes = measure_shapes(bench, arguments.shapes, arguments.turns, arguments.calls)
        figures = {
            "shape": arguments.shape,
            "image_size": arguments.image_size,
            "calls_at_most": arguments.turns * arguments.calls,
            "load_average_before": round(load, 2),
            "formats": formats,
            "shapes": shapes,
            "memory_mib": bench.memory(arguments.shape),
        }
        fastest = min(
            formats[f"{arguments.threads[0]}_threads"]["latency_ms"].items(), key=lambda f: f[1]["p50"]
        )
        figures["fastest"] = {"format": fastest[0], "p50_ms": fastest[1]["p50"]}
    report("latency", figures, arguments.output)


if __name__ == "__main__":
    main()
