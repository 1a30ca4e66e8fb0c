"""The picture of potentials: which line is whose."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import TinyDataModule, tiny_module, tiny_trainer

from callbacks.potential_along_episodes import (
    COLOURS,
    SHOWN,
    PotentialAlongEpisodes,
    potential_figure,
    potentials,
)
from callbacks.q_separation import QSeparation
from lit_distill.errors import LitDistillError

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


def test_it_is_the_potential_that_the_reward_is_shaped_with():
    """gamma^n of n steps to success, where AWAC takes that; never is 0, unknown is not drawn."""

    class Steps(Data):
        def held_out_potentials(self, key: str = "value") -> list[tuple[bool, np.ndarray]]:
            assert key == "steps_to_success"
            return [(True, np.array([2.0, 1.0, np.nan], np.float32)), (False, np.array([np.inf], np.float32))]

    module = SimpleNamespace(potential="steps", gamma=0.5)
    (_, found), (_, lost) = potentials(Steps(), module)
    np.testing.assert_allclose(found, [0.25, 0.5, np.nan])
    np.testing.assert_allclose(lost, [0.0])
    assert potentials(Data(), SimpleNamespace(potential="value", gamma=0.5)) == EPISODES


def test_other_data_and_models_are_refused_in_one_line(tmp_path: Path):
    for callback, line in (
        (PotentialAlongEpisodes(), "^PotentialAlongEpisodes: needs the data ReplayDataModule, got TinyData"),
        (QSeparation(), "^QSeparation: needs the model AWAC, got BehaviorCloning"),
    ):
        with pytest.raises(LitDistillError, match=line):
            tiny_trainer(tmp_path, max_epochs=1, callbacks=[callback]).fit(tiny_module(), TinyDataModule())


def test_a_fit_draws_it_on_the_board(tmp_path: Path):
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    trainer = tiny_trainer(tmp_path, max_epochs=1, logger=logger, callbacks=[PotentialAlongEpisodes()])
    trainer.fit(tiny_module(), Data())
    board = EventAccumulator(str(tmp_path / "run" / "version_0"))
    board.Reload()
    assert board.Tags()["images"] == ["potential/episodes"]
