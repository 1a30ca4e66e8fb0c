"""What the controls beside AWAC imitate: eq. (1) on the transitions that AWAC draws.

Same shards, same draws, same executed rows: what is left between AWAC and the control `executed` are the
critics' weights, and the Gaussian in place of a squared error.
"""

from __future__ import annotations

from typing import Literal

import torch

from lit_distill.errors import LitDistillError
from lit_distill.schema import TEACHER, ChunkBatch, ReplayBatch

Imitated = Literal["executed", "teacher"]
"""`executed`: what was done in successful episodes; `teacher`: what the teacher said, in any of a student."""


def teaches(source: str, success: bool, imitate: Imitated | None) -> bool:
    """Whether an episode is drawn from: the teacher's only if it succeeded (§3.2).

    Args:
        source: whose rollout it is.
        success: whether it met its goal.
        imitate: what is imitated; None: nothing, AWAC learns from failures too.
    """
    return success or imitate is None or (imitate == "teacher" and source != TEACHER)


def to_imitate(batch: ReplayBatch, imitate: Imitated) -> ChunkBatch:
    """The batch as eq. (1) takes it: `teacher_actions` is what is imitated in the rows of `mask`.

    With `executed` those are the executed rows, none where noise was part of the chunk, which nobody chose
    (AWAC's actor leaves it out as well); with `teacher` all rows of its label, but at the end of an episode
    those that were executed.

    Raises:
        LitDistillError: the teacher's label is wanted and missing.
    """
    if imitate == "executed":
        target, mask = batch["actions"], batch["mask"] & ~batch["perturbed"][:, None]
    else:
        if not batch["labelled"].all():
            raise LitDistillError(
                "imitate: teacher, but some rollouts have no labels; imitate: executed needs none"
            )
        target, mask = batch["teacher_actions"], batch["mask"] | ~batch["terminal"][:, None]
    return ChunkBatch(
        agentview=batch["agentview"],
        wrist=batch["wrist"],
        proprio=batch["proprio"],
        task_index=batch["task_index"],
        actions=batch["actions"],
        mask=torch.as_tensor(mask),
        teacher_actions=target,
    )
