"""What a privileged teacher may look at: poses, extents, contacts and Jacobians of the present state.

All positions are metres in the world frame. Derived quantities are at most one physics step (2 ms) old.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from lit_distill.sim.simulator import Simulator

COLLISION_GROUP = 0
AT_REST_M_S = 0.02
CORNER_SIGNS = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
"""Which corner of a box: [8, 3], -1 or 1 along each axis."""


@dataclass(frozen=True)
class Extent:
    """World-aligned box around an object: float64 [3] lower and upper corner."""

    low: np.ndarray
    high: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """Centre of the box [3]."""
        return 0.5 * (self.low + self.high)

    @property
    def top(self) -> float:
        """Height of the highest point."""
        return float(self.high[2])

    @property
    def bottom(self) -> float:
        """Height of the lowest point."""
        return float(self.low[2])


class Scene:
    """A view of one simulator's present state by LIBERO's object names.

    Args:
        simulator: the simulator to look into; nothing is copied, so the view is always the present.

    Attributes:
        surface: height (m) of the floor or table that LIBERO places things on, to 4 cm.
    """

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.model, self.data = simulator.model, simulator.data
        env = self._env = simulator.env
        self.goal: list[list[str]] = [list(predicate) for predicate in env.parsed_problem["goal_state"]]
        self.start: list[list[str]] = [list(predicate) for predicate in env.parsed_problem["initial_state"]]
        self.objects: list[str] = sorted(env.objects_dict)
        self.fixtures: list[str] = sorted(env.fixtures_dict)
        self._categories = {
            name: category
            for kind in ("objects", "fixtures")
            for category, names in env.parsed_problem[kind].items()
            for name in names
        }
        self._geoms = {
            name: self._collision_geoms(env.obj_body_id[name])
            for name in [*env.objects_dict, *env.fixtures_dict]
            if name in env.obj_body_id
        }
        boxes = self.model.geom_aabb[:, None]
        self._corners = boxes[..., :3] + CORNER_SIGNS * boxes[..., 3:]  # [geoms, 8, 3], in their own frames
        self._body = dict(env.obj_body_id)
        self._is_of = {name: self._mask(geoms) for name, geoms in self._geoms.items()}
        self._is_of_finger = [
            self._mask(self._named_geoms(env.robots[0].gripper.important_geoms[finger]))
            for finger in ("left_finger", "right_finger")
        ]
        arm = simulator.controller
        self._arm = arm
        joints = [self.model.dof_jntid[dof] for dof in arm.dof_index]
        self.joint_limits = self.model.jnt_range[joints]  # [7, 2] rad
        self.base = self.data.body(env.robots[0].robot_model.root_body).xpos.copy()
        self.surface = float(env.workspace_offset[2])

    def _named_geoms(self, names: list[str]) -> list[int]:
        return [mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_GEOM, name) for name in names]

    def _mask(self, geoms: Sequence[int] | np.ndarray) -> np.ndarray:
        """Whether a geom is one of these: bool [geoms of the model]."""
        mask = np.zeros(self.model.ngeom, dtype=bool)
        mask[geoms] = True
        return mask

    def _collision_geoms(self, root_body: int) -> np.ndarray:
        bodies = {root_body}
        for body in range(root_body + 1, self.model.nbody):  # children come after their parent
            if self.model.body_parentid[body] in bodies:
                bodies.add(body)
        return np.array(
            [
                geom
                for geom in range(self.model.ngeom)
                if self.model.geom_bodyid[geom] in bodies and self.model.geom_group[geom] == COLLISION_GROUP
            ],
            dtype=int,
        )

    # -- the robot ---------------------------------------------------------------------------------

    @property
    def eef_position(self) -> np.ndarray:
        """Grip site position [3]."""
        return self.data.site_xpos[self._arm.site].copy()

    @property
    def eef_rotation(self) -> np.ndarray:
        """Grip site orientation [3, 3]: column 2 is the approach direction, column 0 or 1 closes."""
        return self.data.site_xmat[self._arm.site].reshape(3, 3).copy()

    @property
    def opening(self) -> float:
        """Distance between the fingers, 0 to 0.08 m."""
        fingers = self.data.qpos[self._arm.finger_qpos_index]
        return float(fingers[0] - fingers[1])

    @property
    def opening_speed(self) -> float:
        """How fast the fingers part, m/s; negative while they close (about -0.2 at most)."""
        fingers = self.data.qvel[self._arm.finger_dof_index]
        return float(fingers[0] - fingers[1])

    @property
    def closing_command(self) -> float:
        """The gripper's present command: -1 fully open, +1 fully closed."""
        return float(self._arm.gripper_command[1])

    @property
    def joints(self) -> np.ndarray:
        """Arm joint positions [7], rad."""
        return self.data.qpos[self._arm.qpos_index].copy()

    @property
    def joint_velocities(self) -> np.ndarray:
        """Arm joint velocities [7], rad/s."""
        return self.data.qvel[self._arm.dof_index].copy()

    @property
    def home(self) -> np.ndarray:
        """Arm joint positions [7] of the home pose, rad."""
        return self._arm.home

    def jacobian(self) -> np.ndarray:
        """Jacobian [6, 7] of the grip site (m/rad, rad/rad), world frame."""
        full = np.zeros((6, self.model.nv))
        mujoco.mj_jacSite(self.model, self.data, full[:3], full[3:], self._arm.site)
        return full[:, self._arm.dof_index]

    # -- the problem -------------------------------------------------------------------------------

    def met(self, predicate: list[str]) -> bool:
        """Whether LIBERO's own predicate, such as `["in", "ketchup_1", "basket_1_contain_region"]`, holds."""
        return bool(self._env._eval_predicate(predicate))

    def category(self, name: str) -> str:
        """The class that the BDDL file gives an object or fixture: `basket`, `kitchen_table`; "" if none."""
        return self._categories.get(name, "")

    def parent(self, region: str) -> str | None:
        """The object, fixture or table that a region belongs to, None if there is no such region."""
        known = self._env.parsed_problem["regions"].get(region)
        return None if known is None else str(known["target"])

    def region_box(self, region: str) -> tuple[np.ndarray, np.ndarray]:
        """World-aligned box of a region as LIBERO takes it: centre [3] and half sizes [3], m."""
        site = self.data.site(region)
        half_size = np.abs(site.xmat.reshape(3, 3) @ self._env.object_sites_dict[region].size)
        return site.xpos.copy(), half_size

    # -- the objects -------------------------------------------------------------------------------

    def position(self, name: str) -> np.ndarray:
        """Origin [3] of an object's body, which LIBERO's predicates compare."""
        return self.data.xpos[self._body[name]].copy()

    def rotation(self, name: str) -> np.ndarray:
        """Orientation [3, 3] of an object's body."""
        return self.data.xmat[self._body[name]].reshape(3, 3).copy()

    def geoms(self, *names: str) -> np.ndarray:
        """Ids [n] of the collision geoms of objects and fixtures."""
        return np.concatenate([self._geoms[name] for name in names])

    def long_axis(self, name: str) -> np.ndarray:
        """The axis [3] of an object's body along which it is longest."""
        rotation = self.rotation(name)
        return rotation[:, int(np.argmax([self.width_along(name, axis) for axis in rotation.T]))]

    def corners(self, name: str) -> np.ndarray:
        """World corners [8 n, 3] of the boxes around an object's n collision geoms."""
        return self.box_corners(self._geoms[name])

    def box_corners(self, geoms: np.ndarray) -> np.ndarray:
        """World corners [8 n, 3] of the boxes around n geoms, by their ids."""
        rotations = self.data.geom_xmat[geoms].reshape(-1, 3, 3)
        turned = self._corners[geoms] @ rotations.transpose(0, 2, 1)
        return (turned + self.data.geom_xpos[geoms, None]).reshape(-1, 3)

    def geom_boxes(self, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes around n geoms, by their ids: centres [n, 3], frames [n, 3, 3], half sizes [n, 3]."""
        frames = self.data.geom_xmat[geoms].reshape(-1, 3, 3)
        offset = np.einsum("nij,nj->ni", frames, self.model.geom_aabb[geoms, :3])
        return self.data.geom_xpos[geoms] + offset, frames, self.model.geom_aabb[geoms, 3:]

    def extent(self, name: str) -> Extent:
        """World-aligned box around an object's collision geoms."""
        corners = self.corners(name)
        return Extent(corners.min(axis=0), corners.max(axis=0))

    def width_along(self, name: str, axis: np.ndarray) -> float:
        """Width (m) of an object along a world direction [3]."""
        along = self.corners(name) @ axis
        return float(along.max() - along.min())

    def joint_names(self, name: str) -> list[str]:
        """MuJoCo's names of the joints of an articulated fixture: knobs, doors, drawers."""
        return list(self._env.get_object(name).joints)

    def joint_position(self, joint: str) -> float:
        """Position of a joint by its name: rad (hinge) or m (slide)."""
        return float(self.data.joint(joint).qpos[0])

    def joint_frame(self, joint: str) -> tuple[np.ndarray, np.ndarray]:
        """Origin [3] and orientation [3, 3] of the body that a joint moves."""
        body = int(self.model.joint(joint).bodyid[0])
        return self.data.xpos[body].copy(), self.data.xmat[body].reshape(3, 3).copy()

    def at_rest(self, name: str) -> bool:
        """Whether an object neither falls nor rolls."""
        return bool(np.linalg.norm(self.data.cvel[self._body[name], 3:]) < AT_REST_M_S)

    def touching(self, geoms: np.ndarray, others: np.ndarray) -> bool:
        """Whether any of some geoms, by their ids, touches any of others."""
        pairs = self.data.contact.geom  # [contacts, 2]
        these, those = np.isin(pairs, geoms), np.isin(pairs, others)
        return bool((these[:, 0] & those[:, 1] | these[:, 1] & those[:, 0]).any())

    def fingers_touching(self, name: str) -> int:
        """How many of the two fingers touch an object: 0, 1 or 2."""
        first, second = self.data.contact.geom.T  # [contacts] each
        of_object = self._is_of[name]
        partners = np.concatenate([second[of_object[first]], first[of_object[second]]])
        return sum(bool(finger[partners].any()) for finger in self._is_of_finger)
