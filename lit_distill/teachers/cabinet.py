"""Where things go in and on a cabinet."""

from __future__ import annotations

import numpy as np

from lit_distill.sim.scene import Scene
from lit_distill.teachers.destinations import CARRY_CLEARANCE_M, RELEASE_ABOVE_RIM_M, Placement
from lit_distill.teachers.drawer import Drawer

IN_DRAWER_M = 0.01


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
        own, others = self.scene.box_corners(self.drawer.own), self.scene.box_corners(self.drawer.others)
        top = float(own[:, 2].max())
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
