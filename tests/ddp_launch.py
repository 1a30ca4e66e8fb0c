"""A command on two processes (gloo), as users type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu")


def launch(config: str, folder: Path, *options: str, command: str = "fit") -> Any:
    """What the two wrote to `folder/two-<rank>.json`, or the exit status where they did not come to that."""
    words = [sys.executable, "-m", "lit_distill", command, "--config", config, *TWO, *options]
    here = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    # "lo": machines whose name has no address of their own
    environment = os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    if ended.returncode != 0:
        return ended.returncode
    return [json.loads((folder / f"two-{rank}.json").read_text()) for rank in (0, 1)]
