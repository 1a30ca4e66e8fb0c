"""Files that would make a file called `executed` if anything in them were run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from exported_student import TASK
from tiny_training import tiny_network

from lit_distill.networks.checkpoint import student_record

MARKER = Path("executed")


class Attack:
    """What a pickle of this does when it is read: a shell command."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {MARKER}",)


def _whole(**changes: Any) -> dict[str, Any]:
    """A student's checkpoint as Lightning's, but for the changes."""
    network = tiny_network(image_size=32)
    return {
        "epoch": 1,
        "global_step": 2,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"network.{name}": tensor for name, tensor in network.state_dict().items()},
        "student": student_record(network, TASK),
        "loops": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        **changes,
    }


def _torch(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def _zip_with_another_pickle() -> bytes:
    """A sound torch file whose table of contents was replaced."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_torch(_whole()))) as sound, zipfile.ZipFile(stream, "w") as changed:
        for name in sound.namelist():
            content = pickle.dumps(Attack(), 2) if name.endswith("data.pkl") else sound.read(name)
            changed.writestr(name, content)
    return stream.getvalue()


MALICIOUS: dict[str, Callable[[], bytes]] = {
    "pickle": lambda: pickle.dumps(Attack()),
    "pickle_2": lambda: pickle.dumps({"state_dict": {}, "student": Attack()}, 2),
    "zip": _zip_with_another_pickle,
    "torch_record": lambda: _torch(_whole(student=Attack())),
    "torch_weights": lambda: _torch(_whole(state_dict={"network.pixel_mean": Attack()})),
    "torch_hyperparameters": lambda: _torch(_whole(hyper_parameters={"lr": Attack()})),
    "torch_callbacks": lambda: _torch(_whole(callbacks={"x": Attack()})),
    "torch_legacy": lambda: _torch(_whole(student=Attack()), _use_new_zipfile_serialization=False),
}


def _huge(**arguments: Any) -> bytes:
    content = _whole()
    content["student"]["arguments"] = {**content["student"]["arguments"], **arguments}
    return _torch(content)


def _views_of_one_number() -> bytes:
    """Weights of 80 GB that take a few bytes on disk, of just the shapes that the record asks for."""
    content = _whole()
    hidden, state = 10**8, content["state_dict"]
    content["student"]["arguments"]["hidden"] = hidden
    for name, shape in (("0.weight", (hidden, 96)), ("0.bias", (hidden,)), ("2.weight", (112, hidden))):
        state[f"network.head.{name}"] = torch.zeros(1).expand(shape)
    return _torch(content)


IMPOSSIBLE: dict[str, Callable[[], bytes]] = {
    "huge_hidden": lambda: _huge(hidden=10**12),
    "beyond_numbers": lambda: _huge(hidden=10**40),
    "infinite": lambda: _huge(image_size=float("inf")),
    "huge_channels": lambda: _huge(channels=[8, 8, 8 * 10**9]),
    "many_channels": lambda: _huge(channels=[8] * 10**5),
    "text": lambda: _huge(hidden="os.system('x')"),
    "unknown_argument": lambda: _huge(__class__="x"),
    "no_tensors": lambda: _torch(_whole(state_dict={"network.pixel_mean": "text"})),
    "numbers_as_names": lambda: _torch(_whole(state_dict={1: torch.zeros(1)})),
    "wrong_shapes": lambda: _torch(_whole(state_dict={"network.pixel_mean": torch.zeros(7, 7)})),
    "views": _views_of_one_number,
}
