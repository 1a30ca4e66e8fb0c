"""One ChunkTransition <-> one WebDataset sample, and reading the samples of a shard.

A sample's members are `<key>.<array>.npy` for each array of the schema (`teacher_actions` only where
the teacher was asked) and `<key>.json` with the remaining fields and the schema version. There is no
pickle: only these members are known, and a `.npy` of Python objects is refused. Shards are opened by
this module, never by webdataset's `gopen`, which runs a shell for `pipe:` and rewrites URLs by
environment variables; webdataset gets open files.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import webdataset
from webdataset.tariterators import group_by_keys, tar_file_expander

from lit_distill.errors import LitDistillError
from lit_distill.manifest import EpisodeEntry, remedy
from lit_distill.remote_shards import redacted
from lit_distill.schema import (
    METADATA_KEYS,
    OBSERVATION_SPECS,
    SCHEMA_VERSION,
    TRANSITION_SPECS,
    ChunkTransition,
    Observation,
)

ARRAY_KEYS: tuple[str, ...] = (*OBSERVATION_SPECS, *TRANSITION_SPECS)
_MEMBERS = {*(f"{key}.npy" for key in ARRAY_KEYS), "json"}
_OPTIONAL_MEMBERS = {"teacher_actions.npy"}
_NUMBER_TYPES: dict[str, tuple[type, ...]] = {
    "episode": (int,),
    "chunk": (int,),
    "executed": (int,),
    "seed": (int,),
    "terminal": (bool,),
    "value": (float, type(None)),
    "next_value": (float, type(None)),
    "steps_to_success": (int, type(None)),
    "next_steps_to_success": (int, type(None)),
    "teacher": (str, type(None)),
}
_METADATA_TYPES = {key: _NUMBER_TYPES.get(key, (str,)) for key in METADATA_KEYS}
_NPY_START = b"\x93NUMPY\x01\x00"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_MEMBER_NAME = re.compile(r"[^./]+\.[^/]+")


def encode_array(array: np.ndarray) -> bytes:
    """The array as a `.npy` file of version 1.0, C order; the same array gives the same bytes."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


@lru_cache(maxsize=256)
def _parse_header(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...]]:
    stream = io.BytesIO(header)
    np.lib.format.read_magic(stream)
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("holds pickled Python objects, which are never loaded")
    if fortran_order:
        raise ValueError("is not in C order")
    return dtype, shape


def decode_array(data: bytes) -> np.ndarray:
    """Inverse of `encode_array`; read-only. Raises ValueError for anything that it would not write."""
    if data[: len(_NPY_START)] != _NPY_START:
        raise ValueError("is not a .npy file of version 1.0")
    start = 10 + int.from_bytes(data[8:10], "little")
    dtype, shape = _parse_header(data[:start])
    if min(shape, default=0) < 0 or len(data) != start + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"has {len(data) - start} bytes of data, not those of {dtype}{list(shape)}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape)


def encode_sample(transition: ChunkTransition) -> dict[str, Any]:
    """The WebDataset sample of a transition: `__key__` and the bytes of each member.

    Raises:
        LitDistillError: the transition breaks the contract.
    """
    transition.validate()
    metadata: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    for key, types in _METADATA_TYPES.items():
        value = getattr(transition, key)
        metadata[key] = None if value is None and type(None) in types else types[0](value)
    sample: dict[str, Any] = {"__key__": transition.key}
    for key in ARRAY_KEYS:
        array = getattr(transition.observation if key in OBSERVATION_SPECS else transition, key)
        if array is not None:
            sample[f"{key}.npy"] = encode_array(array)
    sample["json"] = json.dumps(metadata, sort_keys=True, allow_nan=False).encode()
    return sample


def decode_sample(sample: dict[str, Any]) -> ChunkTransition:
    """Inverse of `encode_sample`, validated. Raises LitDistillError naming the sample and the member."""
    key = sample["__key__"]
    members = {name for name in sample if not name.startswith("__")}
    if unknown := sorted(members - _MEMBERS):
        raise LitDistillError(f"{key}: unknown member .{unknown[0]}; expected {', '.join(sorted(_MEMBERS))}")
    if missing := sorted(_MEMBERS - _OPTIONAL_MEMBERS - members):
        raise LitDistillError(f"{key}: member .{missing[0]} is missing")
    metadata = _decode_metadata(key, sample["json"])
    arrays: dict[str, Any] = {}
    for name in ARRAY_KEYS:
        try:
            arrays[name] = decode_array(sample[f"{name}.npy"]) if f"{name}.npy" in sample else None
        except ValueError as error:
            raise LitDistillError(f"{key}: member .{name}.npy {' '.join(str(error).split())}") from None
    observation = Observation(**{name: arrays.pop(name) for name in OBSERVATION_SPECS})
    transition = ChunkTransition(observation=observation, **arrays, **metadata)
    transition.validate()
    if transition.key != key:
        raise LitDistillError(f"{key}: its .json says it is {transition.key}")
    return transition


def _decode_metadata(key: str, data: bytes) -> dict[str, Any]:
    try:
        metadata = json.loads(data)
    except ValueError as error:
        raise LitDistillError(f"{key}: member .json is damaged ({error})") from None
    if not isinstance(metadata, dict):
        raise LitDistillError(f"{key}: member .json is not an object")
    if (version := metadata.pop("schema_version", None)) != SCHEMA_VERSION:
        raise LitDistillError(
            f"{key}: schema version {version!r}, this version of lit_distill reads {SCHEMA_VERSION}; "
            "collect again into another --root"
        )
    if different := sorted(metadata.keys() ^ set(METADATA_KEYS)):
        state = "unknown" if different[0] in metadata else "missing"
        raise LitDistillError(f"{key}: {state} key {different[0]!r} in .json")
    for name, types in _METADATA_TYPES.items():
        if type(metadata[name]) not in types:
            raise LitDistillError(
                f"{key}: {name} in .json must be {types[0].__name__}, got {metadata[name]!r}"
            )
    return metadata


