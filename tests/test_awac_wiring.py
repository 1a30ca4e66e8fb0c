"""AWAC's equations as they are put together, by numbers worked out by hand on critics that are formulas.

f, m: feature and mean of an observation by its number; a: an executed chunk; t: the teacher's; m': the mean
of the present student. Of a chunk only the first number of row 0 and the first of row 1 are not 0.

    Q_1 = f + a_0          Q_2 = 2 a_1 - 1       (online)
    Q_1 = 2 f - a_0 + 1    Q_2 = a_1 + 0.5       (target)

Five transitions of one step, gamma = 0.5, lambda_TPR = 2, lambda_AWAC = 0.5, w_max = 3:

    number     f      m                        min Q_target(m), m clipped to [-1, 1]
    0          0.1    (0.5, -0.5)              min(0.7, 0)       =  0
    1          0.2    (0.25, -2)               min(1.15, -0.5)   = -0.5
    2          0.3    (0, 0)                   not used: nothing leads there
    3          0.4    (0.25, 3)                min(1.55, 1.5)    =  1.5
    4         -0.5    (1.5, 0.75)              min(-1, 1.25)     = -1

    from to    shaped                         y      a             Q(a)       m'          min Q(m')  A
    3    1     0 + 2 (0.5·0.6 - 0.4)  = -0.2  -0.45  (0.1, 0.9)    0.5, 0.8   (2, 1)       1         -0.5
    0    4     0 + 2 (0.5·0 - 0)      =  0    -0.5   (0.9, 0.4)    1, -0.2    (-3, 0.5)   -0.9        0.7
    2    0     1 + 2 (0.5·1 - 0.5)    =  1     1     (-0.3, 0.75)  0, 0.5     (1, 2)       1         -1
    1    3     0 + 2 (0.5·0.5 - 0.25) =  0     0.75  (0.8, 1)      1, 1       (0.3, 0.9)   0.5        0.5
    4    end   1 + 2 (0.5·1 - 0.25)   =  1.5   1.5   (0.5, 0.6)    0, 0.2     (1.5, 1)     0.5       -0.5

The student's standard deviation is 1 and one row is executed: log pi = -(a_0 - m'_0)^2 / 2 - 7 ln √(2π).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import tiny_network, tiny_trainer
from torch import Tensor, nn

from lit_distill.algorithms.awac import AWAC
from lit_distill.algorithms.awac_terms import HALF_LOG_2PI, critic_error
from lit_distill.algorithms.encoded_observations import EncodedObservations
from lit_distill.errors import LitDistillError

Y = [-0.45, -0.5, 1.0, 0.75, 1.5]
WEIGHTS = [math.exp(-1.0), 3.0, math.exp(-2.0), math.e, math.exp(-1.0)]
"""exp(A / 0.5); the second, exp(1.4), is clipped."""
APART = [-1.9, 3.9, -1.3, 0.5, -1.0]
"""a_0 - m'_0, m' as it is, not clipped."""
CRITIC_LOSS = (2.465 + 2.34 + 1.25 + 0.125 + 3.94) / 5
"""Sum over both critics of (Q(a) - y)^2."""
ACTOR_LOSS = sum(w * (d * d / 2 + 7 * HALF_LOG_2PI) for w, d in zip(WEIGHTS, APART, strict=True)) / 5


class Formula(nn.Module):
    """Q_1 = c_0 f + c_1 a_0 + c_2, Q_2 = c_3 a_1 + c_4."""

    def __init__(self, *constants: float) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.tensor(constants))

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        first = self.c[0] * features[:, 0] + self.c[1] * actions[:, 0, 0] + self.c[2]
        return torch.stack([first, self.c[3] * actions[:, 1, 0] + self.c[4]], dim=-1)


def chunks(*firsts: tuple[float, float]) -> Tensor:
    """float32 [B, K, A] with these numbers at the beginning of rows 0 and 1."""
    made = torch.zeros(len(firsts), 16, 7)
    made[:, :2, 0] = torch.tensor(firsts)
    return made


class Setting:
    """The module's docstring as objects; whatever is logged is kept in `logged`."""

    def __init__(self, root: Path, **arguments: Any) -> None:
        options = {"gamma": 0.5, "lambda_tpr": 2.0, "lambda_awac": 0.5, "w_max": 3.0, "shift_pixels": 0}
        made = self.made = AWAC(tiny_network(), **(options | arguments))
        made.trainer = tiny_trainer(root)
        made.critic = Formula(1.0, 1.0, 0.0, 2.0, -1.0)  # type: ignore[assignment]
        made.target_critic = Formula(2.0, -1.0, 1.0, 1.0, 0.5).requires_grad_(False)  # type: ignore[assignment]
        features = torch.zeros(5, made.network.feature_dim)
        features[:, 0] = torch.tensor([0.1, 0.2, 0.3, 0.4, -0.5])
        known = chunks((0.5, -0.5), (0.25, -2.0), (0.0, 0.0), (0.25, 3.0), (1.5, 0.75))
        made._observations = EncodedObservations([], made.device, features, known)
        self.mean = chunks((2.0, 1.0), (-3.0, 0.5), (1.0, 2.0), (0.3, 0.9), (1.5, 1.0)).requires_grad_()
        self.log_std = torch.zeros(5, 16, 7)
        made.policy = lambda batch: (self.mean, self.log_std)  # type: ignore[method-assign]
        self.logged: dict[str, Tensor] = {}
        made.log_dict = lambda terms, **options: self.logged.update(terms)  # type: ignore[method-assign,assignment,misc]
        self.batch: Any = {
            "index": torch.tensor([3, 0, 2, 1, 4]),
            "next_index": torch.tensor([1, 4, 0, 3, 4]),
            "agentview": torch.zeros(5, 16, 16, 3, dtype=torch.uint8),
            "wrist": torch.zeros(5, 16, 16, 3, dtype=torch.uint8),
            "proprio": torch.zeros(5, 7),
            "actions": chunks((0.1, 0.9), (0.9, 0.4), (-0.3, 0.75), (0.8, 1.0), (0.5, 0.6)),
            "mask": torch.arange(16).expand(5, 16) < 1,
            "executed": torch.ones(5, dtype=torch.int64),
            "rewards": torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0])[:, None] * (torch.arange(16) < 1),
            "terminal": torch.tensor([False, False, False, False, True]),
            "success": torch.tensor([True, False, True, False, True]),
            "value": torch.tensor([0.4, 0.0, 0.5, 0.25, 0.25]),
            "next_value": torch.tensor([0.6, 0.0, 1.0, 0.5, 1.0]),
            "teacher_actions": chunks((0.6, 0.7), (0.2, 0.9), (0.7, 0.75), (0.5, 0.5), (0.1, 0.1)),
            "relabelled": torch.tensor([True, True, True, False, False]),
            "perturbed": torch.zeros(5, dtype=torch.bool),
        }

    def step(self) -> Tensor:
        """The loss."""
        return self.made.training_step(self.batch, 0)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_the_target_is_of_the_target_critics_at_the_next_observations_mean(setting: Setting):
    made = setting.made
    y = made.target(setting.batch, made.rewards(setting.batch)[1])
    torch.testing.assert_close(y, torch.tensor(Y))
    assert not y.requires_grad


