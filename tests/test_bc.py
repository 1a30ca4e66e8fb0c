import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from tiny_training import Kill, TinyDataModule, random_batch, tiny_module, tiny_network, tiny_trainer

from lit_distill.algorithms.bc import (
    BehaviorCloning,
    ImitationMetrics,
    masked_squared_error,
)
from lit_distill.algorithms.schedule import cosine_factor
from lit_distill.errors import LitDistillError
from lit_distill.networks.checkpoint import load_saved_student, save_student


def hand_worked_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """K = 3, A = 2. Sample 0 executes one row, sample 1 all three."""
    prediction = torch.tensor(
        [[[1.0, 0.0], [9.0, 9.0], [9.0, 9.0]], [[0.5, 0.0], [0.0, -1.0], [0.0, 0.0]]], requires_grad=True
    )
    target = torch.tensor([[[0.0, 2.0], [0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0], [3.0, 0.0]]])
    mask = torch.tensor([[True, False, False], [True, True, True]])
    return prediction, target, mask


def test_equation_1_by_hand():
    prediction, target, mask = hand_worked_batch()
    errors = masked_squared_error(prediction, target, mask)
    # (1 - 0)^2 + (0 - 2)^2 = 5;  0.5^2 + (-1 - 1)^2 + (0 - 3)^2 = 13.25
    assert errors.tolist() == [5.0, 13.25]
    errors.mean().backward()  # divided by |D| = 2 alone: d/d prediction = 2 m (prediction - target) / 2
    assert prediction.grad is not None
    assert prediction.grad[0].tolist() == [[1.0, -2.0], [0.0, 0.0], [0.0, 0.0]]
    assert prediction.grad[1].tolist() == [[0.5, 0.0], [0.0, -2.0], [-3.0, 0.0]]


def test_equation_1_is_summed_in_float32_whatever_the_prediction():
    prediction, target, mask = hand_worked_batch()
    errors = masked_squared_error(prediction.detach().bfloat16(), target, mask)
    assert errors.dtype == torch.float32
    assert errors.tolist() == [5.0, 13.25]


def test_training_loss_is_equation_1_on_the_clean_label():
    module = tiny_module(shift_pixels=0)
    module.log = lambda *arguments, **keywords: None
    batch = random_batch(4)
    prediction = module(batch)
    loss = module_training_loss(module, batch)
    expected = sum(
        (prediction[b, k] - batch["teacher_actions"][b, k]).square().sum()
        for b in range(4)
        for k in range(16)
        if batch["mask"][b, k]
    )
    torch.testing.assert_close(loss, expected / 4)
    batch["actions"].zero_()
    assert module_training_loss(module, batch) == loss


def module_training_loss(module: BehaviorCloning, batch: dict) -> torch.Tensor:
    """training_step outside of a trainer, where there is no rank and no epoch to ask for."""
    module.augment = lambda batch, batch_idx: batch
    return module.training_step(batch, 0)


def test_metrics_are_means_over_samples_and_executed_rows_by_hand():
    prediction, target = torch.zeros(2, 16, 7), torch.zeros(2, 16, 7)
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[0, 0] = mask[1, 0] = mask[1, 1] = True
    prediction[0, 0, 0] = 0.9  # position, row 1 of 3
    prediction[1, 0, 4] = 3.0  # rotation, clipped to 1, row 2 of 3
    prediction[:, :, 6], target[:, :, 6] = 0.5, 0.5
    prediction[1, 1, 6] = -0.5  # the wrong way, row 3 of 3
    prediction[0, 5] = 100.0  # not executed
    metrics = ImitationMetrics()
    for sample in (0, 1):  # batch size must not matter
        metrics.update(prediction[[sample]], target[[sample]], mask[[sample]])
    values = {name: metric.compute().item() for name, metric in metrics.named("val").items()}
    assert values == pytest.approx(
        {
            "val/loss": (0.81 + (9.0 + 1.0)) / 2,
            "val/position_error": 0.9 / 9,
            "val/rotation_error": 1.0 / 9,
            "val/gripper_accuracy": 2 / 3,
        }
    )


def test_cosine_falls_from_one_to_zero_and_stays_there():
    assert [cosine_factor(step, 4) for step in (0, 2, 4, 6)] == pytest.approx([1.0, 0.5, 0.0, 0.0])


