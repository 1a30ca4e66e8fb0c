"""AWAC's settings: what can be right, and what a checkpoint tells of them."""

from __future__ import annotations

from typing import Any, Literal, get_args

from lit_distill.errors import LitDistillError

Potential = Literal["value", "steps"]

RECORDED = (
    *("init_from", "gamma", "lambda_tpr", "potential", "lambda_awac", "w_max", "tau", "actor_lr"),
    *(
        "critic_lr",
        "weight_decay",
        "schedule",
        "actor_start",
        "mean_every",
        "relabel_weight",
        "perturbed_weight",
        "critic_hidden",
        "execute_steps",
        "seed",
    ),
)
"""Arguments that a checkpoint, and so a results file, tells."""


def check_settings(given: dict[str, Any]) -> None:
    """Raise LitDistillError naming the first of AWAC's arguments that cannot be right."""
    ranges = {
        "gamma": (0.0 < given["gamma"] <= 1.0, "in (0, 1]"),
        "lambda_tpr": (given["lambda_tpr"] >= 0.0, "0 (plain AWAC) or more"),
        "potential": (given["potential"] in get_args(Potential), " or ".join(get_args(Potential))),
        "lambda_awac": (given["lambda_awac"] > 0.0, "above 0"),
        "w_max": (given["w_max"] >= 1.0, "at least 1"),
        "tau": (0.0 < given["tau"] <= 1.0, "in (0, 1]"),
        "actor_lr": (given["actor_lr"] > 0.0, "above 0"),
        "critic_lr": (given["critic_lr"] > 0.0, "above 0"),
        "weight_decay": (given["weight_decay"] >= 0.0, "0 or more"),
        "actor_start": (given["actor_start"] >= 0, "0 or more"),
        "mean_every": (given["mean_every"] >= 1, "at least 1"),
        "relabel_weight": (given["relabel_weight"] >= 0.0, "0 (off) or more"),
        "perturbed_weight": (0.0 <= given["perturbed_weight"] <= 1.0, "in [0, 1]"),
        "seed": (given["seed"] >= 0, "0 or more"),
    }
    for name, (allowed, range_text) in ranges.items():
        if not allowed:
            raise LitDistillError(f"{name}: must be {range_text}, got {given[name]}")
