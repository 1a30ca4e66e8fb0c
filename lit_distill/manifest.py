"""The manifest beside the shards: what is in them, their hashes, and how each source was made.

`manifest.json` (sorted keys, no timestamps, so the same data give the same bytes):

    schema_version, image_convention, task
    sources: {teacher | student | dagger-k: {
        identity: whatever the data depend on (simulator fingerprint, teacher, noise, seed, ...)
        episodes_per_shard
        shards: [{name, sha256, bytes, samples, episodes: [{key, episode, samples, steps, outcome}]}]
        counts: {episodes, samples, success, failure, timeout}}}
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lit_distill.atomic import atomic_file
from lit_distill.cache import copies_folder
from lit_distill.errors import LitDistillError
from lit_distill.schema import DAGGER, IMAGE_CONVENTION, OUTCOMES, SCHEMA_VERSION, SOURCE_PATTERN, Outcome

MANIFEST_NAME = "manifest.json"
SHARD_NAME = re.compile(rf"(?P<task>[^./]+?)-(?P<source>{SOURCE_PATTERN.pattern})-\d{{5,}}\.tar")


def stands_for(name: str, source: str) -> bool:
    """Whether a name that a user gives means a source: its own, or `dagger`, which means all rounds."""
    return name == source or (name == DAGGER.removesuffix("-") and source.startswith(DAGGER))


def collect_command(folder: Path, config: str = "conf/collect.yaml") -> str:
    """The command that makes the shards of a task in its folder `root/task`, by default the teacher's."""
    options = f"--task {folder.name} --root {folder.parent}"
    return f"python -m lit_distill collect --config {config} {options}"


HOW_TO_REMAKE = "run the command that made it (collect, fit or pipeline) again"
"""What makes the episodes of a shard that is missing again, with the same bytes."""
HOW_TO_FILL = "collect into a local root and copy the folder up"
"""How shards get behind a URL."""


def is_copy(folder: Path) -> bool:
    """Whether a folder is the copy of one behind a URL, so that nothing can be made or mended in it."""
    return folder.is_relative_to(copies_folder())


def check_one_teacher(folder: Path, identities: dict[str, dict[str, Any]], remedy: str) -> None:
    """Refuse sources that were labelled by different teachers.

    Args:
        folder: of the task, for the message.
        identities: of each source, stored or about to be; the others are compared with the first.
        remedy: what to do.

    Raises:
        LitDistillError: names both sources and both teachers.
    """
    (first, expected), *others = json.loads(json.dumps(identities)).items()
    for source, identity in others:
        for key in ("teacher", "teacher_spec"):
            if key in expected and key in identity and expected[key] != identity[key]:
                raise LitDistillError(
                    f"{folder}: {first} episodes have {key} {expected[key]!r}, {source} episodes "
                    f"{identity[key]!r}; one teacher only: {remedy}"
                )


def remedy(shard: Path) -> str:
    """What to do about a damaged shard file."""
    return HOW_TO_FILL if is_copy(shard) else f"delete {shard.name} and {HOW_TO_REMAKE}"


def shard_name(task: str, source: str, index: int) -> str:
    """File name of the `index`-th shard of a source."""
    return f"{task}-{source}-{index:05d}.tar"


@dataclass(frozen=True)
class EpisodeEntry:
    """One stored episode: `task-source-episode`, its index, its chunks, its control steps, its end."""

    key: str
    episode: int
    samples: int
    steps: int
    outcome: Outcome


