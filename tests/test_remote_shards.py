"""Shards behind a URL: the batches of the folder, damage named, nothing written there, no secret told."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import fsspec
import numpy as np
import pytest
import torch
import yaml
from dagger_training import FAKE_TEACHER, TASK, dagger_trainer, use_toy_world
from fsspec.implementations.http import HTTPFileSystem
from fsspec.registry import known_implementations
from tiny_training import tiny_module, tiny_network

import lit_distill.remote_shards
from datamodules import ChunkDataModule
from datamodules.replay import ReplayDataModule
from lit_distill.atomic import atomic_file
from lit_distill.cli import main
from lit_distill.collection import CollectSettings, collect, collect_from
from lit_distill.errors import LitDistillError
from lit_distill.manifest import MANIFEST_NAME, Manifest, ShardEntry, SourceEntry, stands_for
from lit_distill.networks.checkpoint import save_student
from lit_distill.remote_shards import RemoteFolder, check_url, redacted
from lit_distill.samples import read_shard
from lit_distill.shards import discard, verify_folder
from lit_distill.sim.fake import FakeSimulator

EPISODES = 10
SECRET = "s3cr3t"
SETTINGS = CollectSettings(EPISODES, FAKE_TEACHER, image_size=16, workers=0, episodes_per_shard=4)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes of teacher and student, read only, and the student's checkpoint."""
    root = tmp_path_factory.mktemp("data")
    collect_from(FakeSimulator, TASK, str(root), SETTINGS)
    save_student(tiny_network(seed=9), root / "bc.ckpt", TASK)
    collect_from(FakeSimulator, TASK, str(root), dataclasses.replace(SETTINGS, student=str(root / "bc.ckpt")))
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lit_distill" / "remote"


