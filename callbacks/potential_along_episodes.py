"""Does the potential grow along episodes that succeed, and not along others? A picture for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lit_distill.algorithms.awac_terms import step_potential
from lit_distill.errors import LitDistillError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 20
"""Episodes of either outcome, at most."""
COLOURS = {True: "tab:green", False: "tab:red"}


class PotentialAlongEpisodes(Callback):
    """Draws `potential/episodes` (images tab) when a fit starts: V* of each look of the held-out episodes.

    Green: episodes that succeeded, red: the others, at most 20 of either. Needs a data module with
    `held_out_potentials`, as `datamodules.replay` has.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse data without values."""
        data = getattr(trainer, "datamodule", None)
        if not hasattr(data, "held_out_potentials"):
            raise LitDistillError(
                f"PotentialAlongEpisodes: needs the data ReplayDataModule, got {type(data).__name__}"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw it."""
        if not trainer.is_global_zero:
            return
        datamodule: Any = getattr(trainer, "datamodule")  # noqa: B009 (absent from Trainer's type)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                drawn = potential_figure(potentials(datamodule, pl_module))
                logger.experiment.add_figure("potential/episodes", drawn)


def potentials(datamodule: Any, module: Any) -> list[tuple[bool, np.ndarray]]:
    """V* of the held-out episodes, the one that eq. (3) takes."""
    if getattr(module, "potential", "value") == "value":
        return list(datamodule.held_out_potentials())
    return [
        (success, step_potential(torch.from_numpy(steps), module.gamma).numpy())
        for success, steps in datamodule.held_out_potentials("steps_to_success")
    ]


def potential_figure(episodes: Sequence[tuple[bool, np.ndarray]]) -> Figure:
    """A line for each episode.

    Args:
        episodes: whether it succeeded, and V* at each of its looks, float32 [n], NaN where there is none.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(6.0, 3.5), layout="constrained")
    axes = figure.subplots()
    for success, colour in COLOURS.items():
        chosen = [values for outcome, values in episodes if outcome == success][:SHOWN]
        for number, values in enumerate(chosen):
            label = ("success" if success else "no success") if number == 0 else None
            axes.plot(values, color=colour, alpha=0.6, linewidth=1.0, label=label)
    axes.set(xlabel="look", ylabel="V*", ylim=(-0.02, 1.02))
    if axes.lines:
        axes.legend(frameon=False)
    return figure
