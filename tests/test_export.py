"""`export`: a whole folder or none, only if it agrees with the checkpoint, and nobody's files replaced."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from exported_student import ROW, TASK, observation
from tiny_training import tiny_network

from lit_distill.behaviours import ExportedActor, StudentActor
from lit_distill.cli import main
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Protocol, evaluate
from lit_distill.export import check as check_module
from lit_distill.export import command, formats
from lit_distill.export.check import Check, largest_difference
from lit_distill.export.command import KNOWN_FILES, export
from lit_distill.export.formats import write_model
from lit_distill.networks.checkpoint import (
    checkpoint_sha256,
    load_saved_student,
    save_student,
    student_record,
    student_sha256,
)
from lit_distill.networks.student import StudentNetwork
from lit_distill.runtime import AsynchronousPolicy, Policy
from lit_distill.sim.fake import FakeSimulator
from lit_distill.sim.simulator import Simulator
from lit_distill.tasks import get_task

SIZE = 32
SUCCESSES = "closed loop 4/8, checkpoint 4/8"
EIGHT = Check(episodes=8)


@pytest.fixture(autouse=True)
def toy_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lit_distill.export.check.Simulator", FakeSimulator)
    monkeypatch.setattr(command, "write_model", written_once)


_written: dict[str, dict[str, bytes]] = {}


def written_once(network: StudentNetwork, task_row: int, format: Any, folder: Path) -> None:
    """`write_model`, which takes seconds, once for each student."""
    digest = hashlib.sha256(f"{network.arguments} {task_row} {format}".encode())
    for tensor in network.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    if digest.hexdigest() not in _written:
        before = set(folder.iterdir())
        write_model(network, task_row, format, folder)
        new = {path.name: path.read_bytes() for path in set(folder.iterdir()) - before}
        _written[digest.hexdigest()] = new
    for name, content in _written[digest.hexdigest()].items():
        (folder / name).write_bytes(content)


def diagonal_network(**arguments: Any) -> StudentNetwork:
    """Goes up the diagonal (with a little that depends on what it sees), which meets some of the marks."""
    network = tiny_network(image_size=SIZE, **arguments)
    with torch.no_grad():
        network.head[2].weight.mul_(0.1)
        network.head[2].bias.copy_(torch.tensor([1.5, 1.5, 0, 0, 0, 0, 0]).repeat(16))
    return network


@pytest.fixture
def checkpoint() -> str:
    save_student(diagonal_network(), "runs/best.ckpt", task=TASK, training={"algorithm": "bc", "seed": 3})
    return "runs/best.ckpt"


def said(caught: pytest.ExceptionInfo[LitDistillError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("format", "files"), [("onnx", {"model.onnx"}), ("openvino", {"model.xml", "model.bin"})]
)
def test_the_folder_is_a_model_repository_that_runs(
    checkpoint: str, format: Any, files: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", checkpoint, "--format", format, "--check.episodes", "8"]) == 0
    folder = Path(f"runs/best-{format}")
    assert {path.name for path in folder.iterdir()} == files | {
        "config.json",
        "model.safetensors",
        "README.md",
        "policy.py",
    }
    assert [path.name for path in Path("runs").iterdir() if path.name.startswith(".")] == []
    out = capsys.readouterr().out
    assert SUCCESSES in out and out.splitlines()[-1] == str(folder)
    seen = observation(1, SIZE)
    chunk = Policy.load(folder)(*seen)
    with torch.inference_mode():
        batch = [torch.from_numpy(array)[None] for array in seen]
        expected = load_saved_student(checkpoint).network(*batch, torch.tensor([ROW]))[0].clamp(-1, 1)
    np.testing.assert_allclose(chunk, expected, atol=1e-5)
    config = json.loads((folder / "config.json").read_text())
    assert config["check"]["largest_difference"] < config["check"]["tolerance"] == 1e-4
    assert config["check"]["checkpoint"] == config["check"]["exported"]
    assert config["checkpoint_sha256"] == checkpoint_sha256(checkpoint)
    for path in folder.iterdir():  # nothing says on which machine it was made
        for place in (Path.cwd(), Path(command.__file__).parents[2], Path(torch.__file__).parents[1]):
            assert str(place).encode() not in path.read_bytes(), path


def test_the_weights_are_the_checkpoints_and_can_be_loaded_like_one(checkpoint: str) -> None:
    folder = export(checkpoint)
    saved, ours = load_saved_student(folder), load_saved_student(checkpoint)
    assert (saved.task, saved.training) == (ours.task, ours.training)
    assert student_sha256(folder) == student_sha256(checkpoint)
    assert StudentActor(str(folder)).identity() == StudentActor(checkpoint).identity()
    assert ExportedActor(str(folder)).identity()["student_sha256"] == student_sha256(checkpoint)
    assert export(str(folder), output="again") == Path("again")


def test_nothing_of_awac_but_the_student_is_exported() -> None:
    network = diagonal_network()
    extra = {"log_std_head.weight": torch.zeros(112, 64), "critic.0.weight": torch.zeros(4, 4)}
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    record = student_record(network, TASK, {"algorithm": "awac"})
    torch.save({"state_dict": state | extra, "student": record, "optimizer_states": []}, "awac.ckpt")
    folder = export("awac.ckpt")
    from safetensors.torch import load_file

    assert set(load_file(folder / "model.safetensors")) == set(network.state_dict())
    assert "(awac)" in (folder / "README.md").read_text()


def test_the_card_has_front_matter_protocol_licence_and_what_was_checked(checkpoint: str) -> None:
    check = Check(episodes=8, execute_steps=4)
    card = (export(checkpoint, check=check) / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["license"] == "mit" and matter["pipeline_tag"] == "robotics" and "libero" in matter["tags"]
    assert text.startswith(f"# {TASK}\n> {get_task(TASK).language}\n")
    assert "Not measured: there is no results file of this checkpoint." in text
    for words in ("[32, 32, 3]", "20 Hz", "the first 4 actions", "upright", "home pose", "CC BY 4.0", "MIT"):
        assert words in text, words
    assert not re.search(r"\{\w*\}", text)


def result_of(checkpoint: str, **changes: Any) -> dict[str, Any]:
    """A results file of a checkpoint."""
    return {
        "study": "s",
        "task": TASK,
        "method": "bc",
        "split": "eval",
        "n": 50,
        "success": 48,
        "success_rate": 0.96,
        "ci95": [0.8654, 0.989],
        "complete": True,
        "commit": "abc123",
        "render": {"meshes": "original"},
        "config": {"checkpoint": checkpoint_sha256(checkpoint), "protocol": {"execute_steps": 8}},
    } | changes


def test_what_was_measured_of_this_checkpoint_is_on_the_card(checkpoint: str) -> None:
    result = result_of(checkpoint)
    root = Path("results/baskets")
    root.mkdir(parents=True)
    (root / "a.json").write_text(json.dumps(result))
    (root / "b.json").write_text(json.dumps(result | {"complete": False, "method": "incomplete"}))
    (root / "c.json").write_text(json.dumps(result | {"config": {"checkpoint": "f00"}, "method": "other"}))
    (root / "d.json").write_text("{")
    (root / "e.json").write_text(json.dumps(result | {"config": {"checkpoint": None}, "method": "none"}))
    card = (export(checkpoint, results="results") / "README.md").read_text()
    rows = [line for line in card.splitlines() if line.startswith("| bc |")]
    assert rows == ["| bc | eval | 48/50 = 0.96 [0.87, 0.99] | 8 | original | abc123 |"]
    assert not any(word in card for word in ("incomplete |", "other |", "none |", "Not measured"))


def measured_with(checkpoint: str, name: str, execute_steps: Any, meshes: Any, **changes: Any) -> None:
    """Write a results file below `results`."""
    config = {"checkpoint": checkpoint_sha256(checkpoint), "protocol": {"execute_steps": execute_steps}}
    result = result_of(checkpoint, config=config, render={"meshes": meshes}, **changes)
    Path("results").mkdir(exist_ok=True)
    Path("results", f"{name}.json").write_text(json.dumps(result))


def acted(folder: Path) -> tuple[int, str]:
    """What a folder says everywhere of how its student acts."""
    config, card = json.loads((folder / "config.json").read_text()), (folder / "README.md").read_text()
    steps, meshes = config["execute_steps"], config["check"]["meshes"]
    assert config["check"]["execute_steps"] == steps
    assert f"the first {steps} actions of a chunk" in card
    assert f"({steps} of 16 actions executed, {meshes} meshes)" in card
    return steps, meshes


def trained(protocol: dict[str, Any] | None = None, **data: Any) -> str:
    """A checkpoint whose record of training says how its data were made, and how it is to be evaluated."""
    training = {"algorithm": "awac", "data": data} | ({"protocol": protocol} if protocol else {})
    save_student(diagonal_network(), "trained.ckpt", task=TASK, training=training)
    return "trained.ckpt"


def test_the_student_acts_in_the_check_as_it_was_measured(
    checkpoint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_with(checkpoint, "a", 4, "original", n=20, success=20)
    measured_with(checkpoint, "b", 8, "simplified")
    asked: list[tuple[int, str]] = []
    run = check_module.run_episodes

    def noted(jobs: Any, workers: int) -> Any:
        asked.extend((job.execute_steps, job.meshes) for job in jobs)
        return run(jobs, workers)

    monkeypatch.setattr(check_module, "run_episodes", noted)
    folder = export(checkpoint, results="results", check=Check(episodes=1))
    assert acted(folder) == (8, "simplified") and set(asked) == {(8, "simplified")}
    with AsynchronousPolicy(Policy.load(folder)) as robot:
        assert robot.execute_steps == 8
    why = "as measured: s, bc, 50 eval states; its other results differ"
    assert capsys.readouterr().out.splitlines()[0] == f"check: execute_steps 8, meshes simplified ({why})"


def test_what_is_not_known_of_the_measurement_is_taken_from_the_record_of_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert acted(export(trained(execute_steps=4, meshes="simplified"))) == (4, "simplified")
    line = "check: execute_steps 4, meshes simplified (of the checkpoint's record of its training)"
    assert capsys.readouterr().out.splitlines()[0] == line
    checkpoint = trained(meshes="simplified")
    measured_with(checkpoint, "a", 8, None)
    assert acted(export(checkpoint, results="results")) == (8, "simplified")
    assert acted(export(trained(execute_steps=99, meshes=["original"]))) == (16, "original")


def test_before_it_is_tested_the_student_acts_as_its_run_would_test_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = trained({"execute_steps": 8, "meshes": "original"}, execute_steps=4, meshes="simplified")
    assert acted(export(checkpoint)) == (8, "original")
    line = "check: execute_steps 8, meshes original (as its training was to be tested)"
    assert capsys.readouterr().out.splitlines()[0] == line
    assert acted(export(trained({"execute_steps": "x"}, execute_steps=4))) == (4, "original")


def test_without_any_record_the_student_acts_as_in_the_paper_and_it_is_said(
    checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert acted(export(checkpoint)) == (16, "original")
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("check: execute_steps 16, meshes original (the default: no results file of it")


def test_options_win_over_what_was_measured(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    measured_with(checkpoint, "a", 8, "simplified")
    words = ["--results", "results", "--check.episodes", "1", "--check.execute_steps", "2"]
    assert main(["export", checkpoint, *words]) == 0
    assert acted(Path("runs/best-onnx")) == (2, "simplified")
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("check: execute_steps 2 (as given), meshes simplified (as measured: s, bc,")
    assert main(["export", checkpoint, *words, "--check.meshes", "original"]) == 0
    assert acted(Path("runs/best-onnx")) == (2, "original")


def test_a_folder_that_is_exported_again_keeps_how_its_student_acts(checkpoint: str) -> None:
    folder = export(checkpoint, check=Check(execute_steps=8, meshes="simplified"))
    teacher = result_of(checkpoint, method="teacher", config={"protocol": {"execute_steps": 4}})
    Path("results").mkdir()
    Path("results/teacher.json").write_text(json.dumps(teacher))
    again = export(str(folder), output="again", results="results")
    assert acted(again) == (8, "simplified")
    assert "Not measured: there is no results file" in (again / "README.md").read_text()


def other_student(change: float) -> Any:
    """`write_model` with a student whose actions differ by `change`."""

    def write(network: StudentNetwork, *arguments: Any) -> None:
        with torch.no_grad():
            different = StudentNetwork(**network.arguments)
            different.load_state_dict(network.state_dict())
            different.head[2].bias.add_(change)
        write_model(different, *arguments)

    return write


def test_a_file_that_differs_in_numbers_is_not_finished(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = export(checkpoint) / "README.md"
    before = kept.stat().st_mtime_ns
    for change in (2e-4, float("nan")):
        monkeypatch.setattr(command, "write_model", other_student(change))
        with pytest.raises(LitDistillError, match=r"differs by (0\.0002|nan) on \d+ observations") as caught:
            export(checkpoint)
        assert "at most 0.0001 in f32" in said(caught)
    assert kept.stat().st_mtime_ns == before
    assert {path.name for path in Path("runs").iterdir()} == {"best.ckpt", "best-onnx"}


def test_a_file_that_does_worse_in_closed_loop_is_not_finished(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "write_model", other_student(-1.5))
    monkeypatch.setattr(check_module, "TOLERANCES", {"f32": 10.0})
    with pytest.raises(LitDistillError, match="in closed loop the exported file succeeded in 0/8") as caught:
        export(checkpoint, check=EIGHT)
    assert "the checkpoint in 4/8" in said(caught)
    assert not Path("runs/best-onnx").exists()


def test_weights_that_are_not_the_checkpoints_are_not_finished(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_module, "student_sha256", lambda path: str(path))
    with pytest.raises(LitDistillError, match="model.safetensors does not hold its weights"):
        export(checkpoint)


def test_that_the_checkpoint_never_succeeds_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    save_student(tiny_network(image_size=SIZE), "still.ckpt", task=TASK)
    folder = export("still.ckpt", check=Check(episodes=1))
    assert "succeeds nowhere here, so the closed loop says nothing" in capsys.readouterr().out
    assert "So the closed loop says nothing here." in (folder / "README.md").read_text()


def test_a_difference_that_is_nan_is_the_largest(checkpoint: str, tmp_path: Path) -> None:
    folder = export(checkpoint)
    fine = FakeSimulator(get_task(TASK), SIZE).observe()
    assert largest_difference(StudentActor(checkpoint), ExportedActor(str(folder)), TASK, [fine]) < 1e-5
    assert np.isnan(largest_difference(StudentActor(checkpoint), ExportedActor(str(folder)), TASK, []))


def test_only_a_folder_that_export_made_is_replaced(checkpoint: str) -> None:
    folder = export(checkpoint, output="robot")
    assert export(checkpoint, output="robot", format="openvino") == folder
    assert not (folder / "model.onnx").exists()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(LitDistillError, match="robot: holds notes.txt, which `export` did not make"):
        export(checkpoint, output="robot")
    assert (folder / "notes.txt").read_text() == "mine"
    Path("thesis").mkdir()
    Path("thesis/README.md").write_text("mine")
    with pytest.raises(LitDistillError, match="thesis: holds README.md, which"):
        export(checkpoint, output="thesis")
    Path("file").write_text("mine")
    Path("link").symlink_to("thesis")
    for place in ("file", "link"):
        with pytest.raises(LitDistillError, match="is there and no folder"):
            export(checkpoint, output=place)
    assert Path("thesis/README.md").read_text() == Path("file").read_text() == "mine"
    Path("empty").mkdir()
    assert export(checkpoint, output="empty") == Path("empty")


def test_what_a_killed_export_left_is_in_nobodys_way(checkpoint: str) -> None:
    for name, age_s in ((".best-onnx.1a2b3c4d.tmp", 7200.0), (".best-onnx.5e6f7a8b.tmp", 60.0)):
        Path("runs", name).mkdir()
        Path("runs", name, "model.onnx").write_text("half")
        os.utime(Path("runs", name), (time.time() - age_s,) * 2)
    export(checkpoint)
    still_at_work = ".best-onnx.5e6f7a8b.tmp"
    assert {path.name for path in Path("runs").iterdir()} == {"best.ckpt", "best-onnx", still_at_work}
    assert {path.name for path in Path("runs/best-onnx").iterdir()} <= KNOWN_FILES


def test_a_folder_that_was_being_replaced_when_an_export_was_killed_comes_back(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export(checkpoint)
    made = (folder / "config.json").read_bytes()
    folder.rename(folder.with_name(".best-onnx.1a2b3c4d.old"))

    def disagree(*arguments: Any) -> None:
        raise LitDistillError("they do not agree")

    with monkeypatch.context() as patched:
        patched.setattr(command, "check_agreement", disagree)
        with pytest.raises(LitDistillError, match="they do not agree"):
            export(checkpoint)
    assert (folder / "config.json").read_bytes() == made


def test_a_folder_whose_policy_py_was_imported_is_still_replaced(checkpoint: str) -> None:
    folder = export(checkpoint)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "policy.cpython-311.pyc").write_bytes(b"")
    export(checkpoint)
    assert not (folder / "__pycache__").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "tflite"], "format: "),
        (["--precision", "bf16"], "precision: onnxruntime computes in f32; for bf16 --format openvino"),
        (["--check.episodes", "0"], "check.episodes: must be in 1..20, got 0"),
        (["--check.execute_steps", "17"], "execute_steps: must be in 1..16, got 17"),
        (["--check.meshes", "none"], "meshes: must be one of original, simplified, got 'none'"),
        (["--task", "custom_libero_object_milk"], "runs/best.ckpt: its student was trained on custom_libero"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(
    checkpoint: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--ckpt", checkpoint, *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_checkpoint_that_is_missing_or_of_no_task_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--ckpt", "none.ckpt"]) == 2
    assert "none.ckpt: no such checkpoint" in capsys.readouterr().err
    save_student(diagonal_network(), "any.ckpt")
    with pytest.raises(LitDistillError, match=r"any.ckpt: does not say for which task; add --task NAME"):
        export("any.ckpt")
    assert export("any.ckpt", task=TASK) == Path("any-onnx")


def test_missing_packages_are_named_with_their_remedy(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_distill.export.formats.importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        LitDistillError, match=r"needs onnx, onnxscript, onnxruntime, safetensors; .*\[export\]"
    ):
        export(checkpoint)


def test_an_exported_student_is_measured_by_the_one_evaluation(checkpoint: str) -> None:
    folder = str(export(checkpoint))
    protocol = Protocol(split="dev", episodes=8, image_size=SIZE, workers=0)
    ours, theirs = (
        evaluate(TASK, actor, protocol, "label", simulator=FakeSimulator)
        for actor in (StudentActor(checkpoint), ExportedActor(folder))
    )
    assert ours.episodes == theirs.episodes
    assert ours.counts["success"] == 4 and ours.episodes[0]["clipped"] > 0
    assert set(theirs.latency_ms) == {"p50", "p95", "p99"}
    with pytest.raises(LitDistillError, match="its student is for custom_libero_object_ketchup, not"):
        ExportedActor(folder).build(get_task("custom_libero_object_milk"))


@pytest.mark.parametrize(("precision", "able"), [("bf16", ["FP32", "FP16"]), ("f16", ["FP32", "BF16"])])
def test_a_precision_that_nothing_here_computes_in_is_refused(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, precision: Any, able: list[str]
) -> None:
    monkeypatch.setattr(formats, "processor_capabilities", lambda: able)
    with pytest.raises(
        LitDistillError, match=f"^precision: this processor computes in f32 where {precision}"
    ):
        export(checkpoint, format="openvino", precision=precision)
    assert not Path("runs/best-openvino").exists()


def test_bfloat16_has_a_tolerance_of_its_own(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "processor_capabilities", lambda: ["BF16"])  # or f32, which agrees, too
    folder = export(checkpoint, format="openvino", precision="bf16", check=EIGHT)
    config = json.loads((folder / "config.json").read_text())
    assert (config["precision"], config["check"]["tolerance"]) == ("bf16", 0.05)
    assert Policy.load(folder).config["precision"] == "bf16"


@pytest.mark.libero
def test_in_libero(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_distill.export.check.Simulator", Simulator)
    folder = export(checkpoint, check=Check(episodes=1, meshes="simplified"))
    episodes = json.loads((folder / "config.json").read_text())["check"]
    assert episodes["exported"][0]["outcome"] == episodes["checkpoint"][0]["outcome"] == "timeout"
    assert episodes["observations"] >= 2 * 17