@dataclass(frozen=True)
class ShardEntry:
    """One shard file and the episodes in it, in the order of their samples."""

    name: str
    sha256: str
    bytes: int
    episodes: tuple[EpisodeEntry, ...]

    @property
    def samples(self) -> int:
        """Samples in the shard."""
        return sum(episode.samples for episode in self.episodes)

    def check_file(self, folder: Path) -> None:
        """Raise LitDistillError naming the file and the remedy unless its bytes are the recorded ones."""
        path = folder / self.name
        if not path.is_file():
            raise LitDistillError(f"{path}: named in {MANIFEST_NAME} but missing; {HOW_TO_REMAKE}")
        if path.stat().st_size != self.bytes:
            raise LitDistillError(
                f"{path}: has {path.stat().st_size} bytes, {MANIFEST_NAME} says {self.bytes} "
                f"(truncated or changed); {remedy(path)}"
            )
        with open(path, "rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        if sha256 != self.sha256:
            raise LitDistillError(
                f"{path}: damaged, its sha256 is not the one in {MANIFEST_NAME}; {remedy(path)}"
            )

    def to_json(self) -> dict[str, Any]:
        """The shard's object in the manifest."""
        return {**dataclasses.asdict(self), "samples": self.samples, "episodes": _as_dicts(self.episodes)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> ShardEntry:
        """Inverse of `to_json`."""
        episodes = tuple(EpisodeEntry(**episode) for episode in raw["episodes"])
        return cls(raw["name"], raw["sha256"], raw["bytes"], episodes)


def _as_dicts(episodes: tuple[EpisodeEntry, ...]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(episode) for episode in episodes]


@dataclass
class SourceEntry:
    """What one source (teacher, student, dagger-k) has stored, and what its data depend on."""

    identity: dict[str, Any]
    episodes_per_shard: int
    shards: list[ShardEntry] = field(default_factory=list)

    def episodes(self) -> Iterator[EpisodeEntry]:
        """Every stored episode, shard by shard."""
        for shard in self.shards:
            yield from shard.episodes

    def counts(self) -> dict[str, int]:
        """Episodes, samples, and episodes by outcome."""
        episodes = list(self.episodes())
        outcomes = {str(name): sum(episode.outcome == name for episode in episodes) for name in OUTCOMES}
        return {"episodes": len(episodes), "samples": sum(e.samples for e in episodes), **outcomes}

    @property
    def meshes(self) -> str | None:
        """What its pictures were drawn from: `original` or `simplified`, None where that is not known."""
        return self.identity.get("fingerprint", {}).get("meshes")

    def to_json(self) -> dict[str, Any]:
        """The source's object in the manifest."""
        return {
            "identity": self.identity,
            "episodes_per_shard": self.episodes_per_shard,
            "shards": [shard.to_json() for shard in self.shards],
            "counts": self.counts(),
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> SourceEntry:
        """Inverse of `to_json`."""
        shards = [ShardEntry.from_json(shard) for shard in raw["shards"]]
        return cls(raw["identity"], raw["episodes_per_shard"], shards)


@dataclass
class Manifest:
    """All sources of one task's folder."""

    task: str
    sources: dict[str, SourceEntry] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The whole manifest as JSON-ready objects."""
        return {
            "schema_version": SCHEMA_VERSION,
            "image_convention": IMAGE_CONVENTION,
            "task": self.task,
            "sources": {name: self.sources[name].to_json() for name in sorted(self.sources)},
        }

    def save(self, folder: Path) -> None:
        """Write `folder`/manifest.json atomically."""
        with atomic_file(folder / MANIFEST_NAME) as stream:
            stream.write((json.dumps(self.to_json(), indent=1, sort_keys=True) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read `folder`/manifest.json.

        Raises:
            LitDistillError: there is none (names the command that makes it), it is of another schema
                version, or it is not what `save` writes.
        """
        path = folder / MANIFEST_NAME
        if not path.is_file():
            raise LitDistillError(f"{path}: no shards here yet; make them: `{collect_command(folder)}`")
        again = HOW_TO_FILL if is_copy(folder) else f"delete {folder} and {HOW_TO_REMAKE}"
        try:
            raw = json.loads(path.read_bytes())
            version = raw["schema_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise LitDistillError(f"{path}: damaged ({_one_line(error)}); {again}") from None
        if version != SCHEMA_VERSION:
            raise LitDistillError(
                f"{path}: schema version {version!r}, this version of lit_distill reads "
                f"{SCHEMA_VERSION}; {again}"
            )
        try:
            sources = {name: SourceEntry.from_json(entry) for name, entry in raw["sources"].items()}
            manifest = cls(raw["task"], sources)
            if manifest.to_json() != raw:
                raise ValueError("its fields or counts do not fit together")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LitDistillError(f"{path}: damaged ({_one_line(error)}); {again}") from None
        return manifest


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
