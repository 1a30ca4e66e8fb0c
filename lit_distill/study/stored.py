"""Results files that are there already: which of them stand for an evaluation, which make up a study."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Protocol
from lit_distill.results import ResultName, read_result
from lit_distill.schema import OUTCOMES
from lit_distill.sim.simulator import fingerprint


def stored_result(name: ResultName, protocol: Protocol, config: dict[str, Any]) -> Path | None:
    """The results file of an evaluation if it needs not be done again.

    It must be complete, from the same protocol (workers aside), simulator and `config`. Changes of the code
    are not noticed: delete the file to measure again. A refusal never stands: it is quick to ask again.

    Args:
        name: study, task, method.
        protocol: how it would be evaluated.
        config: what must be equal in the file's `config`.
    """
    path = name.path(protocol)
    if not path.is_file():
        return None
    result = read_result(path)
    expected = config | {"protocol": asdict(replace(protocol, workers=0))}
    stored = result.get("config", {})
    # A file from before an option existed was made with what is now its default.
    stored = stored | {"protocol": asdict(Protocol()) | stored.get("protocol", {})}
    same = all(stored.get(key) == value for key, value in expected.items())
    same = same and result.get("fingerprint") == fingerprint(protocol.image_size, protocol.meshes)
    return path if same and result.get("complete") and not result.get("refused") else None


def study_results(study: str, root: str = "experiments/results") -> list[tuple[Path, dict[str, Any]]]:
    """Every results file of a study, in the order of the file names.

    Raises:
        LitDistillError: there is none, or one is damaged, incomplete (episodes that ended in an error) or
            of another study.
    """
    folder = Path(root) / study
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise LitDistillError(
            f"{folder}: no results here; `python -m lit_distill pipeline --study {study} ...` makes some"
        )
    results = [(path, read_result(path)) for path in paths]
    for path, result in results:
        _check(path, result, study)
    return results


def _check(path: Path, result: dict[str, Any], study: str) -> None:
    counts = {outcome: result.get(outcome) for outcome in (*OUTCOMES, "error")}
    n = result["n"]
    if counts["error"]:
        raise LitDistillError(
            f"{path}: incomplete, {counts['error']} of {n} episodes ended in an error; evaluate again"
        )
    finished = sum(count or 0 for count in counts.values())
    expected = 0 if result.get("refused") else n
    if not result.get("complete") or not finished == len(result.get("episodes", [])) == expected:
        raise LitDistillError(f"{path}: incomplete, {finished} of {n} episodes; evaluate again")
    if result["study"] != study:
        raise LitDistillError(f"{path}: belongs to study {result['study']!r}; move or delete it")
