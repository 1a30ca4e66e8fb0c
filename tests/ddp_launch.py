"""A command on two processes (gloo), as users type it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu")
LIMIT_S = 20
"""Time limit of collectives with `SHORT`, long enough for two processes to start."""
DDP = "lightning.pytorch.strategies.DDPStrategy"
SHORT = ("--trainer.strategy", DDP, "--trainer.strategy.timeout", f"0:00:{LIMIT_S}")


PATIENCE_S = 300.0


def launch(config: str, folder: Path, *options: str, command: str = "fit") -> Any:
    """What the two wrote to `folder/two-<rank>.json`, or minus the signal that killed the first of them.

    Raises:
        AssertionError: they failed, or did not end in time; with what they said last.
    """
    words = [sys.executable, "-m", "lit_distill", command, "--config", config, *TWO, *options]
    here = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    # "lo": machines whose name has no address of their own
    environment = os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    written = [folder / f"two-{rank}.json" for rank in (0, 1)]
    for path in written:
        path.unlink(missing_ok=True)
    status, said = run_group(words, environment, PATIENCE_S)
    if status < 0:
        return status
    assert status == 0, f"exit status {status}: {said[-2000:]}"
    return [json.loads(path.read_text()) for path in written]


def run_group(words: list[str], environment: dict[str, str], patience_s: float) -> tuple[int, str]:
    """Exit status and stderr of a command, whose own children end with it.

    Raises:
        AssertionError: it did not end in time.
    """
    with tempfile.TemporaryFile("w+") as errors:  # a file: a pipe would stay open in children that live on
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        status: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(patience_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        errors.seek(0)
        said = errors.read()
    assert status is not None, f"no end in {patience_s:g} s: {said[-2000:]}"
    return status, said
