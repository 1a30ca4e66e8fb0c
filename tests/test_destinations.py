"""Several objects in one region or on one object get places of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lit_distill.teachers.destinations import Placement, Shared

HALF_SIZE = np.array([0.06, 0.08, 0.07])


class Middle:
    """The middle of the world."""

    def reached(self) -> bool:
        return True

    def placement(self) -> Placement:
        return Placement(np.zeros(3), carry_height=0.2, tolerance=0.025, lowest_hand=0.1)


def places(place: str, walls: bool, width: float = 0.06) -> list[np.ndarray]:
    box = SimpleNamespace(low=np.zeros(3), high=np.full(3, width))
    scene: Any = SimpleNamespace(
        parent=lambda name: "basket_1" if name == "basket_1_region" else None,
        region_box=lambda region: (np.zeros(3), HALF_SIZE),
        extent=lambda name: box,
    )
    shared = [Shared(scene, Middle(), "milk_1", place, index, walls) for index in range(4)]
    assert all(each.reached() and each.placement().tolerance < 0.025 for each in shared)
    assert all(each.placement().carry_height == 0.2 for each in shared)
    return [each.placement().position for each in shared]


def test_objects_between_walls_keep_clear_of_them_and_two_of_each_other():
    found = places("basket_1_region", walls=True)
    np.testing.assert_allclose(np.abs(found), [[0.03, 0.05, 0.0]] * 4)
    assert len(np.unique(found, axis=0)) == 4
    assert np.linalg.norm(found[0] - found[1]) > 0.06, "the first two are farthest apart"


def test_an_object_that_fills_the_region_stays_in_the_middle():
    np.testing.assert_allclose(places("basket_1_region", walls=True, width=0.2), np.zeros((4, 3)))


def test_origins_keep_within_a_region_without_walls():
    found = np.abs(places("basket_1_region", walls=False, width=0.2))
    assert (found[:, :2] < HALF_SIZE[:2]).all() and (found[:, :2] > 0.5 * HALF_SIZE[:2]).all()


@pytest.mark.parametrize("walls", [True, False])
def test_on_an_object_all_keep_within_the_3_cm_that_libero_allows(walls: bool):
    distances = np.linalg.norm(places("plate_1", walls), axis=1)
    assert (distances < 0.02).all() and (distances > 0.01).all()
