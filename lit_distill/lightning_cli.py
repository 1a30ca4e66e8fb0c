"""fit, validate and test: Lightning's command line with our defaults.

`--config FILE.yaml` names the model and the data by `class_path`; see conf/ and `lit_distill/defaults.yaml`.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lit_distill.arguments import PARSER_MODE, OneLineErrorMixin, parse
from lit_distill.cli import LIGHTNING_COMMANDS, PROGRAM
from lit_distill.errors import LitDistillError
from lit_distill.teacher_option import set_teacher

DEFAULTS = Path(__file__).with_name("defaults.yaml")
CHECKPOINT_WORDS = ("best", "last", "hpc")
"""Values of --ckpt_path that Lightning would look up by itself."""
CHECKPOINT_EXAMPLE = "for example --ckpt_path runs/bc/TASK/best.ckpt"
LAST = "last.ckpt"
HELP_OF = (
    "--model.help lit_distill.algorithms.bc.BehaviorCloning",
    "--model lit_distill.algorithms.bc.BehaviorCloning "
    "--model.network.help lit_distill.networks.student.StudentNetwork",
    "--data.help datamodules.chunks.ChunkDataModule",
    "--trainer.callbacks.help callbacks.libero_evaluation.LiberoEvaluation",
    "--trainer.callbacks.help callbacks.dagger.DAggerRounds",
)
"""Options that list the options of a class; a test tries each."""


@runtime_checkable
class NeedsIngredients(Protocol):
    """A model, data module or callback that a fit can only begin with if another stage was done."""

    def check_ingredients(self) -> None:
        """Raise LitDistillError naming what is missing and the command that makes it."""
        ...


class LightningParser(OneLineErrorMixin, LightningArgumentParser):
    """Lightning's parser with one-line errors."""


class DistillCLI(LightningCLI):
    """LightningCLI with the model and data named in YAML, and one rule: what the user says wins."""

    def __init__(self, args: ArgsType = None, run: bool = True) -> None:
        common: dict[str, Any] = {"parser_mode": PARSER_MODE, "allow_abbrev": False}
        stages: dict[str, Any] = {
            name: {**common, **_help(name, summary), "default_config_files": [str(DEFAULTS)]}
            for name, summary in LIGHTNING_COMMANDS.items()
        }
        super().__init__(
            args=args,
            run=run,
            parser_class=LightningParser,
            parser_kwargs={"prog": PROGRAM, **common, **stages},
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's commands, without `predict`: none of our data modules has anything to predict from."""
        known = LightningCLI.subcommands()
        return {name: known[name] for name in LIGHTNING_COMMANDS}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `--teacher`, as other commands have it."""
        parser.add_argument(
            "--teacher",
            type=dict[str, Any],
            default={},
            help="which teacher is asked wherever the configuration asks one: `class_path` and, if it takes "
            "any, `init_args`; left out: as the configuration says",
        )

    def before_instantiate_classes(self) -> None:
        """Put the teacher of the command line where one is asked."""
        config = self.config[self.config.subcommand]
        if config["teacher"]:
            set_teacher(config, config["teacher"])

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse as Lightning does, with one-line errors and no warning that sys.argv holds something too."""
        self.config = parse(parser, args)  # type: ignore[arg-type]

    def _parse_ckpt_path(self) -> None:
        """Check that the checkpoint can be read, and take no hyperparameters from it.

        Lightning would write the checkpoint's hyperparameters over the YAML file and the command line, so
        that `test --ckpt_path X --model.y Z` ignores Z and a resumed run warm-starts again.
        """
        command = self.config.subcommand
        config = self.config[command]
        path = config.get("ckpt_path")
        if path is None:
            if command != "fit":
                raise LitDistillError(f"--ckpt_path: required, what {command} measures; {CHECKPOINT_EXAMPLE}")
        elif path in CHECKPOINT_WORDS:
            if (command, path) != ("fit", "last"):  # before_fit looks for `last`
                raise LitDistillError(f"--ckpt_path {path}: give {command} a file; {CHECKPOINT_EXAMPLE}")
        elif "://" not in str(path):
            data = config.get("data") or {}
            check_checkpoint(Path(path), data.get("init_args", {}).get("task"))

    def instantiate_classes(self) -> None:
        """Instantiate as Lightning does; what a class of ours says of its values stays one line."""
        try:
            super().instantiate_classes()
        except ValueError as error:  # jsonargparse wraps it, with all values of the class
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, LitDistillError):
                cause = cause.__cause__
            raise (cause or error) from None

    def before_fit(self) -> None:
        """Say what becomes of the checkpoints: those that are there, and those of the last epochs."""
        options = self.config_init["fit"]
        if options["ckpt_path"] == "last":
            options["ckpt_path"] = last_checkpoint(self.trainer, getattr(self.datamodule, "task", None))
        if not options["trainer"]["fast_dev_run"]:
            check_epochs(self.trainer)
            if options["ckpt_path"] is None:
                announce_overwriting(self.trainer)
        if options["ckpt_path"] is None:
            for part in (self.model, self.datamodule, *self.trainer.callbacks):  # type: ignore[attr-defined]
                if isinstance(part, NeedsIngredients):
                    part.check_ingredients()
        self._check_fits("fit")

    def before_validate(self) -> None:
        """Refuse a checkpoint of another training before anything is done."""
        self._check_fits("validate")

    def before_test(self) -> None:
        """Refuse a checkpoint of another training before anything is done."""
        self._check_fits("test")

    def _check_fits(self, command: str) -> None:
        path = self.config_init[command]["ckpt_path"]
        if path is not None and "://" not in str(path):
            check_fits(Path(path), self.model, command)


