"""Where AWAC's weights pull, and what training did to the student there; no rollouts.

    python experiments/benchmarks/weights_by_state.py RUN/last.ckpt [--root data]

The looks of the data are grouped by whose chunk was executed (noise apart) and by the teacher's value V* at
the look, in steps of 0.125. Of each group: how many; mean and spread of the advantage A, mean weight w, eqs.
(6) and (7), by the checkpoint's critics at the student that the run began with; and the distance between the
student's and the teacher's chunk, root mean square of the position rows that are executed and of the gripper,
before and after the run. A checkpoint of a control has no critics: A and w are then left out.
The last line is one JSON object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from common import options, report
from torch import Tensor

from datamodules.replay import ReplayDataModule
from lit_distill.algorithms.awac import AWAC
from lit_distill.algorithms.awac_terms import advantage, advantage_weight
from lit_distill.algorithms.encoded_observations import EncodedObservations
from lit_distill.networks.checkpoint import load_saved_student, load_student
from lit_distill.networks.student import StudentNetwork
from lit_distill.schema import STUDENT, TEACHER
from lit_distill.study.report import table

BIN = 0.125
POSITION, GRIPPER = slice(0, 3), slice(6, 7)


def main() -> None:
    """Load, compute, print the table, then the JSON object."""
    parser = options(__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--root", default="data")
    chosen = parser.parse_args()
    saved = load_saved_student(chosen.checkpoint)
    training: dict[str, Any] = saved.training or {}
    learnt_from = training["data"]
    execute_steps = learnt_from["execute_steps"]
    data = ReplayDataModule(saved.task, chosen.root, learnt_from["students"], execute_steps=execute_steps)
    data.setup()
    looks = data.gather(np.arange(sum(data.counts().values())))
    if not looks["labelled"].all() or looks["value"].isnan().any():
        raise SystemExit(f"error: {data.folder}: some looks have no label or no value of the teacher")
    before = load_student(training["init_from"])
    known = EncodedObservations.of(before, list(data.observations()), torch.device("cpu"))
    known.update(before)
    start = known.mean
    known.update(saved.network)
    weights = weighed(chosen.checkpoint, saved.network, training, looks, known.features, start)
    rows = list(groups(data, looks, weights, start, known.mean, execute_steps))
    names = list(rows[0])
    print(table(names, [[str(row[name]) for name in names] for row in rows]))
    settings = {key: training.get(key) for key in ("algorithm", "init_from", "lambda_awac", "actor_start")}
    report("weights_by_state", {"task": saved.task, **settings, "groups": rows}, chosen.output)


@torch.no_grad()
def weighed(
    checkpoint: str,
    network: StudentNetwork,
    training: dict[str, Any],
    looks: Any,
    features: Tensor,
    mean: Tensor,
) -> tuple[np.ndarray, np.ndarray] | None:
    """A and w of every look's executed chunk, [N] each; None without critics."""
    if training.get("algorithm") != "awac":
        return None
    module = AWAC(network, execute_steps=training["execute_steps"], critic_hidden=training["critic_hidden"])
    module.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    q_mean = module.critic(features, mean.clamp(-1.0, 1.0))
    a = advantage(module.critic(features, looks["actions"]), q_mean)
    return a.numpy(), advantage_weight(a, training["lambda_awac"], training["w_max"]).numpy()


def groups(
    data: ReplayDataModule,
    looks: Any,
    weights: tuple[np.ndarray, np.ndarray] | None,
    start: Tensor,
    end: Tensor,
    execute_steps: int,
) -> Iterator[dict[str, Any]]:
    """The figures of each group that has looks."""
    students = np.isin(np.arange(len(start)), data.numbers(STUDENT))
    plain, bins = ~looks["perturbed"].numpy(), np.minimum(looks["value"].numpy() // BIN, 1.0 // BIN - 1)
    taught = ~looks["relabelled"].numpy()
    who = {
        TEACHER: ~students & plain,
        "teacher at a student's state": students & taught & plain,
        STUDENT: students & ~taught & plain,
    }
    errors = {
        f"{name}_{when}": distance(mean, looks["teacher_actions"], execute_steps, rows)
        for name, rows in (("position", POSITION), ("gripper", GRIPPER))
        for when, mean in (("before", start), ("after", end))
    }
    for name, some in who.items():
        for number in range(int(1.0 // BIN)):
            chosen = some & (bins == number)
            if not chosen.any():
                continue
            row = {"executed": name, "value_from": number * BIN, "looks": int(chosen.sum())}
            if weights is not None:
                a, w = (each[chosen] for each in weights)
                figures = {"advantage": a.mean(), "advantage_std": a.std(), "weight": w.mean()}
                row |= {key: round(float(figure), 3) for key, figure in figures.items()}
            yield row | {key: round(float(each[chosen].mean()), 3) for key, each in errors.items()}


def distance(mean: Tensor, label: Tensor, execute_steps: int, rows: slice) -> np.ndarray:
    """Root mean square difference of some action dimensions over the executed rows, [N]."""
    difference = mean.clamp(-1.0, 1.0)[:, :execute_steps, rows] - label[:, :execute_steps, rows]
    return difference.square().mean(dim=(1, 2)).sqrt().numpy()


if __name__ == "__main__":
    main()
