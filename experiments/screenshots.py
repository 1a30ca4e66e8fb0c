"""Pictures of the real TensorBoard, taken with headless Chromium (Debian: `apt-get install chromium`).

    python experiments/screenshots.py runs/awac/TASK --output experiments/results/chain

One file for each page of the board: Q separation among the custom scalars, the time series, the hparams tab.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

PAGES = {
    "q-separation": "#custom_scalars",
    "time-series": "?smoothing=0#timeseries",
    "hparams": "#hparams",
}
"""Name of the picture -> where the board shows it."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS = 60.0
LOAD_MILLISECONDS = 20_000
"""What the page believes to have been given to load; the browser does not wait as long in fact."""


def main() -> None:
    """Start a board, take the pictures, stop it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("logdir", type=Path, help="folder of TensorBoard files")
    parser.add_argument("--output", type=Path, default=Path("."), help="folder of the pictures")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=list(PAGES))
    parser.add_argument("--size", default="1400,1000", help="width,height in pixels")
    options = parser.parse_args()
    if not any(options.logdir.rglob("events.out.tfevents.*")):
        sys.exit(f"{options.logdir}: holds no TensorBoard files; name the folder of a run")
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit("no Chromium here; on Debian: apt-get install chromium")
    options.output.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    board = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(options.logdir), "--port", str(port)],
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}/"
        wait_for(address)
        for page in options.pages:
            picture = options.output / f"tensorboard-{page}.png"
            photograph(browser, address + PAGES[page], picture, options.size)
            print(picture)
    finally:
        board.terminate()
        board.wait()


def wait_for(address: str) -> None:
    """Until the board answers and has read the files."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}data/runs", timeout=5) as answer:
                if answer.read().strip() != b"[]":
                    time.sleep(3)
                    return
        except OSError:
            pass
        time.sleep(1)
    sys.exit(f"TensorBoard does not answer at {address}")


def photograph(browser: str, url: str, picture: Path, size: str) -> None:
    """Save a page as a PNG."""
    command = [browser, "--headless=new", "--no-sandbox", "--hide-scrollbars"]
    command += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # curves are drawn by WebGL
    command += [
        f"--window-size={size}",
        f"--virtual-time-budget={LOAD_MILLISECONDS}",
        f"--screenshot={picture}",
    ]
    subprocess.run(
        [*command, url], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180
    )


if __name__ == "__main__":
    main()
