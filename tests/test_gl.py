"""The choice of the GL backend, by what is installed and what the user says."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from lit_distill.errors import LitDistillError
from lit_distill.sim import gl

VARIABLES = ("MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID", "CUDA_VISIBLE_DEVICES", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)


def install(monkeypatch: pytest.MonkeyPatch, egl_devices: int, osmesa: bool) -> None:
    monkeypatch.setattr(gl, "egl_device_count", lambda: egl_devices)
    monkeypatch.setattr(gl, "osmesa_is_installed", lambda: osmesa)


def test_egl_is_taken_where_it_has_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, egl_devices=1, osmesa=True)
    assert gl.configure_gl() == "egl"
    assert os.environ["MUJOCO_GL"] == "egl"
    assert gl.configure_gl() == "egl"  # and again


def test_osmesa_is_taken_where_egl_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, egl_devices=0, osmesa=True)
    assert gl.configure_gl() == "osmesa"
    assert os.environ["MUJOCO_GL"] == "osmesa"


def test_without_any_the_error_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, egl_devices=0, osmesa=False)
    with pytest.raises(LitDistillError, match="apt-get install -y libegl1 libgl1-mesa-dri"):
        gl.configure_gl()


def test_the_users_choice_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, egl_devices=1, osmesa=True)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert gl.configure_gl() == "osmesa"


def test_a_choice_that_robosuite_would_replace_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(LitDistillError, match=r"MUJOCO_GL=glfw.*egl, osmesa, glx"):
        gl.configure_gl()


def test_a_users_egl_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, egl_devices=0, osmesa=True)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(LitDistillError, match=r"MUJOCO_GL=egl: no EGL device"):
        gl.configure_gl()


@pytest.mark.parametrize(
    ("devices", "visible", "rank", "expected"),
    [
        (1, None, "0", 0),
        (1, "", "0", 0),  # the GPUs are hidden: robosuite would fail on the empty list
        (4, None, "2", 2),
        (4, "2,3", "0", 2),
        (4, "2,3", "1", 3),
        (4, "3,1", "0", 3),  # in the user's order
        (2, None, "2", 0),  # more processes than devices
        (1, "2", "0", None),  # robosuite would look for an EGL device 2
        (2, "GPU-8f1c0e2b", "0", None),  # robosuite cannot read a UUID
        (12, "11", "0", 11),
    ],
)
def test_each_process_renders_on_a_device_that_robosuite_accepts(
    devices: int, visible: str | None, rank: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gl.egl_device(devices) == expected


def test_the_users_device_is_kept_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", "1")
    assert gl.egl_device(2) == 1
    with pytest.raises(LitDistillError, match="MUJOCO_EGL_DEVICE_ID=1: must be one of 0 "):
        gl.egl_device(1)


def test_devices_that_robosuite_refuses_leave_osmesa_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8f1c0e2b")
    install(monkeypatch, egl_devices=2, osmesa=True)
    assert gl.configure_gl() == "osmesa"
    monkeypatch.delenv("MUJOCO_GL")
    install(monkeypatch, egl_devices=2, osmesa=False)
    with pytest.raises(LitDistillError, match="CUDA_VISIBLE_DEVICES=GPU-8f1c0e2b"):
        gl.configure_gl()


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, *code.split(" ", 1)], capture_output=True, text=True, env=environment
    )


def test_this_machine_renders_a_frame() -> None:
    result = run("-m lit_distill.sim.render_probe")
    assert result.returncode == 0, result.stderr
    frame = json.loads(result.stdout)
    assert frame["backend"] in gl.BACKENDS
    assert 20 < frame["mean"] < 235


def test_a_backend_that_does_not_work_is_told_in_one_line() -> None:
    result = run("-m lit_distill.sim.render_probe", MUJOCO_GL="glfw")
    assert result.returncode == 1
    assert result.stderr.startswith("error: MUJOCO_GL=glfw")
    assert len(result.stderr.splitlines()) == 1


def test_robosuite_and_libero_are_imported_without_a_word_and_without_a_log_file() -> None:
    code = (
        "import logging; from lit_distill.sim.gl import configure_gl; configure_gl()\n"
        "import robosuite, libero.libero.envs\n"
        "import robosuite.macros as macros\n"
        "assert macros.FILE_LOGGING_LEVEL is None\n"
        "handlers = logging.getLogger('robosuite_logs').handlers\n"
        "assert not any(isinstance(handler, logging.FileHandler) for handler in handlers)"
    )
    result = run(f"-c {code}")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
