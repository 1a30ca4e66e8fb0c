"""The DataModule: one order for every number of workers and ranks, streamed or in RAM, resumed or not."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

import datamodules.datasets
from datamodules import ChunkDataModule
from datamodules.order import Batching, SampleOrder
from datamodules.selection import is_held_out
from lit_distill.errors import LitDistillError
from lit_distill.manifest import Manifest
from lit_distill.schema import ChunkTransition
from lit_distill.shards import ShardWriter
from lit_distill.tasks import get_task

TASK = "custom_libero_object_ketchup"
MakeEpisode = Callable[..., list[ChunkTransition]]
EPISODES = 20


def store(
    root: Path,
    make_episode: MakeEpisode,
    total: int,
    source: str = "teacher",
    meshes: str = "original",
    **options: Any,
) -> None:
    identity = {"fingerprint": {"mujoco": "3.3.2", "meshes": meshes}}
    writer = ShardWriter(root / TASK, TASK, source, identity, episodes_per_shard=4)
    for episode in writer.missing(total):
        outcome = "failure" if episode % 7 == 3 else "success"
        writer.add(episode, make_episode(TASK, source, episode, 2 + episode % 3, outcome, 8, **options))
    writer.finish(total)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_episode: MakeEpisode) -> Path:
    """Twenty episodes, read only."""
    folder = tmp_path_factory.mktemp("data")
    store(folder, make_episode, EPISODES)
    return folder


def expected_rows(make_episode: MakeEpisode, held_out: bool) -> set[bytes]:
    return {
        transition.observation.proprio.tobytes()
        for episode in range(EPISODES)
        if episode % 7 != 3 and is_held_out(TASK, "teacher", episode, 0.1) == held_out
        for transition in make_episode(TASK, "teacher", episode, 2 + episode % 3, "success", 8)
    }


def rows(batch: Any) -> list[bytes]:
    """What tells the samples of a batch apart."""
    return [row.tobytes() for row in batch["proprio"].numpy()]


def flat(lists: Iterable[list[Any]]) -> list[Any]:
    return list(itertools.chain.from_iterable(lists))


class Recorder(LightningModule):
    """A small model that keeps its losses and the samples of every training batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(8 * 8 * 3 * 2 + 7, 16 * 7)
        self.losses: list[float] = []
        self.val_losses: list[float] = []
        self.seen: list[list[bytes]] = []

    def _loss(self, batch: Any) -> torch.Tensor:
        images = torch.cat([batch["agentview"].flatten(1), batch["wrist"].flatten(1)], dim=1) / 255
        predicted = self.layer(torch.cat([images, batch["proprio"]], dim=1)).view(-1, 16, 7)
        squared = (predicted - batch["teacher_actions"]).square().sum(-1)
        return (squared * batch["mask"]).sum(1).mean()

    def training_step(self, batch: Any) -> torch.Tensor:
        self.seen.append(rows(batch))
        loss = self._loss(batch)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: Any) -> None:
        self.val_losses.append(self._loss(batch).item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def fit(
    data: ChunkDataModule, folder: Path, epochs: int, resume: Path | None = None, **options: Any
) -> Recorder:
    model = Recorder()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, save_last=True)],
        **options,
    )
    trainer.fit(model, data, ckpt_path=resume, weights_only=False)
    return model


def module(root: Path, **options: Any) -> ChunkDataModule:
    return ChunkDataModule(TASK, str(root), **{"batch_size": 8, "shuffle_buffer": 10, **options})


