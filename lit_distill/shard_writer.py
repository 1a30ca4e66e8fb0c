"""The writer of shards that survives kills.

A finished episode becomes a part file. When the episodes [i·n, (i+1)·n) of a source are all there, their
parts are concatenated into shard i, shard i enters the manifest, the parts go: in this order, each step
atomic, so that whatever is interrupted is found and done again on the next opening. The bytes of a shard
depend on its transitions and on n alone, not on the order of their arrival or on interruptions; a last,
shorter shard that grows later becomes the shard that it would have been at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lit_distill.atomic import atomic_file, sync_folder
from lit_distill.errors import LitDistillError
from lit_distill.manifest import (
    MANIFEST_NAME,
    EpisodeEntry,
    Manifest,
    ShardEntry,
    SourceEntry,
    shard_name,
)
from lit_distill.query_log import forget_cost
from lit_distill.samples import check_episode, describe_episode, encode_shard, read_shard, shard_members
from lit_distill.schema import SOURCE_PATTERN, ChunkTransition

PARTS_NAME = "parts"


@contextlib.contextmanager
def _manifest_lock(folder: Path) -> Iterator[None]:
    """Hold off the writers of other sources, in other processes, while the manifest is changed."""
    with open(folder / ".manifest.lock", "wb") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        yield


def _take_lock(folder: Path, source: str) -> BinaryIO:
    """Held while the file is open.

    Raises:
        LitDistillError: another process holds it.
    """
    lock = open(folder / f".{source}.lock", "wb")  # noqa: SIM115 (held while the writer lives)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise LitDistillError(
            f"{folder}: another process is writing {source} episodes here; let it finish"
        ) from None
    return lock


def _own_files(folder: Path, prefix: str, suffix: str) -> list[Path]:
    """Visible (`.tar`) or temporary (`.tar.tmp`) files of a source, if the folder is there."""
    if not folder.is_dir():
        return []
    hidden = "." if suffix == ".tar.tmp" else ""
    names = (path for path in folder.iterdir() if path.name.startswith(hidden + prefix))
    return sorted(path for path in names if path.name.endswith(suffix))


def discard_source(folder: Path, source: str) -> None:
    """Delete all episodes of one source.

    Raises:
        LitDistillError: no manifest, or another process is writing that source.
    """
    manifest = Manifest.load(folder)
    with _take_lock(folder, source), _manifest_lock(folder):
        manifest.sources.pop(source, None)
        manifest.save(folder)
        for suffix in (".tar", ".tar.tmp"):
            for place in (folder, folder / PARTS_NAME):
                for path in _own_files(place, f"{manifest.task}-{source}-", suffix):
                    os.unlink(path)
        forget_cost(folder, source)


def _remedy(folder: Path, source: str) -> str:
    return f"choose another --root, or `python -m lit_distill discard {folder} --sources {source}`"


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key in sorted(value):
        flat |= _flatten(value[key], f"{prefix}.{key}" if prefix else key)
    return flat


def check_made_alike(path: Path, source: str, stored: SourceEntry, wanted: SourceEntry, remedy: str) -> None:
    """Raise LitDistillError naming the first setting in which stored episodes differ from what is wanted."""
    have, want = (
        _flatten(entry.identity) | {"episodes_per_shard": entry.episodes_per_shard}
        for entry in (stored, wanted)
    )
    for key in sorted(have.keys() | want.keys()):
        if key not in have or key not in want or have[key] != want[key]:
            raise LitDistillError(
                f"{path}: {source} episodes here were made with {key} = {have.get(key)!r}, "
                f"now it is {want.get(key)!r}; {remedy}"
            )


def _write_end(stream: BinaryIO) -> None:
    """The end marker and padding of a tar, as `tarfile` writes them."""
    stream.write(bytes(2 * tarfile.BLOCKSIZE))
    stream.write(bytes(-stream.tell() % tarfile.RECORDSIZE))


class ShardWriter:
    """Stores the episodes of one source of one task, in any order, once each.

    Args:
        folder: `<root>/<task>`; made if it does not exist. Several sources share it and its manifest.
        task: name in the task table.
        source: `teacher`, `student` or `dagger-k`.
        identity: what the data depend on (primitives, nested dicts and lists): a folder whose manifest
            has another identity for this source is refused.
        episodes_per_shard: n; the last shard may be shorter.

    Raises:
        LitDistillError: the folder holds data made otherwise, is damaged, or is being written by another
            process.
    """

    def __init__(
        self, folder: Path, task: str, source: str, identity: dict[str, Any], episodes_per_shard: int = 10
    ) -> None:
        if not SOURCE_PATTERN.fullmatch(source):
            raise LitDistillError(f"source: must be teacher, student or dagger-k, got {source!r}")
        if episodes_per_shard < 1:
            raise LitDistillError(f"episodes_per_shard: must be at least 1, got {episodes_per_shard}")
        self.folder, self.task, self.source = folder, task, source
        self._size = episodes_per_shard
        self._parts_folder = folder / PARTS_NAME
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _take_lock(folder, source)
        self._entry = self._open_entry(json.loads(json.dumps(identity)))
        self._parts_folder.mkdir(exist_ok=True)
        self._parts: dict[int, EpisodeEntry] = {}
        self._recover()

    @property
    def stored(self) -> set[int]:
        """Indices of the episodes that are stored."""
        return {episode.episode for episode in self._entry.episodes()} | self._parts.keys()

    @property
    def outcomes(self) -> Counter[str]:
        """The stored episodes by how they ended."""
        return Counter(episode.outcome for episode in (*self._entry.episodes(), *self._parts.values()))

    def missing(self, total: int) -> list[int]:
        """The episode indices in range(total) that are not stored yet, ascending."""
        stored = self.stored
        return [episode for episode in range(total) if episode not in stored]

    def add(self, episode: int, transitions: Sequence[ChunkTransition]) -> None:
        """Store one whole episode; when this returns it survives a kill.

        Raises:
            LitDistillError: the transitions are not the chunks of that episode, or it is stored already.
        """
        check_episode(transitions, self.task, self.source, episode)
        if episode not in self.missing(episode + 1):
            raise LitDistillError(f"{transitions[0].episode_key}: already stored in {self.folder}")
        with atomic_file(self._part_path(episode)) as stream:
            encode_shard(transitions, stream)
        self._parts[episode] = describe_episode(transitions)
        self._merge_if_complete(episode // self._size)

    def finish(self, total: int) -> None:
        """Close the last, shorter shard of range(total).

        Raises:
            LitDistillError: episodes of range(total) are missing.
        """
        if missing := self.missing(total):
            raise LitDistillError(
                f"{self.folder}: {len(missing)} of {total} {self.source} episodes are missing, "
                f"the first is {missing[0]}; run the same command again"
            )
        if any(episode < total for episode in self._parts):
            self._merge(range((total - 1) // self._size * self._size, total))
        if not any(self._parts_folder.iterdir()):
            os.rmdir(self._parts_folder)

    def _part_path(self, episode: int) -> Path:
        return self._parts_folder / f"{self.task}-{self.source}-{episode:05d}.tar"

    def _open_entry(self, identity: dict[str, Any]) -> SourceEntry:
        """This source's entry in the manifest, written now if there is none, so before any data."""
        path = self.folder / MANIFEST_NAME
        with _manifest_lock(self.folder):
            manifest = Manifest.load(self.folder) if path.exists() else Manifest(self.task)
            if manifest.task != self.task:
                raise LitDistillError(f"{path}: belongs to task {manifest.task}, not {self.task}")
            entry = manifest.sources.get(self.source)
            if entry is None:
                self._refuse_unexplained_data()
                entry = manifest.sources[self.source] = SourceEntry(identity, self._size)
                manifest.save(self.folder)
        wanted = SourceEntry(identity, self._size)
        check_made_alike(path, self.source, entry, wanted, _remedy(self.folder, self.source))
        return entry

    def _refuse_unexplained_data(self) -> None:
        for path in [*self._own_files(self.folder), *self._own_files(self._parts_folder)]:
            raise LitDistillError(
                f"{path}: {MANIFEST_NAME} does not say how the {self.source} episodes here were made; "
                f"{_remedy(self.folder, self.source)}"
            )

    def _own_files(self, folder: Path, suffix: str = ".tar") -> list[Path]:
        return _own_files(folder, f"{self.task}-{self.source}-", suffix)

    def _save_entry(self) -> None:
        with _manifest_lock(self.folder):
            manifest = Manifest.load(self.folder)
            manifest.sources[self.source] = self._entry
            manifest.save(self.folder)

    def _recover(self) -> None:
        """Bring folder and manifest together again, whatever step was interrupted."""
        for folder in (self.folder, self._parts_folder):
            for leftover in self._own_files(folder, ".tar.tmp"):
                os.unlink(leftover)
        whole = [shard for shard in self._entry.shards if self._has_its_size(shard)]
        if len(whole) < len(self._entry.shards):
            self._entry.shards = whole
            self._save_entry()
        names = {shard.name for shard in whole}
        for path in self._own_files(self.folder):
            if path.name not in names:
                os.unlink(path)  # its episodes are still parts, or are made again
        stored = {episode.episode for episode in self._entry.episodes()}
        for path in self._own_files(self._parts_folder):
            try:
                part = describe_episode(list(read_shard(path)))
            except LitDistillError:
                os.unlink(path)
                continue
            if part.episode in stored:
                os.unlink(path)
            else:
                self._parts[part.episode] = part
        for index in sorted({episode // self._size for episode in self._parts}):
            self._merge_if_complete(index)

    def _has_its_size(self, shard: ShardEntry) -> bool:
        path = self.folder / shard.name
        return path.is_file() and path.stat().st_size == shard.bytes

    def _shard(self, index: int) -> ShardEntry | None:
        name = shard_name(self.task, self.source, index)
        return next((shard for shard in self._entry.shards if shard.name == name), None)

    def _merge_if_complete(self, index: int) -> None:
        episodes = range(index * self._size, (index + 1) * self._size)
        if not set(episodes) & set(self.missing(episodes.stop)):
            self._merge(episodes)

    def _merge(self, episodes: range) -> None:
        """Make one shard of these episodes, which all are parts or in its shorter predecessor."""
        index = episodes.start // self._size
        if (shorter := self._shard(index)) is not None:
            self._split(shorter)
        path = self.folder / shard_name(self.task, self.source, index)
        with atomic_file(path) as shard:
            for episode in episodes:
                part = self._part_path(episode)
                _, end = shard_members(part)
                with open(part, "rb") as stream:
                    shard.write(stream.read(end))
            _write_end(shard)
        with open(path, "rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        entries = tuple(self._parts[episode] for episode in episodes)
        made = ShardEntry(path.name, sha256, path.stat().st_size, entries)
        others = [shard for shard in self._entry.shards if shard.name != made.name]
        self._entry.shards = sorted([*others, made], key=lambda shard: shard.episodes[0].episode)
        self._save_entry()
        for episode in episodes:
            del self._parts[episode]
            os.unlink(self._part_path(episode))
        sync_folder(self._parts_folder)

    def _split(self, shard: ShardEntry) -> None:
        """Make parts of a shard's episodes again, because it grows."""
        shard.check_file(self.folder)
        path = self.folder / shard.name
        members, end = shard_members(path)
        starts = [
            next(member.offset for member in members if member.name.startswith(f"{episode.key}-"))
            for episode in shard.episodes
        ]
        with open(path, "rb") as stream:
            for episode, start, stop in zip(shard.episodes, starts, [*starts[1:], end], strict=True):
                stream.seek(start)
                with atomic_file(self._part_path(episode.episode)) as part:
                    part.write(stream.read(stop - start))
                    _write_end(part)
                self._parts[episode.episode] = episode
