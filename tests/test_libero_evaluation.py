"""The callback: results, curves and videos of the student that a trainer holds; on the toy world."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import imageio.v2 as imageio
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import TinyDataModule, tiny_module, tiny_network, tiny_trainer

import callbacks.libero_evaluation
from callbacks.libero_evaluation import LiberoEvaluation
from callbacks.weight_averaging import ExponentialMovingAverage
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Evaluation, Protocol, evaluate
from lit_distill.networks.checkpoint import load_saved_student, load_student
from lit_distill.query_log import add_cost
from lit_distill.ranks import Ranks
from lit_distill.results import read_result
from lit_distill.sim.fake import FakeSimulator
from lit_distill.teachers.cost import QueryCost

TASK = "custom_libero_object_milk"
PROTOCOL = Protocol(split="dev", episodes=2, image_size=16, workers=0, videos=1)


class Data(TinyDataModule):
    """The tiny data of a task in the table."""

    task = TASK
    folder: Path
    sources: ClassVar[list[str]] = []

    def describe(self) -> dict[str, int]:
        return {"train_samples": 6}


class OtherData(Data):
    """Data of another task."""

    task = "custom_libero_object_butter"


@pytest.fixture(autouse=True)
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Protocol, Evaluation, Any]]:
    """Evaluate on the toy world; notes each protocol, what came out and the student's weights."""
    seen: list[tuple[Protocol, Evaluation, Any]] = []

    def on_fakes(task: str, actor: Any, protocol: Protocol, label: str, ranks: Ranks) -> Evaluation:
        network = load_student(actor.checkpoint)
        evaluation = functools.partial(evaluate, simulator=FakeSimulator)(task, actor, protocol, label, ranks)
        seen.append((protocol, evaluation, network.state_dict()))
        return evaluation

    monkeypatch.setattr(callbacks.libero_evaluation, "evaluate", on_fakes)
    return seen


def trainer(root: Path, *more: Any, **options: Any) -> Trainer:
    logger = TensorBoardLogger(root, name="run")
    return tiny_trainer(root, logger=logger, callbacks=list(more), **options)


def events(root: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(root / "run" / "version_0"), size_guidance={"images": 0})
    accumulator.Reload()
    return accumulator


def test_a_test_run_writes_result_curves_and_videos(tmp_path: Path):
    callback = LiberoEvaluation(PROTOCOL, study="tiny", results=str(tmp_path / "results"))
    trainer(tmp_path, callback).test(tiny_module(), Data(), verbose=False)

    result = read_result(tmp_path / "results" / "tiny" / f"{TASK}-bc-dev2.json")
    assert (result["n"], result["task"], result["method"]) == (2, TASK, "bc")
    assert result["success"] + result["failure"] + result["timeout"] == 2
    assert result["config"]["data"] == {"train_samples": 6}
    assert result["config"]["parameters"] == tiny_network().parameter_count
    assert result["config"]["network"] == tiny_network().arguments

    seen = events(tmp_path)
    for tag in (
        "success_rate",
        "ci95_low",
        "ci95_high",
        "steps_mean",
        "success",
        "failure",
        "timeout",
        "error",
    ):
        assert f"eval/{tag}" in seen.Tags()["scalars"]
    assert seen.Scalars("eval/timeout")[0].value == result["timeout"]
    assert seen.Scalars("eval/ci95_high")[0].value == pytest.approx(result["ci95"][1])
    assert seen.Scalars("latency/p50_ms")[0].value == pytest.approx(result["latency_ms"]["p50"])

    (picture,) = seen.Images("eval/dev/0")
    assert picture.encoded_image_string.startswith(b"GIF8")
    assert (picture.height, picture.width) == (16, 32)
    outcome = result["episodes"][0]["outcome"]
    video = tmp_path / "run" / "version_0" / "videos" / "step0" / f"dev-0-{outcome}.mp4"
    with imageio.get_reader(video) as reader:
        assert len(list(reader.iter_data())) == 1 + result["episodes"][0]["steps"] // 4


def test_in_fit_the_validated_weights_are_evaluated_every_so_many_epochs(
    tmp_path: Path, evaluations: list[tuple[Protocol, Evaluation, Any]]
):
    callback = LiberoEvaluation(PROTOCOL, every_n_epochs=2, dev_episodes=1)
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    average = ExponentialMovingAverage(0.9)
    fit = trainer(tmp_path, average, callback, keep, max_epochs=4, enable_checkpointing=True)
    fit.fit(tiny_module(), Data())
    assert [(protocol.split, protocol.episodes) for protocol, _, _ in evaluations] == [("dev", 1)] * 2
    assert {"eval/success_rate", "eval/timeout"} <= fit.callback_metrics.keys()
    assert [event.step for event in events(tmp_path).Scalars("eval/success_rate")] == [5, 11]
    assert not (tmp_path / "results").exists()
    for epoch, (_, _, weights) in zip((1, 3), evaluations, strict=True):
        kept = torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=True)["state_dict"]
        for name, tensor in weights.items():
            torch.testing.assert_close(kept[f"network.{name}"], tensor, rtol=0, atol=0)  # the averaged ones


def test_by_default_fit_evaluates_nothing(tmp_path: Path, evaluations: list[Any]):
    trainer(tmp_path, LiberoEvaluation(PROTOCOL), max_epochs=2).fit(tiny_module(), Data())
    assert evaluations == []


