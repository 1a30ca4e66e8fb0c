"""The lever of AWAC's that is an experiment alone: critics whose own encoders are trained."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import tiny_trainer
from toy_line import IMAGE_SIZE, LineData

from lit_distill.algorithms.awac import AWAC
from lit_distill.networks.checkpoint import save_student
from lit_distill.networks.student import StudentNetwork

BENCHMARKS = Path(__file__).parents[1] / "experiments" / "benchmarks"


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch, same_threads: None) -> type[AWAC]:
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    made: type[AWAC] = importlib.import_module("encode_everything").EncodeEverything
    return made


def network(seed: int) -> StudentNetwork:
    torch.manual_seed(seed)
    return StudentNetwork((8, 8, 8), (3, 3, 3), (2, 2, 2), image_size=IMAGE_SIZE, hidden=32)


def fit(kind: type[AWAC], root: Path, steps: int, **arguments: Any) -> tuple[AWAC, dict[str, float]]:
    path = root / "student.ckpt"
    save_student(network(1), path)
    torch.manual_seed(0)
    made = kind(network(0), str(path), tau=0.5, critic_lr=1e-2, shift_pixels=0, **arguments)
    logged: dict[str, float] = {}
    made.log_dict = lambda terms, **_: logged.update({name: float(term) for name, term in terms.items()})  # type: ignore[method-assign,assignment,misc]
    trainer = tiny_trainer(root, max_epochs=1, limit_val_batches=0)
    trainer.fit(made, LineData(steps))
    return made, logged


def test_it_begins_with_the_losses_of_what_is_encoded_once(everything: type[AWAC], tmp_path: Path):
    _, once = fit(AWAC, tmp_path, 1)
    _, again = fit(everything, tmp_path, 1)
    assert once["critic/loss"] > 0.0
    for name in ("critic/loss", "critic/target", "actor/loss", "advantage/mean"):
        assert again[name] == pytest.approx(once[name], rel=1e-5), name


def test_the_critics_encoder_is_trained_and_its_target_follows(everything: type[AWAC], tmp_path: Path):
    made: Any = fit(everything, tmp_path, 3, actor_start=2)[0]
    start = network(1).agentview_encoder.state_dict()
    trained, target = (
        each.agentview_encoder.state_dict() for each in (made.critic_encoder, made._target_encoder)
    )
    moved = [(trained[name] - start[name]).abs().max() for name in start]
    behind = [(target[name] - start[name]).abs().max() for name in start]
    assert max(moved) > 1e-3 and 0.0 < max(behind) < max(moved)
    frozen: Any = fit(AWAC, tmp_path, 3, actor_start=2)[0]
    for name, value in frozen.critic_encoder.agentview_encoder.state_dict().items():
        assert torch.equal(value, start[name])


def test_the_log_std_head_does_not_train_it(everything: type[AWAC], tmp_path: Path):
    made: Any = fit(everything, tmp_path, 1, actor_start=0)[0]
    features = torch.randn(2, made.network.feature_dim, requires_grad=True)
    made.log_std_head(features).sum().backward()
    assert features.grad is None
