"""Shards: what is written comes back, whatever is interrupted, and damage is named in one line."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lit_distill.errors import LitDistillError
from lit_distill.manifest import Manifest
from lit_distill.samples import decode_array, encode_array, encode_sample
from lit_distill.schema import SCHEMA_VERSION, ChunkTransition
from lit_distill.shards import ShardWriter, discard, read_shard, verify

TASK = "custom_libero_object_ketchup"
IDENTITY = {"seed": 0, "noise": 0.1, "fingerprint": {"mujoco": "3.3.2"}}
MakeEpisode = Callable[..., list[ChunkTransition]]


@pytest.fixture
def store(make_episode: MakeEpisode) -> Callable[..., ShardWriter]:
    """Store what is missing of `total` episodes, four to a shard."""

    def store(folder: Path, total: int, order: Any = sorted, finish: bool = True) -> ShardWriter:
        writer = ShardWriter(folder, TASK, "teacher", IDENTITY, episodes_per_shard=4)
        for episode in order(writer.missing(total)):
            outcome = "timeout" if episode % 3 == 2 else "success"
            writer.add(episode, make_episode(TASK, "teacher", episode, 1 + episode % 3, outcome, 8))
        if finish:
            writer.finish(total)
        return writer

    return store


def contents(folder: Path) -> dict[str, bytes]:
    """Every visible file below the folder and its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_equal(left: ChunkTransition, right: ChunkTransition) -> None:
    for field in dataclasses.fields(ChunkTransition):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if field.name == "observation":
            for key, array in vars(a).items():
                np.testing.assert_array_equal(array, getattr(b, key))
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b, field.name


