"""What the controls beside AWAC imitate: eq. (1) on batches drawn as AWAC's are.

Same shards, same way of drawing, same executed rows: what is left between AWAC and the control `executed` are
the weights, which are 1 for what successful episodes did and 0 for the rest, and a squared error in place of
the Gaussian. In `all` every weight is 1.
"""

from __future__ import annotations

from typing import Literal

from lit_distill.schema import ChunkBatch, ReplayBatch

Imitated = Literal["executed", "all", "teacher"]
"""`executed`: what was done in successful episodes; `all`: in failures too; `teacher`: what the teacher said,
in failures too."""


def to_imitate(batch: ReplayBatch, imitate: Imitated) -> ChunkBatch:
    """The batch as eq. (1) takes it: `teacher_actions` is what is imitated in the rows of `mask`.

    With `executed` those are the executed rows of successful episodes, with `all` of all episodes, none where
    noise was part of the chunk, which nobody chose (AWAC's actor leaves it out as well); with `teacher` all
    rows of its label, but at the end of an episode those that were executed.
    """
    if imitate != "teacher":
        chosen = ~batch["perturbed"] & (batch["success"] | (imitate == "all"))
        target, mask = batch["actions"], batch["mask"] & chosen[:, None]
    else:
        target, mask = batch["teacher_actions"], batch["mask"] | ~batch["terminal"][:, None]
    return ChunkBatch(
        agentview=batch["agentview"],
        wrist=batch["wrist"],
        proprio=batch["proprio"],
        task_index=batch["task_index"],
        actions=batch["actions"],
        mask=mask,
        teacher_actions=target,
    )
