"""Shards behind a URL that fsspec reads: fetched into a cache, checked, and read from there.

A root with a scheme (`s3://bucket/data`, `https://host/data`, `file:///mnt/data`, ...) is only read. A run
fetches the manifest when it begins, and of the sources that it uses the shards that the cache lacks:

    remote/shards/<sha256>.tar              each shard once, whatever manifest names it
    remote/<sha256 of the manifest>/<task>/ manifest.json and links to those shards: a folder as any other

Names are hashes of contents, so processes and machines that share a cache and fetch at the same time make
equal files, each under a name of its own until it is complete. No URL is written into either, and one that
could hold a secret is refused without being shown.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
from tqdm import tqdm

from lit_distill.atomic import atomic_file
from lit_distill.cache import cache_folder, copies_folder
from lit_distill.errors import LitDistillError
from lit_distill.manifest import HOW_TO_FILL, MANIFEST_NAME, SHARD_NAME, Manifest, ShardEntry, stands_for

WHERE_SECRETS_BELONG = "credentials belong into the environment or the filesystem's own configuration"
BLOCK_BYTES = 4_000_000
MANIFEST_LIMIT = 64_000_000
"""Bytes; a manifest has some hundred per episode."""
ABANDONED_SECONDS = 86_400
"""An unfinished file this old was left by a process that was killed."""
SILENCE_SECONDS = 60
"""A web server that sends nothing for so long is given up; a whole file may take any time."""

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_url(root: str) -> bool:
    """Whether a root is a URL, not a folder of this machine."""
    return _SCHEME.match(root) is not None


def check_url(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        LitDistillError: it would run something, or could hold a secret, which the message does not repeat.
    """
    match = _SCHEME.match(url)
    scheme, rest = (match[1].lower(), url[match.end() :]) if match else ("", url)
    if scheme == "pipe":
        raise LitDistillError(
            "root: a pipe: URL would run a shell and is never opened; name a folder or a URL"
        )
    if not rest.startswith("//"):
        raise LitDistillError(f"root: {scheme}: begins no URL without //; before a folder's name put ./")
    place = rest[2:].split("/", 1)[0]
    if re.match(r"[^@]*:[^@]*@", rest[2:]) or (scheme.startswith("http") and "@" in place):
        raise LitDistillError(
            f"root: a {scheme}: URL with a user or password is refused; {WHERE_SECRETS_BELONG}"
        )
    if "?" in rest or "#" in rest:
        raise LitDistillError(f"root: a {scheme}: URL with ? or # is refused; {WHERE_SECRETS_BELONG}")
    if "::" in rest or ".." in rest.split("/") or not rest.isprintable():
        raise LitDistillError(
            f"root: a {scheme}: URL with :: or .. or a line break is refused; name one folder"
        )
    return f"{scheme}:{rest.rstrip('/') or '//'}"


def refuse_to_write(root: str) -> None:
    """Raise LitDistillError, in one line with the remedy, if nothing can be stored there."""
    if is_url(root):
        raise LitDistillError(f"{check_url(root)}: a URL is only read; {HOW_TO_FILL}")


def redacted(text: str) -> str:
    """One line of somebody else's text, without what may be secret in its URLs."""
    text = re.sub(r"//[^/\s@]*@", "//", " ".join(text.split()))
    return re.sub(r"[?#][^\s'\")]*", "?...", text)[:300]


class LocalFolder:
    """A task's folder of shards on this machine, where everything is already.

    Attributes:
        path: `<root>/<task>`.
        remote: false.
    """

    remote = False

    def __init__(self, root: str, task: str) -> None:
        self.path = Path(root) / task

    def fetch(self, sources: Sequence[str]) -> None:
        """Nothing is to be fetched."""

    def ready(self, sources: Sequence[str]) -> contextlib.AbstractContextManager[None]:
        """Nothing is to be made ready."""
        return self.named()

    def named(self) -> contextlib.AbstractContextManager[None]:
        """Errors name the folder as it is."""
        return contextlib.nullcontext()


