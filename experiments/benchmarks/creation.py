"""How long does it take to create a simulator? Stock LIBERO, ours without and with its compiled model cached.

    python experiments/benchmarks/creation.py --output experiments/results/benchmarks/creation.json

Each in fresh processes, which take turns: seconds to import what is needed, to create the environment with
both cameras of 128 px, and to create a second one in the same process. `cold` has an empty cache, `cached`
the one that `cold` has left. The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from common import BASKET, options, report

PROGRAM = """
import json, sys, time
started = time.perf_counter(), time.process_time()
def lap():
    global started
    now = time.perf_counter(), time.process_time()
    spent, started = {"wall": now[0] - started[0], "processor": now[1] - started[1]}, now
    return spent
from lit_distill.sim.gl import configure_gl
configure_gl()
from libero.libero.envs import OffScreenRenderEnv
from lit_distill.sim.arm import ArmController
from lit_distill.sim.simulator import Simulator
from lit_distill.tasks import get_task
task, kind = get_task(sys.argv[1]), sys.argv[2]
def create():
    if kind == "stock":
        return OffScreenRenderEnv(bddl_file_name=str(task.bddl), camera_heights=128, camera_widths=128)
    return Simulator(task, 128, kind)
laps = {"imports": lap()}
first = create()
laps["first"] = lap()
second = create()
laps["second"] = lap()
print(json.dumps(laps))
"""
MEASURED = ("imports", "first", "second")
CLOCKS = ("wall", "processor")


def run(task: str, kind: str, cache: str) -> dict[str, dict[str, float]]:
    """Seconds of one process."""
    command = [sys.executable, "-c", PROGRAM, task, kind]
    environment = os.environ | {"XDG_CACHE_HOME": cache}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = options(__doc__)
    parser.add_argument("--task", default=BASKET, help="name in the task table")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    found: dict[str, list[Any]] = {}
    for turn in range(arguments.turns):
        with tempfile.TemporaryDirectory() as cache:
            for name, kind in (
                ("stock", "stock"),
                ("cold", "original"),
                ("cached", "original"),
                ("cached_simplified", "simplified"),
            ):
                found.setdefault(name, []).append(run(arguments.task, kind, cache))
                print(f"{turn}: {name}: {found[name][-1]}", flush=True)
    seconds = {
        name: {
            what: {
                clock: round(statistics.median(turn[what][clock] for turn in turns), 2) for clock in CLOCKS
            }
            for what in MEASURED
        }
        for name, turns in found.items()
    }
    report(
        "creation", {"task": arguments.task, "turns": arguments.turns, "seconds": seconds}, arguments.output
    )


if __name__ == "__main__":
    main()
