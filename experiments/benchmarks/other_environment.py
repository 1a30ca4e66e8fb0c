"""A virtual environment with LeRobot and robomimic, apart from the project's own, for `other_policies.py`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from lit_distill.cache import cache_folder

STEPS: dict[str, list[str]] = {
    # The project's own build, so that both sides run on the same one; first, or another would be resolved.
    "torch": ["torch==2.13.0"],
    # --no-deps: lerobot wants an older torch (below 2.11), and much that a network does not need (wandb,
    # rerun). torchvision 0.28.0 belongs to torch 2.13; lerobot 0.4.4 is the last for Python 3.11.
    "lerobot": ["--no-deps", "torchvision==0.28.0", "lerobot==0.4.4"],
    # What lerobot imports on the way to ACT, within the ranges that lerobot 0.4.4 asks for.
    "lerobot_needs": [
        "numpy==2.4.6",  # what was tested; torch asks for none
        "draccus==0.10.0",  # its configurations; the only version that lerobot allows
        "huggingface-hub==0.35.3",  # below 0.36; imported only, nothing is fetched
        "datasets==4.8.5",  # below 5
        "diffusers==0.35.2",  # below 0.36
        "accelerate==1.15.0",  # below 2
        "av==15.1.0",  # below 16
        "deepdiff==8.6.2",  # below 9
        "pyserial==3.5",  # below 4
        "packaging==25.0",  # below 26
        "einops==0.8.2",  # below 0.9
        "termcolor==3.3.0",  # below 4
        "imageio==2.38.1",  # below 3
        "safetensors==0.8.0",  # it names none: what was tested
    ],
    # The newest on PyPI. --no-deps: it wants egl_probe, which must be compiled, for its simulators.
    "robomimic": ["--no-deps", "robomimic==0.3.0"],
    # What robomimic imports on the way to BC; it names no versions.
    "robomimic_needs": [
        "matplotlib==3.11.2",
        "six==1.17.0",
        "termcolor==3.3.0",
        "tqdm==4.70.1",
    ],
}
"""Name -> what pip is told, in this order."""
OPTIONAL = ("robomimic", "robomimic_needs")
"""Steps without which ACT can be measured all the same."""
NOTE = "made_by_other_policies.json"


def usual_folder() -> Path:
    """`other_policies` in the user's cache."""
    return cache_folder() / "other_policies"


def environment(folder: Path) -> Path:
    """Its Python; made first if it is not there, which needs a package index.

    Raises:
        SystemExit: one line: it cannot be made, or the folder is somebody else's.
    """
    folder = folder.absolute()
    python = folder / "bin" / "python"
    _check_apart(folder)
    note = _read_note(folder)
    if note.get("steps") == STEPS and note.get("complete") and python.exists():
        return python
    if folder.exists():  # of other versions, or what a killed run left
        for path in [path for path in folder.iterdir() if path.name != NOTE]:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    _write_note(folder, {"steps": STEPS, "complete": False})
    _run([sys.executable, "-m", "venv", str(folder)], folder, "venv")
    for name, packages in STEPS.items():
        print(f"{folder}: installing {name}: {' '.join(packages)}", file=sys.stderr, flush=True)
        command = [str(python), "-m", "pip", "install", "--require-virtualenv", *packages]
        try:
            _run(command, folder, name)
        except SystemExit as failure:
            if name not in OPTIONAL:
                raise
            print(f"{failure}; delete the folder to try again", file=sys.stderr, flush=True)
    _write_note(folder, {"steps": STEPS, "complete": True})
    return python


def own_variables() -> dict[str, str]:
    """This process's environment variables without those that lead Python to this project's packages."""
    leading = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
    kept = {name: value for name, value in os.environ.items() if name not in leading}
    return kept | {"PYTHONNOUSERSITE": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"}


def _check_apart(folder: Path) -> None:
    own = Path(sys.prefix).resolve()
    place = folder.resolve()
    if own == place or own in place.parents or place in own.parents:
        raise SystemExit(f"--environment: {folder} holds this project's own environment; choose another")
    if folder.exists() and not (folder / NOTE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise SystemExit(f"--environment: {folder} was not made by this script; choose another")


def _run(command: list[str], folder: Path, name: str) -> None:
    log = folder / f"{name}.log"
    with log.open("w") as stream:
        done = subprocess.run(command, env=own_variables(), stdout=stream, stderr=subprocess.STDOUT)
    if done.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        errors = (
            [line for line in lines if line.startswith("ERROR")]
            or lines
            or [f"exit status {done.returncode}"]
        )
        raise SystemExit(
            f"{folder}: the environment of the other policies cannot be made ({name}: {errors[-1]}); "
            f"a package index must be in reach; {log} says more"
        )


def _read_note(folder: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_text())
    except (OSError, ValueError):
        return {}
    return note


def _write_note(folder: Path, note: dict[str, Any]) -> None:
    (folder / NOTE).write_text(json.dumps(note, indent=1) + "\n")