class RemoteFolder:
    """A task's folder of shards behind a URL, the same to those who read it.

    Args:
        url: `<root>/<task>`.

    Attributes:
        remote: true.

    Raises:
        LitDistillError: a URL that is refused, see `check_url`.
    """

    remote = True

    def __init__(self, url: str) -> None:
        self.url = check_url(url)
        self._copy: Path | None = None

    @property
    def path(self) -> Path:
        """Its copy in the cache; fetches the manifest if this process has not yet."""
        if self._copy is None:
            self._copy = self._copy_of(self._read_manifest())
        return self._copy

    def fetch(self, sources: Sequence[str] | None = None, again: bool = False) -> None:
        """Bring the shards of some sources into the copy.

        Args:
            sources: which, `dagger` for all of its rounds; None: all.
            again: also those that the cache has.

        Raises:
            LitDistillError: names the manifest or the first shard that is missing, damaged or out of reach.
        """
        with self.named():
            manifest = Manifest.load(self.path)
        shards = [
            shard
            for name, source in manifest.sources.items()
            if sources is None or any(stands_for(one, name) for one in sources)
            for shard in source.shards
        ]
        for shard in shards:
            if not SHARD_NAME.fullmatch(shard.name) or not _SHA256.fullmatch(shard.sha256):
                raise LitDistillError(
                    f"{self.url}/{MANIFEST_NAME}: names no shard: {shard.name!r}; {HOW_TO_FILL}"
                )
        missing = [shard for shard in shards if again or not _is_stored(shard)]
        size = sum(shard.bytes for shard in missing)
        label = f"{manifest.task}: fetching"
        with (
            _cache_is_written(),
            tqdm(total=size, desc=label, unit="B", unit_scale=True, disable=not missing) as progress,
        ):
            for shard in missing:
                self._download(shard, progress)
            for shard in shards:
                _link(_stored(shard), self.path / shard.name)

    @contextlib.contextmanager
    def ready(self, sources: Sequence[str]) -> Iterator[None]:
        """Shards of these sources, of the same manifest in all processes of a run; called by all of them.

        Within, errors name the URL instead of its copy.
        """
        from lit_distill.ranks import Ranks

        self._copy = self._copy_of(Ranks.of_this_run().first(self._read_manifest))
        self.fetch(sources)
        with self.named():
            yield

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Within, errors name the URL instead of its copy."""
        try:
            yield
        except LitDistillError as error:
            if self._copy is None:
                raise
            root = self.url.rpartition("/")[0]
            raise LitDistillError(str(error).replace(str(self._copy.parent), root)) from None

    def _copy_of(self, manifest: bytes) -> Path:
        """The folder that stands for a remote one with this manifest."""
        name = hashlib.sha256(manifest).hexdigest()
        folder = copies_folder() / name / self.url.rpartition("/")[2]
        if not (folder / MANIFEST_NAME).is_file():
            with _cache_is_written():
                folder.mkdir(parents=True, exist_ok=True)
                with atomic_file(folder / MANIFEST_NAME, shared=True) as stream:
                    stream.write(manifest)
        return folder

    def _read_manifest(self) -> bytes:
        content = bytearray()
        with contextlib.closing(self._blocks(MANIFEST_NAME)) as blocks:
            for block in blocks:
                content += block
                if len(content) > MANIFEST_LIMIT:
                    raise LitDistillError(
                        f"{self.url}/{MANIFEST_NAME}: larger than any manifest; {HOW_TO_FILL}"
                    )
        return bytes(content)

    def _download(self, shard: ShardEntry, progress: Any) -> None:
        path = _stored(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        _forget_abandoned(path.parent)
        with contextlib.closing(self._blocks(shard.name)) as blocks, atomic_file(path, shared=True) as kept:
            size, digest = 0, hashlib.sha256()
            for block in blocks:
                kept.write(block)
                digest.update(block)
                size += len(block)
                progress.update(len(block))
                if size > shard.bytes:
                    break
            if size != shard.bytes or digest.hexdigest() != shard.sha256:
                raise LitDistillError(
                    f"{self.url}/{shard.name}: damaged, its bytes are not those that {MANIFEST_NAME} tells "
                    "of; copy the folder up again"
                )

    def _blocks(self, name: str) -> Generator[bytes]:
        """A file behind the URL, from its beginning; whatever goes wrong with it is told in one line.

        What goes wrong with those who take the blocks is none of its business and passes by.
        """
        where = f"{self.url}/{name}"
        try:
            filesystem, path = fsspec.core.url_to_fs(where)
            filesystem.invalidate_cache()
            with filesystem.open(path, "rb", **_how_to_open(where)) as stream:
                while block := stream.read(BLOCK_BYTES):  # of a stream fewer than asked for are not the end
                    yield block
        except FileNotFoundError:
            raise LitDistillError(f"{where}: not there; {HOW_TO_FILL}") from None
        except ImportError as error:
            package = getattr(error.__cause__, "name", None) or redacted(str(error))
            raise LitDistillError(
                f"{where}: needs a package that is missing: pip install {package}"
            ) from None
        except Exception as error:  # filesystems raise many kinds
            problem = f"{type(error).__name__}: {redacted(str(error))}"
            raise LitDistillError(f"{where}: cannot be fetched ({problem})") from None


def _how_to_open(url: str) -> dict[str, Any]:
    """Options of fsspec's `open` for a file that is read once, from its beginning to its end."""
    if not url.startswith(("http:", "https:")):
        return {}
    import aiohttp  # what fsspec reads them with

    return {
        "block_size": 0,  # one request; by blocks, a server must know the header Range
        "size": 1,  # any: to learn the size fsspec asks first, and calls all that fails then "not found"
        "timeout": aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS),
    }


def data_folder(root: str, task: str) -> LocalFolder | RemoteFolder:
    """A task's folder below a root, which is a folder or a URL.

    Raises:
        LitDistillError: a URL that is refused, see `check_url`.
    """
    return RemoteFolder(f"{check_url(root)}/{task}") if is_url(root) else LocalFolder(root, task)


@contextlib.contextmanager
def _cache_is_written() -> Iterator[None]:
    """Within, what this machine's disk refuses is told of the cache, not of the URL."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LitDistillError(
            f"{cache_folder()}: fetched shards cannot be kept here ({reason}); "
            "make room, or name another folder in XDG_CACHE_HOME"
        ) from None


def _stored(shard: ShardEntry) -> Path:
    return copies_folder() / "shards" / f"{shard.sha256}.tar"


def _is_stored(shard: ShardEntry) -> bool:
    path = _stored(shard)
    if not path.is_file() or path.stat().st_size != shard.bytes:
        return False
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == shard.sha256


def _link(target: Path, path: Path) -> None:
    """Make `path` a symbolic link, whoever else is making it."""
    if path.is_symlink() and Path(os.readlink(path)) == target:
        return
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    temporary.symlink_to(target)
    os.replace(temporary, path)


def _forget_abandoned(folder: Path) -> None:
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # another process forgets it, too, or has completed it
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()