def check_checkpoint(path: Path, task: str | None) -> None:
    """Refuse a file that is no checkpoint, and one whose student was trained on another task.

    Raises:
        LitDistillError: in one line, what is wrong with `--ckpt_path`.
    """
    checkpoint = _read_checkpoint(path)
    trained = None if checkpoint is None else _student(checkpoint).get("task")
    if task is not None and trained is not None and trained != task:
        raise LitDistillError(
            f"--ckpt_path {path}: its student was trained on {trained}, but data.task is {task}; "
            f"add --data.task {trained}, or give the other task's checkpoint"
        )


def check_fits(path: Path, model: LightningModule, command: str) -> None:
    """Refuse a checkpoint whose weights are not those of a model, which Lightning would tell in a traceback.

    Raises:
        LitDistillError: in one line, what its weights are of, and how a fit could begin with its student.
    """
    checkpoint = _read_checkpoint(path)
    if checkpoint is None:
        return
    saved, own = checkpoint.get("state_dict", {}), model.state_dict()
    different = [
        name
        for name in (own | saved)
        if name not in own or name not in saved or saved[name].shape != own[name].shape
    ]
    if not different:
        return
    training = _student(checkpoint).get("training")
    algorithm = training.get("algorithm") if isinstance(training, dict) else None
    of = f" (of {algorithm})" if algorithm else ""
    starts = f"; to begin with its student: --model.init_from {path}, without --ckpt_path"
    raise LitDistillError(
        f"--ckpt_path {path}: holds other weights{of} than {type(model).__name__} has with this "
        f"configuration ({different[0]}); give the --config that made it"
        f"{starts if command == 'fit' and hasattr(model, 'init_from') else ''}"
    )


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds, its tensors left on disk; {} if it is no dictionary.

    None if it holds more than plain values: whether that is read, Lightning decides by --weights_only.

    Raises:
        LitDistillError: no such file, or no checkpoint.
    """
    if not path.is_file():
        raise LitDistillError(f"--ckpt_path {path}: no such file; runs/ holds the checkpoints")
    damaged = f"--ckpt_path {path}: not a checkpoint, or a damaged one; take another"
    if not zipfile.is_zipfile(path):
        raise LitDistillError(damaged)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        return None
    except Exception:  # bytes of unknown origin: torch raises many types on them, all mean the same
        raise LitDistillError(damaged) from None
    return checkpoint if isinstance(checkpoint, dict) else {}


def _student(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its student, {} if it does not."""
    record = checkpoint.get("student")
    return record if isinstance(record, dict) else {}


def last_checkpoint(trainer: Trainer, task: str | None) -> str:
    """Return the `last.ckpt` that a run like this one left.

    Raises:
        LitDistillError: there is none, or it is of another task.
    """
    folders = [_shown(callback.dirpath) for callback in _model_checkpoints(trainer) if callback.dirpath]
    for path in [folder / LAST for folder in folders]:
        if path.is_file():
            check_checkpoint(path, task)
            return str(path)
    where = ", ".join(map(str, folders)) or "any ModelCheckpoint's dirpath"
    raise LitDistillError(f"--ckpt_path last: no {LAST} in {where}; leave --ckpt_path out to begin anew")


