"""Offline AWAC with teacher potential rewards (§3.4 of the paper).

    D = D_teacher u D_student                                                                       (2)
    R~_i = R_i + lambda_TPR (gamma^l V*(s_{i+l}) - V*(s_i)),   R_i = sum_{j<l} gamma^j r_{i+j}       (3)
    y_i = R~_i + Gamma_i min_k Q_target,k(s_{i+l}, mu_phi(s_{i+l}))                                 (4)
    L_Q(theta) = E [ sum_{k=1,2} (Q_theta,k(s_i, a_i) - y_i)^2 ]                                    (5)
    A_i = min_k Q_theta,k(s_i, a_i) - min_k Q_theta,k(s_i, mu_phi(s_i))                             (6)
    w_i = min(exp(A_i / lambda_AWAC), w_max)                                                        (7)
    L_pi(phi) = -E [ w_i log pi_phi(a_i | s_i) ]                                                    (8)

i: a chunk transition of l <= K = 16 executed control steps; a_i: the chunk as it was commanded, all rows of
it that are executed before the next look, so that the critic cannot read the outcome off padding; Gamma_i:
0 at every terminal chunk (a timeout is one), else gamma^l; V*: the teacher's potential, at a terminal chunk
1 (success) or 0 (anything else), the reward unshaped where one is missing; mu_phi: the student's mean
action; pi_phi: a Gaussian around it, whose log standard deviation is a second head on the same
features, used here and never deployed; log pi: the sum over the l executed rows and the A dimensions.

The scale of log pi grows with l. It is left as eq. (8) has it: all chunks have the `execute_steps` of the
data, fewer only where an episode ends, and Adam divides the loss's scale out.

Ours, where the paper is silent: the values of gamma, lambda_TPR, lambda_AWAC, w_max, tau and learning rates
(conf/awac.yaml); the critic looks at the features of the student that AWAC starts from, which stay as they
are, so each observation is encoded once (`EncodedObservations`); the log-std head reads the actor's features
and does not train them; mu(s') is computed for all observations together every `mean_every` updates of the
student; `relabel_weight` adds the teacher's chunk at student states as a second action to eq. (8), with its
own advantage; `perturbed_weight` below 1 lets chunks that noise was part of teach the critics more than the
actor: a Gaussian's log-likelihood is ruled by its largest residuals.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lit_distill.algorithms.awac_settings import RECORDED, Potential, check_settings
from lit_distill.algorithms.awac_terms import (
    actor_error,
    advantage,
    advantage_weight,
    chunk_discount,
    chunk_return,
    critic_error,
    effective_sample_size,
    log_probability,
    shaped_return,
    step_potential,
    td_target,
)
from lit_distill.algorithms.encoded_observations import EncodedObservations
from lit_distill.algorithms.schedule import Schedule, check_schedule, scheduled
from lit_distill.algorithms.trained_on import data_record, protocol_record
from lit_distill.errors import LitDistillError
from lit_distill.networks.augmentation import RandomShift, shift_views
from lit_distill.networks.checkpoint import check_there, student_record, warm_start
from lit_distill.networks.critic import TwinCritic
from lit_distill.networks.log_std import LogStdHead
from lit_distill.networks.student import StudentNetwork
from lit_distill.schema import CHUNK_LENGTH, ReplayBatch

EARLIER_VERSION = "it is of an earlier version; fit without --ckpt_path"
USUAL_SAMPLE_SIZE = (0.05, 0.9)
"""Effective sample sizes, as a share of the batch, outside of which the temperature deserves a look."""


class AWAC(LightningModule):
    """Eqs. (3) to (8) as a LightningModule.

    Args:
        network: The student, filled from `init_from`.
        init_from: Checkpoint of the DAgger student that the actor starts from; a resumed run ignores it.
        gamma: Discount per control step (20 Hz), in (0, 1].
        lambda_tpr: Weight of the potential reward in eq. (3); 0 is plain AWAC.
        potential: V* of eq. (3): `value`, the teacher's, or `steps`, gamma^n with its n steps to success.
        lambda_awac: Temperature of eq. (7), above 0.
        w_max: Largest weight of eq. (7), at least 1.
        tau: Step of the target critic towards the critic after each update, in (0, 1].
        actor_lr: Learning rate (AdamW) of the student.
        critic_lr: Learning rate of the critics and of the log-std head, which all begin with nothing.
        weight_decay: Weight decay of AdamW, on all parameters.
        schedule: `constant`, or `cosine`, both learning rates falling to 0: `critic_lr` over the run,
            `actor_lr` from `actor_start` to its end.
        actor_start: Steps in which critics and log-std head alone are trained, before the student's first
            update: until then it does not change at all, and a step costs a fraction of one that looks at
            images.
        mean_every: Actor updates between two computations of mu(s') for all observations; 1 is exact.
        relabel_weight: Weight of the teacher's chunk at student states as a second action in eq. (8); 0: off.
        perturbed_weight: Factor of eq. (8) where noise was part of the executed chunk; 1: to the letter.
        critic_hidden: Width of the critics' hidden layers.
        execute_steps: Rows of a chunk that are executed before the next look.
        shift_pixels: Random shift of the actor's views, in pixels.
        seed: Seed of the augmentation.

    Raises:
        LitDistillError: A value cannot be right, or `init_from` is missing or does not fit.
    """

    def __init__(
        self,
        network: StudentNetwork,
        init_from: str | None = None,
        gamma: float = 0.99,
        lambda_tpr: float = 1.0,
        potential: Potential = "value",
        lambda_awac: float = 1.0,
        w_max: float = 20.0,
        tau: float = 0.005,
        actor_lr: float = 1e-4,
        critic_lr: float = 3e-4,
        weight_decay: float = 1e-4,
        schedule: Schedule = "constant",
        actor_start: int = 0,
        mean_every: int = 1,
        relabel_weight: float = 0.0,
        perturbed_weight: float = 1.0,
        critic_hidden: int = 256,
        execute_steps: int = CHUNK_LENGTH,
        shift_pixels: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_settings(locals())
        check_schedule(schedule)
        self.network = network
        self.log_std_head = LogStdHead(network.feature_dim)
        self.critic = TwinCritic(network.feature_dim, execute_steps, critic_hidden)
        self.target_critic = self.critic.frozen_copy()
        self.critic_encoder = copy.deepcopy(network).requires_grad_(False)
        self.init_from = init_from
        self.gamma, self.lambda_tpr, self.potential = gamma, lambda_tpr, potential
        self.lambda_awac, self.w_max, self.tau = lambda_awac, w_max, tau
        self.actor_lr, self.critic_lr, self.weight_decay = actor_lr, critic_lr, weight_decay
        self.schedule: Schedule = schedule
        self.actor_start, self.mean_every, self.relabel_weight = actor_start, mean_every, relabel_weight
        self.perturbed_weight = perturbed_weight
        self.critic_hidden, self.execute_steps = critic_hidden, execute_steps
        self.shift = RandomShift(shift_pixels)
        self.seed = seed
        self._resumed = False
        self._resumed_observations: dict[str, Any] | None = None
        self._resumed_actors: list[int] = []
        self._observations: EncodedObservations | None = None
        self._sample_sizes: list[Tensor] = []
        self._warned = False

    # -- hooks ---------------------------------------------------------------------------------------

    def check_ingredients(self) -> None:
        """Before a fit that begins anew does anything: is the student there that the actor starts from?

        Raises:
            LitDistillError: It is not; names the command that makes it.
        """
        if self.init_from is None:
            raise LitDistillError(
                "init_from: AWAC starts from a DAgger student; "
                "`python -m lit_distill fit --config conf/dagger_fast.yaml` makes one"
            )
        check_there(self.init_from)

    def setup(self, stage: str) -> None:
        """Nothing is resumed until a checkpoint is loaded, which Lightning does after this."""
        self._resumed, self._resumed_observations = False, None
        self._resumed_actors = []
        self._observations = None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A resumed run starts from its checkpoint and from nothing else."""
        self._resumed = True
        self._resumed_observations = checkpoint.get("observations")
        optimizers = checkpoint.get("optimizer_states", [])
        self._resumed_actors = [len(state["param_groups"][0]["params"]) for state in optimizers]

    def on_fit_start(self) -> None:
        """Warm start, then encode every observation once.

        Raises:
            LitDistillError: The data are not AWAC's, or their chunks of another length; `check_ingredients`.
        """
        if not hasattr(self._data(), "observations"):
            raise LitDistillError(
                f"data: AWAC needs datamodules.replay.ReplayDataModule, got {type(self._data()).__name__}"
            )
        if (executed := getattr(self._data(), "execute_steps", self.execute_steps)) != self.execute_steps:
            raise LitDistillError(
                f"execute_steps: the critics would see {self.execute_steps} rows of chunks of which "
                f"{executed} are executed; give model.init_args the execute_steps of data.init_args"
            )
        if not self._resumed:
            self.check_ingredients()
            warm_start(self.network, str(self.init_from), self._data().task)
            self.critic_encoder.load_state_dict(self.network.state_dict())
        known = self._known()
        if self._resumed:
            if any(size != len(list(self.network.parameters())) for size in self._resumed_actors):
                raise LitDistillError(f"--ckpt_path: trained its parts otherwise: {EARLIER_VERSION}")
            if self._resumed_observations is None:
                raise LitDistillError(
                    f"--ckpt_path: does not tell which observations its run learnt from: {EARLIER_VERSION}"
                )
            known.load_state_dict(self._resumed_observations)

    def on_train_start(self) -> None:
        """Refuse a run without any update of the student.

        Raises:
            LitDistillError: It would end before the first one.
        """
        steps = self.trainer.estimated_stepping_batches
        if steps <= self.actor_start and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise LitDistillError(
                f"actor_start: {self.actor_start} steps come before the student's first update, and the run "
                f"has {steps:g}; raise trainer.max_epochs or lower model.actor_start"
            )

    def on_train_batch_start(self, batch: ReplayBatch, batch_idx: int) -> None:
        """Every `mean_every` updates of the student bring mu(s') up to it."""
        updates = self.global_step - self.actor_start
        if updates > 0 and updates % self.mean_every == 0:
            self._known().update(self.network)

    def training_step(self, batch: ReplayBatch, batch_idx: int) -> Tensor:
        """Eqs. (3) to (8) on a balanced batch; before `actor_start` (8) trains the log-std head alone."""
        returns, shaped = self.rewards(batch)  # (3)
        y = self.target(batch, shaped)  # (4)
        features = self._known().features[batch["index"]]  # [B, F]
        q = self.critic(features, batch["actions"])  # [B, 2]
        critic_loss = critic_error(q, y).mean()  # (5)

        with torch.no_grad():
            q_mean = self.critic(features, self.mean_action(batch))
            a = advantage(q, q_mean)  # (6)
            w = advantage_weight(a, self.lambda_awac, self.w_max)  # (7)
        if self._actor_waits():
            mean, log_std = self._known().mean[batch["index"]], self.log_std_head(features)
        else:
            mean, log_std = self.policy(self.augment(batch))  # [B, K, A] each
        log_pi = log_probability(batch["actions"], mean, log_std, batch["mask"])
        chosen = torch.where(batch["perturbed"], self.perturbed_weight, 1.0)
        actor_loss = (chosen * actor_error(w, log_pi)).mean()  # (8)
        if self.relabel_weight:
            actor_loss = actor_loss + self.relabel_weight * self._relabelled(
                batch, features, mean, log_std, q_mean
            )
        all_a, all_w, all_chosen = self._of_all_processes(a, w, chosen)
        used = all_w[all_chosen > 0.0] if all_chosen.any() else all_w
        sample_size = effective_sample_size(used)
        terms = {
            "reward/chunk": returns.mean(),
            "reward/shaped": shaped.mean(),
            "critic/target": y.mean(),
            "critic/loss": critic_loss,
            "advantage/mean": all_a.mean(),
            "advantage/std": all_a.std(correction=0),
            "weight/max": used.max(),
            "weight/clipped": (used >= self.w_max).float().mean(),
            "weight/effective_sample_size": sample_size,
            "actor/log_std": log_std.mean(),
            "actor/log_probability": log_pi.mean(),
            "actor/loss": actor_loss,
        }
        self._log_terms(terms, len(y))
        if self._actor_waits():
            return critic_loss + actor_loss + self._no_gradient()
        self._sample_sizes.append(sample_size)
        return critic_loss + actor_loss

    def on_train_epoch_end(self) -> None:
        """Warn once where the weights decide nothing, or a few chunks alone count (design: 5 to 90 %)."""
        if not self._sample_sizes:
            return
        size = float(torch.stack(self._sample_sizes).mean())
        self._sample_sizes.clear()
        low, high = USUAL_SAMPLE_SIZE
        if self._warned or low <= size <= high:
            return
        self._warned = True
        what = "few chunks count" if size < low else "the weights of eq. (7) hardly differ"
        change = "raise" if size < low else "lower"
        rank_zero_warn(
            f"weight/effective_sample_size: {size:.2f} of the batch, mean of epoch {self.current_epoch}: "
            f"{what}; {change} lambda_awac if that is not meant"
        )

    def rewards(self, batch: ReplayBatch) -> tuple[Tensor, Tensor]:
        """R_i and R~_i of eq. (3), float32 [B] each."""
        returns = chunk_return(batch["rewards"], self.gamma)
        now, after = self.potentials(batch)
        return returns, shaped_return(returns, batch["executed"], now, after, self.gamma, self.lambda_tpr)

    def target(self, batch: ReplayBatch, shaped: Tensor) -> Tensor:
        """y_i of eq. (4) from R~_i, float32 [B], without gradient."""
        known, next_index = self._known(), batch["next_index"]
        with torch.no_grad():
            next_q = self.target_critic(known.features[next_index], known.mean[next_index].clamp(-1.0, 1.0))
            return td_target(shaped, chunk_discount(batch["executed"], batch["terminal"], self.gamma), next_q)

    def potentials(self, batch: ReplayBatch) -> tuple[Tensor, Tensor]:
        """V*(s_i) and V*(s_{i+l}), float32 [B] each, NaN where one is missing."""
        if self.potential == "value":
            return batch["value"], batch["next_value"]
        now, after = batch["steps_to_success"], batch["next_steps_to_success"]
        return step_potential(now, self.gamma), step_potential(after, self.gamma)

    @torch.no_grad()
    def mean_action(self, batch: ReplayBatch) -> Tensor:
        """mu_phi(s_i), float32 [B, K, A] in [-1, 1], of the views as they are: the critics see no shift."""
        mean = self._known().mean[batch["index"]] if self._actor_waits() else self.policy(batch)[0]
        return mean.clamp(-1.0, 1.0)

    def policy(self, batch: ReplayBatch) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of pi_phi(. | s), float32 [B, K, A] each.

        The log-std head reads the features and does not train them: the gradient of log pi by the log
        standard deviation, z^2 - 1, grows with the squares of the residuals and would spoil mu.
        """
        features = self.network.encode(
            batch["agentview"], batch["wrist"], batch["proprio"], batch["task_index"]
        )
        with torch.autocast(features.device.type, enabled=False):
            mean = self.network.head(features)
        return mean, self.log_std_head(features.detach())

    def _relabelled(
        self, batch: ReplayBatch, features: Tensor, mean: Tensor, log_std: Tensor, q_mean: Tensor
    ) -> Tensor:
        """Eq. (8) for the teacher's chunk at the states where somebody else acted: the same three lines."""
        with torch.no_grad():
            a = advantage(self.critic(features, batch["teacher_actions"]), q_mean)
            w = advantage_weight(a, self.lambda_awac, self.w_max) * batch["relabelled"]
        every_row = torch.ones_like(batch["mask"])
        return actor_error(w, log_probability(batch["teacher_actions"], mean, log_std, every_row)).mean()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Before `actor_start` AdamW finds no gradient of the student: it neither moves nor decays it."""
        if self._actor_waits():
            for parameter in self.network.parameters():
                parameter.grad = None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """An update, then theta_target <- (1 - tau) theta_target + tau theta.

        Here and not in `on_train_batch_end`, before which Lightning's ModelCheckpoint writes its file.
        """
        super().optimizer_step(*args, **kwargs)
        self.follow(self.target_critic, self.critic)

    @torch.no_grad()
    def follow(self, target: nn.Module, online: nn.Module) -> None:
        """One step of a target network by `tau`, in place."""
        for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
            slow.lerp_(fast, self.tau)

    def validation_step(self, batch: ReplayBatch, batch_idx: int) -> dict[str, Tensor]:
        """Target-critic Q of held-out transitions, for `callbacks.q_separation`.

        Returns:
            `q` float32 [B], min over the target critics at the stored action; `error` float32 [B], the TD
            error of the critics' minimum; `success` bool [B].
        """
        features = self._known().features[batch["index"]]
        q = self.target_critic(features, batch["actions"]).min(dim=-1).values
        _, shaped = self.rewards(batch)
        error = self.critic(features, batch["actions"]).min(dim=-1).values - self.target(batch, shaped)
        return {"q": q, "error": error, "success": batch["success"]}

    def test_step(self, batch: ReplayBatch, batch_idx: int) -> dict[str, Tensor]:
        """The same on the data module's test set."""
        return self.validation_step(batch, batch_idx)

    def augment(self, batch: ReplayBatch) -> ReplayBatch:
        """Shift both views for the actor: a pure function of seed, step and place in the global batch."""
        return shift_views(batch, self.shift, (self.seed, self.global_step), self.global_rank)

    def configure_optimizers(self) -> Any:
        """One AdamW, a group for the student, one for critics and log-std head: they share no weight."""
        beginners = [*self.critic.parameters(), *self.log_std_head.parameters()]
        optimizer = torch.optim.AdamW(
            [
                {"params": list(self.network.parameters()), "lr": self.actor_lr, "name": "actor"},
                {"params": beginners, "lr": self.critic_lr, "name": "critic"},
            ],
            weight_decay=self.weight_decay,
        )
        return scheduled(
            optimizer,
            self.schedule,
            self.trainer,
            lambda: int(self.trainer.estimated_stepping_batches),
            starts=(self.actor_start, 0),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `load_student` needs, and mu(s) as of the last refresh, for an exact resume."""
        training = {name: getattr(self, name) for name in RECORDED}
        training |= {"algorithm": "awac", "shift_pixels": self.shift.pixels, "step": self.global_step}
        training |= data_record(self.trainer) | protocol_record(self.trainer)
        task = getattr(getattr(self.trainer, "datamodule", None), "task", None)
        checkpoint["student"] = student_record(self.network, task, training)
        if self._observations is not None:
            checkpoint["observations"] = self._observations.state_dict()

    # -- what is known of every observation ------------------------------------------------------------

    def _known(self) -> EncodedObservations:
        if self._observations is None:
            observations = list(self._data().observations())
            self._observations = EncodedObservations.of(self.critic_encoder, observations, self.device)
            self._observations.update(self.network)
        return self._observations

    def _actor_waits(self) -> bool:
        """Is the student still as it was at the start?"""
        return self.global_step < self.actor_start

    def _no_gradient(self) -> Tensor:
        """0, of all weights of the student: DistributedDataParallel waits for a gradient of each."""
        return 0.0 * torch.stack([parameter.sum() for parameter in self.network.parameters()]).sum()

    def _of_all_processes(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Values [B] of this process's part of a batch: those of the whole batch, without gradient."""
        gathered = cast(
            Tensor, self.all_gather(torch.stack(values))
        )  # [values, B], of several [R, values, B]
        return gathered.movedim(-2, 0).flatten(1).unbind()

    def _data(self) -> Any:
        """A data module with `task` and `observations`, as `datamodules.replay` has."""
        return getattr(self.trainer, "datamodule")  # noqa: B009 (absent from Trainer's type)

    def _log_terms(self, terms: dict[str, Tensor], batch_size: int) -> None:
        """Log the terms of the equations, and stop the run by name where one is not finite."""
        for name, value in terms.items():
            if not value.isfinite():
                raise LitDistillError(
                    f"{name}: not finite at step {self.global_step}; "
                    "lower the learning rates, or verify the data"
                )
        logged = {name: value.detach() for name, value in terms.items()}
        self.log_dict(logged, sync_dist=True, batch_size=batch_size)
