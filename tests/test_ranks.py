"""Processes of one run: one speaks, all share the episodes, and nobody runs into a time limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from lit_distill.behaviours import TeacherActor, TeacherSpec
from lit_distill.collection import CollectSettings, collect_rollouts
from lit_distill.errors import LitDistillError
from lit_distill.evaluation import Protocol, evaluate
from lit_distill.ranks import Ranks
from lit_distill.schema import Observation
from lit_distill.shards import verify
from lit_distill.sim.fake import FakeSimulator
from lit_distill.sim.states import InitialState
from lit_distill.tasks import get_task

TASK = "custom_libero_object_milk"
SPEC = TeacherSpec("lit_distill.sim.fake.FakeTeacher")
SETTINGS = CollectSettings(5, {"class_path": SPEC.class_path}, image_size=16, workers=0)
PROTOCOL = Protocol(split="dev", episodes=5, image_size=16, workers=0)
LIMIT = timedelta(seconds=2)
"""Of a collective of the run."""


class Noted(FakeSimulator):
    """Writes down the states that it starts from."""

    seen: list[str] = []  # noqa: RUF012 (of this process)

    def reset(self, initial_state: InitialState) -> Observation:
        self.seen.append(initial_state.name)
        return super().reset(initial_state)


class SlowSimulator(Noted):
    """Takes longer for one episode than a collective may last."""

    def reset(self, initial_state: InitialState) -> Observation:
        if initial_state.name == "teacher/0":
            time.sleep(1.5 * LIMIT.total_seconds())
        return super().reset(initial_state)


class NoSecond(FakeSimulator):
    """Bad input, which only the second process meets."""

    def reset(self, initial_state: InitialState) -> Observation:
        if initial_state.name.endswith("/1"):
            raise LitDistillError("state 1: cannot be")
        return super().reset(initial_state)


def refuse() -> None:
    raise LitDistillError("data: refused")


def in_two(folder: Path, rank: int) -> dict[str, Any]:
    """What one of two processes does, and what it saw."""
    seen: dict[str, Any] = {}
    ranks = Ranks.of_this_run()
    seen["rank"], seen["size"] = ranks.rank, ranks.size
    seen["first"] = ranks.first(lambda: f"said by {rank}")
    seen["gathered"] = ranks.gather(rank)
    for name, work in (
        ("refused", lambda: ranks.first(refuse)),
        ("bad", lambda: evaluate(TASK, TeacherActor(SPEC), PROTOCOL, "bad", ranks, simulator=NoSecond)),
    ):
        try:
            work()
        except LitDistillError as error:
            seen[name] = str(error)
    started = time.monotonic()
    collect_rollouts(
        TASK, str(folder), SETTINGS.rollouts(get_task(TASK)), simulator=SlowSimulator, ranks=ranks
    )
    seen["seconds"] = time.monotonic() - started
    seen["collected"] = list(Noted.seen)
    Noted.seen.clear()
    evaluation = evaluate(TASK, TeacherActor(SPEC), PROTOCOL, "all", ranks, simulator=Noted)
    seen["episodes"], seen["ran"] = evaluation.episodes, Noted.seen
    return seen


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The data folder, and what each of two processes saw."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), str(rank)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return folder, [json.loads(text.splitlines()[-1]) for text in said]


def test_one_process_alone_needs_nobody():
    ranks = Ranks.of_this_run()
    assert (ranks, ranks.is_first) == (Ranks(0, 1), True)
    assert ranks.first(lambda: 5) == 5
    assert ranks.gather("own") == ["own"]
    with pytest.raises(LitDistillError, match="^data: refused$"):
        ranks.first(refuse)


def test_what_the_first_process_does_all_know_and_it_knows_what_all_have(two: tuple[Path, list[Any]]):
    _, seen = two
    assert [(s["rank"], s["size"]) for s in seen] == [(0, 2), (1, 2)]
    assert [s["first"] for s in seen] == ["said by 0"] * 2
    assert [s["gathered"] for s in seen] == [[0, 1], []]


def test_an_error_in_one_process_is_the_same_line_in_all(two: tuple[Path, list[Any]]):
    _, seen = two
    assert [s["refused"] for s in seen] == ["data: refused"] * 2
    assert [s["bad"] for s in seen] == ["state 1: cannot be"] * 2


def test_episodes_are_shared_and_stored_as_by_one_process_however_long_they_take(
    tmp_path: Path, two: tuple[Path, list[Any]]
):
    folder, seen = two
    assert min(s["seconds"] for s in seen) > LIMIT.total_seconds()  # nobody went ahead alone
    shares = [["teacher/0", "teacher/2", "teacher/4"], ["teacher/1", "teacher/3"]]
    assert [s["collected"] for s in seen] == shares
    alone = collect_rollouts(TASK, str(tmp_path), SETTINGS.rollouts(get_task(TASK)), simulator=FakeSimulator)
    assert [report.episodes for report in verify(folder / TASK)] == [5]
    for path in alone.glob("[!.]*"):
        if path.name != "queries.json":  # times
            assert (folder / TASK / path.name).read_bytes() == path.read_bytes()


def test_an_evaluation_gives_all_processes_what_it_gives_one(two: tuple[Path, list[Any]]):
    _, seen = two
    alone = evaluate(TASK, TeacherActor(SPEC), PROTOCOL, "alone", simulator=FakeSimulator)
    assert [s["episodes"] for s in seen] == [alone.episodes] * 2
    assert [s["ran"] for s in seen] == [["dev/0", "dev/2", "dev/4"], ["dev/1", "dev/3"]]


if __name__ == "__main__":
    data, number = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group("gloo", f"file://{data}/meet", timeout=LIMIT, rank=number, world_size=2)
    print(json.dumps(in_two(data, number)))
    dist.destroy_process_group()
