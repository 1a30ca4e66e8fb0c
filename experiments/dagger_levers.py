"""What each lever of DAgger gives on one task: labels, looking again, rounds, updates, pixels, capacity.

    python experiments/dagger_levers.py [--task custom_libero_10_book_back_caddy] [--seeds 0 1]

Each lever is conf/dagger_fast.yaml, or it and conf/bc_fast.yaml before it, with a few keys changed. All begin
with the same teacher episodes and, unless the lever changes behaviour cloning too, with the same student of
it; the seed is that of DAgger (and of the lever's own behaviour cloning). Each student is tested on 50 `eval`
states. What is there is not made again, so a run that was stopped goes on. `--levers` picks some.
Results: experiments/results/dagger_levers/.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import OmegaConf

BC, DAGGER = Path("conf/bc_fast.yaml"), Path("conf/dagger_fast.yaml")
STUDY = "dagger_levers"
ROUNDS = 3
"""Rounds of conf/dagger_fast.yaml; the student of this one is compared."""


@dataclass(frozen=True)
class Lever:
    """What is changed.

    Attributes:
        dagger: options of DAgger's `fit`.
        rollouts: values for keys of `DAggerRounds`.
        bc: options of `fit` for behaviour cloning before it; None: its student is the common one.
        test: options of `test`.
        rounds: after which rounds the student is tested.
        execute_steps: how often the student of round `ROUNDS` looks again when it is tested.
    """

    dagger: dict[str, object] = field(default_factory=dict)
    rollouts: dict[str, object] = field(default_factory=dict)
    bc: dict[str, object] | None = None
    test: dict[str, object] = field(default_factory=dict)
    rounds: tuple[int, ...] = (ROUNDS,)
    execute_steps: tuple[int, ...] = (8,)


WIDE: dict[str, object] = {"model.network.channels": "[32,64,128]"}
HALF_THE_PIXELS: dict[str, object] = {
    "model.network.strides": "[2,2,2]",
    "model.network.image_size": 64,
}  # the same 8 x 8 map from 64 px
LEVERS = {
    # As configured but for three rounds more; tested after each round, and with other execute_steps.
    "base": Lever(
        rollouts={"rounds": 6},
        rounds=(1, 2, 3, 4, 5, 6),
        execute_steps=(16, 8, 4),
    ),
    # The teacher labels where the policy that acts looks: every 16 steps of its own episodes, every 8 of the
    # student's. About as many updates, since the epochs are as many times more as the labels are fewer.
    "sparse_labels": Lever(
        {"trainer.max_epochs": 165},
        rollouts={"collect.label_every": 0},
        bc={"data.collect.execute_steps": 16, "trainer.max_epochs": 220},
    ),
    "half_the_updates": Lever({"trainer.max_epochs": 30}),
    "twice_the_updates": Lever({"trainer.max_epochs": 110}),
    "half_the_pixels": Lever(
        HALF_THE_PIXELS,
        rollouts={"collect.image_size": 64},
        bc=HALF_THE_PIXELS | {"data.collect.image_size": 64},
        test=HALF_THE_PIXELS | {"trainer.callbacks.protocol.image_size": 64},
    ),
    "wide": Lever(WIDE, test=WIDE),
}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--task", default="custom_libero_10_book_back_caddy")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--levers", nargs="+", choices=LEVERS, default=list(LEVERS))
    asked = parser.parse_args()
    common = _cloned(asked.task, "common", Lever(bc={}), 0)
    for seed in asked.seeds:
        for name in asked.levers:
            _measure(asked.task, f"{name}_seed_{seed}", LEVERS[name], seed, common)


def _cloned(task: str, name: str, lever: Lever, seed: int) -> Path:
    """The student of behaviour cloning, trained and tested."""
    run = _run(name, "bc", task)
    if not _result(task, f"bc_{name}").exists():
        options = {"seed_everything": seed, "trainer.logger.init_args.name": run.relative_to("runs")}
        _command("fit", BC, task, name, options | (lever.bc or {}))
    _test(BC, task, name, f"bc_{name}", run / "best.ckpt", lever.test)
    return run / "best.ckpt"


def _measure(task: str, name: str, lever: Lever, seed: int, common: Path) -> None:
    """DAgger with this lever, and its tests."""
    if lever.bc is None:
        student = common
        if not _data(name, task).exists():
            shutil.copytree(_data("common", task), _data(name, task))
    else:
        student = _cloned(task, name, lever, seed)
    run = _run(name, "dagger", task)
    if not (run / f"round-{lever.rollouts.get('rounds', ROUNDS)}.ckpt").exists():
        options: dict[str, object] = {
            "seed_everything": seed,
            "trainer.logger.init_args.name": run.relative_to("runs"),
        }
        if (run / "last.ckpt").exists():
            options["ckpt_path"] = run / "last.ckpt"
        config = _config(run, lever.rollouts | {"init_from": str(student), "dev_episodes": 0})
        data = {key: value for key, value in (lever.bc or {}).items() if key.startswith("data.")}
        _command("fit", config, task, name, options | data | lever.dagger)
    for number in lever.rounds:
        steps = lever.execute_steps if number == ROUNDS else (8,)
        for execute in steps:
            method = f"{name}_round_{number}" + ("" if execute == 8 else f"_execute_{execute}")
            options = lever.test | {"trainer.callbacks.protocol.execute_steps": execute}
            _test(DAGGER, task, name, method, run / f"round-{number}.ckpt", options)


def _config(run: Path, rollouts: dict[str, object]) -> Path:
    """A copy of DAgger's configuration with other values for keys of `DAggerRounds`."""
    config = OmegaConf.load(DAGGER)
    (rounds,) = (each for each in config.trainer.callbacks if each.class_path.endswith("DAggerRounds"))
    for key, value in rollouts.items():
        OmegaConf.update(rounds.init_args, key, value)
    run.parent.mkdir(parents=True, exist_ok=True)
    path = run.with_suffix(".yaml")
    OmegaConf.save(config, path)
    return path


def _test(
    config: Path, task: str, name: str, method: str, checkpoint: Path, options: dict[str, object]
) -> None:
    if _result(task, method).exists():
        return
    fixed = {
        "ckpt_path": checkpoint,
        "trainer.callbacks.study": STUDY,
        "trainer.callbacks.method": method,
        "trainer.callbacks.protocol.videos": 0,
        "data.collect": "null",
    }
    _command("test", config, task, name, fixed | options)


def _result(task: str, method: str) -> Path:
    return Path(f"experiments/results/{STUDY}/{task}-{method}-eval50.json")


def _data(name: str, task: str) -> Path:
    return Path("data") / STUDY / name / task


def _run(name: str, stage: str, task: str) -> Path:
    return Path("runs") / STUDY / name / stage / task


def _command(verb: str, config: Path, task: str, name: str, options: dict[str, object]) -> None:
    """Run the command line, and show it."""
    options = {"data.task": task, "data.root": _data(name, task).parent} | options
    given = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "lit_distill", verb, "--config", str(config), *given]
    print("python", *command[1:], flush=True)
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"dagger_levers: {verb} of {name} failed: see above")


if __name__ == "__main__":
    main()
