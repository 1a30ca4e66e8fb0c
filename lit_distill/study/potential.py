"""Whether a teacher's potential deserves the name, from the values in its results files.

A potential grows along successful episodes, and tells states that end in success from those that do not.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torchmetrics.functional.classification import binary_auroc


@dataclass(frozen=True)
class Potential:
    """What the values of some episodes say.

    Attributes:
        chunks: values in all episodes.
        falls: share of the chunk-to-chunk steps of successful episodes on which the value falls; None
            without such steps.
        auroc: area under the ROC curve of value against the episode's success, over all chunks; None
            without both successful and other episodes.
        failed_last: mean value at the last chunk of the episodes that did not succeed; None without any.
        false_lost: episodes in which the value was once 0, which says that the goal is lost and ends a
            collection, and which succeeded, or in which it was above 0 again later.
    """

    chunks: int
    falls: float | None
    auroc: float | None
    failed_last: float | None
    false_lost: int

    HEADINGS: ClassVar = ("chunks", "falls", "AUROC", "last value of failures", "wrongly lost")

    def shown(self) -> list[str]:
        """The cells of a table under `HEADINGS`."""
        shares = (self.falls, self.auroc, self.failed_last)
        shown = ["–" if share is None else f"{share:.3f}" for share in shares]
        return [str(self.chunks), *shown, str(self.false_lost)]


def potential(episodes: Sequence[dict[str, Any]]) -> Potential | None:
    """Diagnose the values of the episodes of one or several results files; None if there are none.

    Args:
        episodes: entries of the key `episodes` of results files.
    """
    known = [episode for episode in episodes if episode.get("values")]
    if not known:
        return None
    succeeded = [episode["outcome"] == "success" for episode in known]
    values = [episode["values"] for episode in known]
    steps = [
        after < before
        for success, series in zip(succeeded, values, strict=True)
        if success
        for before, after in pairwise(series)
    ]
    last = [series[-1] for success, series in zip(succeeded, values, strict=True) if not success]
    return Potential(
        chunks=sum(map(len, values)),
        falls=statistics.mean(steps) if steps else None,
        auroc=_auroc(succeeded, values),
        failed_last=statistics.mean(last) if last else None,
        false_lost=sum(
            0.0 in series and (success or any(series[series.index(0.0) :]))
            for success, series in zip(succeeded, values, strict=True)
        ),
    )


def _auroc(succeeded: Sequence[bool], values: Sequence[Sequence[float]]) -> float | None:
    if len(set(succeeded)) < 2:
        return None
    scores = torch.tensor([value for series in values for value in series], dtype=torch.float64)
    targets = torch.tensor(
        [int(success) for success, series in zip(succeeded, values, strict=True) for _ in series]
    )
    return float(binary_auroc(scores, targets))
