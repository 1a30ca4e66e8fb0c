"""Drawers of a cabinet: where they are, and what is put into them."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import COLLISION_GROUP, Scene
from lit_distill.teachers.destinations import CARRY_CLEARANCE_M, Placement


class Drawer:
    """One drawer, by the region inside it.

    Lengths along the drawer (`front`, ...) are measured from the world's origin along `outward`.

    Args:
        scene: view of the simulator's present state.
        region: LIBERO's name of the region inside, such as `white_cabinet_1_bottom_region`.
    """

    def __init__(self, scene: Scene, region: str) -> None:
        self.scene, self.region = scene, region
        model = scene.model
        self.joint = model.joint(scene.simulator.env.object_sites_dict[region].joints[0]).id
        self.body = int(model.jnt_bodyid[self.joint])
        self.site = model.site(region).id
        self._qpos = int(model.jnt_qposadr[self.joint])
        base = int(model.body_parentid[self.body])
        cabinet = {base, *(body for body in range(model.nbody) if model.body_parentid[body] == base)}
        self.own = self._geoms({self.body})
        self.others = self._geoms(cabinet - {self.body})
        low, high = model.jnt_range[self.joint]
        self._sign = 1.0 if abs(high) > abs(low) else -1.0
        self.fully_open = max(abs(low), abs(high))

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
    def outward(self) -> np.ndarray:
        """Direction [3] in which it opens."""
        rotation = self.scene.data.xmat[self.body].reshape(3, 3)
        return self._sign * rotation @ self.scene.model.jnt_axis[self.joint]

    @property
    def opening(self) -> float:
        """How far (m) it stands open."""
        return self._sign * float(self.scene.data.qpos[self._qpos])

    @property
    def centre(self) -> np.ndarray:
        """Middle [3] of the space inside."""
        return self.scene.data.site_xpos[self.site].copy()

    @property
    def half_size(self) -> np.ndarray:
        """Half the space inside [3], along the world's axes."""
        rotation = self.scene.data.site_xmat[self.site].reshape(3, 3)
        return np.abs(rotation @ self.scene.model.site_size[self.site])


class InDrawer:
    """Inside a drawer, where it stands open.

    Args:
        scene: view of the simulator's present state.
        target: LIBERO's name of the object to be put there.
        cabinet: LIBERO's name of the cabinet.
        region: LIBERO's name of the region inside the drawer.
    """

    def __init__(self, scene: Scene, target: str, cabinet: str, region: str) -> None:
        self.scene, self.target = scene, target
        self.drawer = Drawer(scene, region)

    def reached(self) -> bool:
        """Whether the object is in the drawer's region; see `Destination`."""
        return self.scene.met(["in", self.target, self.drawer.region])

    def placement(self) -> Placement:
        """In the middle of what the cabinet leaves open; see `Destination`."""
        drawer = self.drawer
        outward, centre, half = drawer.outward, drawer.centre, drawer.half_size
        inner_front = centre @ outward + half @ np.abs(outward)
        own, others = self.scene.box_corners(drawer.own), self.scene.box_corners(drawer.others)
        top = float(own[:, 2].max())
        above = others[others[:, 2] > top]
        cabinet_front = float((above @ outward).max())
        middle = 0.5 * (inner_front + cabinet_front)
        position = centre + (middle - centre @ outward) * outward
        return Placement(
            position=np.array([*position[:2], centre[2] - half[2]]),
            carry_height=top + CARRY_CLEARANCE_M,
            tolerance=0.01,
            lowest_hand=top + 0.01,
            axis=np.array([-outward[1], outward[0], 0.0]),
        )
