"""How long do 50 teacher episodes take, collected, written and verified?

    python experiments/benchmarks/collect.py --output experiments/results/benchmarks/collect.json

Collects into a temporary folder and verifies it, the processes' start included. The compiled model is in the
cache, unless `--cold` empties the cache first. The last line is one JSON object.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from common import BASKET, options, report

from lit_distill.collection import CollectSettings, collect
from lit_distill.manifest import Manifest
from lit_distill.schema import TEACHER
from lit_distill.shards import verify
from lit_distill.sim.environment import MESHES, SIMPLIFIED


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = options(__doc__)
    parser.add_argument("--task", default=BASKET, help="name in the task table")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--execute-steps", type=int, default=16)
    parser.add_argument("--meshes", choices=MESHES, default=SIMPLIFIED)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cold", action="store_true", help="with an empty cache of compiled models")
    arguments = parser.parse_args()
    settings = CollectSettings(
        episodes=arguments.episodes,
        execute_steps=arguments.execute_steps,
        meshes=arguments.meshes,
        workers=arguments.workers,
    )
    with tempfile.TemporaryDirectory() as folder:
        if arguments.cold:
            os.environ["XDG_CACHE_HOME"] = folder
        else:
            collect(arguments.task, f"{folder}/warm", CollectSettings(episodes=1, workers=1))
        started = time.perf_counter()
        data = collect(arguments.task, f"{folder}/data", settings)
        collected = time.perf_counter()
        shards = verify(data)
        verified = time.perf_counter()
        counts = Manifest.load(Path(data)).sources[TEACHER].counts()
    figures = {
        "task": arguments.task,
        "settings": {
            "execute_steps": settings.execute_steps,
            "meshes": settings.meshes,
            "workers": settings.workers,
            "cold_cache": arguments.cold,
        },
        "counts": counts,
        "megabytes": round(sum(shard.bytes for shard in shards) / 1e6, 1),
        "seconds": {
            "collect": round(collected - started, 2),
            "verify": round(verified - collected, 2),
            "together": round(verified - started, 2),
        },
    }
    report("collect", figures, arguments.output)


if __name__ == "__main__":
    main()
