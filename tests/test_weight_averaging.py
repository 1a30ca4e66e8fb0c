import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from tiny_training import Kill, TinyDataModule, tiny_module, tiny_network, tiny_trainer

from callbacks.weight_averaging import ExponentialMovingAverage
from lit_distill.errors import LitDistillError
from lit_distill.networks.checkpoint import load_student, save_student

DECAY = 0.5


class Recorder(Callback):
    """The weights after every step, the weights that validation saw."""

    def __init__(self):
        self.start: dict[str, torch.Tensor] = {}
        self.raw: list[dict[str, torch.Tensor]] = []
        self.validated: list[dict[str, torch.Tensor]] = []

    @staticmethod
    def copy(module):
        return {name: tensor.clone() for name, tensor in module.network.state_dict().items()}

    def on_train_start(self, trainer, pl_module):
        self.start = self.copy(pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.raw.append(self.copy(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.validated.append(self.copy(pl_module))


def fit(root, epochs, module=None, ckpt_path=None, sanity=0):
    recorder = Recorder()
    trainer = tiny_trainer(
        root,
        callbacks=[ExponentialMovingAverage(DECAY), recorder],
        max_epochs=epochs,
        num_sanity_val_steps=sanity,
    )
    trainer.fit(module or tiny_module(), datamodule=TinyDataModule(), ckpt_path=ckpt_path)
    return trainer, recorder


def same(left, right) -> bool:
    return all(torch.equal(left[name], tensor) for name, tensor in right.items())


def test_the_average_is_the_recursion_and_is_what_validation_and_checkpoint_have(tmp_path):
    trainer, record = fit(tmp_path, epochs=1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    average = record.raw[0]  # the first step starts it, as in torch's AveragedModel
    for weights in record.raw[1:]:
        average = {name: DECAY * tensor + (1 - DECAY) * weights[name] for name, tensor in average.items()}
    saved = load_student(tmp_path / "last.ckpt").state_dict()
    for name, tensor in average.items():
        torch.testing.assert_close(saved[name], tensor)
    assert same(record.validated[0], saved)
    assert same(trainer.lightning_module.network.state_dict(), saved)
    assert not same(record.raw[-1], saved)
    assert saved["proprio_mean"].tolist() == [0.25] * 7


def test_resuming_keeps_both_sets_of_weights_bit_for_bit(tmp_path):
    whole, whole_record = fit(tmp_path, epochs=2)

    checkpoints = ModelCheckpoint(tmp_path, save_last=True)
    trainer = tiny_trainer(
        tmp_path,
        callbacks=[ExponentialMovingAverage(DECAY), checkpoints, Kill(step=5)],
        enable_checkpointing=True,
        max_epochs=2,
        num_sanity_val_steps=0,
    )
    with pytest.raises(RuntimeError, match="killed"):
        trainer.fit(tiny_module(), datamodule=TinyDataModule())
    resumed, record = fit(tmp_path, epochs=2, ckpt_path=tmp_path / "last.ckpt")
    assert same(record.start, whole_record.raw[2])
    assert same(record.raw[-1], whole_record.raw[-1])
    assert same(resumed.lightning_module.network.state_dict(), whole.lightning_module.network.state_dict())


def test_before_the_first_step_the_average_is_the_warm_start(tmp_path):
    other = tiny_network(seed=9)
    save_student(other, tmp_path / "other.pt")
    _, record = fit(tmp_path, epochs=1, module=tiny_module(init_from=str(tmp_path / "other.pt")), sanity=1)
    assert same(record.validated[0], other.state_dict())


def test_a_best_checkpoint_tested_after_fit_gives_the_weights_that_validation_saw(tmp_path):
    recorder = Recorder()
    checkpoints = ModelCheckpoint(tmp_path, monitor="val/loss", save_top_k=-1, filename="{epoch}")
    trainer = tiny_trainer(
        tmp_path,
        callbacks=[ExponentialMovingAverage(DECAY), recorder, checkpoints],
        enable_checkpointing=True,
        max_epochs=2,
        num_sanity_val_steps=0,
    )
    trainer.fit(tiny_module(), datamodule=TinyDataModule())
    first = load_student(tmp_path / "epoch=0.ckpt").state_dict()
    assert same(recorder.validated[0], first)
    for evaluate in (trainer.test, trainer.validate):
        evaluate(datamodule=TinyDataModule(), ckpt_path=tmp_path / "epoch=0.ckpt", verbose=False)
        assert same(trainer.lightning_module.network.state_dict(), first)
    assert same(recorder.validated[-1], first)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_impossible_decays_are_refused(decay):
    with pytest.raises(LitDistillError, match="decay"):
        ExponentialMovingAverage(decay)