@pytest.fixture
def memory(local: Path) -> Iterator[Any]:
    """The folder copied up to memory://bucket/data, and that filesystem."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.put(f"{local / TASK}/", f"/bucket/data/{TASK}/", recursive=True)
    yield filesystem
    filesystem.store.clear()


ROOT = "memory://bucket/data"


def remote_shard(memory: Any, number: int = 0) -> str:
    return sorted(path for path in memory.store if path.endswith(".tar"))[number]


def refusal(work: Callable[[], Any]) -> str:
    with pytest.raises(LitDistillError) as caught:
        work()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def chunk_data(root: str | Path, **options: Any) -> ChunkDataModule:
    data = ChunkDataModule(TASK, str(root), **{"sources": ["teacher", "student"], "batch_size": 7, **options})
    data.prepare_data()
    data.setup()
    return data


def assert_same(left: Any, right: Any) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(torch.nan_to_num(left[key]), torch.nan_to_num(right[key])) for key in left)


# -- the same data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ram_limit_mb", [2048, 0])
@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_it_gives_the_batches_of_the_local_folder(
    local: Path, memory: Any, cache: Path, scheme: str, ram_limit_mb: int
) -> None:
    url = ROOT if scheme == "memory" else f"file://{local}"
    near, far = chunk_data(local, ram_limit_mb=ram_limit_mb), chunk_data(url, ram_limit_mb=ram_limit_mb)
    assert far.describe() == near.describe()
    for side in ("train_dataloader", "val_dataloader"):
        pairs = list(zip(getattr(near, side)(), getattr(far, side)(), strict=True))
        assert pairs
        for left, right in pairs:
            assert_same(left, right)
    assert far.folder.is_relative_to(cache)


def test_awac_gets_the_transitions_of_the_local_folder(local: Path, memory: Any) -> None:
    near, far = (ReplayDataModule(TASK, root, batch_size=8) for root in (str(local), ROOT))
    for data in (near, far):
        data.prepare_data()
        data.setup()
    assert near.describe() == far.describe()
    for step in range(3):
        np.testing.assert_array_equal(near.draw(step), far.draw(step))
        assert_same(near.gather(near.draw(step)), far.gather(far.draw(step)))


def test_only_the_sources_that_are_used_are_fetched_and_only_once(memory: Any, cache: Path) -> None:
    chunk_data(ROOT, sources=["teacher"])
    teacher = Manifest.load(RemoteFolder(f"{ROOT}/{TASK}").path).sources["teacher"]
    names = {f"{shard.sha256}.tar" for shard in teacher.shards}
    assert {path.name for path in (cache / "shards").iterdir()} == names
    for path in [path for path in memory.store if path.endswith(".tar")]:
        memory.rm(path)
    chunk_data(ROOT, sources=["teacher"])  # from the cache
    assert "student-00000.tar: not there" in refusal(lambda: chunk_data(ROOT))


def test_dagger_stands_for_all_of_its_rounds() -> None:
    sources = ["teacher", "student", "dagger-1", "dagger-12"]
    assert [source for source in sources if stands_for("dagger", source)] == ["dagger-1", "dagger-12"]
    for name in sources:
        assert [source for source in sources if stands_for(name, source)] == [name]


def test_what_the_cache_has_of_an_older_manifest_is_used_again(local: Path, memory: Any, cache: Path) -> None:
    path = f"/bucket/data/{TASK}/{MANIFEST_NAME}"
    whole = json.loads(memory.cat(path))
    older = whole | {"sources": {"teacher": whole["sources"]["teacher"]}}
    memory.pipe(path, json.dumps(older).encode())
    chunk_data(ROOT, sources=["teacher"])
    memory.pipe(path, json.dumps(whole).encode())
    memory.rm(remote_shard(memory, -1))
    assert "teacher" in remote_shard(memory, -1)
    assert chunk_data(ROOT, sources=["teacher", "student"]).describe() == chunk_data(local).describe()


def test_a_damaged_file_of_the_cache_is_fetched_again(local: Path, memory: Any, cache: Path) -> None:
    chunk_data(ROOT)
    for path in (cache / "shards").iterdir():
        content = bytearray(path.read_bytes())
        content[3000] ^= 1
        path.write_bytes(content)
    assert chunk_data(ROOT).describe() == chunk_data(local).describe()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing."""

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def web_server(handler: Callable[..., Any]) -> Iterator[str]:
    """Its URL while it serves; `python -m http.server` is one that does not know the header Range."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def test_it_reads_from_a_web_server(local: Path) -> None:
    with web_server(partial(Quiet, directory=local)) as url:
        assert chunk_data(url).describe() == chunk_data(local).describe()
        assert f"{url}/nowhere/{TASK}/manifest.json: not there" in refusal(
            lambda: chunk_data(f"{url}/nowhere")
        )


def test_large_shards_are_read_from_a_web_server_that_gives_only_whole_files(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(12_000_000)  # two blocks of fsspec's and more
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"{TASK}-teacher-00000.tar"
    source = SourceEntry({}, 1, [ShardEntry(name, sha256, len(content), ())])
    (tmp_path / "served" / TASK).mkdir(parents=True)
    (tmp_path / "served" / TASK / name).write_bytes(content)
    Manifest(TASK, {"teacher": source}).save(tmp_path / "served" / TASK)
    with web_server(partial(Quiet, directory=tmp_path / "served")) as url:
        remote = RemoteFolder(f"{url}/{TASK}")
        remote.fetch()
    assert (remote.path / name).read_bytes() == content


def test_a_file_may_take_longer_than_any_answer(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp.client, "DEFAULT_TIMEOUT", aiohttp.ClientTimeout(total=0.5))
    monkeypatch.setattr(HTTPFileSystem, "_cache", {})

    class Slow(Quiet):
        def copyfile(self, source: Any, target: Any) -> None:
            target.write(source.read(100))
            target.flush()
            time.sleep(1.0)
            super().copyfile(source, target)

    with web_server(partial(Slow, directory=local)) as url:
        assert RemoteFolder(f"{url}/{TASK}").path.is_dir()


def test_fewer_bytes_than_asked_for_are_not_the_end(
    local: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = type(memory).open

    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size, 1000) if size and size > 0 else size)

    monkeypatch.setattr(type(memory), "open", lambda *a, **options: Trickle(original(*a, **options).read()))
    assert chunk_data(ROOT).describe() == chunk_data(local).describe()


# -- several processes -------------------------------------------------------------------------------------


def test_whoever_fetches_the_same_shard_meanwhile_harms_nobody(
    local: Path, memory: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a shard is being written, another process fetches all of them, and uses them."""
    original, nested = type(memory).open, []

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if not nested:
                nested.append(size)
                chunk_data(ROOT)
            return super().read(size)

    def slowly(self: Any, path: str, *arguments: Any, **options: Any) -> BinaryIO:
        stream = original(self, path, *arguments, **options)
        return Slow(stream.read()) if path.endswith(".tar") else stream

    monkeypatch.setattr(type(memory), "open", slowly)
    far = chunk_data(ROOT)
    assert nested and far.describe() == chunk_data(local).describe()
    assert {path.suffix for path in (cache / "shards").iterdir()} == {".tar"}