def test_the_loss_is_that_of_both_critics_and_the_weighted_likelihood(setting: Setting):
    torch.testing.assert_close(setting.step(), torch.tensor(CRITIC_LOSS + ACTOR_LOSS))


def test_the_terms_are_float32_where_the_student_is_computed_in_bfloat16(setting: Setting):
    """Half of all machines train so; an advantage is a small difference."""
    with torch.autocast("cpu", torch.bfloat16):
        loss = setting.step()
        returns, _ = setting.made.rewards(setting.batch | {"rewards": torch.full((5, 16), 0.1)})
    torch.testing.assert_close(loss, torch.tensor(CRITIC_LOSS + ACTOR_LOSS))
    torch.testing.assert_close(returns, torch.full((5,), 0.1 * sum(0.5**j for j in range(16))))
    assert {term.dtype for term in setting.logged.values()} == {torch.float32}


def test_heads_and_critics_are_float32_where_the_student_is_computed_in_bfloat16(tmp_path: Path):
    made = AWAC(tiny_network(), shift_pixels=0)
    torch.nn.init.normal_(made.log_std_head[0].weight, std=0.1)  # type: ignore[arg-type]
    features, actions = torch.randn(5, made.network.feature_dim), torch.rand(5, 16, 7)
    batch: Any = {
        **{view: torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8) for view in ("agentview", "wrist")},
        "proprio": torch.randn(5, 7),
        "task_index": torch.zeros(5, dtype=torch.int64),
    }
    exact = made.critic(features, actions), made.log_std_head(features)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = made.critic(features, actions), made.log_std_head(features)
        mean, log_std = made.policy(batch)
    assert all(torch.equal(left, right) for left, right in zip(exact, rounded, strict=True))
    assert mean.dtype == log_std.dtype == torch.float32


