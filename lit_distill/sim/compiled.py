"""Compiled models, kept on disk: compiling one of LIBERO's scenes takes seconds, reading it a fraction.

A file's name holds the hash of all that the model depends on, and the checksum of its content. So a changed
scene, asset or MuJoCo finds no file, and a damaged file is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import mmap
import os
import zlib
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np

from lit_distill.cache import cache_folder

logger = logging.getLogger(__name__)

LIMIT_BYTES = 6_000_000_000
"""What the folder may hold, about 24 models; those not used for longest go first."""


def compiled_model(xml: str) -> mujoco.MjModel:
    """Compile a model, or read it from the cache; a cache that cannot be used is only slow."""
    key = _key(xml)
    for path in sorted(cache_folder().glob(f"{key}-*.mjb")):
        with contextlib.suppress(OSError):  # another process has just made room, or it is somebody else's
            if path.stem == f"{key}-{_checksum(path)}":
                with contextlib.suppress(OSError):  # what cannot be written to can still be read
                    os.utime(path)
                with contextlib.suppress(ValueError):  # room was made since
                    return mujoco.MjModel.from_binary_path(str(path))
            logger.warning("%s: damaged, compiled again", path)
            path.unlink()
    model = mujoco.MjModel.from_xml_string(xml)
    try:
        _store(model, key)
    except OSError as error:
        logger.warning("%s: compiled models cannot be kept here (%s)", cache_folder(), error.strerror)
    return model


def _key(xml: str) -> str:
    """Hash of the XML, of name, size and time of each file that it refers to, and of MuJoCo's version."""
    digest = hashlib.sha256(f"{mujoco.__version__}\n{xml}".encode())
    names = {element.get("file") for element in ElementTree.fromstring(xml).iter()} - {None}
    for name in sorted(map(str, names)):
        status = os.stat(name)
        digest.update(f"\n{name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]


def _checksum(path: Path) -> str:
    if not path.stat().st_size:
        return ""
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return f"{zlib.crc32(content):08x}"


def _store(model: mujoco.MjModel, key: str) -> None:
    """Write the file; it appears complete, whoever else is writing it."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    array = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, array)
    content = array.data
    temporary = folder / f"{key}.{os.getpid()}.tmp"
    try:
        temporary.write_bytes(content)
        os.replace(temporary, folder / f"{key}-{zlib.crc32(content):08x}.mjb")
    finally:
        temporary.unlink(missing_ok=True)
    _make_room(folder)


def _make_room(folder: Path) -> None:
    """Delete what was not used for longest, left-over temporary files included, down to the limit.

    What others keep in the folder stays: answers of teachers, shards from elsewhere.
    """
    files = []
    for path in [*folder.glob("*.mjb"), *folder.glob("*.tmp")]:
        with contextlib.suppress(FileNotFoundError):  # another process makes room as well
            files.append((path.stat().st_mtime, path.stat().st_size, path))
    total = 0
    for _, size, path in sorted(files, reverse=True):
        total += size
        if total > LIMIT_BYTES:
            path.unlink(missing_ok=True)