def test_a_fetch_that_breaks_off_leaves_nothing_that_looks_whole(
    memory: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = type(memory).open

    def broken(self: Any, path: str, *arguments: Any, **options: Any) -> BinaryIO:
        if not path.endswith(".tar"):
            return original(self, path, *arguments, **options)
        raise OSError(f"https://host/data?token={SECRET}#x: reset by\npeer")

    monkeypatch.setattr(type(memory), "open", broken)
    told = refusal(lambda: chunk_data(ROOT))
    assert told.startswith(f"{ROOT}/{TASK}/{TASK}-") and "cannot be fetched (OSError: " in told
    assert SECRET not in told
    assert list((cache / "shards").iterdir()) == []


# -- what is wrong is named --------------------------------------------------------------------------------


def test_a_missing_manifest_is_told_in_one_line(memory: Any) -> None:
    told = refusal(lambda: chunk_data("memory://bucket/other"))
    assert told == (
        f"memory://bucket/other/{TASK}/manifest.json: not there; "
        "collect into a local root and copy the folder up"
    )


@pytest.mark.parametrize("status", [401, 403, 500])
def test_only_what_is_missing_is_told_to_be(local: Path, status: int) -> None:
    class Refuses(Quiet):
        def do_GET(self) -> None:
            self.send_response(302 if "again" not in self.path else status)
            self.send_header("Location", f"{self.path}?again={SECRET}")
            self.end_headers()

        do_HEAD = do_GET

    with web_server(Refuses) as url:
        told = refusal(lambda: chunk_data(url))
    assert told.startswith(f"{url}/{TASK}/manifest.json: cannot be fetched (ClientResponseError: {status}, ")
    assert SECRET not in told and "collect" not in told
    told = refusal(lambda: chunk_data(url))  # it has ended
    assert re.search("manifest.json: cannot be fetched [(]ClientConnectorError: Cannot connect to host", told)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), OSError(28, "No space left")])
