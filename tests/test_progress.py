"""One bar over a training."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_training import Kill, TinyDataModule, tiny_module, tiny_trainer

from callbacks.progress import TrainingProgress


def fit(root: Path, *callbacks: object, epochs: int = 3, resume: str | None = None) -> TrainingProgress:
    progress = TrainingProgress()
    options = {"enable_progress_bar": True, "callbacks": [progress, *callbacks], "max_epochs": epochs}
    trainer = tiny_trainer(root, **options)
    trainer.fit(tiny_module(), datamodule=TinyDataModule(), ckpt_path=resume)
    trainer.save_checkpoint(root / "end.ckpt", weights_only=False)
    return progress


def test_it_counts_epochs_and_shows_the_losses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path)
    last = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert "tiny_task: training: 100%" in last
    assert "3/3" in last
    assert "train/loss=" in last
    assert "val/loss=" in last


def test_a_resumed_training_begins_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, epochs=2)
    capsys.readouterr()
    fit(tmp_path, epochs=4, resume=str(tmp_path / "end.ckpt"))
    assert " 2/4 " in capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[0]


def test_it_is_closed_after_an_error(tmp_path: Path) -> None:
    progress = TrainingProgress()
    trainer = tiny_trainer(tmp_path, enable_progress_bar=True, callbacks=[progress, Kill(1)], max_epochs=2)
    with pytest.raises(RuntimeError, match="killed"):
        trainer.fit(tiny_module(), datamodule=TinyDataModule())
    assert progress._bar is None


def test_other_ranks_show_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrainingProgress()
    trainer = tiny_trainer(tmp_path, enable_progress_bar=True, callbacks=[progress], max_epochs=1)
    progress.disable()
    trainer.fit(tiny_module(), datamodule=TinyDataModule())
    assert "training" not in capsys.readouterr().err
