"""What do simplified meshes save, and what do they change? Milliseconds, pixels, and pictures side by side.

    python experiments/benchmarks/meshes.py --output experiments/results/benchmarks/meshes.json

For six scenes, with LIBERO's meshes and with simplified ones: faces shown, milliseconds for both views of
128 px (the two take turns), and the mean difference of a pixel value (0 to 255), over the settled start and
the arm in other poses. `--cells` tries other settings than the one in use, which was chosen by these figures.
Writes `meshes-<task>.png` beside the output: original | simplified | 4 x their difference. The last line is
one JSON object.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
from common import BASKET, median_ms, options, report, seconds

from lit_distill.sim.environment import ORIGINAL, SIMPLIFIED
from lit_distill.sim.gl import configure_gl
from lit_distill.sim.simulator import CAMERAS, Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task

IMAGE_SIZE = 128
POSES = 4
POSE_SPREAD_RAD = 0.25
TURNS = 5
AMPLIFIED = 4
"""How much brighter the picture shows a difference."""
ENLARGED = 2
PICTURED = (BASKET, "custom_libero_10_close_microwave")
TASKS = (
    *PICTURED,
    "custom_libero_10_bowl_bottom_drawer",
    "custom_libero_10_moka_pot_stove",
    "custom_libero_10_book_back_caddy",
    "custom_libero_10_white_mug_plate",
)


def faces(simulator: Simulator) -> int:
    """Faces of the meshes that are shown."""
    model = simulator.model
    shown = (model.geom_dataid >= 0) & (model.geom_group == 1)
    return int(model.mesh_facenum[model.geom_dataid[shown]].sum())


def views(simulator: Simulator) -> np.ndarray:
    """Both views, uint8 [2, 128, 128, 3]."""
    return np.stack([simulator.render(view) for view in CAMERAS])


def compare(name: str, picture: Path | None) -> dict[str, Any]:
    """The figures of one task; writes its picture if there is a path."""
    task = get_task(name)
    pair = {meshes: Simulator(task, IMAGE_SIZE, meshes) for meshes in (ORIGINAL, SIMPLIFIED)}
    seen: dict[str, list[np.ndarray]] = {meshes: [] for meshes in pair}
    times: dict[str, list[tuple[float, float]]] = {meshes: [] for meshes in pair}
    for meshes, simulator in pair.items():
        simulator.reset(load_initial_state(task, "dev", 0))
        seen[meshes].append(views(simulator))
        random, arm = np.random.default_rng(0), simulator.controller.qpos_index
        start = simulator.data.qpos[arm].copy()
        for _ in range(POSES):
            simulator.data.qpos[arm] = start + random.normal(scale=POSE_SPREAD_RAD, size=len(arm))
            seen[meshes].append(views(simulator))
        simulator.data.qpos[arm] = start
    for _ in range(TURNS):
        for meshes, simulator in pair.items():
            times[meshes].append(seconds(lambda: views(simulator)))  # noqa: B023 (called at once)
    plain, simple = (np.stack(pictures).astype(int) for pictures in seen.values())
    difference = np.abs(plain - simple).mean(axis=(0, 2, 3, 4))
    if picture is not None:
        write_picture(picture, plain[0], simple[0])
    changed = {view: round(float(d), 2) for view, d in zip(CAMERAS, difference, strict=True)}
    figures: dict[str, Any] = {"pixel_difference": changed}
    for meshes, simulator in pair.items():
        figures[meshes] = {"faces": faces(simulator), "ms_for_both_views": median_ms(times[meshes])}
        simulator.close()
    return figures


def write_picture(path: Path, plain: np.ndarray, simple: np.ndarray) -> None:
    """Rows agentview and wrist, columns original, simplified and their difference, made brighter."""
    difference = np.clip(AMPLIFIED * np.abs(plain - simple), 0, 255)
    rows = [np.concatenate(row, axis=1) for row in zip(plain, simple, difference, strict=True)]
    picture = np.concatenate(rows).astype(np.uint8)
    imageio.imwrite(path, picture.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1))


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = options(__doc__)
    parser.add_argument("--tasks", nargs="*", default=TASKS, help="names in the task table")
    parser.add_argument("--cells", type=int, nargs="*", default=[], help="other cells per mesh to try")
    arguments = parser.parse_args()
    configure_gl()
    from lit_distill.sim import meshes

    in_use = meshes.CELLS_PER_MESH
    figures: dict[str, Any] = {}
    for cells in (in_use, *arguments.cells):
        meshes.CELLS_PER_MESH = cells
        for task in arguments.tasks:
            wanted = arguments.output and cells == in_use and task in PICTURED
            picture = arguments.output.with_name(f"meshes-{task}.png") if wanted else None
            found = compare(task, picture)
            figures.setdefault(f"{cells} cells", {})[task] = found
            print(f"{cells} cells, {task}: {found}", flush=True)
    report("meshes", {"image_size": IMAGE_SIZE, "cells_in_use": in_use, **figures}, arguments.output)


if __name__ == "__main__":
    main()
