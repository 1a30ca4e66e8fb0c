"""DAgger's rounds, in the toy world: what acts, what is stored, what is trained on; killed and resumed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dagger_training import (
    EPOCHS,
    FAKE_TEACHER,
    ROLLOUTS,
    TASK,
    dagger_data,
    dagger_trainer,
    fit_dagger,
    make_data,
    use_toy_world,
)
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import Kill, tiny_module, tiny_network, tiny_trainer

import callbacks.dagger
import lit_distill.collection
from callbacks.dagger import DAggerRounds
from callbacks.weight_averaging import ExponentialMovingAverage
from lit_distill.behaviours import ActionNoise
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Evaluation
from lit_distill.manifest import Manifest
from lit_distill.networks.checkpoint import load_saved_student, save_student, student_sha256
from lit_distill.schema import ChunkTransition, Observation
from lit_distill.shards import read_shard, verify
from lit_distill.sim.fake import FakeSimulator, FakeTeacher
from lit_distill.sim.states import InitialState, load_initial_state
from lit_distill.tasks import get_task


class Record(Callback):
    """The weights of each epoch's first step, its validation loss, and the losses of all steps."""

    def __init__(self) -> None:
        self.first: dict[int, dict[str, torch.Tensor]] = {}
        self.losses: list[float] = []
        self.validated: dict[int, tuple[float, dict[str, torch.Tensor]]] = {}
        self._weights: dict[str, torch.Tensor] = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.first[trainer.current_epoch] = weights_of(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *arguments: Any
    ) -> None:
        self.losses.append(outputs["loss"].item())

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        self._weights = weights_of(pl_module)  # the averaged ones

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            loss = float(trainer.callback_metrics["val/loss"])
            self.validated[trainer.current_epoch] = (loss, self._weights)


