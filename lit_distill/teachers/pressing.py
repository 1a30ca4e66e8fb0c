"""Closed fingers that press on a thing's top and take it along: to topple it, or to roll it over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OVER_M = 0.012
"""Fingertips at most so far beside the place where they press come down."""


@dataclass(frozen=True)
class Stroke:
    """How far fingertips are sent, m.

    Attributes:
        hover: above the place where they press, until they are over it.
        press: down, once they press.
        onwards: on in the direction in which they push, then.
    """

    hover: float
    press: float
    onwards: float

    def way(self, offset: np.ndarray, towards: np.ndarray, pressing: bool, closed: bool) -> np.ndarray:
        """Where to send the fingertips [3], m.

        Args:
            offset: from them to the place where they press [3], m.
            towards: level unit vector [3] in which they push.
            pressing: whether they press already.
            closed: whether the fingers are closed.
        """
        way = offset.copy()
        if pressing:
            way += (self.onwards - float(way @ towards)) * towards
            way[2] -= self.press
        elif np.linalg.norm(way[:2]) > OVER_M or not closed:
            way[2] += self.hover
            if way[2] > 0.5 * self.hover:  # rise before travelling
                way[:2] *= 0.2
        return way
