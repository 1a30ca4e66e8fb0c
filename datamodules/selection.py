"""Which samples of a folder are for training and which are held out, known from the manifest alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lit_distill.errors import LitDistillError
from lit_distill.manifest import (
    HOW_TO_FILL,
    MANIFEST_NAME,
    Manifest,
    ShardEntry,
    check_one_teacher,
    collect_command,
    is_copy,
    stands_for,
)
from lit_distill.schema import DAGGER, STUDENT, TEACHER

ALL_ROUNDS = DAGGER.removesuffix("-")
"""The name that stands for all rounds of DAgger."""


def is_held_out(task: str, source: str, episode: int, held_out: float) -> bool:
    """Whether an episode is for validation: a pure function, so none changes side when data grow.

    Of each block of round(1 / held_out) consecutive episodes of a (task, source) exactly one is held
    out, drawn by a hash of task, source and block.
    """
    size = round(1 / held_out)
    block, place = divmod(episode, size)
    digest = hashlib.sha256(f"{task}/{source}/{block}".encode()).digest()
    return place == int.from_bytes(digest[:8], "big") % size


@dataclass(frozen=True)
class SelectedShard:
    """A shard and the keys of its selected samples, in file order."""

    path: Path
    entry: ShardEntry
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """Samples numbered 0 .. N-1 in the order of their shards."""

    shards: tuple[SelectedShard, ...]
    episodes: int

    @property
    def samples(self) -> int:
        """N."""
        return sum(len(shard.keys) for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Their size on disk, which is a little more than decoded: images are stored raw."""
        return sum(
            shard.entry.bytes * len(shard.keys) // shard.entry.samples for shard in self.shards if shard.keys
        )


def _select(folder: Path, shards: list[ShardEntry], wanted: set[str]) -> Selection:
    selected = []
    episodes = 0
    for entry in shards:
        chosen = [episode for episode in entry.episodes if episode.key in wanted]
        keys = tuple(f"{episode.key}-{chunk:03d}" for episode in chosen for chunk in range(episode.samples))
        if keys:
            selected.append(SelectedShard(folder / entry.name, entry, keys))
        episodes += len(chosen)
    return Selection(tuple(selected), episodes)


def _episodes_needed(task: str, source: str, held_out: float, stored: int) -> int:
    """The smallest number of episodes above `stored` with new ones on both sides."""
    sides: set[bool] = set()
    total = stored
    while len(sides) < 2:
        sides.add(is_held_out(task, source, total, held_out))
        total += 1
    return total


def split(
    folder: Path, sources: list[str], held_out: float, successes_only: bool
) -> tuple[Selection, Selection]:
    """Training and held-out samples of a task's folder.

    The source `dagger` stands for all of its rounds. With `successes_only` episodes that did not succeed are
    left out, but for those of students: what the teacher says about a state holds whatever became of the
    episode (§3.3).

    Raises:
        LitDistillError: no manifest, a source has no episodes, sources of different simulators or teachers,
            or one side is left without any.
    """
    manifest = Manifest.load(folder)
    task = manifest.task
    sources = all_rounds(folder, sources)
    _check_one_simulator(folder, manifest, sources)
    _check_one_teacher(folder, manifest, sources)
    shards: list[ShardEntry] = []
    training: set[str] = set()
    validation: set[str] = set()
    for source in sources:
        entry = manifest.sources.get(source)
        if entry is None or not entry.shards:
            raise missing_source(folder, source)
        shards += entry.shards
        relabelled = source.startswith(DAGGER) or source == STUDENT
        for episode in entry.episodes():
            if episode.outcome == "success" or not successes_only or relabelled:
                side = validation if is_held_out(task, source, episode.episode, held_out) else training
                side.add(episode.key)
    if not training or not validation:
        stored = manifest.sources[sources[0]].counts()["episodes"]
        raise LitDistillError(
            f"{folder}: its {len(training | validation)} usable episodes leave none for "
            f"{'validation' if training else 'training'} (held_out {held_out}); collect at least "
            f"{_episodes_needed(task, sources[0], held_out, stored)} {sources[0]} episodes"
        )
    sides = [_select(folder, shards, wanted) for wanted in (training, validation)]
    return sides[0], sides[1]


def check_sources(option: str, sources: list[str]) -> None:
    """Raise LitDistillError for a name that no rollouts have, or a round that another name stands for."""
    for source in sources:
        rounds = source.removeprefix(DAGGER)
        if source not in (TEACHER, STUDENT, ALL_ROUNDS) and not (source != rounds and rounds.isdecimal()):
            raise LitDistillError(
                f"{option}: there are no {source} rollouts; known: {TEACHER}, {STUDENT}, {DAGGER}1, "
                f"{DAGGER}2, ..., {ALL_ROUNDS} (all of its rounds)"
            )
        if ALL_ROUNDS in sources and source.startswith(DAGGER):
            raise LitDistillError(f"{option}: {ALL_ROUNDS} stands for {source}, too; leave one out")


def missing_source(folder: Path, source: str) -> LitDistillError:
    """The error that a source has no episodes in a folder, with what makes them."""
    missing = f"{folder / MANIFEST_NAME}: no {source} episodes here"
    if is_copy(folder):
        return LitDistillError(f"{missing}; {HOW_TO_FILL}")
    command = collect_command(folder)
    if source == STUDENT:
        command = collect_command(folder, "conf/collect_student.yaml")
    elif source.startswith(ALL_ROUNDS):
        options = f"--data.task {folder.name} --data.root {folder.parent}"
        command = f"python -m lit_distill fit --config conf/dagger_fast.yaml {options}"
    return LitDistillError(f"{missing}: run `{command}`")


def all_rounds(folder: Path, sources: list[str]) -> list[str]:
    """The sources with all of DAgger's rounds, in their order, in place of the name `dagger`.

    Raises:
        LitDistillError: no manifest, or no round there.
    """
    found: list[str] = []
    for source in sources:
        if source != ALL_ROUNDS:
            found.append(source)
            continue
        rounds = [name for name in Manifest.load(folder).sources if stands_for(source, name)]
        if not rounds:
            raise missing_source(folder, f"{DAGGER}1")
        found += sorted(rounds, key=lambda name: int(name.removeprefix(DAGGER)))
    return found


def _check_one_simulator(folder: Path, manifest: Manifest, sources: list[str]) -> None:
    """Refuse sources that were rendered or simulated differently."""
    present = [source for source in sources if source in manifest.sources]
    prints = [manifest.sources[source].identity.get("fingerprint", {}) for source in present]
    for source, other in zip(present, prints, strict=True):
        for key in sorted(other.keys() | prints[0].keys()):
            first, now = prints[0].get(key), other.get(key)
            if first != now:
                raise LitDistillError(
                    f"{folder}: {present[0]} has fingerprint.{key} = {first!r}, {source} has {now!r}; "
                    "collect one of them again in another --root, or name only one in data.sources"
                )


def _check_one_teacher(folder: Path, manifest: Manifest, sources: list[str]) -> None:
    """Refuse sources that were labelled by different teachers."""
    identities = {name: manifest.sources[name].identity for name in sources if name in manifest.sources}
    if identities:
        remedy = "collect one of them again in another --root, or name only one in data.sources"
        check_one_teacher(folder, identities, remedy)