def message(error: pytest.ExceptionInfo[LitDistillError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# ---- what is written comes back ----


def test_every_field_of_every_transition_comes_back(
    tmp_path: Path, store: Callable[..., ShardWriter], make_episode: MakeEpisode
) -> None:
    store(tmp_path, 6)
    read = [t for name in ("00000", "00001") for t in read_shard(tmp_path / f"{TASK}-teacher-{name}.tar")]
    expected = [
        transition
        for episode in range(6)
        for transition in make_episode(
            TASK, "teacher", episode, 1 + episode % 3, "timeout" if episode % 3 == 2 else "success", 8
        )
    ]
    assert len(read) == len(expected) == 12
    for left, right in zip(read, expected, strict=True):
        assert_equal(left, right)


def test_a_transition_without_label_and_values_comes_back(tmp_path: Path, make_episode: MakeEpisode) -> None:
    episode = [
        dataclasses.replace(t, value=None, next_value=None)
        for t in make_episode(TASK, "student", 0, labelled=False)
    ]
    writer = ShardWriter(tmp_path, TASK, "student", IDENTITY)
    writer.add(0, episode)
    writer.finish(1)
    for left, right in zip(read_shard(tmp_path / f"{TASK}-student-00000.tar"), episode, strict=True):
        assert_equal(left, right)


def test_manifest_counts_episodes_samples_steps_and_outcomes(
    tmp_path: Path, store: Callable[..., ShardWriter]
) -> None:
    store(tmp_path, 6)
    raw = json.loads((tmp_path / "manifest.json").read_text())
    teacher = raw["sources"]["teacher"]
    assert raw["schema_version"] == SCHEMA_VERSION and raw["task"] == TASK
    assert teacher["identity"] == IDENTITY
    assert teacher["counts"] == {"episodes": 6, "samples": 12, "success": 4, "failure": 0, "timeout": 2}
    assert [len(shard["episodes"]) for shard in teacher["shards"]] == [4, 2]
    assert teacher["shards"][0]["episodes"][2] == {
        "key": f"{TASK}-teacher-00002",
        "episode": 2,
        "samples": 3,
        "steps": 16 + 16 + 9,
        "outcome": "timeout",
    }


def test_members_carry_no_time_owner_or_name(tmp_path: Path, store: Callable[..., ShardWriter]) -> None:
    store(tmp_path, 4)
    with tarfile.open(tmp_path / f"{TASK}-teacher-00000.tar") as archive:
        members = archive.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert [m.name.split(".", 1)[1] for m in members[:11]] == [
        "actions.npy",
        "agentview.npy",
        "eef_pos.npy",
        "eef_quat.npy",
        "gripper_qpos.npy",
        "json",
        "mask.npy",
        "proprio.npy",
        "rewards.npy",
        "teacher_actions.npy",
        "wrist.npy",
    ]


# ---- same bytes, whatever the order, growth or interruption ----


def test_bytes_do_not_depend_on_the_order_of_arrival(
    tmp_path: Path, store: Callable[..., ShardWriter]
) -> None:
    store(tmp_path / "a", 10)
    store(tmp_path / "b", 10, order=reversed)
    store(tmp_path / "c", 10, order=lambda episodes: random.Random(3).sample(episodes, len(episodes)))
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")
    assert sorted(contents(tmp_path / "a")) == [
        f"{TASK}-teacher-00000.tar",
        f"{TASK}-teacher-00001.tar",
        f"{TASK}-teacher-00002.tar",
        "manifest.json",
    ]


@pytest.mark.parametrize("first", [0, 4, 5, 8, 9])
def test_growth_gives_the_bytes_of_collecting_at_once(
    tmp_path: Path, store: Callable[..., ShardWriter], first: int
) -> None:
    store(tmp_path / "at once", 10)
    store(tmp_path / "grown", first)
    writer = store(tmp_path / "grown", 10)
    assert writer.missing(10) == [] and writer.missing(12) == [10, 11]
    assert contents(tmp_path / "at once") == contents(tmp_path / "grown")


def test_collecting_fewer_episodes_than_stored_changes_nothing(
    tmp_path: Path, store: Callable[..., ShardWriter]
) -> None:
    store(tmp_path, 10)
    before = contents(tmp_path)
    store(tmp_path, 5)
    assert contents(tmp_path) == before | {}


class Kill(BaseException):
    """Stands for a kill: nothing in the package catches it."""


@pytest.mark.parametrize("function", ["replace", "fsync", "unlink"])
@pytest.mark.parametrize("before", [True, False])
def test_an_interruption_at_any_step_loses_and_repeats_nothing(
    tmp_path: Path,
    store: Callable[..., ShardWriter],
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    before: bool,
) -> None:
    store(tmp_path / "undisturbed", 9)
    expected = contents(tmp_path / "undisturbed")
    original = getattr(os, function)
    kills = 0
    for nth in range(200):
        folder = tmp_path / str(nth)
        store(folder, 6)  # the interrupted run grows a shorter shard
        calls = 0

        def interrupted(*arguments: Any, nth: int = nth) -> Any:
            nonlocal calls
            calls += 1
            if calls == nth + 1 and before:
                raise Kill
            result = original(*arguments)
            if calls == nth + 1:
                raise Kill
            return result

        monkeypatch.setattr(os, function, interrupted)
        try:
            store(folder, 9)
        except Kill:
            kills += 1
        finally:
            monkeypatch.setattr(os, function, original)
        if calls <= nth:
            break
        store(folder, 9)
        assert contents(folder) == expected, f"killed at {function} number {nth}"
    assert kills == nth >= 5


def test_leftovers_of_a_kill_are_cleaned_and_a_truncated_part_is_made_again(
    tmp_path: Path, store: Callable[..., ShardWriter]
) -> None:
    store(tmp_path / "undisturbed", 6)
    store(tmp_path / "killed", 6, finish=False)
    part = tmp_path / "killed" / "parts" / f"{TASK}-teacher-00005.tar"
    part.write_bytes(part.read_bytes()[:5000])
    (tmp_path / "killed" / f".{TASK}-teacher-00001.tar.tmp").write_bytes(b"half")
    (tmp_path / "killed" / "parts" / f".{TASK}-teacher-00004.tar.tmp").write_bytes(b"half")
    writer = ShardWriter(tmp_path / "killed", TASK, "teacher", IDENTITY, episodes_per_shard=4)
    assert writer.missing(6) == [5]
    store(tmp_path / "killed", 6)
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("damage", ["deleted", "truncated"])
@pytest.mark.parametrize("shard", [0, 1, 2])
def test_a_missing_or_truncated_shard_is_made_again_and_no_other(
    tmp_path: Path, store: Callable[..., ShardWriter], damage: str, shard: int
) -> None:
    store(tmp_path, 10)
    before = contents(tmp_path)
    path = tmp_path / f"{TASK}-teacher-{shard:05d}.tar"
    if damage == "deleted":
        path.unlink()
    else:
        os.truncate(path, 9999)
    writer = ShardWriter(tmp_path, TASK, "teacher", IDENTITY, episodes_per_shard=4)
    assert writer.missing(10) == list(range(4 * shard, min(4 * shard + 4, 10)))
    store(tmp_path, 10)
    assert contents(tmp_path) == before


# ---- several sources, identities ----


def test_sources_live_side_by_side(
    tmp_path: Path, store: Callable[..., ShardWriter], make_episode: MakeEpisode
) -> None:
    store(tmp_path, 4)
    for source in ("student", "dagger-1", "dagger-10"):
        writer = ShardWriter(tmp_path, TASK, source, {"from": source})
        writer.add(0, make_episode(TASK, source, 0))
        writer.finish(1)
    assert list(Manifest.load(tmp_path).sources) == ["dagger-1", "dagger-10", "student", "teacher"]
    assert [report.episodes for report in verify(tmp_path)] == [1, 1, 1, 4]


def test_opening_dagger_1_leaves_the_files_of_dagger_10_alone(
    tmp_path: Path, make_episode: MakeEpisode
) -> None:
    ShardWriter(tmp_path, TASK, "dagger-10", {}).add(0, make_episode(TASK, "dagger-10", 0))
    ShardWriter(tmp_path, TASK, "dagger-1", {})
    assert ShardWriter(tmp_path, TASK, "dagger-10", {}).missing(1) == []


def test_data_made_otherwise_are_refused_naming_file_key_values_and_remedy(
    tmp_path: Path, store: Callable[..., ShardWriter]
) -> None:
    store(tmp_path, 4)
    other = {**IDENTITY, "fingerprint": {"mujoco": "3.4.0"}}
    with pytest.raises(LitDistillError) as error:
        ShardWriter(tmp_path, TASK, "teacher", other, episodes_per_shard=4)
    for part in (
        "manifest.json",
        "fingerprint.mujoco",
        "'3.3.2'",
        "'3.4.0'",
        "--root",
        "`python -m lit_distill discard ",
    ):
        assert part in message(error)
    with pytest.raises(LitDistillError, match=r"episodes_per_shard = 4, now it is 5"):
        ShardWriter(tmp_path, TASK, "teacher", IDENTITY, episodes_per_shard=5)


def test_shards_without_manifest_are_refused_rather_than_mixed(
    tmp_path: Path, store: Callable[..., ShardWriter]
) -> None:
    store(tmp_path, 4)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(LitDistillError, match=r"00000\.tar: manifest\.json does not say how"):
        store(tmp_path, 4)


def test_two_processes_cannot_write_one_source(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, TASK, "teacher", IDENTITY)
    code = (
        "import sys; from pathlib import Path; from lit_distill.errors import LitDistillError\n"
        "from lit_distill.shards import ShardWriter\n"
        f"try: ShardWriter(Path(sys.argv[1]), {TASK!r}, 'teacher', {IDENTITY!r})\n"
        "except LitDistillError as error: print(error)"
    )
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "another process" in other.stdout and other.returncode == 0, other.stderr
    assert writer.missing(1) == [0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda e: e[1:], "chunk must be 0, got 1"),
        (lambda e: e[:-1], "terminal must be True"),
        (lambda e: [e[0], dataclasses.replace(e[1], outcome="timeout"), e[2]], "outcome must be 'success'"),
        (lambda e: [e[0], dataclasses.replace(e[1], episode=1), e[2]], "episode must be 0, got 1"),
        (lambda e: [e[0], dataclasses.replace(e[1], value=0.9), e[2]], "is not the next chunk's value 0.9"),
        (lambda e: [e[0], dataclasses.replace(e[1], executed=17), e[2]], "executed"),
        (lambda e: [], "at least one chunk"),
    ],
)
def test_what_is_not_one_whole_episode_is_refused(
    tmp_path: Path, make_episode: MakeEpisode, change: Any, expected: str
) -> None:
    writer = ShardWriter(tmp_path, TASK, "teacher", IDENTITY)
    with pytest.raises(LitDistillError, match=expected):
        writer.add(0, change(make_episode(TASK, "teacher", 0)))
    assert writer.missing(1) == [0] and contents(tmp_path).keys() == {"manifest.json"}


