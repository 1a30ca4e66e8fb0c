"""Which offscreen OpenGL the simulator renders with: chosen once, before MuJoCo or robosuite is imported.

robosuite 1.4 and MuJoCo read `MUJOCO_GL`, `MUJOCO_EGL_DEVICE_ID` and `CUDA_VISIBLE_DEVICES` while they are
imported, and robosuite stops with an assertion or a ValueError on combinations that it does not expect.
`configure_gl` sets the first two so that these do not occur, or says in one line what is missing.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import sys
import types
from pathlib import Path

from lit_distill.errors import LitDistillError

GL_PACKAGES = "libegl1 libgl1-mesa-dri libgl1 libglib2.0-0"
INSTALL_GL = f"install: sudo apt-get install -y {GL_PACKAGES} (or libosmesa6)"
OSMESA_LIBRARIES = ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")
BACKENDS = ("egl", "osmesa", "glx")
"""What robosuite accepts on Linux; any other value it silently replaces by egl."""


def configure_gl() -> str:
    """Choose the GL backend of this process and return it: `egl`, `osmesa`, `glx` or, on macOS, `cgl`.

    A `MUJOCO_GL` that the user has set is kept. Otherwise EGL is taken if it has a device that we may use,
    else OSMesa. With EGL on several GPUs, each process of a group (`LOCAL_RANK`) renders on its own.
    Call it before mujoco or robosuite is imported; calling it again changes nothing.

    Raises:
        LitDistillError: no backend is installed, or the variables contradict each other.
    """
    quiet_robosuite()
    if platform.system() == "Darwin":
        os.environ["MUJOCO_GL"] = "cgl"
        return "cgl"
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen and chosen not in BACKENDS:
        raise LitDistillError(
            f"MUJOCO_GL={chosen}: must be one of {', '.join(BACKENDS)}; unset it to let us choose"
        )
    if chosen in ("", "egl"):
        count = egl_device_count()
        device = egl_device(count) if count else None
        if device is not None:
            os.environ["MUJOCO_EGL_DEVICE_ID"] = str(device)
            chosen = "egl"
        elif chosen == "egl":
            raise LitDistillError(f"MUJOCO_GL=egl: {_why_no_egl(count)}")
        elif osmesa_is_installed():
            chosen = "osmesa"
        else:
            raise LitDistillError(f"no OpenGL to render with: {_why_no_egl(count)}")
    os.environ["MUJOCO_GL"] = chosen
    return chosen


def _why_no_egl(count: int) -> str:
    if count == 0:
        return f"no EGL device is found; {INSTALL_GL}"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return (
        f"none of EGL's {count} devices is in CUDA_VISIBLE_DEVICES={visible}, as robosuite demands; "
        'set it to numbers of EGL devices, to "" to hide the GPUs, or set MUJOCO_GL=osmesa'
    )


def egl_device(count: int) -> int | None:
    """Return which of `count` EGL devices this process renders on; None if robosuite would accept none.

    robosuite takes the numbers in `CUDA_VISIBLE_DEVICES` for EGL's own, insists that
    `MUJOCO_EGL_DEVICE_ID` is among them, and fails on an empty list unless that variable is set.

    Raises:
        LitDistillError: the user's `MUJOCO_EGL_DEVICE_ID` is not such a number.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    allowed = [str(index) for index in range(count) if not visible or str(index) in visible.split(",")]
    wanted = os.environ.get("MUJOCO_EGL_DEVICE_ID")
    if wanted is not None:
        if wanted not in allowed:
            raise LitDistillError(
                f"MUJOCO_EGL_DEVICE_ID={wanted}: must be one of {', '.join(allowed) or 'none'} ({count} EGL "
                f"device(s), CUDA_VISIBLE_DEVICES={visible or 'not set'}); unset it to let us choose"
            )
        return int(wanted)
    if not allowed:
        return None
    in_order = sorted(allowed, key=visible.split(",").index) if visible else allowed
    return int(in_order[int(os.environ.get("LOCAL_RANK", "0")) % len(in_order)])


def egl_device_count() -> int:
    """Return how many devices EGL can render on, software renderers included; 0 without EGL."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return 0
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not address:
        return 0
    signature = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))
    count = ctypes.c_int(0)
    return count.value if signature(address)(0, None, ctypes.byref(count)) else 0


def osmesa_is_installed() -> bool:
    """Return whether OSMesa, the pure software renderer, can be loaded."""
    for library in OSMESA_LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False


def quiet_robosuite() -> None:
    """Import robosuite's settings ahead of it, without its log file and its advice on a private macro file.

    robosuite writes /tmp/robosuite.log, which stops the import on a machine where another user's robosuite
    made that file, and prints three lines at every import. A macro file that the user wrote is left alone.
    """
    spec = importlib.util.find_spec("robosuite")
    if "robosuite.macros" in sys.modules or spec is None or not spec.submodule_search_locations:
        return
    folder = Path(spec.submodule_search_locations[0])
    macros = _load("robosuite.macros", folder / "macros.py")
    macros.FILE_LOGGING_LEVEL = None  # type: ignore[attr-defined]
    sys.modules[macros.__name__] = macros
    if not (folder / "macros_private.py").exists():
        sys.modules["robosuite.macros_private"] = types.ModuleType("robosuite.macros_private")


def _load(name: str, path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LitDistillError(f"{path}: not found; reinstall robosuite: make setup")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
