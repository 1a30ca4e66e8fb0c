"""Drawers of a cabinet: where they and their handles are, and where things go in them."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import COLLISION_GROUP, Scene
from lit_distill.teachers.destinations import CARRY_CLEARANCE_M, RELEASE_ABOVE_RIM_M, Placement

IN_DRAWER_M = 0.01


class Drawer:
    """One drawer, by the region inside it.

    Args:
        scene: view of the simulator's present state.
        region: LIBERO's name of the region inside, such as `white_cabinet_1_bottom_region`.

    Attributes:
        own: ids of the drawer's collision geoms.
        others: ids of those of the cabinet and its other drawers.
    """

    def __init__(self, scene: Scene, region: str) -> None:
        self.scene, self.region = scene, region
        model = scene.model
        self.joint = model.joint(scene.simulator.env.object_sites_dict[region].joints[0]).id
        self.body = int(model.jnt_bodyid[self.joint])
        base = int(model.body_parentid[self.body])
        cabinet = {base, *(body for body in range(model.nbody) if model.body_parentid[body] == base)}
        self.own, self.others = self._geoms({self.body}), self._geoms(cabinet - {self.body})
        self._qpos = int(model.jnt_qposadr[self.joint])
        low, high = model.jnt_range[self.joint]
        self._sign = 1.0 if abs(high) > abs(low) else -1.0
        self.fully_open = float(max(abs(low), abs(high)))
        # In the frame of the drawer's body: the bar sticks out furthest, the face is what is wider behind it.
        corners = (scene.box_corners(self.own) - scene.data.xpos[self.body]) @ self._rotation
        boxes = corners.reshape(-1, 8, 3)
        out = boxes @ (self._sign * model.jnt_axis[self.joint])  # [boxes, 8]
        bar = boxes[int(np.argmax(out.max(axis=1)))]
        wide = np.ptp(boxes[..., 0], axis=1) > 1.5 * np.ptp(bar[:, 0])
        self.face = float(out[wide].max())
        self.bar_outer = float(out.max())
        self.bar_inner = float(out[int(np.argmax(out.max(axis=1)))].min())
        self._bar_x = float(bar[:, 0].mean())
        self._top = float(boxes[..., 2].max())
        self._bar_low, self._bar_top = float(bar[:, 2].min()), float(bar[:, 2].max())

    def _geoms(self, bodies: set[int]) -> np.ndarray:
        model = self.scene.model
        return np.array(
            [
                geom
                for geom in range(model.ngeom)
                if model.geom_bodyid[geom] in bodies and model.geom_group[geom] == COLLISION_GROUP
            ],
            dtype=int,
        )

    @property
    def _rotation(self) -> np.ndarray:
        return self.scene.data.xmat[self.body].reshape(3, 3)

    @property
    def outward(self) -> np.ndarray:
        """Direction [3] in which it opens, level."""
        return self._sign * self._rotation @ self.scene.model.jnt_axis[self.joint]

    @property
    def opening(self) -> float:
        """How far (m) it stands open."""
        return self._sign * float(self.scene.data.qpos[self._qpos])

    def point(self, out: float, height: float) -> np.ndarray:
        """World position [3] of a point of the drawer at the middle of its bar, m outward and up."""
        local = out * self._sign * self.scene.model.jnt_axis[self.joint]
        local = local + np.array([self._bar_x, 0.0, height])
        return self.scene.data.xpos[self.body] + self._rotation @ local

    @property
    def top(self) -> float:
        """Height (m) of its walls."""
        return float(self.scene.data.xpos[self.body][2]) + self._top

    def behind_bar(self, behind: float, below: float) -> np.ndarray:
        """World position [3] in the slot, m behind the bar's inner side and below its top."""
        return self.point(self.bar_inner - behind, self._bar_top - below)

    @property
    def front(self) -> np.ndarray:
        """Middle [3] of the bar's outer side."""
        return self.point(self.bar_outer, 0.5 * (self._bar_low + self._bar_top))


class InDrawer:
    """Inside a drawer that stands open; see `destinations.Destination`.

    Args:
        scene: view of the simulator's present state.
        target: LIBERO's name of the object to be put there.
        cabinet: LIBERO's name of the cabinet.
        region: LIBERO's name of the region inside the drawer.
    """

    def __init__(self, scene: Scene, target: str, cabinet: str, region: str) -> None:
        self.scene, self.target, self.region = scene, target, region
        self.drawer = Drawer(scene, region)

    def reached(self) -> bool:
        """Whether the object is in the drawer's region; see `Destination`."""
        return self.scene.met(["in", self.target, self.region])

    def placement(self) -> Placement:
        """In the middle of what the cabinet, with its other drawers and handles, leaves open."""
        outward = self.drawer.outward
        centre, half = self.scene.region_box(self.region)
        others, top = self.scene.box_corners(self.drawer.others), self.drawer.top
        above = others[others[:, 2] > top]
        middle = 0.5 * (centre @ outward + half @ np.abs(outward) + (above @ outward).max())
        position = centre + (middle - centre @ outward) * outward
        return Placement(
            position=np.array([*position[:2], centre[2] - half[2]]),
            carry_height=top + CARRY_CLEARANCE_M,
            tolerance=IN_DRAWER_M,
            lowest_hand=top + RELEASE_ABOVE_RIM_M,
            axis=np.array([-outward[1], outward[0], 0.0]),
        )