def test_an_episode_is_stored_once(tmp_path: Path, make_episode: MakeEpisode) -> None:
    writer = ShardWriter(tmp_path, TASK, "teacher", IDENTITY)
    writer.add(0, make_episode(TASK, "teacher", 0))
    with pytest.raises(LitDistillError, match="already stored"):
        writer.add(0, make_episode(TASK, "teacher", 0))
    with pytest.raises(LitDistillError, match="1 of 2 teacher episodes are missing, the first is 1"):
        writer.finish(2)


# ---- hostile and damaged input ----


@pytest.fixture
def shard(tmp_path: Path, store: Callable[..., ShardWriter]) -> Path:
    store(tmp_path / TASK, 4)
    return tmp_path / TASK / f"{TASK}-teacher-00000.tar"


def rewrite(shard: Path, members: Callable[[str, bytes], list[tuple[str, bytes]]]) -> None:
    """Replace each member by what `members(name, data)` says."""
    with tarfile.open(shard) as archive:
        content = [(m.name, archive.extractfile(m).read()) for m in archive]  # type: ignore[union-attr]
    with tarfile.open(shard, "w") as archive:
        for name, data in (new for old in content for new in members(*old)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("keep", [0, 1, 511, 512, 700, 5000, 20000, -10240, -1024, -1])
def test_a_truncated_shard_is_named(shard: Path, keep: int) -> None:
    data = shard.read_bytes()
    shard.write_bytes(data[: keep if keep >= 0 else len(data) + keep - len(data) % 512])
    if len(data.rstrip(b"\0")) + 1536 < shard.stat().st_size:
        pytest.skip("only padding was cut")
    with pytest.raises(
        LitDistillError, match=r"00000\.tar.*(truncated|damaged).*delete .*00000\.tar and run"
    ):
        list(read_shard(shard))


def test_a_shard_cut_between_two_samples_is_named(shard: Path) -> None:
    with tarfile.open(shard) as archive:
        second = next(m for m in archive if "-00001-" in m.name)
    shard.write_bytes(shard.read_bytes()[: second.offset])
    with pytest.raises(LitDistillError, match="truncated or damaged at byte"):
        list(read_shard(shard))


def test_a_damaged_header_is_named_wherever_it_is(shard: Path) -> None:
    data = shard.read_bytes()
    with tarfile.open(shard) as archive:
        offsets = [m.offset for m in archive]
    for offset in offsets:
        shard.write_bytes(data[: offset + 3] + bytes([data[offset + 3] ^ 1]) + data[offset + 4 :])
        with pytest.raises(LitDistillError, match=r"00000\.tar"):
            list(read_shard(shard))


def test_a_damaged_npy_header_names_shard_sample_and_member(shard: Path) -> None:
    rewrite(shard, lambda name, data: [(name, data.replace(b"'<f4'", b"'<q4'"))])
    with pytest.raises(LitDistillError, match=r"00000\.tar: .*-00000-000: member \.proprio\.npy"):
        list(read_shard(shard))


def test_verify_names_the_shard_with_a_flipped_image_byte_and_a_true_remedy(
    shard: Path, store: Callable[..., ShardWriter]
) -> None:
    store(shard.parent, 8)
    before = contents(shard.parent)
    assert [report.samples for report in verify(shard.parent)] == [7, 8]
    with tarfile.open(shard) as archive:
        pixel = archive.getmember(f"{TASK}-teacher-00002-001.wrist.npy").offset_data + 200
    data = bytearray(shard.read_bytes())
    data[pixel] ^= 1
    shard.write_bytes(data)
    assert len(list(read_shard(shard))) == 7  # no checksum, no complaint
    with pytest.raises(LitDistillError) as error:
        verify(shard.parent)
    assert f"{shard}: damaged" in message(error)
    assert "delete" in message(error) and "run the command that made it" in message(error)
    shard.unlink()
    with pytest.raises(LitDistillError, match="missing"):
        verify(shard.parent)
    store(shard.parent, 8)
    assert contents(shard.parent) == before


def test_verify_names_a_shard_that_the_manifest_does_not_know(shard: Path) -> None:
    (shard.parent / f"{TASK}-teacher-00007.tar").write_bytes(shard.read_bytes())
    with pytest.raises(LitDistillError, match=r"00007\.tar: not in manifest\.json; delete it"):
        verify(shard.parent)


def test_verify_finds_a_manifest_whose_counts_are_wrong(shard: Path) -> None:
    path = shard.parent / "manifest.json"
    path.write_text(path.read_text().replace('"samples": 7', '"samples": 8'))
    with pytest.raises(LitDistillError, match=r"manifest\.json: damaged .*counts"):
        verify(shard.parent)


def test_a_wrong_schema_version_is_named(shard: Path) -> None:
    rewrite(
        shard,
        lambda name, data: [
            (name, data.replace(f'"schema_version": {SCHEMA_VERSION}'.encode(), b'"schema_version": 99'))
        ],
    )
    with pytest.raises(LitDistillError, match=rf"schema version 99, .* reads {SCHEMA_VERSION}"):
        list(read_shard(shard))
    path = shard.parent / "manifest.json"
    path.write_text(path.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'))
    with pytest.raises(LitDistillError, match=r"manifest\.json: schema version 99"):
        verify(shard.parent)


def test_a_missing_member_is_named(shard: Path) -> None:
    rewrite(shard, lambda name, data: [] if name.endswith("-00001-000.wrist.npy") else [(name, data)])
    with pytest.raises(LitDistillError, match=r"-00001-000: member \.wrist\.npy is missing"):
        list(read_shard(shard))


def test_an_unknown_member_is_refused_even_if_webdataset_could_decode_it(shard: Path) -> None:
    rewrite(shard, lambda name, data: [(name.replace(".json", ".pyd"), data)])
    with pytest.raises(LitDistillError, match=r"-00000-000: unknown member \.pyd"):
        list(read_shard(shard))


class Explosive:
    """Unpickling this makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_pickled_npy_is_refused_and_not_run(shard: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([Explosive(str(tmp_path / "ran"))], dtype=object), allow_pickle=True)
    hostile = stream.getvalue()
    rewrite(shard, lambda name, data: [(name, hostile if name.endswith("rewards.npy") else data)])
    with pytest.raises(LitDistillError, match=r"member \.rewards\.npy holds pickled Python objects"):
        list(read_shard(shard))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("prefix", ["pipe:", "PIPE:", "pipe: "])
def test_a_pipe_url_is_refused_and_not_run(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(LitDistillError, match=r"pipe: URL would run a shell"):
        list(read_shard(f"{prefix}touch {tmp_path}/ran"))
    assert not (tmp_path / "ran").exists()


def test_no_environment_variable_turns_a_shard_into_a_shell(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPEN_REWRITE", f"{shard}=pipe:touch {tmp_path}/ran;")
    monkeypatch.setenv("WDS_REWRITE", f"{shard}=pipe:touch {tmp_path}/ran;")
    assert len(list(read_shard(shard))) == len(list(read_shard(f"file:{shard}"))) == 7
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("url", ["https://example.org/a.tar", "s3://bucket/a.tar", "hf://a/b.tar"])
def test_remote_urls_are_refused_in_one_line(url: str) -> None:
    with pytest.raises(LitDistillError, match="is not a local file"):
        list(read_shard(url))


def test_an_empty_folder_names_the_command(tmp_path: Path) -> None:
    (tmp_path / TASK).mkdir()
    with pytest.raises(LitDistillError) as error:
        verify(tmp_path / TASK)
    assert f"lit_distill collect --config conf/collect.yaml --task {TASK} --root {tmp_path}`" in message(
        error
    )
    with pytest.raises(LitDistillError, match="no such shard"):
        list(read_shard(tmp_path / "none.tar"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("episode", "0"), ("terminal", 1), ("value", 3), ("seed", 1.5), ("teacher", 5), ("outcome", None)],
)
def test_a_field_of_the_wrong_type_is_named(shard: Path, key: str, value: Any) -> None:
    def change(name: str, data: bytes) -> list[tuple[str, bytes]]:
        return [
            (name, json.dumps({**json.loads(data), key: value}).encode() if name.endswith("json") else data)
        ]

    rewrite(shard, change)
    with pytest.raises(LitDistillError, match=f"{key} in .json must be"):
        list(read_shard(shard))


def test_a_sample_whose_json_is_another_sample_is_named(shard: Path) -> None:
    rewrite(shard, lambda name, data: [(name.replace("-00000-", "-00009-"), data)])
    with pytest.raises(LitDistillError, match=r"-00009-000: its \.json says it is .*-00000-000"):
        list(read_shard(shard))


def test_arrays_come_back_with_dtype_and_order(make_episode: MakeEpisode) -> None:
    for array in (np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array([True]), np.zeros((2, 0))):
        back = decode_array(encode_array(array))
        assert back.dtype == array.dtype and back.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(back, array)
    fortran = io.BytesIO()
    np.lib.format.write_array(fortran, np.asfortranarray(np.eye(3)[:2]), version=(1, 0))
    with pytest.raises(ValueError, match="C order"):
        decode_array(fortran.getvalue())


def test_encoding_refuses_an_invalid_transition(make_episode: MakeEpisode) -> None:
    transition = make_episode(TASK, "teacher", 0)[0]
    with pytest.raises(LitDistillError, match="actions"):
        encode_sample(dataclasses.replace(transition, actions=transition.actions * 2))


# ---- discarding a source


def test_discarded_sources_are_gone_and_the_others_stay(tmp_path: Path, make_episode: MakeEpisode) -> None:
    sources = ("teacher", "dagger-1", "dagger-12")
    for source in sources:
        writer = ShardWriter(tmp_path, TASK, source, {"of": source}, episodes_per_shard=2)
        for episode in range(3):  # a shard, and a part
            writer.add(episode, make_episode(TASK, source, episode))
    del writer
    (tmp_path / "parts" / f".{TASK}-dagger-1-00009.tar.tmp").write_bytes(b"left by a kill")
    kept = sorted(path.name for path in tmp_path.rglob("*.tar*") if "dagger-1-" not in path.name)
    assert discard(tmp_path, "dagger-1") == [f"{tmp_path}: dagger-1 episodes deleted"]
    assert sorted(path.name for path in tmp_path.rglob("*.tar*")) == kept
    assert set(Manifest.load(tmp_path).sources) == {"teacher", "dagger-12"}
    ShardWriter(tmp_path, TASK, "dagger-1", {"of": "another"}, episodes_per_shard=3)  # there is room again
    assert [line.split()[1] for line in discard(tmp_path, ["dagger"])] == ["dagger-1", "dagger-12"]
    assert set(Manifest.load(tmp_path).sources) == {"teacher"}
    assert len(verify(tmp_path)) == 1


def test_what_a_killed_discarding_left_is_discarded(tmp_path: Path, make_episode: MakeEpisode) -> None:
    writer = ShardWriter(tmp_path, TASK, "student", {}, episodes_per_shard=1)
    writer.add(0, make_episode(TASK, "student", 0))
    del writer
    manifest = Manifest.load(tmp_path)
    del manifest.sources["student"]
    manifest.save(tmp_path)
    with pytest.raises(LitDistillError, match=r"discard \S+ --sources student`$"):
        ShardWriter(tmp_path, TASK, "student", {})
    discard(tmp_path, ["student"])
    ShardWriter(tmp_path, TASK, "student", {})


def test_only_sources_that_are_there_are_discarded(tmp_path: Path, make_episode: MakeEpisode) -> None:
    writer = ShardWriter(tmp_path, TASK, "teacher", {}, episodes_per_shard=1)
    writer.add(0, make_episode(TASK, "teacher", 0))
    with pytest.raises(LitDistillError, match="no daggr episodes here; there are: teacher"):
        discard(tmp_path, "daggr")
    with pytest.raises(LitDistillError, match="no shards here yet"):
        discard(tmp_path / "gone", "teacher")
    assert Manifest.load(tmp_path).sources["teacher"].counts()["episodes"] == 1
