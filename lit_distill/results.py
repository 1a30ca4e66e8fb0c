"""Results files: every evaluation is one JSON, from which alone tables and figures are made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lit_distill import __version__
from lit_distill.atomic import atomic_file
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Evaluation, Protocol
from lit_distill.hardware import describe_hardware
from lit_distill.schema import OUTCOMES
from lit_distill.sim.simulator import fingerprint
from lit_distill.teachers.cost import QueryCost


@dataclass(frozen=True)
class ResultName:
    """Which result: `<root>/<study>/<task>-<method>-<split><n>.json`."""

    study: str
    task: str
    method: str
    root: str = "experiments/results"

    def path(self, protocol: Protocol) -> Path:
        """Where the result of a protocol is stored."""
        file = f"{self.task}-{self.method}-{protocol.split}{protocol.episodes}.json"
        return Path(self.root) / self.study / file


def write_result(
    name: ResultName,
    protocol: Protocol,
    evaluation: Evaluation,
    *,
    config: dict[str, Any],
    noise: dict[str, Any] | None = None,
    train_seed: int | None = None,
    data_queries: Mapping[str, QueryCost] = MappingProxyType({}),
) -> Path:
    """Write one evaluation as JSON, atomically, and return its path.

    A result with errors never replaces one without: it is written beside it as `<name>.incomplete.json`. That
    another result is replaced is said in one line.

    Args:
        name: study, task, method.
        protocol: how it was evaluated.
        evaluation: what came out.
        config: everything else that the figure depends on (the trained model's settings, say).
        noise: action noise during the evaluation, None for none.
        train_seed: seed of the training, None where nothing was trained.
        data_queries: what asking for the labels of the training data cost, by source.
    """
    spent = {source: asdict(cost) for source, cost in data_queries.items()}
    measured = {
        **evaluation.counts,
        "complete": evaluation.counts["error"] == 0,
        "success_rate": evaluation.success_rate,
        "ci95": list(evaluation.interval),
        "steps_mean": evaluation.steps_mean,
        "latency_ms": evaluation.latency_ms,
        **({"teacher_queries": asdict(evaluation.cost)} if evaluation.cost.queries else {}),
        **({"data_queries": spent} if spent else {}),
        "hardware": evaluation.hardware,
        "episodes": evaluation.episodes,
    }
    return _write(name, protocol, measured, config=config, noise=noise, train_seed=train_seed)


def write_refusal(
    name: ResultName,
    protocol: Protocol,
    reason: str,
    *,
    config: dict[str, Any],
    noise: dict[str, Any] | None = None,
) -> Path:
    """Write that a teacher cannot act in a task: a result without episodes, rate and interval.

    Args:
        name: study, task, method.
        protocol: how it would have been evaluated.
        reason: what is missing, in a few words.
        config: what the refusal depends on.
        noise: action noise that was asked for, None for none.

    Returns:
        The file's path.
    """
    measured: dict[str, Any] = {
        "refused": reason,
        **dict.fromkeys((*OUTCOMES, "error"), 0),
        "complete": True,
        **dict.fromkeys(("success_rate", "ci95", "steps_mean")),
        "latency_ms": {},
        "hardware": describe_hardware(),
        "episodes": [],
    }
    return _write(name, protocol, measured, config=config, noise=noise, train_seed=None)


def _write(
    name: ResultName,
    protocol: Protocol,
    measured: dict[str, Any],
    *,
    config: dict[str, Any],
    noise: dict[str, Any] | None,
    train_seed: int | None,
) -> Path:
    path = name.path(protocol)
    episodes = measured.pop("episodes")
    result = {
        "study": name.study,
        "task": name.task,
        "method": name.method,
        "split": protocol.split,
        "n": protocol.episodes,
        "train_seed": train_seed,
        "noise": noise,
        "render": {"image_size": protocol.image_size, "meshes": protocol.meshes},
        "carried": False,
        **measured,
        "fingerprint": fingerprint(protocol.image_size, protocol.meshes),
        "commit": commit(),
        "config": config | {"protocol": asdict(replace(protocol, workers=0))},
        "episodes": episodes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path = _beside_or_over(path, result)
    with atomic_file(path) as stream:
        stream.write((json.dumps(result, indent=1) + "\n").encode())
    return path


def _beside_or_over(path: Path, result: dict[str, Any]) -> Path:
    """Where a result goes whose file is there already."""
    earlier = read_result(path)
    if earlier.get("complete") and not result["complete"]:
        return path.with_suffix(".incomplete.json")
    if earlier.get("config") != json.loads(json.dumps(result["config"])):
        print(f"{path}: replaces a result of other settings or another checkpoint", flush=True)
    return path


def read_result(path: Path) -> dict[str, Any]:
    """Read one results file.

    Raises:
        LitDistillError: not a results file.
    """
    try:
        result = json.loads(path.read_text())
        whole = {"study", "task", "method", "split", "n", "success", "ci95"} <= result.keys()
    except (OSError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise LitDistillError(f"{path}: not a results file; delete it or evaluate again")
    return result


def commit() -> str:
    """The checkout's commit, with a `+` if anything but results is changed; else the package's version."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        everything_but_results = (":/", ":(top,exclude)experiments/results")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *everything_but_results)
    except (OSError, subprocess.CalledProcessError):
        return f"lit_distill {__version__}"
    return f"{head}+" if changed else head


def _git(*arguments: str) -> str:
    """What git says of the checkout that holds this file."""
    folder = Path(__file__).parent
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
