"""What an AWAC update costs: with observations that are encoded once, and when all is computed again.

    python experiments/benchmarks/awac.py --updates 24

Trains AWAC of conf/awac.yaml's shapes on synthetic transitions of the real schema, in turns:
`critics_alone` (as `fit` does until `actor_start`), `update` (as it does then) and `everything_again`,
where in each update the critics' own encoders are trained, too, and mu(s') is computed for the batch. Beside
these: the seconds that 1000 observations take to be encoded once, and mu(s) of them at each refresh
(`mean_every`). `stage_s` is what conf/awac.yaml's 3000 steps of the critics and 1500 of the student would
take with so many observations. The last line is one JSON object.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import BASKET, options, report
from lightning.pytorch import Trainer
from loader import CHUNKS, synthetic_episode

from datamodules.replay import ReplayDataModule
from lit_distill.algorithms.awac import AWAC
from lit_distill.algorithms.awac_terms import (
    actor_error,
    advantage,
    advantage_weight,
    chunk_discount,
    critic_error,
    log_probability,
    td_target,
)
from lit_distill.networks.checkpoint import save_student
from lit_distill.networks.student import StudentNetwork
from lit_distill.precision import best_precision
from lit_distill.schema import ReplayBatch
from lit_distill.shards import ShardWriter

BATCH_SIZE, EXECUTE_STEPS, ACTOR_START, UPDATES, MEAN_EVERY = 64, 8, 3000, 1500, 200
"""Of conf/awac.yaml."""
WARM_UP, TURN = 2, 4


def student() -> StudentNetwork:
    """The student of conf/awac.yaml."""
    return StudentNetwork(channels=(16, 32, 128), pooling="spatial_softmax", hidden=512)


class Update:
    """One way to make an update: called with a batch, it computes the losses, their gradients, and steps."""

    def __init__(self, module: AWAC, loss: Callable[[ReplayBatch], torch.Tensor], *trained: Any) -> None:
        parameters = [parameter for each in trained for parameter in each.parameters()]
        self._module, self._loss = module, loss
        self._optimizer = torch.optim.AdamW(parameters, lr=1e-4)

    def __call__(self, batch: ReplayBatch) -> None:
        with precision():
            loss = self._loss(batch)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def precision() -> Any:
    """What Lightning computes in with defaults.yaml."""
    if best_precision() == "bf16-mixed":
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


def everything_again(module: AWAC, batch: ReplayBatch, following: ReplayBatch) -> torch.Tensor:
    """Eqs. (3) to (8) with critics' encoders that are trained, and nothing known beforehand."""
    encoder, views = module.critic_encoder, ("agentview", "wrist", "proprio", "task_index")
    features = encoder.encode(*(batch[view] for view in views)).float()  # type: ignore[literal-required]
    with torch.no_grad():
        there = [following[view] for view in views]  # type: ignore[literal-required]
        mean = module.network(*there).float().clamp(-1.0, 1.0)
        next_q = module.target_critic(encoder.encode(*there).float(), mean)
        _, shaped = module.rewards(batch)
        y = td_target(shaped, chunk_discount(batch["executed"], batch["terminal"], module.gamma), next_q)
    mean, log_std = module.policy(module.augment(batch))
    with torch.no_grad():
        q_mean = module.critic(features, mean.clamp(-1.0, 1.0))
        a = advantage(module.critic(features, batch["actions"]), q_mean)
        w = advantage_weight(a, module.lambda_awac, module.w_max)
    actor = actor_error(w, log_probability(batch["actions"], mean, log_std, batch["mask"])).mean()
    return critic_error(module.critic(features, batch["actions"]), y).mean() + actor


def measure(root: str, updates: int) -> dict[str, Any]:
    """All figures, ready for JSON."""
    data = ReplayDataModule(BASKET, root, batch_size=BATCH_SIZE, execute_steps=EXECUTE_STEPS)
    data.setup()
    torch.manual_seed(0)
    path = str(Path(root) / "student.ckpt")
    save_student(student(), path)
    module = AWAC(student(), path, execute_steps=EXECUTE_STEPS)
    module.trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    module.trainer.datamodule = data  # type: ignore[attr-defined]
    module.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    observations = sum(data.counts().values())
    with precision():
        known, encoding = timed(module._known)
        _, refreshing = timed(lambda: known.update(module.network))
    naive = copy.deepcopy(module.critic_encoder).requires_grad_(True)
    actor = (module.network, module.log_std_head)

    def again(batch: ReplayBatch) -> torch.Tensor:
        module.critic_encoder = naive
        return everything_again(module, batch, data.gather(batch["next_index"].numpy()))

    def loss(batch: ReplayBatch, actor_start: int) -> torch.Tensor:
        module.actor_start = actor_start  # the module's own count of steps stays 0
        return module.training_step(batch, 0)

    ways = {
        "critics_alone": Update(module, lambda batch: loss(batch, 1), module.critic, module.log_std_head),
        "update": Update(module, lambda batch: loss(batch, 0), module.critic, *actor),
        "everything_again": Update(module, again, module.critic, *actor, naive),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for step in range(0, updates + WARM_UP, TURN):
        for name, update in ways.items():
            for number in range(step, step + TURN):
                batch = data.gather(data.draw(number))
                times[name].append(timed(lambda update=update, batch=batch: update(batch))[1])  # type: ignore[misc]
    seconds = {name: statistics.median(each[WARM_UP:]) for name, each in times.items()}
    refreshes = (UPDATES - 1) // MEAN_EVERY
    training = ACTOR_START * seconds["critics_alone"] + UPDATES * seconds["update"]
    stage = encoding + refreshing * refreshes + training
    return {
        "batch_size": BATCH_SIZE,
        "torch_threads": torch.get_num_threads(),
        "precision": best_precision(),
        "observations": observations,
        "updates_per_s": {name: round(1.0 / each, 2) for name, each in seconds.items()},
        "times_as_fast": round(seconds["everything_again"] / seconds["update"], 2),
        "encode_once_s_per_1000": round(1000 * (encoding - refreshing) / observations, 2),
        "refresh_s_per_1000": round(1000 * refreshing / observations, 2),
        "stage_s": round(stage, 1),
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and its wall-clock seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def main() -> None:
    """Parse the arguments, write the data, measure, print."""
    parser = options(__doc__)
    parser.add_argument("--episodes", type=int, default=100, help=f"of either side, of {CHUNKS} looks each")
    parser.add_argument("--updates", type=int, default=24, help="timed updates of each kind")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root:
        print(f"writing {2 * arguments.episodes * CHUNKS} transitions")
        for source in ("teacher", "student"):
            writer = ShardWriter(Path(root) / BASKET, BASKET, source, {})
            for episode in range(arguments.episodes):
                made = synthetic_episode(BASKET, episode, 128, random, source, EXECUTE_STEPS)
                writer.add(episode, made)
            writer.finish(arguments.episodes)
        report("awac", measure(root, arguments.updates), arguments.output)


if __name__ == "__main__":
    main()