def test_every_term_on_the_board_by_hand(setting: Setting):
    setting.step()
    squares = [d * d / 2 for d in APART]
    expected = {
        "reward/chunk": 2 / 5,
        "reward/shaped": (-0.2 + 0.0 + 1.0 + 0.0 + 1.5) / 5,
        "critic/target": sum(Y) / 5,
        "critic/loss": CRITIC_LOSS,
        "advantage/mean": -0.8 / 5,
        "advantage/std": math.sqrt((3 * 0.25 + 0.49 + 1.0) / 5 - 0.16**2),
        "weight/max": 3.0,
        "weight/clipped": 1 / 5,
        "weight/effective_sample_size": sum(WEIGHTS) ** 2 / (5 * sum(w * w for w in WEIGHTS)),
        "actor/log_std": 0.0,
        "actor/log_probability": -sum(squares) / 5 - 7 * HALF_LOG_2PI,
        "actor/loss": ACTOR_LOSS,
    }
    assert {name: float(value) for name, value in setting.logged.items()} == pytest.approx(expected, rel=1e-5)


def test_the_critics_learn_from_their_own_loss_alone(setting: Setting):
    """Neither A nor w, through which the actor's loss depends on them, has a gradient."""
    made, batch = setting.made, setting.batch
    setting.step().backward()
    assert made._observations is not None
    q = made.critic(made._observations.features[batch["index"]], batch["actions"])
    (own,) = torch.autograd.grad(critic_error(q, torch.tensor(Y)).mean(), made.critic.c)  # type: ignore[arg-type]
    torch.testing.assert_close(made.critic.c.grad, own)
    assert made.target_critic.c.grad is None


def test_the_actor_learns_from_the_weighted_likelihood_alone(setting: Setting):
    """d(-w log pi) / dm' = -w (a - m')."""
    setting.step().backward()
    expected = chunks(*((-w * d / 5, 0.0) for w, d in zip(WEIGHTS, APART, strict=True)))
    torch.testing.assert_close(setting.mean.grad, expected)


def test_the_teachers_chunk_has_its_own_advantage_and_counts_where_it_is_another(tmp_path: Path):
    """Q(t) = min(1, 0.4), min(0.3, 0.8), min(1, 0.5): A = -0.6, 1.2, which is clipped, -0.5; all 16 rows.

    t - m' = (-1.4, -0.3), (3.2, 0.4), (-0.3, -1.25).
    """
    loss = Setting(tmp_path, relabel_weight=0.5).step()
    weights = [math.exp(-1.2), 3.0, math.exp(-1.0)]
    squares = [(1.4**2 + 0.3**2) / 2, (3.2**2 + 0.4**2) / 2, (0.3**2 + 1.25**2) / 2]
    total = sum(w * (s + 112 * HALF_LOG_2PI) for w, s in zip(weights, squares, strict=True))
    torch.testing.assert_close(loss, torch.tensor(CRITIC_LOSS + ACTOR_LOSS + 0.5 * total / 5))


def test_the_teachers_chunk_gives_the_critics_no_gradient_either(tmp_path: Path):
    with_it, without = Setting(tmp_path, relabel_weight=0.5), Setting(tmp_path)
    with_it.step().backward()
    without.step().backward()
    torch.testing.assert_close(with_it.made.critic.c.grad, without.made.critic.c.grad)


def test_validation_tells_q_of_the_target_critics_and_the_error_of_the_others(setting: Setting):
    """Q_target(a) = min of (1.7, 1.4), (0.3, 0.9), (1.9, 1.25), (0.6, 1.5), (-0.5, 1.1); min Q(a) - y."""
    for step in (setting.made.validation_step, setting.made.test_step):
        told = step(setting.batch, 0)
        torch.testing.assert_close(told["q"], torch.tensor([1.4, 0.3, 1.25, 0.6, -0.5]))
        torch.testing.assert_close(told["error"], torch.tensor([0.95, 0.3, -1.0, 0.25, -1.5]))
        assert told["success"].tolist() == [True, False, True, False, True]


def test_the_weights_on_the_board_are_those_that_the_actor_learns_by(tmp_path: Path):
    """Chunks that noise was part of are left out where they teach the actor nothing."""
    setting = Setting(tmp_path, perturbed_weight=0.0)
    setting.batch["perturbed"] = torch.tensor([True, False, False, True, False])
    setting.step()
    kept = [w for w, perturbed in zip(WEIGHTS, setting.batch["perturbed"], strict=True) if not perturbed]
    assert float(setting.logged["weight/max"]) == pytest.approx(max(kept))
    size = sum(kept) ** 2 / (3 * sum(w * w for w in kept))
    assert float(setting.logged["weight/effective_sample_size"]) == pytest.approx(size, rel=1e-5)


