"""The model card of an exported student: README.md of its folder, with Hugging Face's front matter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lit_distill.errors import LitDistillError
from lit_distill.results import read_result

TEMPLATE = Path(__file__).with_name("card.md")


def model_card(config: dict[str, Any], model: str, parameters: int, results: Sequence[dict[str, Any]]) -> str:
    """The text of README.md.

    Args:
        config: config.json, `check` included.
        model: name of the exported file.
        parameters: number of trained values.
        results: results files of the checkpoint, see `matching_results`.
    """
    check = config["check"]
    ours, theirs = (
        sum(episode["outcome"] == "success" for episode in check[who]) for who in ("checkpoint", "exported")
    )
    backend = "onnxruntime" if config["format"] == "onnx" else "openvino"
    return TEMPLATE.read_text(encoding="utf-8").format(
        library=backend,
        task=config["task"],
        language=config["language"],
        algorithm=(config["training"] or {}).get("algorithm", "training unknown"),
        parameters=parameters,
        model=model,
        precision=config["precision"],
        backend=backend,
        rows=config["chunk_length"],
        results=_results_table(results),
        check=check,
        n=len(check["checkpoint"]),
        ours=ours,
        theirs=theirs,
        vacuous="" if ours else " So the closed loop says nothing here.",
        size=config["image_size"],
        hz=config["control_hz"],
        steps=config["execute_steps"],
    )


def matching_results(root: Path, checkpoint_sha256: str | None) -> list[dict[str, Any]]:
    """The complete results files below `root` that were measured with this checkpoint, sorted by path.

    None for the checkpoint, which is what a teacher's results have: none of them.
    """
    found: list[dict[str, Any]] = []
    if checkpoint_sha256 is None:
        return found
    for path in sorted(root.rglob("*.json")):
        try:
            result = read_result(path)
        except LitDistillError:
            continue
        config = result.get("config")
        ours = isinstance(config, dict) and config.get("checkpoint") == checkpoint_sha256
        if ours and result.get("complete") and result.get("success_rate") is not None:
            found.append(result)
    return found


def _results_table(results: Sequence[dict[str, Any]]) -> str:
    if not results:
        return "Not measured: there is no results file of this checkpoint."
    lines = [
        "Of the checkpoint in LIBERO, on initial states apart from those of training (95 % Wilson interval):",
        "",
        "| method | states | success / n | actions executed | meshes | commit |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        low, high = result["ci95"]
        rate = f"{result['success']}/{result['n']} = {result['success_rate']:.2f} [{low:.2f}, {high:.2f}]"
        steps = result["config"].get("protocol", {}).get("execute_steps", "?")
        meshes = result.get("render", {}).get("meshes", "?")
        cells = (result["method"], result["split"], rate, steps, meshes, result.get("commit", "?"))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)
