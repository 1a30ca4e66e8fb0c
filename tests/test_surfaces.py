"""Level surfaces as destinations: where an object comes down, and that the teacher brings it there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lit_distill.sim.simulator import Simulator
from lit_distill.sim.states import load_initial_state
from lit_distill.tasks import get_task
from lit_distill.teachers.embedded import EmbeddedTeacher
from lit_distill.teachers.surfaces import InBowl, OnRegion


def scene() -> Any:
    """A target whose origin is 1 cm left of its middle, a region at (0.5, 0.2), a bowl at the origin."""
    boxes = {
        "milk_1": SimpleNamespace(centre=np.array([0.11, 0.0, 1.0]), bottom=0.95),
        "bowl_1": SimpleNamespace(centre=np.zeros(3), bottom=0.9, top=0.95),
    }
    return SimpleNamespace(
        extent=boxes.__getitem__,
        position={"milk_1": np.array([0.10, 0.0, 0.95]), "bowl_1": np.array([0.0, 0.0, 0.9])}.__getitem__,
        region_box=lambda region: (np.array([0.5, 0.2, 1.12]), np.array([0.1, 0.05, 0.01])),
        met=lambda predicate: predicate == ["on", "milk_1", "cabinet_1_top_side"],
    )


def test_an_objects_origin_comes_down_on_the_top_of_a_regions_box():
    destination = OnRegion(scene(), "milk_1", "cabinet_1", "cabinet_1_top_side")
    assert destination.reached()
    placement = destination.placement()
    np.testing.assert_allclose(placement.position, [0.51, 0.2, 1.13])
    assert placement.carry_height > 1.13


def test_a_hand_stays_above_the_rim_of_a_bowl():
    placement = InBowl(scene(), "milk_1", "bowl_1", "bowl_1").placement()
    np.testing.assert_allclose(placement.position[:2], [0.01, 0.0])
    assert placement.lowest_hand > 0.95


@pytest.mark.libero
@pytest.mark.parametrize(
    "name",
    [
        "put_the_bowl_on_top_of_the_cabinet",
        "put_the_wine_bottle_on_the_rack",
        "put_the_cream_cheese_in_the_bowl",
        "push_the_plate_to_the_front_of_the_stove",
    ],
)
def test_it_puts_things_onto_surfaces(name: str):
    task = get_task(f"libero_goal/{name}")
    simulator, teacher = Simulator(task, image_size=32), EmbeddedTeacher()
    try:
        observation = simulator.reset(load_initial_state(task, "official", 10))
        outcome = None
        while outcome is None:
            answer = teacher.query(observation, simulator)
            assert answer.value
            result = simulator.step_chunk(answer.actions)
            if (outcome := result.outcome) is None:
                assert result.observation is not None
                observation = result.observation
    finally:
        simulator.close()
    assert outcome == "success"
