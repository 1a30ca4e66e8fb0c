"""Render one frame in this process and print how: `python -m lit_distill.sim.render_probe`.

A process of its own, because a broken GL driver may end it, and because the backend can be chosen only once.
Also imports what LIBERO needs of the system's libraries. Prints one JSON object: `backend`, `device` (EGL's
number, null elsewhere), `mean` (of the frame, 0..255) and `ms` (of the second frame).
"""

from __future__ import annotations

import json
import os
import sys
import time

from lit_distill.errors import LitDistillError
from lit_distill.sim.gl import INSTALL_GL, configure_gl

SCENE = """
<mujoco>
  <visual><global offwidth="128" offheight="128"/></visual>
  <worldbody>
    <light pos="0 0 3"/>
    <geom type="plane" size="1 1 .1" rgba=".8 .8 .8 1"/>
    <geom type="box" size=".2 .2 .2" pos="0 0 .2" rgba=".9 .2 .1 1"/>
    <camera name="eye" pos="0 -1.5 1.2" xyaxes="1 0 0 0 .6 .8"/>
  </worldbody>
</mujoco>
"""


def render() -> dict[str, object]:
    """Render a red box on a grey plane, 128 x 128, and return the JSON object above.

    Raises:
        LitDistillError: no backend, or the frame is of one colour.
    """
    backend = configure_gl()
    import cv2  # noqa: F401  # LIBERO imports it, and it needs libGL and libglib
    import mujoco

    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 128, 128) as renderer:
        renderer.update_scene(data, camera="eye")
        renderer.render()
        start = time.perf_counter()
        frame = renderer.render()
        elapsed_ms = 1000 * (time.perf_counter() - start)
    if frame.min() == frame.max():
        raise LitDistillError(f"MUJOCO_GL={backend} renders an empty frame; {INSTALL_GL}")
    device = os.environ.get("MUJOCO_EGL_DEVICE_ID") if backend == "egl" else None
    return {
        "backend": backend,
        "device": device,
        "mean": round(float(frame.mean()), 2),
        "ms": round(elapsed_ms, 1),
    }


if __name__ == "__main__":
    try:
        print(json.dumps(render()))
    except LitDistillError as error:
        sys.exit(f"error: {error}")
