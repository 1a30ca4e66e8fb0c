"""AWAC in which nothing is known beforehand: what encoding every observation once costs in success.

    sed s/lit_distill.algorithms.awac.AWAC/encode_everything.EncodeEverything/ conf/awac.yaml > runs/all.yaml
    PYTHONPATH=experiments/benchmarks python -m lit_distill fit --config runs/all.yaml \\
        --model.actor_start 1000 --trainer.max_epochs 25 \\
        --trainer.logger.init_args.name awac_encode_everything/TASK \\
        --trainer.callbacks.study awac_levers --trainer.callbacks.method awac_encode_everything

then `test` with these options and `--ckpt_path runs/awac_encode_everything/TASK/last.ckpt`. What it takes
longer is in `awac.py` (`everything_again`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from lit_distill.algorithms.awac import AWAC
from lit_distill.algorithms.awac_terms import chunk_discount, td_target
from lit_distill.networks.student import StudentNetwork
from lit_distill.schema import ReplayBatch


class EncodeEverything(AWAC):
    """AWAC whose critics have an encoder of their own, which is trained with them, and a target of it.

    It begins as the student's. mu(s) and mu(s') are the present student's in every update.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._target_encoder = copy.deepcopy(self.critic_encoder)
        self.critic_encoder.requires_grad_(True)
        # The log-std head reads features and trains none.
        self.log_std_head.register_forward_pre_hook(
            lambda _, features: tuple(each.detach() for each in features)
        )

    def on_fit_start(self) -> None:
        """See `AWAC`: both encoders begin as that of the student."""
        super().on_fit_start()
        self._target_encoder.load_state_dict(self.critic_encoder.state_dict())

    def target(self, batch: ReplayBatch, shaped: Tensor) -> Tensor:
        """y_i of eq. (4), float32 [B], with the target of the encoder, too."""
        known, next_index = self._known(), batch["next_index"]
        with torch.no_grad():
            there = known.observation(next_index)
            features = self._target_encoder.encode(*there).float()
            next_q = self.target_critic(features, known.mean[next_index].clamp(-1.0, 1.0))
            return td_target(shaped, chunk_discount(batch["executed"], batch["terminal"], self.gamma), next_q)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """See `AWAC`: the target encoder follows as the target critic does."""
        super().optimizer_step(*args, **kwargs)
        self.follow(self._target_encoder, self.critic_encoder)

    def configure_optimizers(self) -> Any:
        """See `AWAC`: the critics' encoder is trained at their learning rate."""
        configured: Any = super().configure_optimizers()
        optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        optimizer.param_groups[1]["params"] += list(self.critic_encoder.parameters())
        return configured

    def _known(self) -> Any:
        if self._observations is None:
            parts = zip(*self._data().observations(), strict=True)
            self._observations = cast(Any, _Live(self, tuple(torch.cat(part) for part in parts)))
        return self._observations


class _Live:
    """What `EncodedObservations` offers, computed at each question.

    Args:
        module: whose encoder and student answer.
        views: of all observations, see `StudentNetwork.encode`.
    """

    def __init__(self, module: EncodeEverything, views: tuple[Tensor, ...]) -> None:
        self._views = views
        encoder, student = module.critic_encoder, module.network
        self.features = _Answers(lambda index: encoder.encode(*self.observation(index)).float())
        self.mean = _Answers(torch.no_grad()(lambda index: student(*self.observation(index)).float()))

    def observation(self, index: Tensor) -> tuple[Tensor, ...]:
        """Those of some numbers [B]."""
        return tuple(view[index.cpu()].to(index.device) for view in self._views)

    def update(self, network: StudentNetwork) -> None:
        """Nothing to be brought up to date."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing that could not be computed again."""
        return {}


class _Answers:
    """Answers where `EncodedObservations` has a tensor."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        self._answer = answer

    def __getitem__(self, index: Tensor) -> Tensor:
        return self._answer(index)