def check_epochs(trainer: Trainer) -> None:
    """Where checkpoints are written after validations only: warn of last epochs that leave none.

    Raises:
        LitDistillError: the run would end before its first validation.
    """
    epochs, every = trainer.max_epochs or 0, trainer.check_val_every_n_epoch or 1
    waits = [callback for callback in _model_checkpoints(trainer) if not callback._save_on_train_epoch_end]
    if epochs < 1 or epochs % every == 0 or not waits:
        return
    said = f"trainer.max_epochs {epochs}, trainer.check_val_every_n_epoch {every}"
    if epochs < every:
        raise LitDistillError(
            f"{said}: there would be no validation and no best checkpoint; "
            f"add --trainer.check_val_every_n_epoch {epochs}"
        )
    last = epochs - epochs % every
    if trainer.is_global_zero:
        print(
            f"warning: {said}: there is no checkpoint of what follows epoch {last}; "
            f"better: --trainer.max_epochs {last} or {last + every}",
            file=sys.stderr,
        )


def announce_overwriting(trainer: Trainer) -> None:
    """Print a line for each folder whose checkpoints this run, which begins anew, writes over."""
    for callback in _model_checkpoints(trainer):
        if callback.dirpath is None or callback._enable_version_counter:
            continue
        folder = _shown(callback.dirpath)
        there = [name for name in (f"{callback.filename}.ckpt", LAST) if (folder / name).is_file()]
        if there and trainer.is_global_zero:
            resume = f"; to resume instead: --ckpt_path {folder / LAST}" if LAST in there else ""
            print(
                f"{folder / there[0]}{' and '.join(['', *there[1:]])} will be overwritten{resume}", flush=True
            )


def _model_checkpoints(trainer: Trainer) -> list[ModelCheckpoint]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]


def _shown(folder: str | os.PathLike[str]) -> Path:
    """A folder as the user would type it: Lightning makes every dirpath absolute."""
    path = Path(folder)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def check_lightning(arguments: list[str]) -> None:
    """Parse as `run_lightning` does, and stop there.

    Raises:
        LitDistillError: a key or a value that is wrong.
    """
    _ParseOnlyCLI(arguments)


class _ParseOnlyCLI(DistillCLI):
    """Instantiates nothing, runs nothing."""

    def _set_seed(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def _help(name: str, summary: str) -> dict[str, str]:
    checkpoint = "" if name == "fit" else " --ckpt_path runs/bc/TASK/best.ckpt"
    return {
        "usage": f"{PROGRAM} {name} --config FILE.yaml{checkpoint} [--key value ...]",
        "description": (
            f"{summary.capitalize()}. Example: {PROGRAM} {name} --config conf/bc.yaml{checkpoint}. "
            "Options after --config win over the file, for example --trainer.max_epochs 10 "
            "--data.task custom_libero_object_milk; --print_config shows the outcome. The file names model, "
            f"data and callbacks by class_path; to list the options of one: {', or '.join(HELP_OF)}."
        ),
    }


def run_lightning(arguments: list[str]) -> None:
    """Parse `arguments`, the first of which is Lightning's command, and run it.

    Raises:
        LitDistillError: what the user can mend: a key, a value, a checkpoint, a trainer setting.
    """
    quiet_lightning()
    try:
        DistillCLI(arguments)
    except MisconfigurationException as error:
        raise LitDistillError(" ".join(str(error).split())) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning has shut down and exits with 1
            raise KeyboardInterrupt from None
        raise
    except pickle.UnpicklingError:
        raise LitDistillError(
            "the checkpoint holds more than tensors, numbers and strings, which could run code when read; "
            "if you made it yourself: --weights_only false"
        ) from None


def quiet_lightning() -> None:
    """Silence what Lightning says that nobody here can act on: advertisements, advice against our choices."""
    # Small sets are decoded once and kept in RAM: more loader processes would only copy them.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # A test run has a log folder of its own, and takes nothing but the weights from the training run.
    warnings.filterwarnings("ignore", message="The dirpath has changed from")
    # A folder of checkpoints is one task's and is written again when it is trained again.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # What we log is logged once per epoch, however few batches that has.
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message="Precision .* is not supported by the model summary")
    # Lightning's own use of torch.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )
