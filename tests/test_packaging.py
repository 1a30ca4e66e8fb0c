"""What is installed and shipped: pins, package data, the packages' layers, the commands of the checkout."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PACKAGES = ("lit_distill", "datamodules", "callbacks")
REQUIREMENTS = [
    Requirement(line)
    for line in (*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"])
]
CONSTRAINTS = {
    canonicalize_name(requirement.name): requirement
    for line in (REPOSITORY / ".ci" / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
    for requirement in [Requirement(line)]
}


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_what_is_installed_meets_the_pins(requirement: Requirement) -> None:
    assert requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_the_tested_versions_meet_the_pins(requirement: Requirement) -> None:
    if requirement.name == "torch":  # only a range: whoever has a torch keeps it
        assert "torch" not in CONSTRAINTS
        return
    (tested,) = CONSTRAINTS[canonicalize_name(requirement.name)].specifier
    assert tested.operator == "=="
    assert requirement.specifier.contains(tested.version, prereleases=True)


def test_what_is_installed_are_the_tested_versions() -> None:
    installed = {canonicalize_name(dist.name): dist.version for dist in importlib.metadata.distributions()}
    others = {
        name: f"{installed[name]} instead of {requirement.specifier}"
        for name, requirement in CONSTRAINTS.items()
        if name in installed and not requirement.specifier.contains(installed[name], prereleases=True)
    }
    assert not others, "make setup, or bring .ci/constraints.txt up to date"


def test_every_pin_has_its_reason_beside_it() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    lines = text.partition("dependencies = [")[2].partition("\n]")[0].splitlines()
    assert not [line for line in lines if line.strip().startswith('"') and "#" not in line]


def test_every_data_file_of_the_package_is_shipped() -> None:
    patterns = {
        f"{package.replace('.', '/')}/{pattern}"
        for package, names in PROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in names
    }
    files = [
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    ]
    assert "lit_distill/defaults.yaml" in files
    assert sum(name.endswith(".bddl") for name in files) >= 9
    assert not [name for name in files if not any(fnmatch(name, pattern) for pattern in patterns)]


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]
    assert not [path for path in ("tests", "experiments") if (REPOSITORY / path / "__init__.py").exists()]


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("lit_distill", r"(callbacks|datamodules)(\.|$)"),
        (
            "lit_distill/algorithms",
            r"lit_distill\.(?!networks|schema|errors|algorithms)|mujoco|robosuite|libero",
        ),
        ("lit_distill/networks", r"lit_distill\.(sim|teachers|rollout|collection|evaluation|study)|mujoco"),
        ("datamodules", r"callbacks|lit_distill\.(sim|teachers|algorithms|networks)|mujoco"),
    ],
)
def test_imports_point_one_way(folder: str, forbidden: str) -> None:
    found = {
        f"{path.relative_to(REPOSITORY)}: {name}"
        for path in (REPOSITORY / folder).rglob("*.py")
        for name in imports(path)
        if re.match(forbidden, name)
    }
    assert not found


def test_nothing_but_the_simulators_folder_knows_the_simulators_libraries() -> None:
    allowed = (REPOSITORY / "lit_distill" / "sim", REPOSITORY / "lit_distill" / "teachers")
    found = {
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*.py")
        if not any(path.is_relative_to(folder) for folder in allowed)
        and any(re.match(r"(mujoco|robosuite|libero|OpenGL)(\.|$)", name) for name in imports(path))
    }
    assert not found


@pytest.mark.parametrize("script", [".ci/setup", ".ci/run"])
def test_the_scripts_are_executable_bash(script: str) -> None:
    assert os.access(REPOSITORY / script, os.X_OK)
    subprocess.run(["bash", "-n", REPOSITORY / script], check=True)


def test_make_lists_what_can_be_made() -> None:
    result = subprocess.run(["make", "-s", "-C", REPOSITORY], capture_output=True, text=True, check=True)
    for target in ("setup", "test", "demo", "lint", "clean"):
        assert re.search(rf"^  make {target} +\w", result.stdout, re.MULTILINE)


def copy_setup(folder: Path) -> None:
    for name in (".ci/setup", ".ci/constraints.txt", "pyproject.toml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)


STUB = """#!/bin/bash
# A Python that makes environments of itself, with a torch in them once pip was told to install one.
all="$*"
home=$(cd "$(dirname "$0")" && pwd)
case "$all" in
    *'%d.%d'*) cat "$home/version" ;;
    *'-m venv'*) rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$home/version" .venv/bin/
        echo venv >> log ;;
    *'m.version("torch")'*) cat "$home/torch" ;;
    -) test -e "$home/torch" ;;
    *broken*) exit 1 ;;
    *' install '*) echo "${all#*script-location }" >> log; touch "$home/torch" ;;
esac
"""


def test_setup_does_what_is_asked_for_and_nothing_twice(tmp_path: Path) -> None:
    copy_setup(tmp_path)
    for version in ("3.11", "3.12"):
        stub = tmp_path / version / "python"
        stub.parent.mkdir()
        stub.write_text(STUB)
        stub.chmod(0o755)
        (stub.parent / "version").write_text(version)

    def setup(python: str = "", torch: str = "") -> list[str]:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "TORCH")}
        environment |= {"PYTHON": f"{tmp_path}/{python}/python"} if python else {}
        environment |= {"TORCH": torch} if torch else {}
        subprocess.run(["bash", ".ci/setup"], cwd=tmp_path, env=environment, check=True, capture_output=True)
        return log.read_text().splitlines() if log.exists() else []

    constrained = "--constraint .ci/constraints.txt"
    others = [f"{constrained} --editable .[dev,export,serve]", f"{constrained} --no-deps openpi-client"]
    force = "--force-reinstall --no-deps"
    assert setup("3.11") == ["venv", "torch==2.13.0", *others]
    assert setup() == []
    assert setup("3.11") == []
    assert setup(torch="torch==2.14.1") == [f"{force} torch==2.14.1", "torch==2.14.1", *others]
    assert setup(torch="torch==2.14.1") == []
    assert setup() == []
    assert setup("3.12") == ["venv", "torch==2.13.0", *others]
    assert setup() == []
    (tmp_path / ".venv" / ".installed").unlink()
    assert setup() == others
    with pytest.raises(subprocess.CalledProcessError):
        setup(torch="broken")
    assert setup() == others


def test_setup_says_which_python_it_needs(tmp_path: Path) -> None:
    copy_setup(tmp_path)
    environment = {**os.environ, "PYTHON": "/no/python"}
    result = subprocess.run(
        ["bash", ".ci/setup"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.startswith("[setup] error: no Python >= 3.11, < 3.14 found (PYTHON=/no/python)")
    assert len(result.stderr.splitlines()) == 1