def test_what_is_wrong_with_the_cache_is_not_told_of_the_url(
    memory: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    @contextlib.contextmanager
    def fails(path: Path, shared: bool = False) -> Iterator[Any]:
        with atomic_file(path, shared) as stream:
            yield stream
            if path.suffix == ".tar":
                raise error

    monkeypatch.setattr(lit_distill.remote_shards, "atomic_file", fails)
    told = refusal(lambda: chunk_data(ROOT))
    assert told == (
        f"{cache.parent}: fetched shards cannot be kept here ({error.strerror}); "
        "make room, or name another folder in XDG_CACHE_HOME"
    )


def test_a_missing_source_is_told_with_the_url(memory: Any, cache: Path) -> None:
    told = refusal(lambda: chunk_data(ROOT, sources=["teacher", "dagger-1"]))
    remedy = "collect into a local root and copy the folder up"
    assert told == f"{ROOT}/{TASK}/manifest.json: no dagger-1 episodes here; {remedy}"
    told = refusal(ReplayDataModule(TASK, ROOT, students=["dagger"]).check_ingredients)
    assert told == f"{ROOT}/{TASK}/manifest.json: no dagger-1 episodes here; {remedy}"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema_version": 0}, "schema version 0, this version of lit_distill reads [0-9]+"),
        ({"task": 3.5, "sources": {"teacher": {}}}, "damaged [(]KeyError: 'shards'[)]"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_told_with_what_mends_it(
    memory: Any, change: dict[str, Any], problem: str
) -> None:
    path = f"/bucket/data/{TASK}/{MANIFEST_NAME}"
    memory.pipe(path, json.dumps(json.loads(memory.cat(path)) | change).encode())
    told = refusal(lambda: chunk_data(ROOT))
    remedy = "; collect into a local root and copy the folder up"
    assert re.fullmatch(f"{ROOT}/{TASK}/manifest.json: {problem}{remedy}", told), told


def test_a_whole_shard_with_other_episodes_is_told_with_what_mends_it(local: Path, memory: Any) -> None:
    shard = remote_shard(memory)
    content = memory.cat(remote_shard(memory, 1))
    manifest = json.loads(memory.cat(f"/bucket/data/{TASK}/{MANIFEST_NAME}"))
    entry = manifest["sources"]["student"]["shards"][0]
    assert entry["name"] == Path(shard).name
    entry |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    memory.pipe(shard, content)
    memory.pipe(f"/bucket/data/{TASK}/{MANIFEST_NAME}", json.dumps(manifest).encode())
    told = refusal(lambda: verify_folder(f"{ROOT}/{TASK}"))
    assert told.startswith(f"memory:/{shard}: holds other episodes than manifest.json says; collect into a l")


def test_a_relative_cache_is_one_folder(
    local: Path, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    far = chunk_data(ROOT)
    assert far.describe() == chunk_data(local).describe()
    assert all(path.resolve(strict=True).is_file() for path in far.folder.iterdir())
    assert far.folder.is_relative_to(tmp_path / "here")


@pytest.mark.parametrize("damage", ["flipped", "truncated", "longer"])
def test_a_damaged_shard_is_named_by_all_who_read_it(
    memory: Any, cache: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = remote_shard(memory, 1)
    content = memory.cat(path)
    changed = {"flipped": b"x" + content[1:], "truncated": content[:-5], "longer": content + b"x"}[damage]
    memory.pipe(path, changed)
    expected = f"memory:/{path}: damaged, its bytes are not those that manifest.json tells of"
    assert expected in refusal(lambda: chunk_data(ROOT))
    assert not any(Path(path).name == kept.name for kept in cache.rglob("*"))
    assert main(["verify", f"{ROOT}/{TASK}"]) == 2
    assert expected in capsys.readouterr().err


def test_verify_reads_what_is_there_now(memory: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", f"{ROOT}/{TASK}/"]) == 0
    assert "6 shards whole" in capsys.readouterr().out
    memory.rm(remote_shard(memory))
    assert main(["verify", f"{ROOT}/{TASK}"]) == 2  # although the cache has it
    assert "00000.tar: not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [{"name": "../../escaped.tar"}, {"name": "/escaped.tar"}, {"sha256": "../../../escaped"}, {"sha256": ""}],
)
def test_a_manifest_cannot_name_files_elsewhere(memory: Any, tmp_path: Path, change: dict[str, str]) -> None:
    path = f"/bucket/data/{TASK}/{MANIFEST_NAME}"
    manifest = json.loads(memory.cat(path))
    manifest["sources"]["teacher"]["shards"][0].update(change)
    memory.pipe(path, json.dumps(manifest).encode())
    assert "manifest.json: names no shard" in refusal(lambda: chunk_data(ROOT))
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"class": "no_such_package.FileSystem", "err": "Install no_such_package to access nofs"}
    monkeypatch.setitem(known_implementations, "nofs", known)
    told = refusal(lambda: chunk_data("nofs://bucket"))
    assert told == (
        f"nofs://bucket/{TASK}/manifest.json: needs a package that is missing: pip install no_such_package"
    )
    assert "cannot be fetched (ValueError: Protocol not known: nonsense)" in refusal(
        lambda: chunk_data("nonsense://bucket")
    )


# -- nothing is written there ------------------------------------------------------------------------------


def test_nothing_is_collected_into_a_url(
    memory: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_toy_world(monkeypatch)
    before = dict(memory.store)
    line = f"{ROOT}: a URL is only read; collect into a local root and copy the folder up"
    assert refusal(lambda: collect(TASK, ROOT, SETTINGS)) == line
    assert main(["collect", "--task", TASK, "--root", ROOT]) == 2
    assert capsys.readouterr().err == f"error: {line}\n"
    told = f"{ROOT}/{TASK}: {line.partition(': ')[2]}"
    assert refusal(lambda: discard(f"{ROOT}/{TASK}", "teacher")) == told
    rounds = dagger_trainer(Path("/nowhere"), Path("/nowhere"))
    told = refusal(lambda: rounds.fit(tiny_module(), datamodule=ChunkDataModule(TASK, ROOT)))
    assert told == line
    assert memory.store == before


def test_what_a_fit_would_collect_must_be_there_already(local: Path, memory: Any) -> None:
    student = dataclasses.replace(SETTINGS, student=str(local / "bc.ckpt"))
    data = ReplayDataModule(TASK, ROOT, collect_teacher=SETTINGS, collect_student=student)
    data.prepare_data()
    data.setup()
    assert chunk_data(ROOT, collect=SETTINGS).describe()["train_samples"] > 0
    remedy = "; collect into a local root and copy the folder up, or leave out how they are collected"
    remedy += " and use what is there"
    told = refusal(lambda: chunk_data(ROOT, collect=dataclasses.replace(SETTINGS, episodes=11)))
    assert told == (
        f"{ROOT}/{TASK}: holds 10 teacher episodes, 11 are asked for, and a URL is only read{remedy}"
    )
    told = refusal(lambda: chunk_data(ROOT, collect=dataclasses.replace(SETTINGS, seed=3)))
    assert told == (
        f"{ROOT}/{TASK}/manifest.json: teacher episodes here were made with seed = 0, now it is 3{remedy}"
    )


# -- secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        (f"pipe:cat {SECRET}", "a pipe: URL would run a shell and is never opened"),
        (f" PIPE: curl {SECRET}", "a pipe: URL would run a shell"),
        (
            f"s3://user:{SECRET}@bucket/data",
            "a s3: URL with a user or password is refused; credentials belong",
        ),
        (f"s3://user:{SECRET}/+@bucket/data", "user or password"),
        (f"https://{SECRET}@host/data", "user or password"),
        (f"https://host/data?token={SECRET}", "URL with [?] or # is refused; credentials belong"),
        (f"https://host/data#{SECRET}", "URL with [?] or # is refused"),
        (f"simplecache::s3://{SECRET}/data", "root: simplecache: begins no URL without //"),
        (f"zip://a::https://{SECRET}/data", "URL with :: or .. or a line break"),
        (f"s3://bucket/../{SECRET}", "URL with :: or .. or a line break"),
        (f"s3:/{SECRET}", "root: s3: begins no URL without //"),
    ],
)
def test_a_url_that_runs_something_or_could_hold_a_secret_is_refused_and_not_shown(
    root: str, reason: str
) -> None:
    told = refusal(lambda: check_url(root))
    assert re.search(reason, told) and SECRET not in told


@pytest.mark.parametrize("root", [f"pipe:touch {SECRET}", f"https://user:{SECRET}@host/data?token={SECRET}"])
def test_every_command_refuses_it_before_it_writes_anything(
    tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    conf = Path(__file__).parents[1] / "conf"
    for arguments in (
        ["fit", "--config", str(conf / "bc_fast.yaml"), "--data.root", root],
        ["fit", "--config", str(conf / "awac.yaml"), "--data.root", root],
        ["collect", "--task", TASK, "--root", root],
        ["pipeline", "--tasks", TASK, "--root", root],
        ["verify", root],
        ["discard", f"{root}/{TASK}", "--sources", "teacher"],
    ):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert SECRET not in said.out + said.err
        assert said.err.splitlines()[-1].startswith("error: root: a ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", [f"s3://u:{SECRET}@b/a.tar", f"https://h/a.tar?token={SECRET}", f"pipe:{SECRET}"]
)
def test_a_shards_url_is_refused_without_its_secrets(url: str) -> None:
    assert SECRET not in refusal(lambda: list(read_shard(url)))


def test_what_others_say_is_told_without_the_secrets_of_its_urls() -> None:
    told = redacted(
        f"403: GET https://user:{SECRET}@host/a?X-Amz-Signature={SECRET}\n (https://h/b#{SECRET})"
    )
    assert told == "403: GET https://host/a?... (https://h/b?...)"


def test_no_credential_reaches_what_a_run_writes_or_says(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They come from the environment and fsspec's own configuration, and stay there."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setitem(fsspec.config.conf, "memory", {"password": SECRET})
    keep = {"dirpath": str(tmp_path / "run"), "filename": "last"}
    network = {"channels": [8, 8, 16], "image_size": 16, "hidden": 16}
    callbacks = [{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": keep}]
    config = {
        "model": {
            "class_path": "lit_distill.algorithms.bc.BehaviorCloning",
            "init_args": {"network": network},
        },
        "data": {
            "class_path": "datamodules.chunks.ChunkDataModule",
            "init_args": {"task": TASK, "root": ROOT},
        },
        "trainer": {
            **{"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False, "callbacks": callbacks},
            "logger": {"init_args": {"save_dir": str(tmp_path), "name": "log"}},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(tmp_path / "config.yaml")]) == 0
    memory.pipe(remote_shard(memory), b"damaged")
    assert main(["verify", f"{ROOT}/{TASK}"]) == 2
    said = capsys.readouterr()
    assert "damaged" in said.err and SECRET not in said.out + said.err
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} >= {".ckpt", ".yaml", ".tar", ".json"}
    assert not any(SECRET.encode() in path.read_bytes() for path in written)