def weights_of(module: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.network.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def kept(path: Path) -> dict[str, torch.Tensor]:
    return load_saved_student(path).network.state_dict()


def transitions(root: Path, source: str) -> list[ChunkTransition]:
    folder = root / TASK
    shards = Manifest.load(folder).sources[source].shards
    return [transition for shard in shards for transition in read_shard(folder / shard.name)]


@pytest.fixture(scope="module")
def teacher_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teacher episodes and a first student; never written to."""
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def root(teacher_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its own; whatever is collected is collected in the toy world."""
    use_toy_world(monkeypatch)
    return Path(shutil.copytree(teacher_data, tmp_path / "data"))


@pytest.fixture(scope="module")
def done(
    teacher_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Record, dict[str, torch.Tensor]]:
    """Three rounds that nobody disturbed: data, checkpoints, record, weights at the end."""
    folder = tmp_path_factory.mktemp("done")
    root = Path(shutil.copytree(teacher_data, folder / "data"))
    record = Record()
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_toy_world(monkeypatch)
        trainer = fit_dagger(root, folder, record)
    assert trainer.current_epoch == 3 * EPOCHS
    return root, folder, record, weights_of(trainer.lightning_module)


# ---- what is collected


def test_each_round_stores_its_own_source_from_its_own_states(done: Any) -> None:
    root, folder, *_ = done
    verify(root / TASK)
    sources = Manifest.load(root / TASK).sources
    assert set(sources) == {"teacher", "dagger-1", "dagger-2", "dagger-3"}
    students = [root / "bc.ckpt", folder / "round-1.ckpt", folder / "round-2.ckpt"]
    for number, student, beta in zip((1, 2, 3), students, (0.5, 0.25, 0.0), strict=True):
        identity = sources[f"dagger-{number}"].identity
        assert identity["student_sha256"] == student_sha256(student)
        assert (identity["beta"], identity["split"]) == (beta, "student")
        states = dict.fromkeys(t.initial_state for t in transitions(root, f"dagger-{number}"))
        assert list(states) == [f"student/{3 * (number - 1) + episode}" for episode in range(3)]


def test_whoever_acts_the_label_is_the_teachers(done: Any) -> None:
    root, *_ = done
    simulator = FakeSimulator(get_task(TASK), 16)
    acted = {}
    for number in (1, 2, 3):
        stored = transitions(root, f"dagger-{number}")
        acted[number] = [t.behaviour for t in stored]
        for transition in stored:
            split, index = transition.initial_state.split("/")
            simulator.reset(load_initial_state(get_task(TASK), split, int(index)))
            simulator.hand = transition.observation.eef_pos[:2].astype(np.float64)
            label = FakeTeacher().query(transition.observation, simulator)
            np.testing.assert_allclose(transition.teacher_actions, label.actions, atol=1e-4)
            assert transition.value == pytest.approx(label.value, abs=1e-4)
    assert set(acted[1]) == set(acted[2]) == {"teacher", "student"}
    assert set(acted[3]) == {"student"}


def test_failed_episodes_are_trained_on_too(done: Any) -> None:
    root, *_ = done
    entry = Manifest.load(root / TASK).sources["dagger-3"]
    assert entry.counts()["timeout"] > 0
    sources = ["teacher", "dagger-1", "dagger-2", "dagger-3"]
    size = dagger_data(root, sources=sources).describe()
    assert size["train_episodes"] + size["val_episodes"] == 20 + 9


# ---- what is trained


def test_each_round_is_a_fresh_training_on_all_data_so_far(done: Any, tmp_path: Path) -> None:
    root, folder, record, _ = done
    untrained = record.first[0]
    steps = len(record.losses)
    for number in (3, 2):
        fresh = Record()
        best = ModelCheckpoint(tmp_path / str(number), filename="best", monitor="val/loss")
        trainer = tiny_trainer(
            tmp_path,
            callbacks=[ExponentialMovingAverage(0.9), best, fresh],
            max_epochs=EPOCHS,
            enable_checkpointing=True,
        )
        sources = ["teacher", *(f"dagger-{k}" for k in range(1, number + 1))]
        trainer.fit(tiny_module(schedule="cosine"), datamodule=dagger_data(root, sources=sources))
        assert record.losses[steps - len(fresh.losses) : steps] == fresh.losses
        steps -= len(fresh.losses)
        assert same(kept(tmp_path / str(number) / "best.ckpt"), kept(folder / f"round-{number}.ckpt"))
        start = record.first[(number - 1) * EPOCHS]
        assert same(start, fresh.first[0])
        learnt = {name for name in start if not name.startswith("proprio_")}  # statistics are the data's
        assert all(torch.equal(start[name], untrained[name]) for name in learnt)


def test_the_best_weights_of_each_round_are_kept_and_the_last_rounds_are_the_result(done: Any) -> None:
    _, folder, record, _ = done
    for number in (1, 2, 3):
        epochs = range((number - 1) * EPOCHS, number * EPOCHS)
        _, weights = min((record.validated[epoch] for epoch in epochs), key=lambda seen: seen[0])
        saved = load_saved_student(folder / f"round-{number}.ckpt")
        assert same(saved.network.state_dict(), weights)
        assert saved.training is not None
        assert (saved.training["algorithm"], saved.training["round"]) == ("dagger", number)
        assert saved.training["betas"] == [0.5, 0.25, 0.0][:number]
        assert saved.training["sources"] == ["teacher", *(f"dagger-{k}" for k in range(1, number + 1))]
    assert (folder / "best.ckpt").read_bytes() == (folder / "round-3.ckpt").read_bytes()


def test_fine_tuning_goes_on_from_the_student_that_acted(root: Path, tmp_path: Path) -> None:
    record = Record()
    fit_dagger(root, tmp_path, record, rounds=2, from_scratch=False)
    assert same(record.first[0], kept(root / "bc.ckpt"))
    assert same(record.first[EPOCHS], kept(tmp_path / "round-1.ckpt"))  # with its statistics


def test_one_round_after_the_other_until_the_last(root: Path, tmp_path: Path) -> None:
    trainer = fit_dagger(root, tmp_path, rounds=1)
    assert trainer.current_epoch == EPOCHS
    assert set(Manifest.load(root / TASK).sources) == {"teacher", "dagger-1"}


# ---- labels between chunk ends


def test_labels_between_chunk_ends_are_further_samples(root: Path, tmp_path: Path) -> None:
    fit_dagger(root, tmp_path, rounds=1, collect=dataclasses.replace(ROLLOUTS, label_every=4))
    stored = transitions(root, "dagger-1")
    assert {t.executed for t in stored if not t.terminal} == {4}
    inside = [(now, t) for now, t in pairwise(stored) if t.chunk % 4]
    assert inside
    for now, later in inside:
        np.testing.assert_array_equal(later.actions[:12], now.actions[4:])


# ---- when it ends


class Diagonal(FakeSimulator):
    """The mark is always reached by going right and up."""

    def reset(self, initial_state: InitialState) -> Observation:
        super().reset(initial_state)
        self.mark = self.hand + 0.8
        return self.observe()


def save_diagonal_student(path: Path) -> None:
    """Always commands right and up."""
    network = tiny_network()
    last = network.head[2]
    torch.nn.init.zeros_(last.weight)
    last.bias.data.view(16, 7).copy_(torch.tensor([1.0, 1.0, 0, 0, 0, 0, 0]))
    save_student(network, path, TASK)


@pytest.mark.parametrize(("betas", "stops"), [([0.0], True), ([0.5, 0.5, 0.5], False)])
def test_it_ends_when_the_student_succeeds_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, betas: list[float], stops: bool
) -> None:
    monkeypatch.setattr(lit_distill.collection, "Simulator", Diagonal)
    save_diagonal_student(root / "bc.ckpt")
    trainer = fit_dagger(root, tmp_path, rounds=1, betas=betas, stop_when_solved=True)
    assert Manifest.load(root / TASK).sources["dagger-1"].counts()["success"] == 3
    assert trainer.global_step == 0 if stops else trainer.global_step > 0
    assert (tmp_path / "best.ckpt").is_file()
    assert same(kept(tmp_path / "best.ckpt"), kept(root / "bc.ckpt")) == stops


