"""The benchmark beside other projects' policies: what of it needs no second environment."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import textwrap
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "benchmarks"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def main_side(on_the_path: None) -> ModuleType:
    return importlib.import_module("other_policies")


@pytest.fixture
def worker(on_the_path: None) -> ModuleType:
    return importlib.import_module("other_policies_worker")


@pytest.fixture
def apart(on_the_path: None) -> ModuleType:
    return importlib.import_module("other_environment")


def child(body: str) -> list[str]:
    """A command that runs the worker with other policies than the real ones."""
    setting = f"import os, sys\nsys.path.insert(0, {str(FOLDER)!r})\nimport other_policies_worker as worker\n"
    return [sys.executable, "-c", setting + textwrap.dedent(body) + "worker.main()\n", "32"]


TWO_POLICIES = """
def quick(size):
    print("a banner on stdout")
    os.system("echo another one, from a process")
    return {"quick": worker.Candidate(lambda: None, {"size": size})}

def missing(size):
    raise ImportError("no module\\nnamed robot")

worker.MAKERS = {"quick": quick, "missing": missing}
"""


# -- the protocol --------------------------------------------------------------------------------------------


def test_turns_are_taken_over_there_whatever_is_printed(main_side: ModuleType):
    with main_side.Elsewhere(child(TWO_POLICIES)) as elsewhere:
        assert elsewhere.about == {
            "quick": {"size": 32},
            "missing": "not available: ImportError: no module named robot",
        }
        assert elsewhere.policies == ["quick"]
        for calls in (3, 5):
            times = elsewhere.turn("quick", threads=1, calls=calls, seconds=60.0)
            assert len(times) == calls and all(0.0 <= ms < 1000.0 for ms in times)
        with pytest.raises(SystemExit, match="^missing: KeyError: 'missing'$"):
            elsewhere.turn("missing", threads=1, calls=1, seconds=1.0)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("raise SystemExit('no torch here')\n", "no torch here"),
        ("os._exit(7)\n", "exit status 7"),
    ],
)
def test_a_process_that_ended_is_told_in_one_line(main_side: ModuleType, body: str, line: str):
    with pytest.raises(SystemExit, match=f"^the other policies' process ended: {line}$"):
        main_side.Elsewhere(child(body))


def test_one_that_hangs_is_ended_and_told_in_one_line(main_side: ModuleType, monkeypatch: pytest.MonkeyPatch):
    hangs = (
        'import time\ndef sleep():\n    print("loading", file=sys.stderr, flush=True)\n    time.sleep(600)\n'
    )
    policy = 'worker.MAKERS = {"hangs": lambda size: {"hangs": worker.Candidate(sleep, {})}}\n'
    with main_side.Elsewhere(child(hangs + policy)) as elsewhere:
        monkeypatch.setattr(main_side, "PATIENCE_S", 2.0)  # only now: a busy machine starts a process slowly
        with pytest.raises(SystemExit, match="^the other policies' process: no answer in 3 s: loading$"):
            elsewhere.turn("hangs", threads=1, calls=1, seconds=1.0)


def test_an_interruption_does_not_wait_for_an_answer(main_side: ModuleType, monkeypatch: pytest.MonkeyPatch):
    class Interrupted:
        def readline(self) -> str:
            raise KeyboardInterrupt

    timers: list[Any] = []
    start = threading.Timer.start
    monkeypatch.setattr(threading.Timer, "start", lambda timer: (timers.append(timer), start(timer)))
    with main_side.Elsewhere(child(TWO_POLICIES)) as elsewhere:
        with monkeypatch.context() as patch:
            patch.setattr(elsewhere._process, "stdout", Interrupted())
            with pytest.raises(KeyboardInterrupt):
                elsewhere.turn("quick", threads=1, calls=1, seconds=1.0)
        assert all(timer.daemon and timer.finished.is_set() for timer in timers) and len(timers) == 2


def test_one_that_ends_in_a_turn_is_told_too(main_side: ModuleType):
    dies = 'worker.MAKERS = {"dies": lambda size: {"dies": worker.Candidate(lambda: os._exit(9), {})}}\n'
    with main_side.Elsewhere(child(dies)) as elsewhere:
        with pytest.raises(SystemExit, match="process ended"):
            elsewhere.turn("dies", threads=1, calls=1, seconds=1.0)
        with pytest.raises(SystemExit, match="process ended"):  # and so is the next request
            elsewhere.turn("dies", threads=1, calls=1, seconds=1.0)


def test_the_worker_sets_the_threads_and_survives_what_a_policy_raises(worker: ModuleType):
    def broken() -> None:
        raise ValueError("two\nlines")

    candidates = {"fine": worker.Candidate(int, {}), "broken": worker.Candidate(broken, {})}
    lines = [
        json.dumps({"policy": policy, "threads": threads, "calls": 2, "seconds": 9.0})
        for policy, threads in (("fine", 1), ("broken", 2), ("fine", 2))
    ]
    threads: list[int] = []
    answers = io.StringIO()
    worker.serve(candidates, io.StringIO("\n".join(lines)), answers, threads.append)
    first, second, third = map(json.loads, answers.getvalue().splitlines())
    assert (len(first["ms"]), second, len(third["ms"])) == (2, {"error": "ValueError: two lines"}, 2)
    assert threads == [1, 2, 2]


# -- times and ratios ----------------------------------------------------------------------------------------


def test_ratios_are_of_medians_theirs_over_ours(main_side: ModuleType):
    latency = {
        "torch_eager": {"p50": 1.0, "p95": 9.0},
        "openvino_bf16": {"p50": 0.32, "p95": 9.0},
        "act": {"p50": 56.0, "p95": 1.0},
        "robomimic_bc": {"p50": 31.0, "p95": 1.0},
    }
    assert main_side.times_ours(latency, ["act", "robomimic_bc"]) == {
        "act": {"torch_eager": 56.0, "openvino_bf16": 175.0},
        "robomimic_bc": {"torch_eager": 31.0, "openvino_bf16": 96.9},
    }
    assert main_side.times_ours({"torch_eager": {"p50": 1.0}}, []) == {}


def test_they_take_turns_and_the_percentiles_are_of_all_of_them(on_the_path: None):
    turns = importlib.import_module("turns")
    order: list[str] = []

    def taker(name: str, times: list[float]) -> Any:
        def take() -> list[float]:
            order.append(name)
            return [times.pop(0)]

        return take

    found = turns.alternate({"a": taker("a", [1.0, 2.0, 9.0]), "b": taker("b", [5.0, 5.0, 5.0])}, turns=3)
    assert order == ["a", "b"] * 3
    assert found["a"]["p50"] == 2.0 and found["b"] == {"p50": 5.0, "p95": 5.0, "p99": 5.0}


def test_a_turn_leaves_out_its_warm_up_and_ends_in_time(on_the_path: None, monkeypatch: pytest.MonkeyPatch):
    turns = importlib.import_module("turns")
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])
    cost = iter([0.050] * turns.WARM_UP + [0.001] * 1000)

    def infer() -> None:
        now[0] += next(cost)

    assert turns.turn(infer, calls=20, seconds=60.0) == pytest.approx([1.0] * 20)
    slow = [0.3] * 1000
    cost = iter(slow)
    assert turns.turn(infer, calls=20, seconds=1.0) == pytest.approx([300.0] * 3)  # the 2nd to 4th call


# -- the environment -----------------------------------------------------------------------------------------


def test_what_pip_says_when_it_fails_is_one_line_and_the_next_run_begins_anew(
    apart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    said = "WARNING: Retrying\nERROR: No matching distribution found for torch\nnotice: a new pip\n"
    fails = [sys.executable, "-c", f"import sys; print({said!r}); sys.exit(1)"]
    works, folder, run = [sys.executable, "-c", ""], tmp_path / "other", apart._run

    def pip(command: list[str], folder: Path, name: str) -> None:
        run(fails if name == "torch" else works, folder, name)

    monkeypatch.setattr(apart, "_run", pip)
    for _ in range(2):
        with pytest.raises(SystemExit) as caught:
            apart.environment(folder)
        message = str(caught.value)
        assert "\n" not in message and "(torch: ERROR: No matching distribution found for torch)" in message
        assert "cannot be made" in message and "a package index must be in reach" in message
    assert not apart._read_note(folder)["complete"]


def test_what_is_there_is_used_again_and_other_versions_are_not(
    apart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    commands: list[list[str]] = []

    def run(command: list[str], folder: Path, name: str) -> None:
        commands.append(command)
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / "python").touch()
        if name == "robomimic":
            raise SystemExit("no robomimic")

    monkeypatch.setattr(apart, "_run", run)
    python = apart.environment(tmp_path / "other")
    assert python == tmp_path / "other" / "bin" / "python"
    assert commands[0] == [sys.executable, "-m", "venv", str(tmp_path / "other")]
    for command in commands[1:]:  # by its own pip, which refuses to install outside of an environment
        assert command[:5] == [str(python), "-m", "pip", "install", "--require-virtualenv"]
    done = len(commands)
    assert apart.environment(tmp_path / "other") == python and len(commands) == done
    monkeypatch.setattr(apart, "STEPS", {**apart.STEPS, "lerobot": ["lerobot==0"]})
    apart.environment(tmp_path / "other")
    assert len(commands) > done


def test_a_step_that_act_needs_is_not_optional(
    apart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def run(command: list[str], folder: Path, name: str) -> None:
        if name == "lerobot":
            raise SystemExit("no lerobot")

    monkeypatch.setattr(apart, "_run", run)
    with pytest.raises(SystemExit, match="no lerobot"):
        apart.environment(tmp_path / "other")


def test_the_projects_own_environment_and_folders_of_others_are_never_touched(
    apart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own = Path(sys.prefix)
    link = tmp_path / "link"
    link.symlink_to(own)
    for folder in (own, own / "lib", own.parent, link):
        with pytest.raises(SystemExit, match="holds this project's own environment"):
            apart.environment(folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit, match="was not made by this script"):
        apart.environment(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_nothing_leads_the_other_python_to_this_projects_packages(
    apart: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONPATH", "/here")
    monkeypatch.setenv("PIP_TARGET", "/here")
    variables = apart.own_variables()
    assert "/here" not in variables.values() and variables["PATH"] == os.environ["PATH"]
