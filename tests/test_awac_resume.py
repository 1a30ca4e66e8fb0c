"""Killed after any optimizer step and resumed, AWAC is the run that was not killed, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_training import Kill, tiny_network, tiny_trainer

from callbacks.checkpoints import ModelCheckpoint as LastCheckpoint
from callbacks.q_separation import QSeparation
from datamodules.replay import ReplayDataModule
from lit_distill.algorithms.awac import AWAC
from lit_distill.errors import LitDistillError
from lit_distill.networks.checkpoint import save_student
from lit_distill.schema import ChunkTransition
from lit_distill.shards import ShardWriter

TASK = "custom_libero_object_ketchup"
EPOCHS, BATCHES = 3, 7
ACTOR_START, MEAN_EVERY = 4, 5
MakeEpisode = Callable[..., list[ChunkTransition]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_episode: MakeEpisode) -> Path:
    """Rollouts of the teacher, of two students, and the student that AWAC starts from."""
    folder = tmp_path_factory.mktemp("data")
    for source in ("teacher", "student", "dagger-1"):
        writer = ShardWriter(folder / TASK, TASK, source, {}, episodes_per_shard=4)
        for episode in range(12):
            outcome = "failure" if source != "teacher" and episode % 2 else "success"
            writer.add(episode, make_episode(TASK, source, episode, 2 + episode % 3, outcome))
        writer.finish(12)
    save_student(tiny_network(seed=9), folder / "student.ckpt", TASK)
    return folder


class Record(Callback):
    """What a training sees and does."""

    def __init__(self) -> None:
        self.steps: list[tuple[list[int], float, list[float]]] = []
        self.q: dict[str, float] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        self.steps.append((batch["index"].tolist(), outputs["loss"].item(), rates))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        self.q = {name: float(metrics[name]) for name in metrics if name.startswith("q/")}


def train(
    root: Path,
    folder: Path,
    *more: Callback,
    resume: Path | None = None,
    keep: Callback | None = None,
    **options: Any,
) -> tuple[Trainer, Record]:
    """A run that begins anew is always the same; a resumed one has nothing of it but the checkpoint."""
    with torch.random.fork_rng():
        torch.manual_seed(0 if resume is None else 1)
        made = AWAC(
            tiny_network(0 if resume is None else 1),
            str(root / "student.ckpt"),
            **{"actor_lr": 3e-3, "critic_lr": 3e-3, "tau": 0.05, "schedule": "cosine", "critic_hidden": 16},
            **{"actor_start": ACTOR_START, "mean_every": MEAN_EVERY, "relabel_weight": 0.5},
        )
    record = Record()
    keep = keep or ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [QSeparation(), record, *more, keep]
    trainer = tiny_trainer(folder, callbacks=callbacks, enable_checkpointing=True, max_epochs=EPOCHS)
    data = ReplayDataModule(TASK, str(root), batch_size=8, steps_per_epoch=BATCHES, **options)
    trainer.fit(made, datamodule=data, ckpt_path=resume, weights_only=True)
    return trainer, record


def final(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Weights, target critic included, what is known of mu, and the optimizer's memory."""
    made: Any = trainer.lightning_module
    tensors = dict(made.state_dict()) | {"mean": made._known().mean}
    for index, state in trainer.optimizers[0].state_dict()["state"].items():
        tensors |= {f"{index} {name}": torch.as_tensor(value) for name, value in state.items()}
    return tensors


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Record]:
    return train(root, tmp_path_factory.mktemp("whole"))


def test_killed_and_resumed_from_the_last_checkpoint_that_conf_awac_keeps(
    root: Path, tmp_path: Path, whole: tuple[Trainer, Record]
) -> None:
    trainer, record = whole
    shipped = yaml.safe_load(Path("conf/awac.yaml").read_text())["trainer"]["callbacks"][0]
    assert shipped["class_path"] == f"{LastCheckpoint.__module__}.{LastCheckpoint.__name__}"
    arguments = shipped["init_args"] | {"dirpath": tmp_path}
    with pytest.raises(RuntimeError, match="killed"):
        train(root, tmp_path, Kill(BATCHES + 2), keep=LastCheckpoint(**arguments))
    resumed, rest = train(root, tmp_path, resume=tmp_path / "last.ckpt", keep=LastCheckpoint(**arguments))
    assert rest.steps == record.steps[BATCHES:]
    expected, found = final(trainer), final(resumed)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("step", [1, 4, 7, 8, 13])
def test_killed_after_any_step(root: Path, tmp_path: Path, whole: tuple[Trainer, Record], step: int) -> None:
    """Before and after `actor_start`, at the end of an epoch, between refreshes of mu."""
    trainer, record = whole
    assert len(record.steps) == EPOCHS * BATCHES
    assert {"q/success", "q/td_error"} <= record.q.keys()
    with pytest.raises(RuntimeError, match="killed"):
        train(root, tmp_path, Kill(step))
    last = tmp_path / f"step={step - 1}.ckpt"  # the kill comes before the checkpoint of its step
    resumed, rest = train(root, tmp_path, resume=last if step > 1 else None)
    assert rest.steps == record.steps[step - 1 :]
    expected, found = final(trainer), final(resumed)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert rest.q == record.q


@pytest.fixture(scope="module")
def interrupted(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(RuntimeError, match="killed"):
        train(root, folder, Kill(3))
    return folder / "step=2.ckpt"


@pytest.mark.parametrize("options", [{"held_out": 0.3}, {"students": ["dagger-1"]}])
def test_on_other_data_it_is_not_resumed(
    root: Path, tmp_path: Path, interrupted: Path, options: dict[str, Any]
) -> None:
    """As many in another order, and others."""
    line = (
        r"^--ckpt_path: its run learnt from \d+ observations, and the \d+ of these data are others: bring "
        r"back its episodes and options of the data \(students, held_out\), or fit without --ckpt_path$"
    )
    with pytest.raises(LitDistillError, match=line):
        train(root, tmp_path, resume=interrupted, **options)


def test_a_checkpoint_that_does_not_tell_its_observations_is_refused(
    root: Path, tmp_path: Path, interrupted: Path
) -> None:
    checkpoint = torch.load(interrupted, weights_only=True)
    del checkpoint["observations"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.raises(LitDistillError, match="^--ckpt_path: does not tell which observations"):
        train(root, tmp_path, resume=tmp_path / "old.ckpt")


def test_a_checkpoint_whose_log_std_head_was_trained_with_the_student_is_refused(
    root: Path, tmp_path: Path, interrupted: Path
) -> None:
    checkpoint = torch.load(interrupted, weights_only=True)
    actor, critic = checkpoint["optimizer_states"][0]["param_groups"]
    actor["params"].append(critic["params"].pop())
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.raises(
        LitDistillError, match="^--ckpt_path: trained its parts otherwise: .* earlier version"
    ):
        train(root, tmp_path, resume=tmp_path / "old.ckpt")
    # its student can be measured all the same
    made, data = AWAC(tiny_network(0), critic_hidden=16), ReplayDataModule(TASK, str(root), batch_size=8)
    tiny_trainer(tmp_path).test(made, data, ckpt_path=tmp_path / "old.ckpt", weights_only=True)
    torch.testing.assert_close(
        made.state_dict(), checkpoint["state_dict"]
    )  # it is resumed by no one, but tested
