"""The benchmark scripts follow the package: each can be imported and says how to run it."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[1] / "experiments" / "benchmarks"
PARTS = {"common", "encode_everything", "turns", "other_environment", "other_policies_worker"}
"""Files that are used by the scripts, or by a configuration."""
SCRIPTS = sorted({path.stem for path in FOLDER.glob("*.py")} - PARTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_can_be_imported_and_its_first_lines_tell_its_command(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module(name)
    assert f"python experiments/benchmarks/{name}.py" in (module.__doc__ or "")
    assert callable(module.main)


def test_the_formats_whose_latency_is_compared_give_the_same_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(FOLDER))
    latency = importlib.import_module("latency")
    bench = latency.Bench(tmp_path, image_size=36)
    formats = bench.torch_formats("bc_fast") | bench.deployed("bc_fast", 1)
    assert {"torch_eager", "torchscript", "onnxruntime_f32", "openvino_f32"} <= formats.keys()
    with torch.inference_mode():
        chunks = {name: np.clip(infer(), -1.0, 1.0) for name, infer in formats.items()}
    for name, chunk in chunks.items():
        assert chunk.shape == (16, 7)
        tolerance = 0.05 if "bf16" in name else 1e-4
        np.testing.assert_allclose(chunk, chunks["torch_eager"], atol=tolerance, err_msg=name)
    assert np.ptp(chunks["torch_eager"]) > 0.0


def test_the_memory_of_every_format_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.syspath_prepend(str(FOLDER))
    latency = importlib.import_module("latency")
    bench = latency.Bench(tmp_path, image_size=36)
    monkeypatch.setattr(bench, "folder", lambda shape, format: tmp_path / format)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    programs = bench.memory_programs("bc_fast")
    deployed = {name for name, _, _ in latency.deployed_formats()}
    assert programs.keys() == bench.torch_formats("bc_fast").keys() | deployed
    figures = latency._run(programs["torchscript"])
    assert figures.keys() == {"before", "loading", "running"} and figures["loading"] > 1.0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 3 * 2**20)
    ran: list[str] = []
    monkeypatch.setattr(latency.Bench, "cuda_graph", lambda bench, shape: lambda: ran.append(shape))
    exec(bench.memory_programs("bc_fast")["cuda_graph"], {})
    assert capsys.readouterr().out == '{"gpu": 3.0}\n' and set(ran) == {"bc_fast"}
