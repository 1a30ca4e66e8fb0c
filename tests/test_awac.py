"""AWAC as a module: the equations put together, warm start, what is frozen, what is refreshed when."""

from __future__ import annotations

import inspect
import math
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_training import TinyDataModule, tiny_module, tiny_trainer
from toy_line import IMAGE_SIZE, LineData, mean_action

from lit_distill.algorithms.awac import AWAC
from lit_distill.errors import LitDistillError
from lit_distill.lightning_cli import check_fits
from lit_distill.networks.checkpoint import (
    load_log_std_head,
    load_saved_student,
    load_student,
    save_student,
)
from lit_distill.networks.log_std import LOG_STD_MAX, LOG_STD_MIN
from lit_distill.networks.student import StudentNetwork

STEPS = 6
TOY: dict[str, Any] = {
    **{"gamma": 0.99, "lambda_awac": 0.05, "tau": 0.05, "actor_lr": 5e-3, "critic_lr": 3e-3},
    **{"mean_every": 20, "critic_hidden": 64, "shift_pixels": 0},
}
"""AWAC for the line of tests/toy_line.py."""


def network(seed: int = 0) -> StudentNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return StudentNetwork((8, 8, 8), (3, 3, 3), (2, 2, 2), image_size=IMAGE_SIZE, hidden=32)


@pytest.fixture(autouse=True)
def one_thread(same_threads: None) -> None:
    """More threads only wait for each other on networks as small as these."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a DAgger run would leave."""
    path = tmp_path_factory.mktemp("student") / "student.ckpt"
    save_student(network(1), path)
    return str(path)


def module(student: str | None, **arguments: Any) -> AWAC:
    defaults: dict[str, Any] = {"actor_lr": 3e-3, "critic_lr": 3e-3, "mean_every": 2, "shift_pixels": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AWAC(network(), student, **(defaults | arguments))


def fit(made: AWAC, root: Path, data: LineData | None = None, **arguments: Any) -> Trainer:
    trainer = tiny_trainer(root, max_epochs=1, limit_val_batches=0, **arguments)
    trainer.fit(made, data or LineData(STEPS))
    return trainer


def state(made: LightningModule) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in made.state_dict().items()}


def differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> set[str]:
    return {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}


def test_it_starts_from_the_students_weights(student: str, tmp_path: Path):
    made = module(student, actor_start=STEPS - 1)
    fit(made, tmp_path)
    loaded = load_student(student).state_dict()
    for name, weights in made.critic_encoder.state_dict().items():
        torch.testing.assert_close(weights, loaded[name])


def test_without_a_student_it_says_which_command_makes_one(tmp_path: Path):
    with pytest.raises(
        LitDistillError, match=r"^init_from: .*fit --config conf/dagger_fast\.yaml` makes one$"
    ):
        fit(module(None), tmp_path)


def test_another_tasks_student_is_refused(tmp_path: Path):
    save_student(network(1), tmp_path / "milk.ckpt", "milk")
    with pytest.raises(LitDistillError, match=r"milk\.ckpt was trained on milk, not on toy_line$"):
        fit(module(str(tmp_path / "milk.ckpt")), tmp_path)


def test_a_student_of_another_architecture_is_refused_in_one_line(tmp_path: Path):
    wide = StudentNetwork((8, 8, 8), (3, 3, 3), (2, 2, 2), image_size=IMAGE_SIZE, hidden=24)
    save_student(wide, tmp_path / "wide.ckpt")
    with pytest.raises(
        LitDistillError, match=r"^init_from: .*wide\.ckpt has hidden 24, but network\.hidden is 32"
    ):
        fit(module(str(tmp_path / "wide.ckpt")), tmp_path)


def test_a_step_moves_actor_critic_and_target_but_not_the_frozen_encoder(student: str, tmp_path: Path):
    made = module(student)
    fit(made, tmp_path, LineData(1))
    fresh = module(student)
    moved = differing(state(made), state(fresh))
    assert {"network", "log_std_head", "critic", "target_critic"} <= moved
    loaded = load_student(student).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in made.critic_encoder.state_dict().items())