class Recorder(Callback):
    """Learning rates and training losses, step by step."""

    def __init__(self):
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def fit(root, module=None, ckpt_path=None, **arguments):
    recorder = Recorder()
    trainer = tiny_trainer(root, callbacks=[recorder], **arguments)
    trainer.fit(module or tiny_module(), datamodule=TinyDataModule(), ckpt_path=ckpt_path)
    return trainer, recorder


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_killed_and_resumed_run_is_bit_equal_to_an_uninterrupted_one(tmp_path, precision):
    def module():
        return tiny_module(schedule="cosine")

    whole, whole_record = fit(tmp_path, module(), max_epochs=2, precision=precision)
    assert len(whole_record.losses) == 6

    trainer = tiny_trainer(
        tmp_path,
        callbacks=[ModelCheckpoint(tmp_path, save_last=True), Kill(step=5)],
        enable_checkpointing=True,
        max_epochs=2,
        precision=precision,
    )
    with pytest.raises(RuntimeError, match="killed"):
        trainer.fit(module(), datamodule=TinyDataModule())
    resumed, record = fit(
        tmp_path, module(), ckpt_path=tmp_path / "last.ckpt", max_epochs=2, precision=precision
    )
    assert record.losses == whole_record.losses[3:]  # last.ckpt is of the end of the first epoch
    assert record.rates == whole_record.rates[3:]
    for name, tensor in whole.lightning_module.state_dict().items():
        assert torch.equal(resumed.lightning_module.state_dict()[name], tensor), name


def test_statistics_come_from_the_data_and_reach_the_checkpoint(tmp_path):
    trainer, _ = fit(tmp_path, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "bc.ckpt")
    saved = load_saved_student(tmp_path / "bc.ckpt")
    assert saved.network.proprio_mean.tolist() == [0.25] * 7
    assert saved.network.proprio_std.tolist() == [0.5] * 7
    assert saved.task == "tiny_task"
    assert saved.training is not None
    assert saved.training["lr"] == 1e-2
    assert saved.training["step"] == 3
    for name, tensor in trainer.lightning_module.network.state_dict().items():
        assert torch.equal(saved.network.state_dict()[name], tensor), name


def test_cosine_reaches_zero_at_the_end_of_the_run(tmp_path):
    _, record = fit(tmp_path, tiny_module(schedule="cosine"), max_epochs=2)
    assert record.rates == pytest.approx([1e-2 * cosine_factor(step, 6) for step in range(1, 7)])
    _, record = fit(tmp_path, max_epochs=1)
    assert record.rates == [1e-2] * 3


def test_validation_loss_does_not_depend_on_the_batch_size_and_is_not_augmented(tmp_path):
    module = tiny_module()
    trainer = tiny_trainer(tmp_path)
    (values,) = trainer.validate(module, datamodule=TinyDataModule(), verbose=False)
    batch = random_batch(4, seed=2)
    with torch.inference_mode():
        expected = masked_squared_error(module(batch), batch["teacher_actions"], batch["mask"]).mean()
    assert values["val/loss"] == pytest.approx(expected.item())
    (tested,) = trainer.test(module, datamodule=TinyDataModule(), verbose=False)
    assert tested["test/loss"] == values["val/loss"]


def test_warm_start_takes_weights_and_statistics_and_a_resumed_run_does_not_repeat_it(tmp_path):
    other = tiny_network(seed=9)
    other.set_statistics([2.0] * 7, [3.0] * 7)
    save_student(other, tmp_path / "other.pt")
    first: dict[str, torch.Tensor] = {}

    class First(Callback):
        def on_train_start(self, trainer, pl_module):
            first.update({name: t.clone() for name, t in pl_module.network.state_dict().items()})

    def module():
        return tiny_module(init_from=str(tmp_path / "other.pt"))

    trainer = tiny_trainer(tmp_path, callbacks=[First()], max_epochs=1)
    trainer.fit(module(), datamodule=TinyDataModule())
    for name, tensor in other.state_dict().items():
        assert torch.equal(first[name], tensor), name
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "other.pt").unlink()  # a resumed run does not even look for it
    trained = {name: t.clone() for name, t in trainer.lightning_module.network.state_dict().items()}
    trainer = tiny_trainer(tmp_path, callbacks=[First()], max_epochs=2)
    trainer.fit(module(), datamodule=TinyDataModule(), ckpt_path=tmp_path / "last.ckpt")
    for name, tensor in trained.items():
        assert torch.equal(first[name], tensor), name


def test_a_warm_start_that_cannot_be_is_refused_in_one_line(tmp_path):
    with pytest.raises(LitDistillError, match=r"missing\.ckpt: no such checkpoint.*lit_distill fit"):
        fit(tmp_path, tiny_module(init_from=str(tmp_path / "missing.ckpt")), max_epochs=1)
    save_student(tiny_network(hidden=24), tmp_path / "wide.pt")
    with pytest.raises(
        LitDistillError, match=r"init_from.*wide\.pt has hidden 24, but network\.hidden is 16"
    ):
        fit(tmp_path, tiny_module(init_from=str(tmp_path / "wide.pt")), max_epochs=1)