def perfect_in_place_of(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """In rollouts of the student of that name one acts that succeeds."""
    original = lit_distill.collection.CollectSettings.mixture

    def mixture(settings: Any, student: str, beta: float) -> Any:
        if student.endswith(name):
            save_diagonal_student(folder / "perfect.ckpt")
            student = str(folder / "perfect.ckpt")
        return original(settings, student, beta)

    monkeypatch.setattr(lit_distill.collection.CollectSettings, "mixture", mixture)


def test_a_later_student_that_succeeds_alone_stays(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lit_distill.collection, "Simulator", Diagonal)
    perfect_in_place_of(tmp_path, monkeypatch, "round-1.ckpt")
    trainer = fit_dagger(root, tmp_path, betas=[0.5, 0.0], stop_when_solved=True)
    assert trainer.current_epoch == EPOCHS
    assert not (tmp_path / "round-2.ckpt").exists()
    assert same(kept(tmp_path / "best.ckpt"), kept(tmp_path / "round-1.ckpt"))


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[int]) -> list[tuple[str, int]]:
    """`dev` evaluations with so many successes of ten; notes which student was evaluated on how many."""
    seen: list[tuple[str, int]] = []

    def evaluate(task: str, actor: Any, protocol: Any, label: str, ranks: Any) -> Evaluation:
        assert (task, protocol.split) == (TASK, "dev")
        seen.append((Path(actor.checkpoint).name, protocol.episodes))
        outcomes = ["success" if index < scores[len(seen) - 1] else "timeout" for index in range(10)]
        return Evaluation([{"state": "", "outcome": outcome, "steps": 1} for outcome in outcomes], {}, {})

    monkeypatch.setattr(callbacks.dagger, "evaluate", evaluate)
    return seen