class Watch(Callback):
    """After every step: what is not as it was at the start."""

    def __init__(self) -> None:
        self.moved: list[set[str]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = state(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        self.moved.append(differing(self.start, state(pl_module)))


def test_the_critics_see_the_rows_that_are_executed_and_no_others(student: str):
    made = module(student, execute_steps=8)
    features, actions = torch.randn(3, made.network.feature_dim), torch.rand(3, 16, 7)
    beyond, within = actions.clone(), actions.clone()
    beyond[:, 8:], within[:, 7:8] = 0.0, 0.0
    for critic in (made.critic, made.target_critic):
        assert torch.equal(critic(features, actions), critic(features, beyond))
        assert not torch.equal(critic(features, actions), critic(features, within))


def test_data_of_another_kind_or_of_chunks_of_another_length_are_refused(student: str, tmp_path: Path):
    data = LineData(STEPS)
    data.execute_steps = 4  # type: ignore[attr-defined]
    with pytest.raises(
        LitDistillError, match="^execute_steps: the critics would see 16 rows .* of which 4 are"
    ):
        fit(module(student), tmp_path, data)
    with pytest.raises(
        LitDistillError, match="^data: AWAC needs datamodules.replay.ReplayDataModule, got Tiny"
    ):
        fit(module(student), tmp_path, TinyDataModule())  # type: ignore[arg-type]


def test_a_checkpoint_of_another_training_is_refused_in_one_line(student: str, tmp_path: Path):
    """Lightning would collect what is missing, then tell a page of missing keys."""
    cloning = tiny_module()
    trainer = tiny_trainer(tmp_path, max_epochs=1)
    trainer.fit(cloning, TinyDataModule())
    trainer.save_checkpoint(tmp_path / "bc.ckpt")
    fit(module(student), tmp_path).save_checkpoint(tmp_path / "awac.ckpt")
    with pytest.raises(
        LitDistillError, match=r"bc.ckpt: holds other weights \(of bc\) than AWAC .*--model.init_from"
    ):
        check_fits(tmp_path / "bc.ckpt", module(student), "fit")
    with pytest.raises(LitDistillError, match="give the --config that made it$"):
        check_fits(tmp_path / "bc.ckpt", module(student), "test")
    with pytest.raises(
        LitDistillError, match=r"awac.ckpt: holds other weights \(of awac\) than BehaviorCloning"
    ):
        check_fits(tmp_path / "awac.ckpt", cloning, "test")
    with pytest.raises(LitDistillError, match="than AWAC has with this configuration .critic"):
        check_fits(tmp_path / "awac.ckpt", module(student, critic_hidden=24), "fit")
    check_fits(tmp_path / "awac.ckpt", module(student), "fit")
    check_fits(tmp_path / "bc.ckpt", cloning, "test")


def test_until_actor_start_critics_and_log_std_head_alone_are_trained(student: str, tmp_path: Path):
    """To the step, weight decay included; and Adam's memory of the student begins there."""
    made, watch = module(student, actor_start=3, weight_decay=0.5), Watch()
    trainer = fit(made, tmp_path, callbacks=[watch])
    rest = {"critic", "target_critic", "log_std_head"}
    assert watch.moved == [rest] * 3 + [rest | {"network"}] * (STEPS - 3)
    memory = trainer.optimizers[0].state
    steps = [memory[weights]["step"] for weights in made.network.parameters() if weights in memory]
    assert steps and all(step == STEPS - 3 for step in steps)


def test_a_run_that_ends_before_the_students_first_update_is_refused(student: str, tmp_path: Path):
    line = rf"^actor_start: {STEPS} steps come before .*, and the run has {STEPS}; raise trainer\.max_epochs"
    with pytest.raises(LitDistillError, match=line):
        fit(module(student, actor_start=STEPS), tmp_path)


class Rates(Callback):
    """The learning rates of every step: the actor's, the critics'."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self.rates.append([group["lr"] for group in optimizer.param_groups])


def test_the_actors_learning_rate_falls_from_where_it_starts(student: str, tmp_path: Path):
    """Half a cosine over the last 4 steps, and over all 6 for the critics."""
    seen = Rates()
    made = module(student, actor_start=2, schedule="cosine", actor_lr=2.0e-3, critic_lr=4.0e-3)
    fit(made, tmp_path, callbacks=[seen])
    actor, critic = zip(*seen.rates, strict=True)
    half = [0.5 + 0.5 * math.cos(math.pi * k / 4) for k in range(4)]
    assert actor == pytest.approx([2.0e-3, 2.0e-3, *(2.0e-3 * factor for factor in half)])
    whole = [0.5 + 0.5 * math.cos(math.pi * k / 6) for k in range(6)]
    assert critic == pytest.approx([4.0e-3 * factor for factor in whole])


class Refreshed(Callback):
    """At every step, before its update: whether what is known of mu is the present student's answer."""

    def __init__(self) -> None:
        self.fresh: list[bool] = []

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        made: Any = pl_module
        (observations,) = made._data().observations()
        with torch.no_grad():
            self.fresh.append(torch.equal(made._known().mean, made.network(*observations)))


@pytest.mark.parametrize(
    ("actor_start", "mean_every", "fresh"),
    [
        (0, 1, [True] * 6),
        (0, 3, [True, False, False] * 2),
        (2, 3, [True, True, True, False, False, True]),
    ],
)
def test_mu_of_every_observation_is_computed_every_so_many_updates_of_the_student(
    student: str, tmp_path: Path, actor_start: int, mean_every: int, fresh: list[bool]
):
    refreshed = Refreshed()
    fit(module(student, actor_start=actor_start, mean_every=mean_every), tmp_path, callbacks=[refreshed])
    assert refreshed.fresh == fresh


def test_the_target_follows_by_tau(student: str, tmp_path: Path):
    made = module(student, tau=0.25)
    before = {name: tensor.clone() for name, tensor in made.target_critic.named_parameters()}
    fit(made, tmp_path, LineData(1))
    after = dict(made.critic.named_parameters())
    for name, slow in made.target_critic.named_parameters():
        torch.testing.assert_close(slow, 0.75 * before[name] + 0.25 * after[name])


@pytest.mark.parametrize("executed", [1, 5, 16])
def test_the_advantage_of_the_policys_own_mean_is_zero_whatever_the_executed_length(
    student: str, tmp_path: Path, executed: int
):
    """Of the views as they are: the actor alone sees them shifted."""
    made = module(student, shift_pixels=2)
    data = LineData(1)
    fit(made, tmp_path, data)
    logged: dict[str, torch.Tensor] = {}
    made.log_dict = lambda terms, **options: logged.update(terms)  # type: ignore[method-assign,assignment]
    batch = data.gather(0)
    batch["agentview"] = torch.randint(0, 256, batch["agentview"].shape, dtype=torch.uint8)
    with torch.no_grad():
        batch["actions"] = made.policy(batch)[0].clamp(-1.0, 1.0)  # type: ignore[arg-type]
    batch["executed"][:] = executed
    batch["mask"] = (torch.arange(16) < executed).expand_as(batch["mask"])
    batch["perturbed"][:] = False
    made.training_step(batch, 0)  # type: ignore[arg-type]
    assert logged["advantage/mean"] == 0.0 and logged["advantage/std"] == 0.0
    assert logged["weight/max"] == 1.0

    batch["actions"] = -batch["actions"]
    made.training_step(batch, 0)  # type: ignore[arg-type]
    assert logged["advantage/std"] > 0.0


def test_the_log_standard_deviation_is_clamped(student: str):
    made = module(student)
    batch = LineData(1).gather(0)
    for bias, clamped in ((100.0, LOG_STD_MAX), (-100.0, LOG_STD_MIN)):
        torch.nn.init.constant_(made.log_std_head[0].bias, bias)  # type: ignore[arg-type]
        assert (made.policy(batch)[1] == clamped).all()  # type: ignore[arg-type]


def test_the_log_std_head_does_not_train_the_features_that_it_reads(student: str, tmp_path: Path):
    made, batch = hand_made(student, tmp_path)
    torch.nn.init.constant_(made.log_std_head[0].weight, 0.1)  # type: ignore[arg-type]
    for parameter in made.network.parameters():
        parameter.grad = None
    _, log_std = made.policy(batch)
    log_std.sum().backward()
    assert all(parameter.grad is None for parameter in made.network.parameters())
    assert made.log_std_head[0].weight.grad is not None


def test_its_checkpoint_brings_the_log_std_head_that_its_actions_are_sampled_with(
    student: str, tmp_path: Path
):
    made = module(student)
    fit(made, tmp_path).save_checkpoint(tmp_path / "last.ckpt")
    head = load_log_std_head(tmp_path / "last.ckpt", load_student(tmp_path / "last.ckpt"))
    features = torch.randn(3, made.network.feature_dim)
    torch.testing.assert_close(head(features), made.log_std_head(features))
    assert head(features).std() > 0.0
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    checkpoint["state_dict"]["log_std_head.0.bias"] = torch.zeros(3)
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(
        LitDistillError, match=r"^.*other\.ckpt: its log-std head does not fit this version: "
    ):
        load_log_std_head(tmp_path / "other.ckpt", made.network)


def test_actor_and_critics_have_their_own_learning_rates(student: str, tmp_path: Path):
    made = module(student, actor_lr=1e-3, critic_lr=5e-3)
    (optimizer,) = fit(made, tmp_path, LineData(1)).optimizers
    rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert {rates[each] for each in made.network.parameters()} == {1e-3}
    assert {rates[each] for part in (made.critic, made.log_std_head) for each in part.parameters()} == {5e-3}


@pytest.mark.parametrize(
    ("lambda_awac", "says"),
    [
        (
            1e6,
            r"size: 1\.00 of the batch, .*hardly differ; lower lambda_awac",
        ),
        (0.1, None),
    ],
)
def test_weights_that_decide_nothing_are_warned_of(
    student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lambda_awac: float, says: str | None
):
    """Advantages from -0.1 to 0.1: exp(A / 0.1) lies between 0.37 and 2.7."""
    made = module(student, lambda_awac=lambda_awac, actor_start=2)
    by_hand = lambda q, q_mean: torch.linspace(-0.1, 0.1, len(q))  # noqa: E731
    monkeypatch.setattr("lit_distill.algorithms.awac.advantage", by_hand)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(made, tmp_path)
    said = [str(each.message) for each in caught if "effective_sample_size" in str(each.message)]
    assert len(said) == (says is not None)
    assert says is None or re.search(says, said[0])


def hand_made(student: str, tmp_path: Path, **arguments: Any) -> tuple[AWAC, Any]:
    """A module whose critics are constants, Q_1 = 0.5 and Q_2 = 0.25 (targets 2 and 3), and a batch."""
    made = module(student, gamma=0.5, lambda_tpr=2.0, **arguments)
    data = LineData(1)
    fit(made, tmp_path, data)
    for critic, values in ((made.critic, (0.5, 0.25)), (made.target_critic, (2.0, 3.0))):
        for q, value in zip(critic.q, values, strict=True):
            for parameter in q.parameters():  # type: ignore[union-attr]
                parameter.data.zero_()
            q[-1].bias.data.fill_(value)  # type: ignore[index,union-attr]
    return made, data.gather(0)


def test_the_target_of_eq_4_by_hand(student: str, tmp_path: Path):
    """R = 0.5^2 · 1 + 2 (0.5^3 · 0.8 - 0.4) = -0.35; y = -0.35 + 0.5^3 · 2, at the end of a success
    0.25 + 2 (0.125 - 0.4) = -0.3, of a timeout 0 + 2 (0 - 0.4) = -0.8, without a value 0.25 + 0.25."""
    made, batch = hand_made(student, tmp_path)
    batch = {key: array[:4].clone() for key, array in batch.items()}
    batch["rewards"].zero_()
    batch["rewards"][:, 2] = torch.tensor([1.0, 1.0, 0.0, 1.0])
    batch["executed"][:] = 3
    batch["terminal"] = torch.tensor([False, True, True, False])
    batch["value"] = torch.tensor([0.4, 0.4, 0.4, float("nan")])
    batch["next_value"] = torch.tensor([0.8, 1.0, 0.0, 0.8])
    torch.testing.assert_close(
        made.target(batch, made.rewards(batch)[1]), torch.tensor([-0.1, -0.3, -0.8, 0.5])
    )  # type: ignore[arg-type]


def test_the_potential_of_n_steps_is_gamma_to_the_n(student: str, tmp_path: Path):
    """gamma = 0.5: n = 2 -> 0.25, never -> 0, success -> 1, not known -> no shaping (eq. 3)."""
    made, batch = hand_made(student, tmp_path, potential="steps")
    batch = {key: array[:3].clone() for key, array in batch.items()}
    batch["steps_to_success"] = torch.tensor([2.0, float("inf"), float("nan")])
    batch["next_steps_to_success"] = torch.tensor([1.0, 0.0, 3.0])
    now, after = made.potentials(batch)  # type: ignore[arg-type]
    torch.testing.assert_close(now, torch.tensor([0.25, 0.0, float("nan")]), equal_nan=True)
    torch.testing.assert_close(after, torch.tensor([0.5, 1.0, 0.125]))
    batch["rewards"].zero_()
    batch["executed"][:] = 1
    batch["terminal"][:] = True
    torch.testing.assert_close(made.target(batch, made.rewards(batch)[1]), torch.tensor([0.0, 1.0, 0.0]))  # type: ignore[arg-type]


def test_the_loss_is_critic_error_plus_weighted_log_probability(student: str, tmp_path: Path):
    """Constant critics: A = 0, so w = 1 and eq. (8) is the mean log-likelihood of the executed rows."""
    made, batch = hand_made(student, tmp_path, shift_pixels=0)
    made.log_dict = lambda *arguments, **options: None  # type: ignore[method-assign,assignment]
    batch["mask"][:, 5:] = False
    y = made.target(batch, made.rewards(batch)[1])
    mean, log_std = made.policy(batch)
    density = torch.distributions.Normal(mean, log_std.exp()).log_prob(batch["actions"])
    expected = (0.5 - y).square().mean() + (0.25 - y).square().mean() - density[:, :5].sum((1, 2)).mean()
    torch.testing.assert_close(made.training_step(batch, 0), expected)


def test_a_perturbed_chunk_teaches_the_actor_by_its_factor(student: str, tmp_path: Path):
    made, batch = hand_made(student, tmp_path, shift_pixels=0, perturbed_weight=0.25)
    made.log_dict = lambda *arguments, **options: None  # type: ignore[method-assign,assignment]
    undisturbed = made.training_step(batch, 0)
    batch["perturbed"][:10] = True
    mean, log_std = made.policy(batch)
    density = torch.distributions.Normal(mean, log_std.exp()).log_prob(batch["actions"])
    missing = (0.75 * density * batch["mask"][..., None]).sum((1, 2))[:10].sum() / len(density)
    torch.testing.assert_close(made.training_step(batch, 0) - undisturbed, missing)


def test_on_mixed_data_awac_beats_cloning_and_the_potential_helps(student: str, tmp_path: Path):
    """The optimum is to go right with a = 1; half of the data go left. All weights 1 is cloning."""
    found = {}
    for name, arguments in (
        ("cloning", {"lambda_awac": 1e6}),
        ("awac", {"lambda_tpr": 0.0}),
        ("with potential", {"lambda_tpr": 1.0}),
    ):
        made = module(student, **(TOY | arguments))
        fit(made, tmp_path / name, LineData(300, seed=1))
        found[name] = mean_action(made.network)
    assert found["cloning"] + 0.05 < found["awac"] < found["with potential"] - 0.05, found


def test_its_checkpoint_is_a_student_and_tells_how_it_was_trained(student: str, tmp_path: Path):
    made = module(student, critic_hidden=24, execute_steps=8, gamma=0.9)
    trainer = fit(made, tmp_path)
    trainer.save_checkpoint(tmp_path / "awac.ckpt")
    loaded = load_saved_student(tmp_path / "awac.ckpt")
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, made.network.state_dict()[name])
    told = loaded.training or {}
    assert (told["critic_hidden"], told["execute_steps"], told["gamma"]) == (24, 8, 0.9)
    unsaid = {"self", "network", "shift_pixels"}
    assert set(inspect.signature(AWAC.__init__).parameters) - unsaid <= told.keys()
    assert (told["algorithm"], told["shift_pixels"], told["step"]) == ("awac", 1, STEPS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma", 1.5),
        ("gamma", 0.0),
        ("lambda_tpr", -1.0),
        ("potential", "progress"),
        ("lambda_awac", 0.0),
        ("w_max", 0.5),
        ("tau", 0.0),
        ("actor_lr", 0.0),
        ("mean_every", 0),
        ("relabel_weight", -0.1),
    ],
)
def test_what_cannot_be_right_is_refused(name: str, value: float):
    with pytest.raises(LitDistillError, match=f"^{name}: must be"):
        module(None, **{name: value})


def test_what_is_not_finite_stops_the_run_by_name(student: str, tmp_path: Path):
    """One of the terms; test_awac_wiring.py tries each."""
    data = LineData(1)
    data.arrays["rewards"][:] = float("inf")
    with pytest.raises(LitDistillError, match=r"^reward/chunk: not finite at step 0"):
        fit(module(student), tmp_path, data)