def test_a_checkpoint_holds_no_hyperparameters_that_could_override_the_command_line(tmp_path):
    trainer, _ = fit(tmp_path, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "bc.ckpt")
    checkpoint = torch.load(tmp_path / "bc.ckpt", weights_only=True)
    assert not [key for key in checkpoint if "hyper" in key or "hparams" in key]


class RecordingCloning(BehaviorCloning):
    """Keeps every augmented batch."""

    def augment(self, batch, batch_idx):
        augmented = super().augment(batch, batch_idx)
        self.seen = [*getattr(self, "seen", []), augmented]
        return augmented


def test_augmentation_differs_by_epoch_and_seed_and_leaves_the_labels_alone(tmp_path):
    def seen(seed):
        module = RecordingCloning(tiny_network(), shift_pixels=2, seed=seed)
        fit(tmp_path, module, max_epochs=2)
        return module.seen

    first, second = seen(seed=0), seen(seed=1)
    batch = next(iter(TinyDataModule().train_dataloader()))
    for view in ("agentview", "wrist"):
        assert not torch.equal(first[0][view], batch[view])
        assert not torch.equal(first[0][view], first[3][view])  # the same batch in the next epoch
        assert not torch.equal(first[0][view], second[0][view])
    assert torch.equal(first[0]["teacher_actions"], batch["teacher_actions"])


def test_augmentation_differs_by_batch_and_view(tmp_path):
    module = tiny_module()
    fit(tmp_path, module, max_epochs=1)
    batch = random_batch(8)
    batch["wrist"] = batch["agentview"]
    augmented = module.augment(batch, 0)
    assert not torch.equal(augmented["agentview"], augmented["wrist"])
    assert torch.equal(augmented["wrist"], module.augment(batch, 0)["wrist"])
    assert not torch.equal(augmented["wrist"], module.augment(batch, 1)["wrist"])


class RestartAfter(Callback):
    """Begins anew once, after an epoch, and forgets the steps that were recorded."""

    def __init__(self, epoch, recorder, init_from=None):
        self.epoch, self.recorder, self.init_from = epoch, recorder, init_from

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            pl_module.restart(self.epoch + 1, self.init_from)
            self.recorder.losses.clear()
            self.recorder.rates.clear()


@pytest.mark.parametrize("warm", [False, True])
def test_a_restart_within_a_fit_is_a_fit_that_begins_then(tmp_path, warm):
    other = str(tmp_path / "other.pt") if warm else None
    network = tiny_network(seed=9)
    network.set_statistics([2.0] * 7, [3.0] * 7)
    save_student(network, tmp_path / "other.pt")
    fresh, expected = fit(tmp_path, tiny_module(schedule="cosine", init_from=other), max_epochs=2)

    recorder = Recorder()
    callbacks = [recorder, RestartAfter(2, recorder, other)]
    trainer = tiny_trainer(tmp_path, callbacks=callbacks, max_epochs=5)
    trainer.fit(tiny_module(schedule="cosine"), datamodule=TinyDataModule())
    assert recorder.losses == expected.losses
    assert recorder.rates == expected.rates
    for name, tensor in fresh.lightning_module.state_dict().items():
        assert torch.equal(trainer.lightning_module.state_dict()[name], tensor), name


def test_notes_reach_the_checkpoints_record(tmp_path):
    module = tiny_module()
    module.notes = {"algorithm": "other", "round": 2}
    trainer, _ = fit(tmp_path, module, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "bc.ckpt")
    training = load_saved_student(tmp_path / "bc.ckpt").training
    assert (training["algorithm"], training["round"], training["lr"]) == ("other", 2, 1e-2)


def test_a_process_shifts_its_part_of_a_batch_as_one_process_shifts_all_of_it(tmp_path, monkeypatch):
    module = tiny_module()
    fit(tmp_path, module, max_epochs=1)
    batch = random_batch(8)
    whole = module.augment(batch, 3)
    for rank in (0, 1):
        monkeypatch.setattr(BehaviorCloning, "global_rank", rank)
        part = slice(4 * rank, 4 * rank + 4)
        augmented = module.augment({key: value[part] for key, value in batch.items()}, 3)
        for key, value in whole.items():
            assert torch.equal(augmented[key], value[part]), key


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"lr": 0.0}, "lr"), ({"weight_decay": -1.0}, "weight_decay"), ({"schedule": "step"}, "schedule"),
     ({"shift_pixels": -1}, "shift_pixels"), ({"seed": -1}, "seed")],
)  # fmt: skip
def test_impossible_arguments_are_named(arguments, named):
    with pytest.raises(LitDistillError, match=named):
        tiny_module(**arguments)
