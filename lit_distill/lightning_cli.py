"""fit, validate, test and predict: Lightning's command line with our defaults.

`--config FILE.yaml` names the model and the data by `class_path`; see conf/ and `lit_distill/defaults.yaml`.
"""

from __future__ import annotations

import logging
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lit_distill.arguments import PARSER_MODE, OneLineErrorMixin, parse
from lit_distill.cli import LIGHTNING_COMMANDS, PROGRAM
from lit_distill.errors import LitDistillError

DEFAULTS = Path(__file__).with_name("defaults.yaml")
CHECKPOINT_WORDS = ("best", "last", "hpc")
"""Values of --ckpt_path that Lightning looks up by itself."""


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

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse as Lightning does, with one-line errors and no warning that sys.argv holds something too."""
        self.config = parse(parser, args)  # type: ignore[arg-type]

    def _parse_ckpt_path(self) -> None:
        """Check that the checkpoint can be read, and take no hyperparameters from it.

        Lightning would write the checkpoint's hyperparameters over the YAML file and the command line, so
        that `test --ckpt_path X --model.y Z` ignores Z and a resumed run warm-starts again.
        """
        path = self.config[self.config.subcommand].get("ckpt_path")
        if path is None or path in CHECKPOINT_WORDS or "://" in str(path):
            return
        if not Path(path).is_file():
            raise LitDistillError(f"--ckpt_path {path}: no such file; runs/ holds the checkpoints")
        if not zipfile.is_zipfile(path):
            raise LitDistillError(f"--ckpt_path {path}: not a checkpoint, or a damaged one; take another")


def _help(name: str, summary: str) -> dict[str, str]:
    checkpoint = "" if name == "fit" else " --ckpt_path FILE.ckpt"
    return {
        "usage": f"{PROGRAM} {name} --config FILE.yaml{checkpoint} [--key value ...]",
        "description": (
            f"{summary.capitalize()}. Example: {PROGRAM} {name} --config conf/bc.yaml{checkpoint}. "
            "The file names the model and the data by class_path; --model.help CLASS and --data.help CLASS "
            "list the options of one. Options after --config win over the file, for example "
            "--trainer.max_epochs 10 --data.task custom_libero_object_milk; --print_config shows the outcome."
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
