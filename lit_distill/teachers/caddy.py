"""Where the desk caddy's compartments are, and how a book goes into one."""

from __future__ import annotations

import numpy as np

from lit_distill.teachers.destinations import (
    CARRY_CLEARANCE_M,
    RELEASE_ABOVE_RIM_M,
    OpenContainer,
    Placement,
)

OVER_COMPARTMENT_M = 0.008
"""A book 11.1 cm wide enters a compartment 12.9 cm wide."""
SQUARE_M = 0.01
"""A compartment whose half sizes differ by less than this takes the object either way round."""


class CaddyCompartment(OpenContainer):
    """A compartment of the desk caddy; arguments as of `OpenContainer`."""

    def placement(self) -> Placement:
        """Over the middle of the compartment, thin side along its narrow side; see `Destination`."""
        caddy = self.scene.extent(self.container)
        middle, half_size = self.scene.region_box(self.region)
        return Placement(
            position=np.array([*middle[:2], middle[2] - half_size[2]]),
            carry_height=caddy.top + CARRY_CLEARANCE_M,
            tolerance=OVER_COMPARTMENT_M,
            lowest_hand=caddy.top + RELEASE_ABOVE_RIM_M,
            axis=self._across(half_size),
        )

    def _across(self, half_size: np.ndarray) -> np.ndarray:
        """World x or y [3]: the compartment's narrow side; if it is square, the object's thin one."""
        if abs(half_size[0] - half_size[1]) >= SQUARE_M:
            return np.eye(3)[int(np.argmin(half_size[:2]))]
        return min(np.eye(3)[:2], key=lambda axis: self.scene.width_along(self.target, axis))