@pytest.fixture(scope="module")
def reference(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Three epochs from RAM."""
    return fit(module(root), tmp_path_factory.mktemp("reference"), 3)


# ---- the held-out episodes ----


@pytest.mark.parametrize(("held_out", "size"), [(0.1, 10), (0.2, 5), (0.5, 2), (0.34, 3)])
def test_one_episode_of_each_block_is_held_out(held_out: float, size: int) -> None:
    sides = [is_held_out(TASK, "teacher", episode, held_out) for episode in range(30 * size)]
    assert [sum(sides[start : start + size]) for start in range(0, len(sides), size)] == [1] * 30
    places = {sides[start : start + size].index(True) for start in range(0, len(sides), size)}
    assert places == set(range(size)) if size < 10 else len(places) > 5


def test_the_held_out_episodes_are_these_for_ever() -> None:
    assert [e for e in range(50) if is_held_out(TASK, "teacher", e, 0.1)] == [5, 12, 23, 30, 43]
    assert [e for e in range(50) if is_held_out(TASK, "student", e, 0.1)] == [4, 16, 23, 38, 40]


def test_no_episode_changes_side_when_data_grow(tmp_path: Path, make_episode: MakeEpisode) -> None:
    sides = []
    for total in (10, 20):
        store(tmp_path, make_episode, total)
        data = module(tmp_path, batch_size=4)
        train = {row for batch in data.train_dataloader() for row in rows(batch)}
        validation = {row for batch in data.val_dataloader() for row in rows(batch)}
        assert not train & validation
        sides.append((train, validation))
    assert sides[0][0] < sides[1][0] and sides[0][1] < sides[1][1]


def test_each_side_holds_its_successful_episodes_and_nothing_else(
    root: Path, make_episode: MakeEpisode
) -> None:
    data = module(root)
    train = [row for batch in data.train_dataloader() for row in rows(batch)]
    validation = [row for batch in data.val_dataloader() for row in rows(batch)]
    assert len(train) == len(set(train)) and set(train) == expected_rows(make_episode, held_out=False)
    assert set(validation) == expected_rows(make_episode, held_out=True)
    assert len(validation) == len(set(validation))
    assert data.describe() == {
        "train_episodes": 15,
        "train_samples": len(train),
        "val_episodes": 2,
        "val_samples": len(validation),
        "in_ram": 1,
        "meshes": "original",
    }
    everything = module(root, successes_only=False).describe()
    assert everything["train_episodes"] + everything["val_episodes"] == EPISODES


# ---- one order ----


@pytest.mark.parametrize(("ram_limit_mb", "num_workers"), [(0, 0), (0, 2), (0, 3), (2048, 2)])
def test_streaming_and_workers_give_the_losses_of_ram(
    root: Path, tmp_path: Path, reference: Recorder, ram_limit_mb: int, num_workers: int
) -> None:
    data = module(root, ram_limit_mb=ram_limit_mb, num_workers=num_workers)
    trained = fit(data, tmp_path, 3)
    assert data.describe()["in_ram"] == (ram_limit_mb > 0)
    assert trained.seen == reference.seen
    assert trained.losses == reference.losses and len(reference.losses) == 3 * len(data.train_dataloader())
    assert trained.val_losses == reference.val_losses
    for left, right in zip(trained.parameters(), reference.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_process_that_has_threads_is_not_forked(root: Path) -> None:
    data = module(root, ram_limit_mb=0, num_workers=2)
    data.setup()
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert loader.multiprocessing_context.get_start_method() in ("forkserver", "spawn")


@pytest.mark.parametrize(("ram_limit_mb", "num_workers"), [(2048, 0), (0, 0), (0, 2)])
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(
    root: Path, tmp_path: Path, reference: Recorder, ram_limit_mb: int, num_workers: int
) -> None:
    first = fit(module(root, ram_limit_mb=ram_limit_mb), tmp_path, 1)
    data = module(root, ram_limit_mb=ram_limit_mb, num_workers=num_workers)
    second = fit(data, tmp_path, 3, resume=tmp_path / "last.ckpt")
    assert first.seen + second.seen == reference.seen
    assert first.losses + second.losses == reference.losses


def test_an_epoch_that_was_cut_short_does_not_disturb_the_next(
    root: Path, tmp_path: Path, reference: Recorder
) -> None:
    data = module(root, ram_limit_mb=0, num_workers=2)
    batches = len(data.train_dataloader())
    trained = fit(data, tmp_path, 3, limit_train_batches=2)
    assert trained.seen == [reference.seen[epoch * batches + batch] for epoch in range(3) for batch in (0, 1)]


def test_epochs_differ_and_seeds_differ(root: Path, reference: Recorder) -> None:
    batches = len(reference.seen) // 3
    epochs = [flat(reference.seen[e * batches : (e + 1) * batches]) for e in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] and set(epochs[0]) == set(epochs[1]) == set(epochs[2])
    other = [row for batch in module(root, seed=1).train_dataloader() for row in rows(batch)]
    assert other != epochs[0] and set(other) == set(epochs[0])


def test_batches_have_the_dtypes_and_shapes_of_the_contract(root: Path) -> None:
    for ram_limit_mb in (0, 100):
        batch = next(iter(module(root, ram_limit_mb=ram_limit_mb).train_dataloader()))
        assert {key: (str(value.dtype), tuple(value.shape)) for key, value in batch.items()} == {
            "agentview": ("torch.uint8", (8, 8, 8, 3)),
            "wrist": ("torch.uint8", (8, 8, 8, 3)),
            "proprio": ("torch.float32", (8, 7)),
            "task_index": ("torch.int64", (8,)),
            "actions": ("torch.float32", (8, 16, 7)),
            "mask": ("torch.bool", (8, 16)),
            "teacher_actions": ("torch.float32", (8, 16, 7)),
        }
        assert set(batch["task_index"].tolist()) == {get_task(TASK).index}


def on_ranks(root: Path, world_size: int, loader: str, **options: Any) -> list[list[list[bytes]]]:
    """[rank][batch][sample], as each of several processes would see them."""
    out = []
    for rank in range(world_size):
        data = module(root, **options)
        data.trainer = types.SimpleNamespace(global_rank=rank, world_size=world_size)  # type: ignore[assignment]
        out.append([rows(batch) for batch in getattr(data, loader)()])
    return out


@pytest.mark.parametrize("ram_limit_mb", [0, 2048])
@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_ranks_share_each_batch_equally_and_no_sample_comes_twice(
    root: Path, world_size: int, ram_limit_mb: int
) -> None:
    [alone] = on_ranks(root, 1, "train_dataloader")
    ranks = on_ranks(root, world_size, "train_dataloader", ram_limit_mb=ram_limit_mb)
    assert {len(batches) for batches in ranks} <= {len(alone), len(alone) - 1}
    for parts in zip(*ranks, strict=True):
        assert len({len(part) for part in parts}) == 1
    together = [flat(parts) for parts in zip(*ranks, strict=True)]
    assert together[:-1] == alone[: len(together) - 1]
    assert together[-1] == alone[len(together) - 1][: len(together[-1])]
    dropped = sum(map(len, alone)) - sum(map(len, together))
    assert 0 <= dropped < world_size


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_validation_keeps_every_sample_on_any_number_of_ranks(
    root: Path, make_episode: MakeEpisode, world_size: int
) -> None:
    for batch_size in (4, 8):
        ranks = on_ranks(root, world_size, "val_dataloader", batch_size=batch_size)
        assert len({len(batches) for batches in ranks}) == 1
        seen = [row for batches in ranks for part in batches for row in part]
        assert len(seen) == len(set(seen)) and set(seen) == expected_rows(make_episode, held_out=True)
        for parts in zip(*ranks, strict=True):
            assert max(map(len, parts)) - min(map(len, parts)) <= 1 and min(map(len, parts)) >= 1


@pytest.mark.parametrize("samples", range(4, 40))
@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("keep_all", [False, True])
def test_parts_tile_the_order(samples: int, world_size: int, keep_all: bool) -> None:
    parts = [Batching(samples, 8, keep_all, rank, world_size) for rank in range(world_size)]
    places = [
        list(range(*part.part(batch).indices(samples))) for batch in range(len(parts[0])) for part in parts
    ]
    tiles = flat(places)
    assert tiles == list(range(len(tiles))) and all(places)
    assert len(tiles) == samples if keep_all else samples - len(tiles) < world_size


def test_samples_of_others_are_skipped_without_decoding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    original = datamodules.datasets.decode_in_shard

    def counting(path: Path, sample: dict[str, Any]) -> ChunkTransition:
        decoded.append(sample["__key__"])
        return original(path, sample)

    monkeypatch.setattr(datamodules.datasets, "decode_in_shard", counting)
    ranks = on_ranks(root, 4, "train_dataloader", ram_limit_mb=0)
    assert len(decoded) == len(set(decoded)) == sum(len(part) for batches in ranks for part in batches)


def test_the_shuffle_buffer_holds_what_it_says(root: Path) -> None:
    order = SampleOrder((30,), seed=3, shuffle_buffer=5)
    places = order.samples(epoch=2)
    assert sorted(places) == list(range(30)) and list(places) != list(range(30))
    assert all(sample <= place + 5 for place, sample in enumerate(places))
    assert list(places) == list(SampleOrder((30,), seed=3, shuffle_buffer=5).samples(2))
    assert list(SampleOrder((3, 2)).samples(7)) == [0, 1, 2, 3, 4]


# ---- other sources within a fit ----


def test_other_sources_are_used_from_the_next_loader_on_as_if_from_the_start(
    tmp_path: Path, make_episode: MakeEpisode
) -> None:
    store(tmp_path, make_episode, 10)
    store(tmp_path, make_episode, 10, source="dagger-1")
    for ram_limit_mb in (0, 2048):
        data = module(tmp_path, ram_limit_mb=ram_limit_mb)
        assert len(list(data.train_dataloader())) > 1
        before = data.statistics()["proprio_mean"]
        data.use_sources(["teacher", "dagger-1"], first_epoch=7)
        fresh = module(tmp_path, ram_limit_mb=ram_limit_mb, sources=["teacher", "dagger-1"])
        assert data.sources == fresh.sources == ["teacher", "dagger-1"]
        assert data.describe() == fresh.describe()
        assert not np.array_equal(data.statistics()["proprio_mean"], before)
        np.testing.assert_array_equal(data.statistics()["proprio_mean"], fresh.statistics()["proprio_mean"])
        loader, expected = data.train_dataloader(), fresh.train_dataloader()
        for epoch in range(3):
            loader.sampler.set_epoch(7 + epoch)  # type: ignore[attr-defined]
            expected.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            assert [rows(batch) for batch in loader] == [rows(batch) for batch in expected]


def test_of_relabelled_rollouts_failures_are_used_too(tmp_path: Path, make_episode: MakeEpisode) -> None:
    store(tmp_path, make_episode, 10)
    store(tmp_path, make_episode, 10, source="dagger-1")
    assert module(tmp_path).describe()["train_episodes"] == 8  # without the failed one and the held-out one
    both = module(tmp_path, sources=["teacher", "dagger-1"]).describe()
    assert both["train_episodes"] + both["val_episodes"] == 9 + 10


# ---- statistics ----


def test_statistics_are_those_of_the_training_samples(root: Path, make_episode: MakeEpisode) -> None:
    proprio = np.stack([np.frombuffer(row, np.float32) for row in expected_rows(make_episode, False)])
    for ram_limit_mb in (0, 2048):
        statistics = module(root, ram_limit_mb=ram_limit_mb).statistics()
        np.testing.assert_allclose(statistics["proprio_mean"], proprio.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(statistics["proprio_std"], proprio.std(0), rtol=1e-5)
        assert statistics["proprio_mean"].dtype == statistics["proprio_std"].dtype == np.float32


# ---- what a user can get wrong ----


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("num_workers", -1),
        ("held_out", 0.0),
        ("held_out", 0.6),
        ("ram_limit_mb", -1),
        ("shuffle_buffer", 0),
        ("seed", -1),
        ("sources", []),
        ("sources", ["teacher", "teacher"]),
    ],
)
def test_values_that_cannot_be_right_die_in_the_constructor(root: Path, option: str, value: Any) -> None:
    with pytest.raises(LitDistillError, match=rf"^{option}: .*got {str(value).replace('[', '.')[:6]}"):
        module(root, **{option: value})


def test_missing_data_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(LitDistillError, match=rf"collect --config conf/collect\.yaml --task {TASK} --root "):
        module(tmp_path).prepare_data()


def test_a_source_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(LitDistillError, match="no student episodes here"):
        module(root, sources=["teacher", "student"]).setup()


def test_several_sources_are_used_together(tmp_path: Path, make_episode: MakeEpisode) -> None:
    store(tmp_path, make_episode, 10)
    store(tmp_path, make_episode, 10, source="dagger-1")
    data = module(tmp_path, sources=["teacher", "dagger-1"], ram_limit_mb=0)
    assert data.describe()["train_episodes"] + data.describe()["val_episodes"] == 9 + 10
    assert (
        len({row for batch in data.train_dataloader() for row in rows(batch)})
        == data.describe()["train_samples"]
    )


def test_sources_that_show_different_meshes_are_not_mixed(tmp_path: Path, make_episode: MakeEpisode) -> None:
    store(tmp_path, make_episode, 10)
    store(tmp_path, make_episode, 10, source="dagger-1", meshes="simplified")
    for source, meshes in (("teacher", "original"), ("dagger-1", "simplified")):
        assert module(tmp_path, sources=[source]).describe()["meshes"] == meshes
    with pytest.raises(
        LitDistillError, match="teacher has fingerprint.meshes = 'original', dagger-1 has 'simplified'; "
    ):
        module(tmp_path, sources=["teacher", "dagger-1"]).setup()


def test_too_few_episodes_say_how_many_are_needed(tmp_path: Path, make_episode: MakeEpisode) -> None:
    store(tmp_path, make_episode, 2)
    with pytest.raises(LitDistillError) as error:
        module(tmp_path).setup()
    needed = next(total for total in range(3, 99) if is_held_out(TASK, "teacher", total - 1, 0.1))
    assert f"leave none for validation (held_out 0.1); collect at least {needed} teacher" in str(error.value)
    store(tmp_path, make_episode, needed)
    module(tmp_path).setup()


@pytest.fixture
def own_root(root: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    shutil.copytree(root, tmp_path / "own")
    return tmp_path / "own"


def test_a_flipped_byte_is_found_before_training(own_root: Path) -> None:
    path = own_root / TASK / f"{TASK}-teacher-00002.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for ram_limit_mb in (0, 100):
        with pytest.raises(LitDistillError, match=r"00002\.tar: damaged, .*delete \S+00002\.tar and run"):
            module(own_root, ram_limit_mb=ram_limit_mb).setup()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_shard_that_changes_during_training_is_named_in_one_line(own_root: Path, num_workers: int) -> None:
    data = module(own_root, ram_limit_mb=0, num_workers=num_workers)
    loader = data.train_dataloader()
    path = own_root / TASK / f"{TASK}-teacher-00002.tar"
    path.write_bytes(path.read_bytes()[:10240])
    with pytest.raises(LitDistillError, match=r"^[^\n]*00002\.tar: [^\n]*delete \S+2\.tar and run[^\n]*$"):
        list(loader)


@pytest.mark.parametrize("ram_limit_mb", [0, 100])
def test_a_sample_without_label_is_named(
    tmp_path: Path, make_episode: MakeEpisode, ram_limit_mb: int
) -> None:
    store(tmp_path, make_episode, 10, source="student", labelled=False)
    with pytest.raises(LitDistillError, match=rf"{TASK}-student-\d+-\d+: has no teacher_actions"):
        list(module(tmp_path, sources=["student"], ram_limit_mb=ram_limit_mb).train_dataloader())


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("teacher", "cosmos/1"),
        ("teacher_spec", {"class_path": "Embedded", "init_args": {"continuation": True}}),
    ],
)
def test_sources_that_two_teachers_labelled_are_refused(
    tmp_path: Path, make_episode: MakeEpisode, key: str, other: Any
) -> None:
    identity = {"teacher": "embedded/4", "teacher_spec": {"class_path": "Embedded", "init_args": {}}}
    for source, labelled in (
        ("teacher", identity),
        ("student", identity),
        ("dagger-1", identity | {key: other}),
    ):
        writer = ShardWriter(tmp_path / TASK, TASK, source, labelled)
        for episode in range(10):
            writer.add(episode, make_episode(TASK, source, episode))
        writer.finish(10)
    module(tmp_path, sources=["teacher", "student"]).setup()
    line = (
        rf"^\S+: teacher episodes have {key} .*, dagger-1 episodes .*; one teacher only: collect one of them"
    )
    with pytest.raises(LitDistillError, match=line):
        module(tmp_path, sources=["teacher", "student", "dagger"]).setup()


@pytest.mark.parametrize("ram_limit_mb", [0, 100])
def test_images_of_two_sizes_are_refused(
    tmp_path: Path, make_episode: MakeEpisode, ram_limit_mb: int
) -> None:
    store(tmp_path, make_episode, 10)
    identity = {"fingerprint": {"mujoco": "3.3.2", "meshes": "original"}}
    writer = ShardWriter(tmp_path / TASK, TASK, "dagger-1", identity)
    for episode in range(10):
        writer.add(episode, make_episode(TASK, "dagger-1", episode, image_size=12))
    data = module(tmp_path, sources=["teacher", "dagger-1"], ram_limit_mb=ram_limit_mb, batch_size=16)
    with pytest.raises(
        LitDistillError, match=r"agentview comes in two shapes, \[8, 8, 3\] and \[12, 12, 3\]"
    ):
        list(data.train_dataloader())


def test_a_batch_that_processes_cannot_share_is_refused(root: Path) -> None:
    with pytest.raises(
        LitDistillError, match="batch_size: 8 is the global batch and must be divisible by the 3"
    ):
        on_ranks(root, 3, "train_dataloader")


def test_prepare_data_collects_with_the_given_settings(
    tmp_path: Path, make_episode: MakeEpisode, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def collect_missing(task: str, root: str, folder: Any, settings: Any) -> None:
        calls.append((task, root, settings))
        store(Path(root), make_episode, 10)

    collection = types.ModuleType("lit_distill.collection")
    collection.collect_missing = collect_missing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lit_distill.collection", collection)
    settings: Any = dataclasses.make_dataclass("Settings", [])()
    data = module(tmp_path, collect=settings)
    data.prepare_data()
    assert calls == [(TASK, str(tmp_path), settings)]
    assert Manifest.load(tmp_path / TASK).sources["teacher"].counts()["episodes"] == 10
    assert data.describe()["val_episodes"] == 1
