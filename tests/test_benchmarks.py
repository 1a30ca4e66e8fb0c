"""The benchmark scripts follow the package: each can be imported and says how to run it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_can_be_imported_and_its_first_lines_tell_its_command(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module(name)
    assert f"python experiments/benchmarks/{name}.py" in (module.__doc__ or "")
    assert callable(module.main)
