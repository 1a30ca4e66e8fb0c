"""The real Cosmos Policy server in a process of its own, on the stand-in for `cosmos_policy`."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np

from lit_distill.tasks import TASKS
from lit_distill.teachers import cosmos_server

STAND_INS = Path(__file__).parent / "stand_ins"


class CosmosServer:
    """Starts the file alone, copied away from the package, as a user does.

    Args:
        folder: for the copy, the embeddings and what the stand-in was asked (`asked`).
        variables: `STAND_IN_...`.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder, self.variables = folder, variables
        self.asked = folder / "asked"
        self.asked.mkdir(parents=True, exist_ok=True)
        self.script = Path(shutil.copy(cosmos_server.__file__, folder / "cosmos_server.py"))
        self.embeddings = folder / "embeddings.pkl"
        if not self.embeddings.exists():
            known = {task.language: np.zeros((1, 512, 4), np.float32) for task in TASKS.values()}
            self.embeddings.write_bytes(pickle.dumps(known))
        self.process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self, *words: str) -> subprocess.Popen[str]:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"PYTHONPATH": str(STAND_INS), "STAND_IN_LOG": str(self.asked), **self.variables}
        return subprocess.Popen(
            [sys.executable, str(self.script), *words],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start(self, *words: str) -> None:
        """Start it, on the port of the last time, and wait until the model is loaded."""
        options = ["--port", str(self.port), "--embeddings", str(self.embeddings), *words]
        self.process = self.command("serve", *options)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "serving at" in line:
                self.port = int(line.rsplit(":", 1)[1])
                break
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/healthz").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("the server does not come up")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def questions(self) -> list[Path]:
        """What the stand-in was asked, oldest first, of all processes."""
        return sorted(self.asked.glob("*.npz"), key=lambda path: path.stat().st_mtime_ns)


@contextlib.contextmanager
def serving(folder: Path, *words: str, **variables: str) -> Iterator[CosmosServer]:
    """A server within the block."""
    server = CosmosServer(folder, **variables)
    server.start(*words)
    try:
        yield server
    finally:
        server.kill()
