"""Builds LIBERO's environment for a task; `problems.py` asks LIBERO's classes about its BDDL file first.

Upstream pieces used: `libero.libero.envs.OffScreenRenderEnv` for model, cameras, placement samplers and
goal predicates. Stepping, resetting and observing are ours (`simulator.py`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lit_distill.errors import LitDistillError
from lit_distill.sim.gl import configure_gl
from lit_distill.tasks.bddl import read_problem
from lit_distill.tasks.goals import check_predicates

JOINT_NOISE_RAD = 0.02
"""Standard deviation of the arm's joint noise in LIBERO's official initial states."""
PLACEMENT_TRIES = 100


@contextlib.contextmanager
def numpy_seed(seed: int) -> Iterator[None]:
    """Seed numpy's global generator (LIBERO's samplers use it) and put its state back afterwards."""
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)


def make_environment(bddl: Path, image_size: int, joint_noise: bool = False) -> Any:
    """Create LIBERO's problem environment for a BDDL file (2.5 to 7 s).

    Args:
        bddl: the task's BDDL file.
        image_size: edge (pixels) of the offscreen buffer.
        joint_noise: whether a stock reset perturbs the arm's joints, for drawing initial states.

    Returns:
        The problem environment (a `BDDLBaseDomain`), reset once without camera observations.

    Raises:
        LitDistillError: no such BDDL file, one that LIBERO cannot build or whose goal can never hold, or
            its objects cannot be placed.
    """
    problem = read_problem(bddl)
    check_predicates(problem)
    configure_gl()
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    from libero.libero.envs import OffScreenRenderEnv
    from robosuite.utils.errors import RandomizationError

    from lit_distill.sim.problems import check_problem

    check_problem(problem)

    noise = {"magnitude": JOINT_NOISE_RAD, "type": "gaussian"} if joint_noise else None
    for seed in range(PLACEMENT_TRIES):
        with numpy_seed(seed):
            try:
                wrapper = OffScreenRenderEnv(
                    bddl_file_name=str(bddl),
                    use_camera_obs=False,
                    camera_heights=image_size,
                    camera_widths=image_size,
                    ignore_done=True,
                    hard_reset=False,
                    initialization_noise=noise,
                )
                wrapper.env.reset()
                return wrapper.env
            except RandomizationError:
                continue
    raise LitDistillError(f"{bddl}: LIBERO found no free place for the objects; widen the regions")