def encode_shard(transitions: Iterable[ChunkTransition], stream: BinaryIO) -> None:
    """Write the transitions as an uncompressed tar whose bytes depend on nothing but them."""
    writer = webdataset.TarWriter(
        stream, user="", group="", mtime=0, compress=False, encoder=False, format="PAX_FORMAT"
    )
    with writer:
        for transition in transitions:
            writer.write(encode_sample(transition))


def local_path(path_or_url: str | Path) -> Path:
    """The local file that is meant. Raises LitDistillError for `pipe:` and every other remote URL."""
    text = str(path_or_url)
    match = _URL.match(text)
    if match is None:
        return Path(text)
    scheme = match[1].lower()
    if scheme == "file":
        return Path(re.sub(r"(?i)^file:(//)?", "", text))
    reason = "would run a shell and is never opened" if scheme == "pipe" else "is not a local file"
    shown = "" if scheme == "pipe" else f"{redacted(text)}: "
    raise LitDistillError(f"{shown}a {scheme}: URL {reason}; copy the shard and give its path")


def shard_members(path: Path) -> tuple[list[tarfile.TarInfo], int]:
    """The headers of a shard's members, and where its end marker begins (bytes).

    Walks the headers only. Finds what `tarfile` takes for a regular end: truncation and damaged headers.

    Raises:
        LitDistillError: the file is missing, or its structure is not what `encode_shard` writes.
    """
    if not path.is_file():
        raise LitDistillError(f"{path}: no such shard")
    try:
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
    except Exception as error:  # tarfile raises many kinds for damaged bytes
        reason = " ".join(str(error).split())
        raise LitDistillError(f"{path}: truncated or damaged ({reason}); {remedy(path)}") from None
    end = 0
    for member in members:
        if not member.isreg() or not _MEMBER_NAME.fullmatch(member.name):
            raise LitDistillError(f"{path}: unexpected member {member.name!r}; {remedy(path)}")
        end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    with open(path, "rb") as stream:
        stream.seek(end)
        tail = stream.read()
    if len(tail) < 2 * tarfile.BLOCKSIZE or any(tail):
        raise LitDistillError(f"{path}: truncated or damaged at byte {end}; {remedy(path)}")
    return members, end


def raw_samples(path: Path, select: Callable[[str], bool] | None = None) -> Iterator[dict[str, Any]]:
    """The undecoded samples of a shard, in order, streamed by webdataset.

    Args:
        path: a local shard.
        select: says of each member's file name whether it is read; None reads all.

    Raises:
        LitDistillError: naming the shard, if it is missing or the stream breaks.
    """
    try:
        with open(path, "rb") as stream:
            expand = partial(tar_file_expander, select_files=select)
            opened = [{"url": str(path), "stream": stream}]
            yield from webdataset.DataPipeline(lambda: iter(opened), expand, group_by_keys)
    except LitDistillError:
        raise
    except FileNotFoundError:
        raise LitDistillError(f"{path}: no such shard") from None
    except Exception as error:  # webdataset and tarfile raise many kinds for damaged bytes
        reason = " ".join(str(error.args[0] if error.args else error).split())
        raise LitDistillError(f"{path}: truncated or damaged ({reason}); {remedy(path)}") from None


def decode_in_shard(path: Path, sample: dict[str, Any]) -> ChunkTransition:
    """`decode_sample` whose errors name the shard, too."""
    try:
        return decode_sample(sample)
    except LitDistillError as error:
        raise LitDistillError(f"{path}: {error}") from None


def read_shard(path_or_url: str | Path) -> Iterator[ChunkTransition]:
    """The transitions of one shard, in order, each validated.

    Raises:
        LitDistillError: one line naming the shard, and the sample where it is known.
    """
    path = local_path(path_or_url)
    shard_members(path)
    for sample in raw_samples(path):
        yield decode_in_shard(path, sample)


def check_episode(transitions: Sequence[ChunkTransition], task: str, source: str, episode: int) -> None:
    """Raise LitDistillError unless these are all chunks of one whole episode, in order."""
    name = f"{task}-{source}-{episode:05d}"
    if not transitions:
        raise LitDistillError(f"{name}: an episode needs at least one chunk")
    for chunk, transition in enumerate(transitions):
        transition.validate()
        for key, expected in (
            ("task", task),
            ("source", source),
            ("episode", episode),
            ("chunk", chunk),
            ("terminal", chunk == len(transitions) - 1),
            ("outcome", transitions[0].outcome),
        ):
            if getattr(transition, key) != expected:
                raise LitDistillError(
                    f"{name}, chunk {chunk}: {key} must be {expected!r}, got {getattr(transition, key)!r}"
                )
    for before, after in itertools.pairwise(transitions):
        for key in ("value", "steps_to_success"):
            told, found = getattr(before, f"next_{key}"), getattr(after, key)
            if told is not None and found is not None and told != found:
                raise LitDistillError(
                    f"{before.key}: next_{key} {told} is not the next chunk's {key} {found}"
                )


def describe_episode(transitions: Sequence[ChunkTransition]) -> EpisodeEntry:
    """The manifest's entry of one whole episode."""
    first = transitions[0]
    steps = sum(transition.executed for transition in transitions)
    return EpisodeEntry(first.episode_key, first.episode, len(transitions), steps, first.outcome)
