"""Transitions <-> WebDataset tars: write (`ShardWriter`), read (`read_shard`), check (`verify`).

The layout of a sample is in samples.py, of the manifest in manifest.py, the writer in shard_writer.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lit_distill.errors import LitDistillError
from lit_distill.manifest import MANIFEST_NAME, Manifest, ShardEntry, remedy, stands_for
from lit_distill.remote_shards import RemoteFolder, is_url, refuse_to_write
from lit_distill.samples import check_episode, describe_episode, read_shard
from lit_distill.schema import SOURCE_PATTERN, ChunkTransition
from lit_distill.shard_writer import ShardWriter, discard_source

__all__ = ["ShardReport", "ShardWriter", "read_shard", "verify"]


@dataclass(frozen=True)
class ShardReport:
    """One shard that `verify` found whole."""

    name: str
    episodes: int
    samples: int
    bytes: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.episodes} episodes, {self.samples} samples, {self.bytes / 1e6:.1f} MB: whole"
        )


def _verify_shard(folder: Path, shard: ShardEntry) -> ShardReport:
    shard.check_file(folder)
    path = folder / shard.name
    episodes: dict[str, list[ChunkTransition]] = {}
    for transition in read_shard(path):
        episodes.setdefault(transition.episode_key, []).append(transition)
    for transitions in episodes.values():
        first = transitions[0]
        check_episode(transitions, first.task, first.source, first.episode)
    found = tuple(describe_episode(transitions) for transitions in episodes.values())
    if found != shard.episodes:
        raise LitDistillError(f"{path}: holds other episodes than {MANIFEST_NAME} says; {remedy(path)}")
    return ShardReport(shard.name, len(found), shard.samples, shard.bytes)


def verify(folder: Path) -> list[ShardReport]:
    """Check every shard of a folder: hash, structure, every sample, and that the manifest tells the truth.

    Returns:
        One report per shard, in the manifest's order.

    Raises:
        LitDistillError: one line naming the first damaged, missing or unknown shard with its remedy, and
            how many others are damaged.
    """
    manifest = Manifest.load(folder)
    reports: list[ShardReport] = []
    problems: list[str] = []
    shards = [shard for source in manifest.sources.values() for shard in source.shards]
    for shard in shards:
        try:
            reports.append(_verify_shard(folder, shard))
        except LitDistillError as error:
            problems.append(str(error))
    for path in sorted({path.name for path in folder.glob("*.tar")} - {shard.name for shard in shards}):
        problems.append(f"{folder / path}: not in {MANIFEST_NAME}; delete it")
    if problems:
        others = f" ({len(problems) - 1} more are damaged)" if len(problems) > 1 else ""
        raise LitDistillError(problems[0] + others)
    return reports


def verify_folder(folder: str) -> list[str]:
    """Check every shard of a folder: hash, structure, every sample, and that the manifest tells the truth.

    Args:
        folder: a task's folder of shards, for example data/custom_libero_object_ketchup, or its URL, whose
            shards are fetched again.

    Returns:
        A line per shard, and how many there are.

    Raises:
        LitDistillError: as `verify`.
    """
    if is_url(folder):
        remote = RemoteFolder(folder)
        remote.fetch(again=True)
        with remote.named():
            reports = verify(remote.path)
    else:
        reports = verify(Path(folder))
    return [*map(str, reports), f"{len(reports)} shards whole"]


def discard(folder: str | Path, sources: list[str] | str) -> list[str]:
    """Delete the episodes of some sources, say of an earlier DAgger run, and leave the others.

    Args:
        folder: a task's folder of shards, for example data/custom_libero_object_ketchup.
        sources: a source or a list: teacher, student, dagger-1, ...; dagger stands for all its rounds.

    Returns:
        A line per source.

    Raises:
        LitDistillError: no manifest, no such source, another process is writing it, or a URL is named.
    """
    refuse_to_write(str(folder))
    folder = Path(folder)
    known = sorted(Manifest.load(folder).sources)
    wanted: list[str] = []
    for name in [sources] if isinstance(sources, str) else sources:
        found = [source for source in known if stands_for(name, source)]
        if not found and not SOURCE_PATTERN.fullmatch(name):
            raise LitDistillError(f"{folder}: no {name} episodes here; there are: {', '.join(known)}")
        wanted += found or [name]
    for name in wanted:
        discard_source(folder, name)
    return [f"{folder}: {name} episodes deleted" for name in wanted]
