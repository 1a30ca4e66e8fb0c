"""The twin critic: two independent Q, which see the executed rows and no others."""

from __future__ import annotations

import pytest
import torch

from lit_distill.errors import LitDistillError
from lit_distill.networks.critic import TwinCritic

FEATURES = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
ACTIONS = torch.rand(5, 16, 7, generator=torch.Generator().manual_seed(1))


def test_it_gives_two_different_values():
    q = TwinCritic(12)(FEATURES, ACTIONS)
    assert q.shape == (5, 2)
    assert (q[:, 0] != q[:, 1]).all()


def test_each_critic_learns_from_its_own_error_alone():
    critic = TwinCritic(12)
    critic(FEATURES, ACTIONS)[:, 0].sum().backward()
    first, second = ([p.grad.abs().sum() for p in q.parameters() if p.grad is not None] for q in critic.q)
    assert all(total > 0 for total in first) and not any(second)


@pytest.mark.parametrize("execute_steps", [4, 16])
def test_it_sees_the_rows_that_are_executed(execute_steps: int):
    critic = TwinCritic(12, execute_steps)
    for row in range(16):
        changed = ACTIONS.clone()
        changed[:, row] += 0.5
        same = torch.equal(critic(FEATURES, changed), critic(FEATURES, ACTIONS))
        assert same == (row >= execute_steps)


def test_the_target_starts_equal_and_has_no_gradient():
    critic = TwinCritic(12)
    target = critic.frozen_copy()
    torch.testing.assert_close(target(FEATURES, ACTIONS), critic(FEATURES, ACTIONS))
    assert not any(parameter.requires_grad for parameter in target.parameters())
    with torch.no_grad():
        next(critic.parameters()).add_(1.0)
    assert (target(FEATURES, ACTIONS) != critic(FEATURES, ACTIONS)).any()


@pytest.mark.parametrize(
    ("options", "name"), [({"execute_steps": 17}, "execute_steps"), ({"hidden": 0}, "critic_hidden")]
)
def test_what_cannot_be_right_is_refused(options: dict[str, int], name: str):
    with pytest.raises(LitDistillError, match=f"^{name}: "):
        TwinCritic(12, **options)
