"""Putting aside: the free place that is nearest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from lit_distill.sim.scene import Extent
from lit_distill.teachers.aside import FreePlace

BASE = np.array([-0.66, 0.0, 0.9])


def table(*taken: tuple[float, float]) -> Any:
    """A table with a bowl at (0, 0) and cubes of 10 cm elsewhere."""
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    cubes = np.concatenate([np.array([x, y, 0.95]) + 0.05 * signs for x, y in taken])
    return SimpleNamespace(
        objects=["bowl", "cube"],
        fixtures=[],
        surface=0.9,
        base=BASE,
        geoms=lambda *names: np.arange(len(taken)),
        box_corners=lambda geoms: cubes,
        extent=lambda name: Extent(np.array([-0.05, -0.05, 1.0]), np.array([0.05, 0.05, 1.05])),
    )


def nowhere() -> Extent:
    return Extent(np.full(3, 9.0), np.full(3, 9.1))


def test_it_is_close_to_where_the_object_is():
    placement = FreePlace(table((0.3, 0.3)), "bowl", nowhere).placement()
    assert np.linalg.norm(placement.position[:2]) < 0.06
    assert 0.9 < placement.position[2] < 0.91
    assert np.linalg.norm(placement.position[:2] - BASE[:2]) < 0.71  # within easy reach


def test_nothing_is_put_onto_something_else_or_where_it_is_to_stay_clear():
    def keep_clear() -> Extent:
        return Extent(np.array([-0.1, 0.0, 0.9]), np.array([0.2, 0.5, 1.0]))

    place = FreePlace(table((0.0, -0.1), (-0.15, -0.1)), "bowl", keep_clear).placement().position
    for x, y in ((0.0, -0.1), (-0.15, -0.1)):
        assert max(abs(place[0] - x), abs(place[1] - y)) > 0.1
    assert not (-0.15 < place[0] < 0.25 and place[1] > -0.05)


def test_it_is_never_a_goal():
    assert not FreePlace(table((0.3, 0.3)), "bowl", nowhere).reached()