def test_the_student_that_ends_it_by_succeeding_alone_stays_also_with_patience(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although an earlier one was better on `dev`."""
    monkeypatch.setattr(lit_distill.collection, "Simulator", Diagonal)
    scripted(monkeypatch, [10, 9])
    perfect_in_place_of(tmp_path, monkeypatch, "round-2.ckpt")
    options = {"stop_when_solved": True, "patience": 5, "dev_episodes": 10}
    fit_dagger(root, tmp_path, rounds=3, betas=[0.5, 0.5, 0.0], **options)
    assert same(kept(tmp_path / "best.ckpt"), kept(tmp_path / "round-2.ckpt"))


def test_with_patience_it_goes_on_until_dev_stops_improving_and_keeps_the_best(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = scripted(monkeypatch, [2, 6, 5, 6])
    trainer = fit_dagger(root, tmp_path, rounds=9, dev_episodes=10, patience=2)
    assert seen == [(f"round-{number}.ckpt", 10) for number in (1, 2, 3, 4)]
    assert trainer.current_epoch == 4 * EPOCHS
    assert (tmp_path / "best.ckpt").read_bytes() == (tmp_path / "round-2.ckpt").read_bytes()
    assert (tmp_path / "round-2.ckpt").read_bytes() != (tmp_path / "round-4.ckpt").read_bytes()


def test_without_patience_dev_is_only_measured(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [6, 2])
    fit_dagger(root, tmp_path, rounds=2, dev_episodes=10)
    assert (tmp_path / "best.ckpt").read_bytes() == (tmp_path / "round-2.ckpt").read_bytes()


# ---- what is logged


def test_each_round_is_logged(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(monkeypatch, [2, 6])
    logger = TensorBoardLogger(tmp_path, name="log", version=0)
    trainer = fit_dagger(root, tmp_path, rounds=2, dev_episodes=10, trainer={"logger": logger})
    events = EventAccumulator(str(tmp_path / "log" / "version_0"))
    events.Reload()

    def logged(name: str) -> list[float]:
        return [event.value for event in events.Scalars(f"dagger/{name}")]

    assert logged("beta") == [0.5, 0.25]
    assert logged("dev_success_rate") == pytest.approx([0.2, 0.6])
    counts = [Manifest.load(root / TASK).sources[f"dagger-{k}"].counts() for k in (1, 2)]
    assert logged("rollout_success_rate") == pytest.approx([count["success"] / 3 for count in counts])
    student = [t for t in transitions(root, "dagger-1") if t.behaviour == "student"]
    apart = np.concatenate([np.abs(t.actions - t.teacher_actions)[: t.executed] for t in student])
    assert logged("disagreement")[0] == pytest.approx(apart.mean(), rel=1e-5)
    size = dagger_data(root, sources=["teacher", "dagger-1"]).describe()
    assert (logged("train_samples")[0], logged("train_episodes")[0]) == (
        size["train_samples"],
        size["train_episodes"],
    )
    steps = [event.step for event in events.Scalars("dagger/beta")]
    assert steps[0] == 0 < steps[1] < trainer.global_step
    assert f"{TASK}: DAgger round 2 of 2, beta 0.25: success rate of the rollouts" in capsys.readouterr().out


# ---- killed and resumed


class Counted(FakeSimulator):
    """Notes each episode, and ends in an error at the last one that it is allowed."""

    seen: list[str] = []  # noqa: RUF012 (of this process)
    allowed = 10**6

    def reset(self, initial_state: InitialState) -> Observation:
        if len(self.seen) >= self.allowed:
            raise RuntimeError("killed")
        self.seen.append(initial_state.name)
        return super().reset(initial_state)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    monkeypatch.setattr(lit_distill.collection, "Simulator", Counted)
    monkeypatch.setattr(Counted, "seen", [])
    monkeypatch.setattr(Counted, "allowed", 10**6)
    return Counted


def check_equal(root: Path, folder: Path, trainer: Trainer, done: Any) -> None:
    """Data, kept students and final weights are those of the run that nobody disturbed."""
    other_root, other_folder, _, weights = done
    assert Manifest.load(root / TASK) == Manifest.load(other_root / TASK)
    for number in (1, 2, 3):
        name = f"round-{number}.ckpt"
        assert same(kept(folder / name), kept(other_folder / name))
    assert same(kept(folder / "best.ckpt"), kept(other_folder / "best.ckpt"))
    assert same(weights_of(trainer.lightning_module), weights)


def steps_of_round(done: Any, number: int) -> int:
    """Optimizer steps before a round."""
    root, *_ = done
    steps = 0
    for k in range(1, number):
        sources = ["teacher", *(f"dagger-{j}" for j in range(1, k + 1))]
        steps += EPOCHS * len(dagger_data(root, sources=sources).train_dataloader())
    return steps


@pytest.mark.parametrize(("number", "after"), [(2, 1), (2, 6), (3, 7)])
def test_killed_while_a_round_is_trained(
    root: Path, tmp_path: Path, done: Any, counted: type[Counted], number: int, after: int
) -> None:
    """In the round's first epoch, before a checkpoint of it is there, and in its second."""
    step = steps_of_round(done, number) + after
    with pytest.raises(RuntimeError, match="killed"):
        fit_dagger(root, tmp_path, Kill(step))
    assert len(counted.seen) == 3 * number
    trainer = fit_dagger(root, tmp_path, resume=True)
    assert counted.seen == [f"student/{index}" for index in range(9)]  # none twice
    check_equal(root, tmp_path, trainer, done)


@pytest.mark.parametrize("collected", [3, 5, 7])
def test_killed_while_a_round_is_collected(
    root: Path, tmp_path: Path, done: Any, counted: type[Counted], collected: int
) -> None:
    counted.allowed = collected
    with pytest.raises(RuntimeError, match="killed"):
        fit_dagger(root, tmp_path)
    counted.allowed = 10**6
    trainer = fit_dagger(root, tmp_path, resume=True)
    assert counted.seen == [f"student/{index}" for index in range(9)]
    check_equal(root, tmp_path, trainer, done)


def test_killed_in_the_first_collection_it_begins_again_and_reuses_what_is_there(
    root: Path, tmp_path: Path, done: Any, counted: type[Counted]
) -> None:
    counted.allowed = 2
    with pytest.raises(RuntimeError, match="killed"):
        fit_dagger(root, tmp_path)
    counted.allowed = 10**6
    trainer = fit_dagger(root, tmp_path)
    assert counted.seen == [f"student/{index}" for index in range(9)]
    check_equal(root, tmp_path, trainer, done)


def test_killed_between_a_rounds_first_best_and_its_last_checkpoint(
    root: Path, tmp_path: Path, done: Any, counted: type[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """best.ckpt is of round 2 already, last.ckpt still of round 1."""
    original = ModelCheckpoint._save_last_checkpoint

    def killed(callback: ModelCheckpoint, trainer: Trainer, candidates: Any) -> None:
        if trainer.current_epoch == EPOCHS:
            raise RuntimeError("killed")
        original(callback, trainer, candidates)

    monkeypatch.setattr(ModelCheckpoint, "_save_last_checkpoint", killed)
    with pytest.raises(RuntimeError, match="killed"):
        fit_dagger(root, tmp_path)
    monkeypatch.setattr(ModelCheckpoint, "_save_last_checkpoint", original)
    assert load_saved_student(tmp_path / "best.ckpt").training["round"] == 2  # type: ignore[index]
    trainer = fit_dagger(root, tmp_path, resume=True)
    assert len(counted.seen) == 9
    check_equal(root, tmp_path, trainer, done)


def test_resumed_from_a_checkpoint_after_a_rounds_last_batch_the_next_round_begins(
    root: Path, tmp_path: Path, done: Any, counted: type[Counted]
) -> None:
    """Such a checkpoint is not our files': they write when validation ends."""
    by_steps = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    step = steps_of_round(done, 2)
    with pytest.raises(RuntimeError, match="killed"):
        fit_dagger(root, tmp_path, by_steps, Kill(step + 1))
    shutil.copy(tmp_path / f"step={step}.ckpt", tmp_path / "last.ckpt")
    trainer = fit_dagger(root, tmp_path, by_steps, resume=True)
    assert trainer.current_epoch == 3 * EPOCHS
    assert len(counted.seen) == 9


def test_more_rounds_can_follow_a_finished_fit(root: Path, tmp_path: Path, done: Any) -> None:
    fit_dagger(root, tmp_path, rounds=2)
    trainer = fit_dagger(root, tmp_path, resume=True)
    check_equal(root, tmp_path, trainer, done)


# ---- what a user can get wrong


def test_a_missing_first_student_is_named_before_anything_is_collected(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: type[Counted]
) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    path = f"runs/bc/{TASK}/gone.ckpt"
    line = rf"^{path}: no such checkpoint; `python .* --config conf/bc.yaml --data.task {TASK}` makes it"
    with pytest.raises(LitDistillError, match=line):
        fit_dagger(root, tmp_path, init_from=path)
    with pytest.raises(LitDistillError, match=line):
        DAggerRounds(path, ROLLOUTS).check_ingredients()
    assert counted.seen == []


def test_another_tasks_first_student_is_refused(root: Path, tmp_path: Path, counted: type[Counted]) -> None:
    save_student(tiny_network(), root / "bc.ckpt", "custom_libero_object_milk")
    with pytest.raises(LitDistillError, match=r"^init_from: \S+ was trained on custom_libero_object_milk"):
        fit_dagger(root, tmp_path)
    assert counted.seen == []


@pytest.mark.parametrize(("option", "value"), [("image_size", 32), ("meshes", "simplified")])
def test_rollouts_that_look_different_are_refused_before_any_is_made(
    root: Path, tmp_path: Path, counted: type[Counted], option: str, value: Any
) -> None:
    collect = dataclasses.replace(ROLLOUTS, **{option: value})
    with pytest.raises(
        LitDistillError, match=f"^collect: the rollouts would have {option} {value!r}, but teacher"
    ):
        fit_dagger(root, tmp_path, collect=collect)
    assert counted.seen == []


class OtherTeacher(FakeTeacher):
    """Calls itself the same, but is built otherwise."""


@pytest.mark.parametrize(
    ("class_path", "differs"),
    [
        ("lit_distill.teachers.embedded.EmbeddedTeacher", "teacher 'fake/1', dagger-1 episodes 'embedded/"),
        ("test_dagger_rounds.OtherTeacher", "teacher_spec .*FakeTeacher.*, dagger-1 episodes .*OtherTeacher"),
    ],
)
def test_rollouts_that_another_teacher_would_label_are_refused_before_any_is_made(
    root: Path, tmp_path: Path, counted: type[Counted], class_path: str, differs: str
) -> None:
    collect = dataclasses.replace(ROLLOUTS, teacher={"class_path": class_path})
    line = rf"^\S+: teacher episodes have {differs}.*; one teacher only: set `collect.teacher` of callbacks"
    with pytest.raises(LitDistillError, match=line):
        fit_dagger(root, tmp_path, collect=collect)
    assert counted.seen == []


def test_rounds_of_an_earlier_fit_are_refused_with_both_remedies(
    root: Path, tmp_path: Path, counted: type[Counted]
) -> None:
    fit_dagger(root, tmp_path, rounds=2)
    with pytest.raises(
        LitDistillError, match=r"holds dagger-2 of .*--ckpt_path last.* discard \S+ --sources dagger`"
    ):
        fit_dagger(root, tmp_path)
    assert len(counted.seen) == 6


def test_a_fresh_fit_does_not_take_an_earlier_ones_kept_students_for_its_own(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "round-3.ckpt").write_bytes(b"of an earlier fit")
    fit_dagger(root, tmp_path, rounds=1)
    assert not (tmp_path / "round-3.ckpt").exists()


def change_trainer(**options: Any) -> Callable[[Path, Path], Any]:
    return lambda root, folder: fit_dagger(root, folder, trainer=options)


def save_late(root: Path, folder: Path) -> None:
    trainer = dagger_trainer(root, folder)
    trainer.checkpoint_callbacks[0]._save_on_train_epoch_end = None  # type: ignore[attr-defined]
    trainer.fit(tiny_module(), datamodule=dagger_data(root))


@pytest.mark.parametrize(
    ("attempt", "line"),
    [
        (change_trainer(max_steps=5), r"trainer\.max_epochs: give each round's epochs"),
        (change_trainer(max_epochs=-1), r"trainer\.max_epochs: give each round's epochs"),
        (change_trainer(check_val_every_n_epoch=3), r"trainer\.max_epochs: must be a multiple of .*, 3"),
        (
            change_trainer(reload_dataloaders_every_n_epochs=0),
            r"trainer\.reload_dataloaders_every_n_epochs: must",
        ),
        (save_late, r"trainer\.callbacks: rounds need a ModelCheckpoint .*`save_on_train_epoch_end: false`"),
    ],
)
def test_a_trainer_that_no_rounds_can_be_made_with_is_refused(
    root: Path, tmp_path: Path, counted: type[Counted], attempt: Callable[[Path, Path], Any], line: str
) -> None:
    with pytest.raises(LitDistillError, match=f"^{line}") as caught:
        attempt(root, tmp_path)
    assert "\n" not in str(caught.value)
    assert counted.seen == []


def test_a_training_without_rounds_is_not_gone_on_with(
    root: Path, tmp_path: Path, counted: type[Counted]
) -> None:
    trainer = tiny_trainer(tmp_path, max_epochs=1)
    trainer.fit(tiny_module(), dagger_data(root))
    trainer.save_checkpoint(tmp_path / "bc_last.ckpt")
    with pytest.raises(LitDistillError, match="^--ckpt_path: is of a training without DAggerRounds"):
        dagger_trainer(root, tmp_path).fit(
            tiny_module(), dagger_data(root), ckpt_path=tmp_path / "bc_last.ckpt", weights_only=True
        )
    assert counted.seen == []


@pytest.mark.parametrize("limit", ["limit_train_batches", "limit_val_batches"])
def test_rounds_without_batches_are_refused_before_anything_is_collected(
    root: Path, tmp_path: Path, counted: type[Counted], limit: str
) -> None:
    with pytest.raises(LitDistillError, match=f"^trainer.{limit}: "):
        fit_dagger(root, tmp_path, trainer={limit: 0})
    assert counted.seen == []


def test_the_rounds_need_other_data_to_add_to(root: Path, tmp_path: Path) -> None:
    fit_dagger(root, tmp_path, rounds=1)
    with pytest.raises(LitDistillError, match="^data.sources: must name teacher"):
        dagger_trainer(root, tmp_path).fit(tiny_module(), dagger_data(root, sources=["dagger-1"]))


def test_rounds_of_another_length_are_not_resumed(root: Path, tmp_path: Path) -> None:
    fit_dagger(root, tmp_path, rounds=1)
    with pytest.raises(LitDistillError, match=rf"rounds of this run have {EPOCHS} epochs, got {EPOCHS + 1}"):
        fit_dagger(root, tmp_path, resume=True, trainer={"max_epochs": EPOCHS + 1})


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"rounds": 0}, "rounds"),
        ({"betas": []}, "betas"),
        ({"betas": [0.5, 1.5]}, "betas"),
        ({"patience": -1}, "patience"),
        ({"patience": 2}, "patience"),
        ({"dev_episodes": 21}, "episodes"),
        ({"collect": dataclasses.replace(ROLLOUTS, noise=ActionNoise(0.5))}, "collect"),
        ({"collect": dataclasses.replace(ROLLOUTS, sample_actions=True)}, "collect"),
        ({"collect": dataclasses.replace(ROLLOUTS, beta=0.5)}, "collect"),
        ({"collect": dataclasses.replace(ROLLOUTS, student="x.ckpt")}, "collect"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(LitDistillError, match=f"^{key}: "):
        DAggerRounds(**{"init_from": "bc.ckpt", "collect": ROLLOUTS, **options})


def test_the_teacher_of_the_rollouts_is_the_one_that_was_asked_for(done: Any) -> None:
    root, *_ = done
    identity = Manifest.load(root / TASK).sources["dagger-2"].identity
    assert identity["teacher_spec"]["class_path"] == FAKE_TEACHER["class_path"]


def test_the_last_weights_of_each_round_can_be_kept_instead_of_those_of_the_lowest_loss(
    root: Path, tmp_path: Path
) -> None:
    """As conf/dagger_fast.yaml does."""
    fit_dagger(root, tmp_path, keep={"monitor": "step", "mode": "max"}, rounds=2)
    kept = [load_saved_student(tmp_path / f"{name}.ckpt").training for name in ("round-1", "round-2", "best")]
    assert [training["epoch"] for training in kept if training] == [
        EPOCHS - 1,
        2 * EPOCHS - 1,
        2 * EPOCHS - 1,
    ]