def test_the_student_sees_shifted_views_and_its_mean_in_eq_6_is_of_the_views_as_they_are(tmp_path: Path):
    setting = Setting(tmp_path, shift_pixels=2)
    generator = torch.Generator().manual_seed(0)
    for view in ("agentview", "wrist"):
        pixels = torch.randint(0, 256, setting.batch[view].shape, generator=generator)
        setting.batch[view] = pixels.to(torch.uint8)
    seen: list[Any] = []

    def policy(batch: Any) -> tuple[Tensor, Tensor]:
        seen.append(batch)
        return setting.mean, setting.log_std

    setting.made.policy = policy  # type: ignore[method-assign]
    setting.step()
    augmented: Any = setting.made.augment(setting.batch)
    for view in ("agentview", "wrist"):
        assert [torch.equal(each[view], augmented[view]) for each in seen] == [False, True]
        assert [torch.equal(each[view], setting.batch[view]) for each in seen] == [True, False]


def test_until_actor_start_the_student_is_not_asked(tmp_path: Path):
    """Its answers are known, and the log-std head reads the features of the critics, which are its own.

    Q(m), m clipped = min(0.65, 1), (0.6, -2), (0.3, -1), (0.45, -3), (0.5, 0.5), so that
    A = -0.15, 1.8, 1, 4, -0.5; a_0 - m_0 = -0.15, 0.4, -0.3, 0.55, -1; the standard deviation is 1.
    """
    setting = Setting(tmp_path, actor_start=1)
    made = setting.made
    made.policy = None  # type: ignore[assignment]
    torch.nn.init.zeros_(made.log_std_head[0].bias)  # type: ignore[arg-type]
    loss = setting.step()
    weights, apart = [math.exp(-0.3), 3.0, 3.0, 3.0, math.exp(-1.0)], [-0.15, 0.4, -0.3, 0.55, -1.0]
    actor = sum(w * (d * d / 2 + 7 * HALF_LOG_2PI) for w, d in zip(weights, apart, strict=True)) / 5
    torch.testing.assert_close(loss, torch.tensor(CRITIC_LOSS + actor))
    loss.backward()
    assert made.log_std_head[0].bias.grad.abs().sum() > 0.0  # type: ignore[union-attr,operator]
    assert all(not parameter.grad.any() for parameter in made.network.parameters())  # type: ignore[union-attr]


Spoil = Callable[[Setting, pytest.MonkeyPatch], None]


def batch_of(name: str, value: float) -> Spoil:
    """Nothing but `value` in a part of the batch."""

    def spoil(setting: Setting, patch: pytest.MonkeyPatch) -> None:
        setting.batch[name].fill_(value)

    return spoil


def advantage_of(value: float, w_max: float = 3.0) -> Spoil:
    """This A, whatever the critics say."""

    def spoil(setting: Setting, patch: pytest.MonkeyPatch) -> None:
        setting.made.w_max = w_max
        patch.setattr("lit_distill.algorithms.awac.advantage", lambda *q: torch.full((5,), value))

    return spoil


def tensor_of(get: Callable[[Setting], Tensor], value: float) -> Spoil:
    """Nothing but `value` in a tensor of the setting."""

    def spoil(setting: Setting, patch: pytest.MonkeyPatch) -> None:
        get(setting).data.fill_(value)

    return spoil


INF, NAN = math.inf, math.nan
SPOILT: dict[str, Spoil] = {
    "reward/chunk": batch_of("rewards", INF),
    "reward/shaped": batch_of("value", INF),
    "critic/target": tensor_of(lambda setting: setting.made.target_critic.c[2:3], -INF),  # type: ignore[index]
    "critic/loss": tensor_of(lambda setting: setting.made.critic.c[2:3], INF),  # type: ignore[index]
    "advantage/mean": tensor_of(lambda setting: setting.mean, NAN),
    "weight/max": advantage_of(1e4, w_max=INF),
    "weight/effective_sample_size": advantage_of(-1e4),  # all weights are 0
    "actor/log_std": tensor_of(lambda setting: setting.log_std, NAN),
    "actor/log_probability": tensor_of(lambda setting: setting.mean, INF),
    "actor/loss": batch_of("teacher_actions", NAN),
}
"""What makes which term the first that is not finite."""


@pytest.mark.parametrize("name", SPOILT)
def test_the_first_term_that_is_not_finite_stops_the_run_by_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    setting = Setting(tmp_path, relabel_weight=1.0)
    SPOILT[name](setting, monkeypatch)
    with pytest.raises(LitDistillError, match=f"^{name}: not finite at step 0; lower the learning rates, or"):
        setting.step()
    assert not setting.logged


def test_no_other_term_is_on_the_board(setting: Setting):
    """But two that are finite where those before them are."""
    setting.step()
    assert set(setting.logged) == {*SPOILT, "advantage/std", "weight/clipped"}
