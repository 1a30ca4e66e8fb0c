import os
import pickle
from pathlib import Path

import pytest
import torch

from lit_distill.errors import LitDistillError
from lit_distill.networks.checkpoint import (
    check_there,
    checkpoint_sha256,
    load_saved_student,
    load_student,
    save_student,
    student_sha256,
)
from lit_distill.networks.student import StudentNetwork

ARGUMENTS = {"channels": [8, 8, 16], "image_size": 32, "hidden": 16, "pooling": "weighted_average"}


@pytest.fixture
def network():
    network = StudentNetwork(**ARGUMENTS)
    network.set_statistics([0.1] * 7, [0.2] * 7)
    return network


class Malicious:
    """Creates a file when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_saved_student_comes_back_whole(network, tmp_path):
    save_student(network, tmp_path / "deep" / "student.pt", task="milk", training={"lr": 1e-4})
    saved = load_saved_student(tmp_path / "deep" / "student.pt")
    assert saved.task == "milk"
    assert saved.training == {"lr": 1e-4}
    assert saved.network.arguments == network.arguments
    assert not saved.network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(saved.network.state_dict()[name], tensor), name
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["student.pt"]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(network, tmp_path):
    path = tmp_path / "student.pt"
    save_student(network, path, task="old")
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_student(network, path, training={"callable": lambda: None})
    assert load_saved_student(path).task == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["student.pt"]


def test_a_malicious_pickle_is_refused_and_never_runs(tmp_path):
    marker = tmp_path / "executed"
    path = tmp_path / "evil.ckpt"
    torch.save({"student": Malicious(marker), "state_dict": {}}, path)
    with pytest.raises(LitDistillError, match=r"evil\.ckpt: refused"):
        load_student(path)
    path.write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(LitDistillError, match=r"evil\.ckpt"):
        load_student(path)
    assert not marker.exists()


def test_a_missing_file_says_which_command_makes_one(tmp_path):
    with pytest.raises(LitDistillError, match=r"none\.ckpt: no such checkpoint.*lit_distill fit --config"):
        load_student(tmp_path / "none.ckpt")


@pytest.mark.parametrize("content", [b"", b"hello, world", b"PK\x03\x04 not really", bytes(range(256)) * 9])
def test_bytes_that_are_no_checkpoint_are_called_that(tmp_path, content):
    path = tmp_path / "junk.ckpt"
    path.write_bytes(content)
    with pytest.raises(LitDistillError, match=r"junk\.ckpt: not a checkpoint, or a damaged one"):
        load_student(path)


def test_a_truncated_checkpoint_is_called_damaged(network, tmp_path):
    path = tmp_path / "student.pt"
    save_student(network, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(LitDistillError, match="damaged"):
        load_student(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "epoch": 3}, "holds no student .keys: state_dict, epoch"),
        ([1, 2], "holds no student but a list"),
        ({"student": {"arguments": {"depth": 3}}, "state_dict": {}}, "does not fit this version.*depth"),
        ({"student": {}, "state_dict": {}}, "does not fit this version.*arguments"),
        ({"student": {"arguments": {"hidden": 0}}, "state_dict": {}}, "hidden: must be at least 1"),
        ({"student": {"arguments": ARGUMENTS}, "state_dict": {}}, "Missing key"),
        ({"student": {"arguments": [1]}, "state_dict": {}}, "does not fit this version"),
    ],
)
def test_a_checkpoint_without_a_fitting_student_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(LitDistillError, match=message) as caught:
        load_student(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_missing_checkpoint_is_named_with_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = "runs/bc_fast/custom_libero_object_milk/best.ckpt"
    with pytest.raises(
        LitDistillError, match=r"no such checkpoint; `python .* --config conf/bc.yaml` makes one"
    ):
        check_there(path)
    Path("conf").mkdir()
    Path("conf/bc_fast.yaml").touch()
    line = f"^{path}: no such checkpoint; `python .* conf/bc_fast.yaml --data.task custom_\\w+_milk` makes it"
    for missing in (path, Path(path)):
        with pytest.raises(LitDistillError, match=line):
            checkpoint_sha256(missing)
    Path(path).parent.mkdir(parents=True)
    Path(path).touch()
    check_there(path)


def test_a_students_hash_is_of_architecture_weights_and_statistics_and_nothing_else(tmp_path, network):
    def saved(name, **options):
        save_student(network, tmp_path / name, **options)
        return student_sha256(tmp_path / name)

    first = saved("a.ckpt")
    assert saved("b.ckpt", task="other", training={"lr": 1.0}) == first
    network.proprio_mean[3] += 1.0
    assert (second := saved("a.ckpt")) != first
    network.head[2].bias.data[5] += 1e-7
    assert saved("a.ckpt") not in (first, second)
    network = StudentNetwork(**(ARGUMENTS | {"num_tasks": 15, "strides": [4, 2, 2]}))
    other = StudentNetwork(**(ARGUMENTS | {"strides": [2, 2, 4]}))
    other.load_state_dict(network.state_dict(), strict=False)
    save_student(network, tmp_path / "c.ckpt")
    save_student(other, tmp_path / "d.ckpt")
    assert student_sha256(tmp_path / "c.ckpt") != student_sha256(tmp_path / "d.ckpt")
