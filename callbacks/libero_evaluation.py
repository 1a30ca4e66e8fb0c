"""Success in LIBERO as part of `fit` and `test`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from tensorboard.compat.proto.summary_pb2 import Summary

from lit_distill.algorithms.trained_on import DATA, PROTOCOL, data_record
from lit_distill.behaviours import StudentActor
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Evaluation, Protocol, evaluate
from lit_distill.networks.checkpoint import checkpoint_sha256, save_student
from lit_distill.networks.student import StudentNetwork
from lit_distill.query_log import stored_costs
from lit_distill.ranks import Ranks
from lit_distill.results import ResultName, write_result
from lit_distill.schema import OUTCOMES
from lit_distill.teachers.cost import QueryCost
from lit_distill.videos import encode_gif, save_episode


class LiberoEvaluation(Callback):
    """Lets the student act in LIBERO.

    In `test` it runs `protocol` and writes the results file. In `fit` it runs on the `dev` states, after the
    validation of every epoch whose number is a multiple of `every_n_epochs`. Logs `eval/success_rate`,
    `eval/ci95_low`, `eval/ci95_high`, `eval/steps_mean`, `eval/<outcome>` (counts), `latency/p50_ms`, `p95`,
    `p99`, and in `test` a row of the hparams tab (how the student was trained, `final/success_rate`,
    `final/steps_mean`); videos of the first episodes go to TensorBoard (images tab) and, as mp4 with a
    filmstrip, to the run's folder.

    Args:
        protocol: States, steps, workers of the evaluation in `test`.
        method: What the result is called: bc, dagger, awac, ...
        study: Folder of the results file.
        results: Root of the results files.
        every_n_epochs: In `fit`, evaluate after every so many epochs, a multiple of
            `trainer.check_val_every_n_epoch`; 0: not in `fit`.
        dev_episodes: `dev` states of an evaluation in `fit`.
    """

    def __init__(
        self,
        protocol: Protocol,
        method: str = "bc",
        study: str = "runs",
        results: str = "experiments/results",
        every_n_epochs: int = 0,
        dev_episodes: int = 20,
    ) -> None:
        if every_n_epochs < 0:
            raise LitDistillError(f"every_n_epochs: must be 0 (off) or more, got {every_n_epochs}")
        self.protocol = protocol
        self.method = method
        self.study = study
        self.results = results
        self.every_n_epochs = every_n_epochs
        videos = min(protocol.videos, dev_episodes)
        self.dev_protocol = replace(protocol, split="dev", episodes=dev_episodes, videos=videos)
        self._ranks = Ranks()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._training: dict[str, Any] = {}
        self._data: dict[str, Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the other processes, which share the episodes."""
        self._ranks = Ranks.of_this_run()

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember how the student was trained, for the results file; refuse another task's student."""
        record = checkpoint.get("student") or {}
        self._training = dict(record.get("training") or {})
        self._data = self._training.pop(DATA, None)
        self._training.pop(PROTOCOL, None)  # the result says by which it was made
        trained, wanted = record.get("task"), self._task(trainer)
        if trained is not None and trained != wanted:
            raise LitDistillError(
                f"--ckpt_path: its student was trained on {trained}, but data.task is {wanted}"
            )

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the weights that are validated (the averaged ones, where there is an average)."""
        if batch_idx == 0 and self._due(trainer):
            self._save(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate them on `dev` states."""
        if self._due(trainer):
            self._log(trainer, pl_module, self._evaluate(trainer, self.dev_protocol, pl_module))

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the weights that are tested."""
        if batch_idx == 0 and dataloader_idx == 0:
            self._save(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate them and write the results file."""
        evaluation = self._evaluate(trainer, self.protocol, pl_module)
        path = self._ranks.first(lambda: self._write(trainer, pl_module, evaluation))
        self._log(trainer, pl_module, evaluation)
        self._log_hyperparameters(trainer, evaluation)
        if errors := evaluation.counts["error"]:
            raise LitDistillError(f"{path}: incomplete, {errors} episodes could not be run; test again")

    def _write(self, trainer: Trainer, pl_module: LightningModule, evaluation: Evaluation) -> Path:
        network: Any = pl_module.network
        config = {
            "training": self._training,
            "network": network.arguments,
            "parameters": network.parameter_count,
            "checkpoint": checkpoint_sha256(trainer.ckpt_path) if trainer.ckpt_path else None,
            "data": self._data or data_record(trainer)[DATA],
        }
        name = ResultName(self.study, self._task(trainer), self.method, self.results)
        path = write_result(
            name,
            self.protocol,
            evaluation,
            config=config,
            train_seed=self._training.get("seed"),
            data_queries=self._data_queries(trainer),
        )
        rank_zero_info(f"{name.task} {self.method}: success {evaluation.describe()}; {path}")
        return path

    def _data_queries(self, trainer: Trainer) -> dict[str, QueryCost]:
        """What asking for the labels of the student's data cost; {} where that is not known."""
        data = getattr(trainer, "datamodule")  # noqa: B009 (absent from Trainer's type)
        sources = self._training.get("sources") or getattr(data, "sources", [])  # DAgger adds its rounds
        folder = getattr(data, "folder", None)
        try:
            return stored_costs(folder, sources) if sources and folder else {}
        except LitDistillError as error:  # not worth losing a finished evaluation
            rank_zero_warn(str(error))
            return {}

    def _due(self, trainer: Trainer) -> bool:
        every = self.every_n_epochs
        return bool(every) and not trainer.sanity_checking and (trainer.current_epoch + 1) % every == 0

    @staticmethod
    def _task(trainer: Trainer) -> str:
        return str(getattr(trainer, "datamodule").task)  # noqa: B009 (absent from Trainer's type)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module.network, StudentNetwork):
            raise LitDistillError("LiberoEvaluation: needs a module with a student `network`")
        self._folder = tempfile.TemporaryDirectory()  # of each process: they may be on several machines
        save_student(pl_module.network, self._student_path(), self._task(trainer))

    def _student_path(self) -> Path:
        if self._folder is None:
            raise LitDistillError("LiberoEvaluation: the data module gave no batch; see limit_test_batches")
        return Path(self._folder.name) / "student.ckpt"

    def _evaluate(self, trainer: Trainer, protocol: Protocol, pl_module: LightningModule) -> Evaluation:
        """By all processes together."""
        actor = StudentActor(str(self._student_path()), device=str(pl_module.device))
        label = f"{self._task(trainer)}: {self.method} on {protocol.split}"
        return evaluate(self._task(trainer), actor, protocol, label, self._ranks)

    def _log(self, trainer: Trainer, pl_module: LightningModule, evaluation: Evaluation) -> None:
        low, high = evaluation.interval
        metrics: dict[str, float] = {
            "eval/success_rate": evaluation.success_rate,
            "eval/ci95_low": low,
            "eval/ci95_high": high,
            "eval/steps_mean": evaluation.steps_mean,
            **{f"eval/{outcome}": float(evaluation.counts[outcome]) for outcome in (*OUTCOMES, "error")},
            **{f"latency/{name}_ms": value for name, value in evaluation.latency_ms.items()},
        }
        pl_module.log_dict(metrics, rank_zero_only=True, prog_bar=False)
        for logger in trainer.loggers if trainer.is_global_zero else []:
            if isinstance(logger, TensorBoardLogger) and evaluation.videos:
                self._log_videos(logger, trainer, evaluation)

    def _log_hyperparameters(self, trainer: Trainer, evaluation: Evaluation) -> None:
        """How the student was trained beside what it reached: a row of TensorBoard's hparams tab."""
        metrics = {"final/success_rate": evaluation.success_rate, "final/steps_mean": evaluation.steps_mean}
        for logger in trainer.loggers if trainer.is_global_zero else []:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams({"method": self.method, **self._training}, metrics)

    def _log_videos(self, logger: TensorBoardLogger, trainer: Trainer, evaluation: Evaluation) -> None:
        outcomes = {episode["state"]: episode["outcome"] for episode in evaluation.episodes}
        for name, frames in evaluation.videos.items():
            state = name.split()[-1]
            tag = f"eval/{state}"
            height, width, _ = frames[0].shape
            image = Summary.Image(
                height=height, width=width, colorspace=3, encoded_image_string=encode_gif(frames)
            )
            summary = Summary(value=[Summary.Value(tag=tag, image=image)])
            logger.experiment._get_file_writer().add_summary(summary, trainer.global_step)
            folder = Path(logger.log_dir) / "videos" / f"step{trainer.global_step}"
            save_episode(folder, state, outcomes[state], frames)
