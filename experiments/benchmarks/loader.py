"""Does the loader slow training? Samples per second of the data module, and training steps with it.

    python experiments/benchmarks/loader.py --steps 24

Writes synthetic transitions of the real schema to a temporary folder, then times, in RAM and streamed:
the loader alone, and BC training steps (random shift, forward, backward, AdamW) fed by it, beside the
same steps on one batch that is already in memory. `step_ratio` is the median step with the loader over
the median step without: 1.0 means that the loader costs nothing. `loader_over_training_speed` says how
many times faster than training the loader is. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules import ChunkDataModule
from lit_distill.algorithms.bc import BehaviorCloning, masked_squared_error
from lit_distill.networks.student import StudentNetwork
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, ChunkBatch, ChunkTransition, Observation
from lit_distill.shards import ShardWriter
from lit_distill.tasks import TASKS

CHUNKS = 8
WARM_UP = 2
TURN = 4
MODES = {"ram": (1 << 20, 0), "stream_0_workers": (0, 0), "stream_1_worker": (0, 1)}
"""Name -> (ram_limit_mb, num_workers)."""


def synthetic_episode(
    task: str,
    episode: int,
    size: int,
    rng: np.random.Generator,
    source: str = "teacher",
    executed: int = CHUNK_LENGTH,
) -> list[ChunkTransition]:
    """A valid successful episode of CHUNKS chunks with random content, `executed` rows of each executed."""

    def chunk(index: int) -> ChunkTransition:
        observation = Observation(
            agentview=rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
            wrist=rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
            proprio=rng.normal(size=7).astype(np.float32),
            gripper_qpos=np.zeros(2, np.float32),
            eef_pos=np.zeros(3, np.float32),
            eef_quat=np.zeros(4, np.float32),
        )
        actions = rng.uniform(-1, 1, (CHUNK_LENGTH, ACTION_DIM)).astype(np.float32)
        return ChunkTransition(
            task=task,
            source=source,
            episode=episode,
            chunk=index,
            observation=observation,
            actions=actions,
            executed=executed,
            mask=np.arange(CHUNK_LENGTH) < executed,
            rewards=np.zeros(CHUNK_LENGTH, np.float32),
            terminal=index == CHUNKS - 1,
            outcome="success",
            behaviour=source,
            initial_state=f"{source}/{episode}",
            seed=0,
            teacher_actions=actions,
        )

    return [chunk(index) for index in range(CHUNKS)]


def endless(data: ChunkDataModule, batch_size: int) -> Iterator[ChunkBatch]:
    """Full batches, epoch after epoch."""
    loader = data.train_dataloader()
    full = data.describe()["train_samples"] // batch_size
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        yield from itertools.islice(loader, full)


def mean_seconds(items: Iterator[Any], count: int) -> float:
    """Mean seconds per item, after the first ones."""
    for _ in itertools.islice(items, WARM_UP):
        pass
    start = time.perf_counter()
    for _ in itertools.islice(items, count):
        pass
    return (time.perf_counter() - start) / count


def training_steps(batches: Iterable[ChunkBatch], size: int) -> Iterator[None]:
    """One BC step per batch."""
    torch.manual_seed(0)
    module = BehaviorCloning(StudentNetwork(image_size=size))
    optimizer = torch.optim.AdamW(module.network.parameters(), lr=1e-4, weight_decay=1e-4)
    for number, batch in enumerate(batches):
        prediction = module(module.augment(batch, number))
        loss = masked_squared_error(prediction, batch["teacher_actions"], batch["mask"]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield None


def median_steps(batches: dict[str, Iterator[ChunkBatch]], size: int, count: int) -> dict[str, float]:
    """Median seconds of a step for each way of feeding; the ways take turns, so that a busy machine
    slows all of them."""
    stepping = {name: training_steps(feed, size) for name, feed in batches.items()}
    times: dict[str, list[float]] = {name: [] for name in batches}
    for done in range(-WARM_UP, count, TURN):
        for name, steps in stepping.items():
            for _ in range(min(TURN, count - done)):
                start = time.perf_counter()
                next(steps)
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[WARM_UP:]) for name, seconds in times.items()}


def measure(root: str, task: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures, ready for JSON."""
    batch_size, steps, size = arguments.batch_size, arguments.steps, arguments.image_size
    data = {
        name: ChunkDataModule(task, root, batch_size=batch_size, ram_limit_mb=limit, num_workers=workers)
        for name, (limit, workers) in MODES.items()
    }
    loading = {
        name: batch_size / mean_seconds(endless(module, batch_size), steps) for name, module in data.items()
    }
    fixed = next(endless(data["ram"], batch_size))
    feeds = {name: endless(module, batch_size) for name, module in data.items()}
    seconds = median_steps({"fixed_batch": itertools.repeat(fixed), **feeds}, size, steps)
    alone = seconds["fixed_batch"]
    return {
        "benchmark": "loader",
        "batch_size": batch_size,
        "image_size": size,
        "steps": steps,
        "torch_threads": torch.get_num_threads(),
        "data": data["ram"].describe(),
        "loader_samples_per_s": loading,
        "step_s": seconds,
        "step_ratio": {name: seconds[name] / alone for name in feeds},
        "loader_over_training_speed": {name: speed * alone / batch_size for name, speed in loading.items()},
    }


def main() -> None:
    """Parse the arguments, write the data, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--episodes", type=int, default=50, help=f"of {CHUNKS} chunks each")
    parser.add_argument("--image-size", type=int, default=128, help="pixels")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=24, help="timed steps or batches per measurement")
    arguments = parser.parse_args()
    task = next(iter(TASKS))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root:
        print(f"writing {arguments.episodes * CHUNKS} transitions")
        writer = ShardWriter(Path(root) / task, task, "teacher", {})
        for episode in range(arguments.episodes):
            writer.add(episode, synthetic_episode(task, episode, arguments.image_size, rng))
        writer.finish(arguments.episodes)
        print(json.dumps(measure(root, task, arguments)))


if __name__ == "__main__":
    main()
