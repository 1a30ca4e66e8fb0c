"""What the machine is and how busy it was: GPU through NVML where there is one, CPU and memory always."""

from __future__ import annotations

import functools
import logging
import os
import platform
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import pynvml
import torch

from lit_distill.errors import LitDistillError

NOT_AVAILABLE = "not available"
MIB = 1024 * 1024
_log = logging.getLogger(__name__)


def _torch_gpu_handle() -> Any:
    """NVML's handle of the GPU that torch uses; of the first one if torch uses none (GL may render on it)."""
    if torch.cuda.is_available():
        uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    return pynvml.nvmlDeviceGetHandleByIndex(0)


def read_gpu(handle: Any) -> dict[str, float]:
    """Utilisation (%) and used memory (MiB) of a GPU, all processes together.

    Raises:
        pynvml.NVMLError: The driver does not tell (as for a part of a divided GPU).
    """
    return {
        "gpu_utilization_percent": float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        "gpu_memory_mib": pynvml.nvmlDeviceGetMemoryInfo(handle).used / MIB,
    }


@functools.cache
def _say_not_available(reason: str) -> None:
    """One line in the log per process and reason."""
    _log.warning("GPU utilisation and memory: %s (NVML: %s)", NOT_AVAILABLE, reason)


class HardwareSampler:
    """Context manager that samples the hardware from a thread of its own.

    | key                       | meaning                                                                   |
    |---------------------------|---------------------------------------------------------------------------|
    | `gpu_utilization_percent` | share of time in which the GPU computed, 0..100, or "not available"       |
    | `gpu_memory_mib`          | memory in use on the GPU, all processes, MiB, or "not available"          |
    | `cpu_percent`             | this process and its children, 100 = one core                             |
    | `rss_mib`                 | resident memory of the same, MiB (pages they share count once for each)   |

    Args:
        interval: Seconds between samples.

    Raises:
        LitDistillError: `interval` is not positive.
    """

    GPU_KEYS = ("gpu_utilization_percent", "gpu_memory_mib")
    CPU_KEYS = ("cpu_percent", "rss_mib")

    def __init__(self, interval: float = 0.5) -> None:
        if interval <= 0:
            raise LitDistillError(f"interval: must be a positive number of seconds, got {interval}")
        self.interval = interval
        self._samples: dict[str, list[float]] = {}
        self._processes: dict[int, psutil.Process] = {}
        self._gpu: Any = None
        self._nvml_open = False
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> HardwareSampler:
        """Open NVML if there is one and start sampling."""
        self._samples = {key: [] for key in self.GPU_KEYS + self.CPU_KEYS}
        self._processes = {}
        self._stop.clear()
        self._open_gpu()
        self._read_processes()  # psutil measures CPU time between two calls: this is the first
        self._thread = threading.Thread(target=self._run, name="hardware-sampler", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the thread, take a last sample, close NVML; also when the block raised."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        try:
            self._sample_if_none()
        finally:
            self._close_gpu()

    def summary(self) -> dict[str, Any]:
        """`{key: {"mean", "max"}}` of all samples so far, or "not available" in its place. JSON-ready."""
        if self._thread is not None:
            self._sample_if_none()
        with self._lock:
            samples = {key: list(values) for key, values in self._samples.items()}
        return {
            key: {"mean": sum(values) / len(values), "max": max(values)} if values else NOT_AVAILABLE
            for key, values in samples.items()
        }

    def _run(self) -> None:
        while not self._stop.wait(self.interval):
            self._sample()

    def _sample_if_none(self) -> None:
        """So that what ends before the first interval has a sample too; no more, as short ones are noisy."""
        with self._lock:
            missing = not self._samples["cpu_percent"]
        if missing:
            self._sample()

    def _sample(self) -> None:
        with self._lock:
            reading = self._read_processes()
            if self._gpu is not None:
                try:
                    reading |= read_gpu(self._gpu)
                except pynvml.NVMLError as error:
                    self._gpu = None
                    _say_not_available(str(error))
            for key, value in reading.items():
                self._samples[key].append(value)

    def _read_processes(self) -> dict[str, float]:
        """CPU share since the last call and memory, summed over this process and its children."""
        this = self._processes.get(os.getpid()) or psutil.Process()
        alive = {process.pid: process for process in [this, *this.children(recursive=True)]}
        self._processes = {pid: self._processes.get(pid, process) for pid, process in alive.items()}
        cpu = rss = 0.0
        for process in self._processes.values():
            try:
                with process.oneshot():
                    cpu += process.cpu_percent()
                    rss += process.memory_info().rss / MIB
            except psutil.Error:  # ended in between
                continue
        return {"cpu_percent": cpu, "rss_mib": rss}

    def _open_gpu(self) -> None:
        try:
            pynvml.nvmlInit()
            self._nvml_open = True
            self._gpu = _torch_gpu_handle()
        except pynvml.NVMLError as error:
            self._close_gpu()
            _say_not_available(str(error))

    def _close_gpu(self) -> None:
        self._gpu = None
        if self._nvml_open:
            self._nvml_open = False
            pynvml.nvmlShutdown()


def describe_hardware() -> dict[str, Any]:
    """What a results file says about the machine; names no host and no user.

    Returns:
        `cpu` (model), `cores` (usable by this process), `memory_gib`, `gpus` (names, as torch sees them),
        `torch`, `torch_threads`, `python`, `system`.
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return {
        "cpu": _cpu_model(),
        "cores": len(usable),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
