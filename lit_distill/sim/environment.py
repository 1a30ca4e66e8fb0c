"""Builds LIBERO's environment for a task; `problems.py` asks LIBERO's classes about its BDDL file first.

Upstream pieces used: `libero.libero.envs.OffScreenRenderEnv` for model, cameras, placement samplers and
goal predicates. Compiling, stepping, resetting and observing are ours (`compiled.py`, `simulator.py`).
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
ORIGINAL, SIMPLIFIED = MESHES = ("original", "simplified")
"""What is looked at: LIBERO's own meshes, or those of `meshes.py`, rendered in less than half the time."""


def check_meshes(meshes: str) -> None:
    """Raise LitDistillError unless there are such meshes."""
    if meshes not in MESHES:
        raise LitDistillError(f"meshes: must be one of {', '.join(MESHES)}, got {meshes!r}")


@contextlib.contextmanager
def numpy_seed(seed: int) -> Iterator[None]:
    """Seed numpy's global generator (LIBERO's samplers use it) and put its state back afterwards."""
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)


@contextlib.contextmanager
def _compiling(meshes: str) -> Iterator[None]:
    """Let robosuite take its compiled models from the cache, with the meshes that are asked for."""
    from robosuite.utils.binding_utils import MjSim

    from lit_distill.sim.compiled import compiled_model
    from lit_distill.sim.meshes import simplify_visual_meshes

    def from_xml_string(cls: type[MjSim], xml: str) -> MjSim:
        model = compiled_model(xml)
        if meshes == SIMPLIFIED:
            simplify_visual_meshes(model)
        return cls(model)

    own = MjSim.__dict__["from_xml_string"]
    MjSim.from_xml_string = classmethod(from_xml_string)
    try:
        yield
    finally:
        MjSim.from_xml_string = own


def check_bddl(bddl: Path) -> None:
    """Refuse a BDDL file that LIBERO cannot build or whose goal can never hold; imports LIBERO.

    Raises:
        LitDistillError: names file, line and reason.
    """
    problem = read_problem(bddl)
    check_predicates(problem)
    _before_libero()
    from lit_distill.sim.problems import check_problem

    check_problem(problem)


def initial_state_shapes(bddl: Path) -> tuple[tuple[int], tuple[int, int]]:
    """Shapes of the state and of the fixtures' poses that fit a BDDL file; imports LIBERO."""
    _before_libero()
    from lit_distill.sim.problems import state_shapes

    return state_shapes(read_problem(bddl))


def _before_libero() -> None:
    """What has to be set before LIBERO is imported."""
    configure_gl()
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)


def make_environment(bddl: Path, image_size: int, joint_noise: bool = False, meshes: str = ORIGINAL) -> Any:
    """Create LIBERO's problem environment for a BDDL file; slow where its model is not in the cache.

    Args:
        bddl: the task's BDDL file.
        image_size: edge (pixels) of the offscreen buffer.
        joint_noise: whether a stock reset perturbs the arm's joints, for drawing initial states.
        meshes: `original` or `simplified`; the physics is the same.

    Returns:
        The problem environment (a `BDDLBaseDomain`), reset once without camera observations.

    Raises:
        LitDistillError: no such BDDL file, one that LIBERO cannot build or whose goal can never hold, its
            objects cannot be placed, or no such meshes.
    """
    check_meshes(meshes)
    check_bddl(bddl)
    from libero.libero.envs import OffScreenRenderEnv
    from robosuite.utils.errors import RandomizationError

    noise = {"magnitude": JOINT_NOISE_RAD, "type": "gaussian"} if joint_noise else None
    for seed in range(PLACEMENT_TRIES):
        with numpy_seed(seed), _compiling(meshes):
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
