"""The cache of compiled models: the same model, quicker; whatever is wrong with it is only slow."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from lit_distill.sim import compiled
from lit_distill.sim.compiled import compiled_model

XML = """
<mujoco>
  <asset><mesh name="wedge" file="{mesh}"/></asset>
  <worldbody>
    <geom type="plane" size="1 1 .1"/>
    <body pos="0 0 .3" euler="20 30 40"><freejoint/><geom type="mesh" mesh="wedge"/></body>
  </worldbody>
</mujoco>
"""
WEDGE = "v 0 0 0\nv .2 0 0\nv 0 .1 0\nv 0 0 .1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


@pytest.fixture
def xml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "wedge.obj").write_text(WEDGE)
    return XML.format(mesh=tmp_path / "wedge.obj")


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The XMLs that were compiled, not read."""
    seen: list[str] = []
    compile_ = mujoco.MjModel.from_xml_string
    monkeypatch.setattr(
        mujoco.MjModel, "from_xml_string", staticmethod(lambda xml: (seen.append(xml), compile_(xml))[1])
    )
    return seen


def files() -> list[Path]:
    return sorted(compiled.cache_folder().iterdir())


def fall(model: mujoco.MjModel) -> bytes:
    """Where the wedge comes to lie."""
    data = mujoco.MjData(model)
    for _ in range(300):
        mujoco.mj_step(model, data)
    return data.qpos.tobytes() + data.qvel.tobytes()


def test_a_model_is_compiled_once_and_then_read(xml: str, compilations: list[str]):
    first, second = compiled_model(xml), compiled_model(xml)
    assert compilations == [xml]
    assert fall(first) == fall(second)
    assert first.mesh("wedge").id == second.mesh("wedge").id == 0
    assert [path.suffix for path in files()] == [".mjb"]


def test_whatever_the_model_depends_on_makes_another(
    xml: str, compilations: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    compiled_model(xml)
    compiled_model(xml.replace("0 0 .3", "0 0 .4"))
    (tmp_path / "wedge.obj").write_text(WEDGE.replace(".2 0 0", ".3 0 0"))
    os.utime(tmp_path / "wedge.obj", (1, 1))  # MuJoCo's own cache, in this process, looks at seconds
    wide = compiled_model(xml)
    assert np.linalg.norm(wide.mesh_vert[:, None] - wide.mesh_vert, axis=-1).max() > 0.3
    os.utime(tmp_path / "wedge.obj", ns=(0, 0))
    compiled_model(xml)
    monkeypatch.setattr(mujoco, "__version__", "9.9.9")
    compiled_model(xml)
    assert len(compilations) == len(files()) == 5


@pytest.mark.parametrize("damage", ["empty", "truncated", "one bit", "something else"])
def test_a_damaged_file_is_compiled_again_and_said_in_one_line(
    xml: str, compilations: list[str], damage: str, caplog: pytest.LogCaptureFixture
):
    expected = fall(compiled_model(xml))
    (path,) = files()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    changed = {"empty": b"", "truncated": content[:-9], "one bit": content, "something else": b"x" * 999}
    path.write_bytes(changed[damage])
    caplog.set_level(logging.WARNING)
    assert fall(compiled_model(xml)) == expected
    assert [record.getMessage() for record in caplog.records] == [f"{path}: damaged, compiled again"]
    compiled_model(xml)
    assert len(compilations) == 2


def test_a_folder_that_cannot_be_written_is_told_and_no_reason_to_stop(
    xml: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "cache").write_text("a file where the folder should be")
    caplog.set_level(logging.WARNING)
    assert compiled_model(xml).nmesh == 1
    (record,) = caplog.records
    assert "compiled models cannot be kept here" in record.getMessage()


def test_a_file_that_another_process_deletes_meanwhile_is_compiled_again(
    xml: str, compilations: list[str], monkeypatch: pytest.MonkeyPatch
):
    expected = fall(compiled_model(xml))
    checksum = compiled._checksum

    def delete(path: Path) -> str:
        found = checksum(path)
        path.unlink()
        return found

    for deleting in (delete, lambda path: checksum(path.with_name("gone"))):
        monkeypatch.setattr(compiled, "_checksum", deleting)
        assert fall(compiled_model(xml)) == expected
    assert len(compilations) == 3


def test_several_processes_at_once_get_whole_models(xml: str, tmp_path: Path):
    program = f"from lit_distill.sim.compiled import *; print(compiled_model({xml!r}).nmesh)"
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert [process.communicate()[0] for process in running] == ["1\n"] * 4
    assert len(files()) == 1


def test_what_was_not_used_for_longest_makes_room(
    xml: str, compilations: list[str], monkeypatch: pytest.MonkeyPatch
):
    xmls = [xml.replace("0 0 .3", f"0 0 .{height}") for height in (3, 4, 5)]
    for age, one in enumerate(xmls[:2]):
        compiled_model(one)
        os.utime(max(files(), key=lambda path: path.stat().st_mtime), (age, age))
    (compiled.cache_folder() / "left-over.tmp").write_bytes(bytes(9))
    os.utime(compiled.cache_folder() / "left-over.tmp", (0, 0))
    compiled_model(xmls[0])  # used again, so no longer the oldest
    monkeypatch.setattr(compiled, "LIMIT_BYTES", int(2.5 * files()[0].stat().st_size))
    compiled_model(xmls[2])
    assert [path.suffix for path in files()] == [".mjb"] * 2
    compilations.clear()
    compiled_model(xmls[0])
    compiled_model(xmls[1])
    assert compilations == [xmls[1]]


@pytest.mark.parametrize("refused", ["utime", "checksum", "unlink"])
def test_a_cache_that_is_somebody_elses_is_read_or_passed_over(
    xml: str, compilations: list[str], monkeypatch: pytest.MonkeyPatch, refused: str
):
    """Read-only file systems say EROFS, files of others EPERM."""
    expected = fall(compiled_model(xml))

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    if refused == "utime":
        monkeypatch.setattr(os, "utime", refuse)
    else:
        monkeypatch.setattr(
            compiled, "_checksum", refuse if refused == "checksum" else lambda path: "damaged"
        )
        monkeypatch.setattr(Path, "unlink", refuse)
        monkeypatch.setattr(compiled, "_store", lambda model, key: None)
    assert fall(compiled_model(xml)) == expected
    assert len(compilations) == (1 if refused == "utime" else 2)