def trained(root: Path) -> str:
    """A checkpoint of a student trained on TASK."""
    trainer(root, ModelCheckpoint(root, filename="last"), max_epochs=1, enable_checkpointing=True).fit(
        tiny_module(), Data()
    )
    return str(root / "last.ckpt")


def test_the_result_says_how_the_student_was_trained(tmp_path: Path):
    path = trained(tmp_path)
    callback = LiberoEvaluation(PROTOCOL, method="bc2", study="tiny", results=str(tmp_path / "results"))
    trainer(tmp_path, callback).test(tiny_module(), Data(), ckpt_path=path, verbose=False, weights_only=True)
    result = read_result(tmp_path / "results" / "tiny" / f"{TASK}-bc2-dev2.json")
    assert result["train_seed"] == 0
    assert (result["config"]["training"]["algorithm"], result["config"]["training"]["lr"]) == ("bc", 1e-2)


def test_the_checkpoint_says_how_its_student_is_to_act(tmp_path: Path):
    saving = ModelCheckpoint(tmp_path, filename="last")
    protocol = replace(PROTOCOL, execute_steps=4, meshes="simplified")
    fit = trainer(tmp_path, LiberoEvaluation(protocol), saving, max_epochs=1, enable_checkpointing=True)
    fit.fit(tiny_module(), Data())
    record = load_saved_student(tmp_path / "last.ckpt").training
    assert record is not None and record["protocol"] == {"execute_steps": 4, "meshes": "simplified"}


@pytest.mark.parametrize(
    ("sources", "training", "known"),
    [
        (["teacher"], {}, {"teacher": 5}),
        (["teacher", "dagger"], {}, {"teacher": 5, "dagger-1": 7, "dagger-2": 9}),
        (["teacher"], {"sources": ["teacher", "dagger-1"]}, {"teacher": 5, "dagger-1": 7}),  # DAgger's own
        (["student"], {}, {}),  # nobody was asked
    ],
)
def test_the_result_says_what_asking_for_its_data_cost(
    tmp_path: Path, sources: list[str], training: dict[str, Any], known: dict[str, int]
):
    data = Data()
    data.folder, data.sources = tmp_path / "data", sources
    data.folder.mkdir()
    for source, queries in (("teacher", 5), ("dagger-1", 7), ("dagger-2", 9), ("student", 0)):
        add_cost(data.folder, source, QueryCost(queries=queries, seconds=2.0))
    callback = LiberoEvaluation(PROTOCOL, study="tiny", results=str(tmp_path / "results"))
    callback._training = training
    trainer(tmp_path, callback).test(tiny_module(), data, verbose=False)
    result = read_result(tmp_path / "results" / "tiny" / f"{TASK}-bc-dev2.json")
    found = result.get("data_queries", {})
    assert {source: cost["queries"] for source, cost in found.items()} == known
    assert all(cost["seconds"] == 2.0 for cost in found.values())
    assert "teacher_queries" not in result


def test_another_tasks_student_is_refused(tmp_path: Path, evaluations: list[Any]):
    path = trained(tmp_path)
    callback = LiberoEvaluation(PROTOCOL, results=str(tmp_path / "results"))
    with pytest.raises(LitDistillError, match=f"trained on {TASK}, but data.task is {OtherData.task}"):
        trainer(tmp_path, callback).test(
            tiny_module(), OtherData(), ckpt_path=path, verbose=False, weights_only=True
        )
    assert evaluations == []
    assert not (tmp_path / "results").exists()


def test_weights_that_are_not_finite_fail_every_episode(tmp_path: Path):
    module = tiny_module()
    for parameter in module.network.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    callback = LiberoEvaluation(PROTOCOL, study="tiny", results=str(tmp_path / "results"))
    trainer(tmp_path, callback).test(module, Data(), verbose=False)
    result = read_result(tmp_path / "results" / "tiny" / f"{TASK}-bc-dev2.json")
    assert (result["failure"], result["success"], result["timeout"], result["error"]) == (2, 0, 0, 0)
    assert [episode["steps"] for episode in result["episodes"]] == [0, 0]


def test_options_that_cannot_be_right_are_refused():
    with pytest.raises(LitDistillError, match="^every_n_epochs: "):
        LiberoEvaluation(PROTOCOL, every_n_epochs=-1)
    with pytest.raises(LitDistillError, match="^episodes: split 'dev' has 20 states"):
        LiberoEvaluation(PROTOCOL, dev_episodes=21)


def test_a_test_run_is_a_row_of_the_hparams_tab(tmp_path: Path):
    module = tiny_module()
    fit = trainer(tmp_path / "fit", max_epochs=1, enable_checkpointing=False)
    fit.fit(module, Data())
    fit.save_checkpoint(tmp_path / "student.ckpt")
    callback = LiberoEvaluation(PROTOCOL, method="bc", study="tiny", results=str(tmp_path / "results"))
    ckpt = str(tmp_path / "student.ckpt")
    trainer(tmp_path, callback).test(tiny_module(), Data(), verbose=False, ckpt_path=ckpt)

    seen = events(tmp_path)
    assert {"final/success_rate", "final/steps_mean"} <= set(seen.Tags()["scalars"])
    start = seen.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    for hyperparameter in (b"method", b"algorithm", b"lr", b"shift_pixels"):
        assert hyperparameter in start
