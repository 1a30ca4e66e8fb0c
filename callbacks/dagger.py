"""DAgger's rounds within one `fit`: what touches simulator, teacher and shards (§3.3)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.round_checkpoints import ROUND, RoundCheckpoints
from callbacks.weight_averaging import ExponentialMovingAverage
from lit_distill.algorithms.bc import BehaviorCloning
from lit_distill.algorithms.dagger import best_round, beta, disagreement, first_state, keeps_improving
from lit_distill.behaviours import StudentActor
from lit_distill.collection import CollectSettings, Rollouts, collect_rollouts
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Protocol, evaluate
from lit_distill.manifest import MANIFEST_NAME, Manifest, check_one_teacher
from lit_distill.networks.checkpoint import check_there, load_saved_student
from lit_distill.ranks import Ranks
from lit_distill.remote_shards import refuse_to_write
from lit_distill.samples import read_shard
from lit_distill.schema import DAGGER, STUDENT
from lit_distill.sim.simulator import fingerprint


class DAggerRounds(Callback):
    """Collects, aggregates and trains again, round after round.

    A round: the student so far and the teacher act in turns, chunk by chunk, the teacher labels every state
    that is visited; the episodes become the source `dagger-k`; network, optimizer, schedule, averaged weights
    and the notion of the best checkpoint begin anew on all data so far. `trainer.max_epochs` is the length of
    a round: so the number of updates grows with the data. Each round's best weights (`ModelCheckpoint`'s, by
    validation loss within the round) are kept as `round-k.ckpt` beside it and act in the next round. A fit
    that is killed resumes in its round, and what was collected is not collected again.

    Which states a round starts from is a pure function of its number: rollouts (k - 1) n ... k n - 1 of the
    `student` split, from 0 again after the last.

    Logged once per round: `dagger/round`, `dagger/beta`, `dagger/rollout_success_rate`,
    `dagger/disagreement`, `dagger/train_episodes`, `dagger/train_samples`, and, where it is measured,
    `dagger/dev_success_rate`.

    Args:
        init_from: Checkpoint of the student that acts in the first round: BC's best.
        collect: How rollouts are collected; `episodes` in each round (the paper: 5).
        rounds: How many rounds there are at most.
        betas: Probability, per chunk, that the teacher acts, in each round; the last one holds for all later
            rounds (the paper: 0.5, 0.25, 0).
        from_scratch: Train each round from scratch (the paper); false: go on from the student that acted.
        stop_when_solved: End before the training of a round whose rollouts, the student acting alone
            (beta 0), have all succeeded: that student stays.
        dev_episodes: Evaluate each round's student on so many `dev` states; 0: not.
        patience: End after so many rounds that were not better than the best before on `dev`, and take the
            best round's student as `best.ckpt`, not the last's; 0: all rounds, and the last's.

    Raises:
        LitDistillError: A value cannot be right.
    """

    def __init__(
        self,
        init_from: str,
        collect: CollectSettings,
        rounds: int = 3,
        betas: list[float] = [0.5, 0.25, 0.0],  # noqa: B006 (never changed; a list is what YAML gives)
        from_scratch: bool = True,
        stop_when_solved: bool = False,
        dev_episodes: int = 0,
        patience: int = 0,
    ) -> None:
        if rounds < 1:
            raise LitDistillError(f"rounds: must be at least 1, got {rounds}")
        if not betas or not all(0.0 <= value <= 1.0 for value in betas):
            raise LitDistillError(f"betas: probabilities in [0, 1], at least one, got {betas}")
        if patience < 0 or (patience and not dev_episodes):
            raise LitDistillError(f"patience: 0, or more with dev_episodes, got {patience}")
        if collect.noise.probability or collect.student is not None or collect.sample_actions or collect.beta:
            raise LitDistillError(
                "collect: noise, student, beta and sample_actions must be left out: DAgger's students act, "
                "and betas say when the teacher does"
            )
        self.init_from = init_from
        self.collect = collect
        self.rounds = rounds
        self.betas = list(betas)
        self.from_scratch = from_scratch
        self.stop_when_solved = stop_when_solved
        self.dev_protocol = Protocol(
            split="dev",
            episodes=max(dev_episodes, 1),
            execute_steps=collect.execute_steps,
            image_size=collect.image_size,
            meshes=collect.meshes,
            workers=collect.workers,
            seed=collect.seed,
        )
        self.dev_episodes = dev_episodes
        self.patience = patience
        self._round = 0
        self._epochs = 0
        self._dev: list[float] = []
        self._base: list[str] = []
        self._ranks = Ranks()
        self._checkpoints: RoundCheckpoints

    # -- hooks --------------------------------------------------------------------------------------------

    def check_ingredients(self) -> None:
        """Before a fit that begins anew does anything: is the first student there?

        Raises:
            LitDistillError: It is not; names the command that makes it.
        """
        check_there(self.init_from)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what rounds cannot be made with."""
        if stage != "fit":
            return
        if not isinstance(pl_module, BehaviorCloning) or not hasattr(_data(trainer), "use_sources"):
            raise LitDistillError(
                "DAggerRounds: needs the model BehaviorCloning and the data ChunkDataModule"
            )
        refuse_to_write(_data(trainer).root)
        epochs, every = trainer.max_epochs or 0, trainer.check_val_every_n_epoch or 1
        train, val = (getattr(trainer, f"limit_{part}_batches") for part in ("train", "val"))
        reload: int = getattr(trainer, "reload_dataloaders_every_n_epochs")  # noqa: B009 (absent from its type)
        for wrong, remedy in (
            (epochs < 1 or trainer.max_steps != -1, "max_epochs: give each round's epochs, and no max_steps"),
            (epochs % every, f"max_epochs: must be a multiple of check_val_every_n_epoch, {every}"),
            (train == 0, "limit_train_batches: leaves no batch to train on"),
            (val == 0, "limit_val_batches: no validation, no best checkpoint"),
            (reload != 1, "reload_dataloaders_every_n_epochs: must be 1, so that new rollouts are seen"),
        ):
            if wrong:
                raise LitDistillError(f"trainer.{remedy} (DAggerRounds)")
        self._checkpoints = RoundCheckpoints(trainer)
        self._ranks = Ranks.of_this_run()
        self._round, self._epochs, self._dev = 0, epochs, []
        self._base = [source for source in _data(trainer).sources if not source.startswith(DAGGER)]
        if not self._base:
            raise LitDistillError("data.sources: must name teacher; DAggerRounds adds its rounds by itself")

    def state_dict(self) -> dict[str, Any]:
        """Round, its length, and what was measured on `dev` after the rounds before it."""
        return {"round": self._round, "epochs": self._epochs, "dev": list(self._dev)}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to go on with a training that had no rounds: its epochs and optimizer are of no round.

        Raises:
            LitDistillError: A fit is resumed from such a checkpoint.
        """
        if trainer.state.fn == TrainerFn.FITTING and self.state_key not in checkpoint.get("callbacks", {}):
            raise LitDistillError(
                "--ckpt_path: is of a training without DAggerRounds, so no round can go on from it; leave "
                "it out and name the first student: init_from of callbacks.dagger.DAggerRounds"
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in that round."""
        if self._epochs not in (0, state_dict["epochs"]):  # 0: no fit
            raise LitDistillError(
                f"trainer.max_epochs: the rounds of this run have {state_dict['epochs']} epochs, "
                f"got {self._epochs}"
            )
        self._round, self._dev = state_dict["round"], list(state_dict["dev"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the first round, or go on with the one that was begun."""
        assert isinstance(pl_module, BehaviorCloning)
        if self._round:
            self._use_round(trainer, pl_module, self._round)
            return
        self._ranks.first(lambda: self._prepare(trainer))
        if not self._begin(trainer, pl_module, 1, self.init_from):
            trainer.should_stop = True
            self._ranks.first(lambda: self._checkpoints.take(Path(self.init_from)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A checkpoint from after a round's last batch is resumed here: that round has nothing left to do."""
        if trainer.current_epoch >= (trainer.max_epochs or 0):
            self._advance(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a round's last epoch, when its checkpoints are written and before data are loaded again."""
        if trainer.current_epoch + 1 >= (trainer.max_epochs or 0):
            self._advance(trainer, pl_module)

    # -- rounds -------------------------------------------------------------------------------------------

    def _advance(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the round; begin the next one unless it was the last."""
        assert isinstance(pl_module, BehaviorCloning)
        student = self._ranks.first(lambda: self._checkpoints.keep(self._round))
        if self.dev_episodes:
            self._dev = [*self._dev[: self._round - 1], self._evaluate(trainer, student)]
        more = self._round < self.rounds and (not self.patience or keeps_improving(self._dev, self.patience))
        if more and self._begin(trainer, pl_module, self._round + 1, str(student)):
            return
        if self.patience and not more:
            best = self._checkpoints.kept(best_round(self._dev))
            self._ranks.first(lambda: self._checkpoints.take(best))

    def _begin(self, trainer: Trainer, pl_module: BehaviorCloning, number: int, student: str) -> bool:
        """Collect and start to train round `number`; False if the student that acted is good enough."""
        data = _data(trainer)
        mixed = beta(self.betas, number)
        rollouts = Rollouts(
            f"{DAGGER}{number}",
            STUDENT,
            self.collect.mixture(student, mixed),
            self.collect,
            first_state(number, self.collect.episodes),
        )
        collect_rollouts(data.task, data.root, rollouts, ranks=self._ranks)
        measured = self._ranks.first(lambda: _measure(data.folder, rollouts.source))
        metrics = {"dagger/round": float(number), "dagger/beta": mixed, **measured}
        if self.stop_when_solved and mixed == 0.0 and measured["dagger/rollout_success_rate"] == 1.0:
            self._say(
                trainer, f"round {number}: the student succeeds in all rollouts by itself: done", metrics
            )
            return False
        self._use_round(trainer, pl_module, number)
        pl_module.restart((number - 1) * self._epochs, None if self.from_scratch else student)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ExponentialMovingAverage):
                callback.restart(pl_module)
        self._checkpoints.forget()
        size = data.describe()
        metrics |= {f"dagger/{name}": float(size[name]) for name in ("train_episodes", "train_samples")}
        self._say(
            trainer,
            f"round {number} of {self.rounds}, beta {mixed:g}: success rate of the rollouts "
            f"{measured['dagger/rollout_success_rate']:.2f}, disagreement "
            f"{measured['dagger/disagreement']:.3f}; {size['train_samples']} samples to train on",
            metrics,
        )
        return True

    def _use_round(self, trainer: Trainer, pl_module: BehaviorCloning, number: int) -> None:
        """Data, epochs and notes of a round."""
        start = (number - 1) * self._epochs
        sources = [*self._base, *(f"{DAGGER}{k}" for k in range(1, number + 1))]
        self._round = number
        _data(trainer).use_sources(sources, first_epoch=start)
        trainer.fit_loop.max_epochs = start + self._epochs
        pl_module.first_epoch = start
        pl_module.notes = {
            "algorithm": "dagger",
            ROUND: number,
            "betas": [beta(self.betas, k) for k in range(1, number + 1)],
            "rollouts": self.collect.episodes,
            "from_scratch": self.from_scratch,
            "sources": sources,
        }

    def _prepare(self, trainer: Trainer) -> None:
        """A fit that begins anew takes over nothing from an earlier one but rollouts of the first student."""
        self.check_ingredients()
        data = _data(trainer)
        if (task := load_saved_student(self.init_from).task) not in (None, data.task):
            raise LitDistillError(f"init_from: {self.init_from} was trained on {task}, not on {data.task}")
        manifest = Manifest.load(data.folder)
        stored = manifest.sources[self._base[0]].identity.get("fingerprint", {})
        for key, now in fingerprint(self.collect.image_size, self.collect.meshes).items():
            if stored.get(key, now) != now:
                raise LitDistillError(
                    f"collect: the rollouts would have {key} {now!r}, but {self._base[0]} episodes in "
                    f"{data.folder} have {stored[key]!r}; data of one simulator only"
                )
        teacher = self.collect.teacher_spec().identity()
        check_one_teacher(
            data.folder,
            {self._base[0]: manifest.sources[self._base[0]].identity, f"{DAGGER}1": teacher},
            "set `collect.teacher` of callbacks.dagger.DAggerRounds in the --config file to theirs",
        )
        rounds = [name.removeprefix(DAGGER) for name in manifest.sources if name.startswith(DAGGER)]
        if set(rounds) - {"1"}:
            raise LitDistillError(
                f"{data.folder / MANIFEST_NAME}: holds {DAGGER}{max(map(int, rounds))} of an earlier fit; "
                "to go on with that: --ckpt_path last; else "
                f"`python -m lit_distill discard {data.folder} --sources dagger`"
            )
        self._checkpoints.clear()

    def _evaluate(self, trainer: Trainer, student: Path) -> float:
        """Success rate on `dev`."""
        task = _data(trainer).task
        label = f"{task}: round {self._round} on dev"
        evaluation = evaluate(task, StudentActor(str(student)), self.dev_protocol, label, self._ranks)
        metrics = {"dagger/round": float(self._round), "dagger/dev_success_rate": evaluation.success_rate}
        self._say(trainer, f"round {self._round}: dev success {evaluation.describe()}", metrics)
        return evaluation.success_rate

    def _say(self, trainer: Trainer, line: str, metrics: dict[str, float]) -> None:
        if trainer.is_global_zero:
            print(f"{_data(trainer).task}: DAgger {line}", flush=True)
            for logger in trainer.loggers:
                known = {name: value for name, value in metrics.items() if not math.isnan(value)}
                logger.log_metrics(known, step=trainer.global_step)


def _data(trainer: Trainer) -> Any:
    return getattr(trainer, "datamodule")  # noqa: B009 (absent from Trainer's type)


def _measure(folder: Path, source: str) -> dict[str, float]:
    """Success rate of the rollouts, and disagreement where the student acted, from the shards."""
    entry = Manifest.load(folder).sources[source]
    counts = entry.counts()
    acted = [
        transition
        for shard in entry.shards
        for transition in read_shard(folder / shard.name)
        if transition.behaviour == STUDENT
    ]
    apart = float("nan")
    if acted:
        stacks = (
            np.stack([getattr(t, key) for t in acted]) for key in ("actions", "teacher_actions", "mask")
        )
        apart = disagreement(*stacks)
    return {
        "dagger/rollout_success_rate": counts["success"] / counts["episodes"],
        "dagger/disagreement": apart,
    }
