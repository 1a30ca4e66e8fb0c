"""Which code a result is from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lit_distill import __version__, results


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with code and a result, both committed; the package is taken to lie in it."""
    for name in ("package/results.py", "experiments/results/paper/a.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1")
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for command in (("init", "-q"), ("add", "-A"), (*who, "commit", "-qm", "first")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(results, "__file__", str(tmp_path / "package" / "results.py"))
    return tmp_path


def test_changed_code_is_marked_and_a_result_that_is_measured_again_is_not(checkout: Path):
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    head = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
    assert results.commit() == head
    (checkout / "experiments/results/paper/a.json").write_text("2")
    (checkout / "notes.txt").write_text("untracked")
    assert results.commit() == head
    (checkout / "package/results.py").write_text("2")
    assert results.commit() == f"{head}+"


def test_outside_a_repository_it_is_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(results, "__file__", str(tmp_path / "results.py"))
    assert results.commit() == f"lit_distill {__version__}"
