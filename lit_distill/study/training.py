"""What a training depends on, and the note beside its checkpoint that says whether it is there.

`fit` itself writes `best.ckpt` and `last.ckpt`. The pipeline adds `fit.json` before it starts and completes
it afterwards, so that the next run knows whether to reuse, to resume or to train anew.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lit_distill.arguments import check_config_file
from lit_distill.atomic import atomic_file
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Protocol
from lit_distill.lightning_cli import DEFAULTS
from lit_distill.manifest import Manifest, stands_for
from lit_distill.networks.checkpoint import checkpoint_sha256
from lit_distill.schema import DAGGER, STUDENT, TEACHER
from lit_distill.teacher_option import set_teacher
from lit_distill.teachers.spec import TeacherSpec

NOTE_NAME, BEST_NAME, LAST_NAME = "fit.json", "best.ckpt", "last.ckpt"
PACKAGES = ("lit_distill", "lightning", "torch")
ELSEWHERE = ("root", "collect", "collect_teacher", "num_workers", "ram_limit_mb")
"""Options of the data module that change where and how data are read, not what is trained."""
WATCHERS = ("LiberoEvaluation", "HardwareMonitor", "LearningRateMonitor", "TrainingProgress")
"""Callbacks that change nothing in the trained weights."""


class FitConfig:
    """A YAML file for `fit`, as it is for one task.

    Attributes:
        checkpoints: folder of best.ckpt and last.ckpt.
        chosen: the checkpoint that is tested: best.ckpt, or last.ckpt where none is told to be the best.
        logs: folder of the TensorBoard files, one `version_N` in it for each start.
        protocol: of its LiberoEvaluation.
        init_from: checkpoints of students that it begins with.
        makes: how the sources begin whose rollouts it collects itself (DAgger's rounds, AWAC's student), None
            without any.
        teacher_data: option of the data module with which it would collect the teacher's.
        labels: the key that says who labels the rollouts that it collects itself, and the teacher that it
            names, None if it names none; None without any such rollouts.
        teacher: what `fit` has to be told by `--teacher`; None: nothing.

    Args:
        path: the file.
        task: a task's name.
        options: keys of the file with other values.
        teacher: labels where the file names none; None: the embedded one does.

    Raises:
        LitDistillError: not a configuration that the pipeline can use.
    """

    def __init__(
        self, path: str, task: str, options: dict[str, Any], teacher: dict[str, Any] | None = None
    ) -> None:
        check_config_file(path)
        config = OmegaConf.merge(OmegaConf.load(DEFAULTS), OmegaConf.load(path))
        assert isinstance(config, DictConfig)
        for key, value in {**options, "data.init_args.task": task}.items():
            try:
                OmegaConf.update(config, key, value)
            except (OmegaConfBaseException, TypeError, AttributeError, ValueError):
                raise LitDistillError(f"{path}: {key}: not a key that can be set there") from None
        try:
            content: Any = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException as error:
            raise LitDistillError(f"{path}: {str(error).splitlines()[0]}") from None
        self._content: dict[str, Any] = content
        trainer = content["trainer"]
        callbacks = trainer.get("callbacks") or []
        self._path = path
        self.checkpoints = Path(self._option(callbacks, "ModelCheckpoint", "dirpath"))
        keeps = next(each.get("init_args", {}) for each in callbacks if _is(each, "ModelCheckpoint"))
        self.chosen = self.checkpoints / (LAST_NAME if keeps.get("save_top_k") == 0 else BEST_NAME)
        if not _is(callbacks[-1], "LiberoEvaluation"):
            raise LitDistillError(
                f"{path}: trainer.callbacks: LiberoEvaluation must be the last one, so that "
                "--trainer.callbacks.protocol... reaches it"
            )
        self.protocol = asdict(Protocol()) | callbacks[-1].get("init_args", {}).get("protocol", {})
        parts = [content["model"], *callbacks]
        starts = [part.get("init_args", {}).get("init_from") for part in parts]
        self.init_from = [path for path in starts if path is not None]
        replays = _is(content["data"], "ReplayDataModule")
        rounds = any(_is(callback, "DAggerRounds") for callback in callbacks)
        acts = content["data"].get("init_args", {}).get("collect_student")
        self.makes = DAGGER if rounds else STUDENT if acts else None
        self.teacher_data = "collect_teacher" if replays else "collect"
        self.labels: tuple[str, TeacherSpec | None] | None = None
        for callback in callbacks:
            if _is(callback, "DAggerRounds"):
                settings = callback["init_args"].get("collect") or {}
                self.labels = ("collect.teacher of DAggerRounds", _named(settings))
        if acts and not rounds:
            self.labels = ("data.init_args.collect_student.teacher", _named(acts))
        self.teacher = teacher if self.labels is not None and self.labels[1] is None else None
        if self.teacher is not None:
            set_teacher(content, self.teacher)
        logger = trainer["logger"]["init_args"]
        self.logs = Path(logger["save_dir"]) / logger["name"]

    def option(self, key: str) -> Any:
        """The value of a dotted key, without interpolations, which a command line cannot hold."""
        value = OmegaConf.select(OmegaConf.create(self._content), key)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    def _option(self, callbacks: list[dict[str, Any]], name: str, option: str) -> Any:
        for callback in callbacks:
            value = callback.get("init_args", {}).get(option)
            if _is(callback, name) and value is not None:
                return value
        raise LitDistillError(f"{self._path}: trainer.callbacks needs a {name} with a {option}")

    def settings(self) -> dict[str, Any]:
        """Everything in the file that the trained weights depend on."""
        trainer, data = dict(self._content["trainer"]), dict(self._content["data"])
        del trainer["logger"]
        trainer["callbacks"] = [
            callback
            for callback in trainer["callbacks"]
            if callback["class_path"].rpartition(".")[2] not in WATCHERS
        ]
        data["init_args"] = {key: value for key, value in data["init_args"].items() if key not in ELSEWHERE}
        return {**self._content, "trainer": trainer, "data": data}

    def _sources(self) -> list[str]:
        """What is there before it begins: the rollouts that it collects itself follow from the rest."""
        options = self._content["data"]["init_args"]
        others = [source for source in options.get("students", []) if source != self.makes]
        return [*options.get("sources", [TEACHER]), *others]

    def shards_sha256(self, root: str, task: str) -> str:
        """Hash of the hashes of the shards that it trains on."""
        manifest = Manifest.load(Path(root) / task)
        digest = hashlib.sha256()
        wanted = self._sources()
        for name, source in manifest.sources.items():
            if any(stands_for(one, name) for one in wanted):
                for shard in source.shards:
                    digest.update(shard.sha256.encode())
        return digest.hexdigest()


def _named(settings: dict[str, Any]) -> TeacherSpec | None:
    """The teacher that settings of a collection name."""
    teacher = settings.get("teacher")
    return None if teacher is None else TeacherSpec.of(teacher)


def _is(part: dict[str, Any], name: str) -> bool:
    """Whether a part of a file is of a class of this name."""
    return str(part["class_path"]).endswith(f".{name}")


@dataclass(frozen=True)
class Training:
    """One training of the pipeline: its folder and all that it depends on."""

    chosen: Path
    depends_on: dict[str, Any]

    @classmethod
    def of(cls, config: FitConfig, root: str, task: str) -> Training:
        """The training that `config` describes, on the data as they are now."""
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        depends_on: dict[str, Any] = {
            "settings": config.settings(),
            "shards": config.shards_sha256(root, task),
            "versions": versions,
        }
        if config.init_from:
            depends_on["init_from"] = {path: checkpoint_sha256(path) for path in config.init_from}
        return cls(config.chosen, json.loads(json.dumps(depends_on)))

    @property
    def last(self) -> Path:
        """The latest checkpoint, to resume from."""
        return self.chosen.with_name(LAST_NAME)

    def is_begun(self) -> bool:
        """Whether the folder is this training's, finished or not."""
        return self._note().get("depends_on") == self.depends_on

    def is_done(self) -> bool:
        """Whether the chosen checkpoint is what this training gave."""
        done = self._note().get("chosen_sha256")
        return self.is_begun() and self.chosen.is_file() and done == checkpoint_sha256(self.chosen)

    def can_resume(self) -> bool:
        """Whether this training was begun, and not finished, and left a whole last.ckpt."""
        return self.is_begun() and "chosen_sha256" not in self._note() and zipfile.is_zipfile(self.last)

    def begin(self) -> None:
        """Note that this training begins; what another one left in the folder goes, unless it is resumed."""
        if self.can_resume():
            return
        self.chosen.parent.mkdir(parents=True, exist_ok=True)
        self._note_path.unlink(missing_ok=True)
        for name in (BEST_NAME, LAST_NAME):
            self.chosen.with_name(name).unlink(missing_ok=True)
        self._write({"depends_on": self.depends_on})

    def finish(self) -> None:
        """Note that it is done.

        Raises:
            LitDistillError: there is no such checkpoint.
        """
        if not self.chosen.is_file():
            raise LitDistillError(
                f"{self.chosen}: fit ended without it; its ModelCheckpoint needs `filename: best` and a "
                "monitor, or `save_top_k: 0` and `save_last: true`"
            )
        self._write({"depends_on": self.depends_on, "chosen_sha256": checkpoint_sha256(self.chosen)})

    @property
    def _note_path(self) -> Path:
        return self.chosen.with_name(NOTE_NAME)

    def _note(self) -> dict[str, Any]:
        try:
            note = json.loads(self._note_path.read_text())
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def _write(self, note: dict[str, Any]) -> None:
        with atomic_file(self._note_path) as stream:
            stream.write((json.dumps(note, indent=1, sort_keys=True) + "\n").encode())
