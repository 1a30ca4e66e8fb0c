"""The picture of potentials: which line is whose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import TinyDataModule, tiny_module, tiny_trainer

from callbacks.potential_along_episodes import COLOURS, SHOWN, PotentialAlongEpisodes, potential_figure

EPISODES = [(True, np.array([0.1, 0.5, 1.0])), (False, np.array([0.1, np.nan, 0.0]))]


class Data(TinyDataModule):
    def held_out_potentials(self) -> list[tuple[bool, np.ndarray]]:
        return EPISODES


def test_a_line_for_each_episode_coloured_by_its_outcome():
    lines = potential_figure(EPISODES * (SHOWN + 1)).axes[0].lines
    assert len(lines) == 2 * SHOWN
    for line, (success, values) in ((lines[0], EPISODES[0]), (lines[-1], EPISODES[1])):
        assert line.get_color() == COLOURS[success]
        np.testing.assert_array_equal(line.get_ydata(), values)


def test_a_fit_draws_it_on_the_board(tmp_path: Path):
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    trainer = tiny_trainer(tmp_path, max_epochs=1, logger=logger, callbacks=[PotentialAlongEpisodes()])
    trainer.fit(tiny_module(), Data())
    board = EventAccumulator(str(tmp_path / "run" / "version_0"))
    board.Reload()
    assert board.Tags()["images"] == ["potential/episodes"]
