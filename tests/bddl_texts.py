"""A small BDDL file for the tests of its checks, and how to spoil it."""

from __future__ import annotations

from pathlib import Path

GOOD = """\
(define (problem LIBERO_Kitchen_Tabletop_Manipulation)
  (:domain robosuite)
  (:language Put the Bowl away)
  (:regions
    (cabinet_region (:target kitchen_table) (:ranges ((-0.01 0.29 0.01 0.31))) (:yaw_rotation ((0 pi/2))))
    (stove_region (:target kitchen_table) (:ranges ((-0.4 -0.3 -0.4 -0.3))))
    (bowl_region (:target kitchen_table) (:ranges ((0.0 -0.07 0.05 -0.02))))
    (plate_region (:target kitchen_table) (:ranges ((-0.2 0.0 -0.1 0.1))))
    (top_region (:target white_cabinet_1))
    (bottom_region (:target white_cabinet_1))
    (cook_region (:target flat_stove_1))
  )
  (:fixtures
    kitchen_table - kitchen_table
    white_cabinet_1 - white_cabinet
    flat_stove_1 - flat_stove
  )
  (:objects
    akita_black_bowl_1 - akita_black_bowl
    plate_1 - plate  ; a comment
  )
  (:obj_of_interest akita_black_bowl_1)
  (:init
    (On white_cabinet_1 kitchen_table_cabinet_region)
    (On flat_stove_1 kitchen_table_stove_region)
    (On akita_black_bowl_1 kitchen_table_bowl_region)
    (On plate_1 kitchen_table_plate_region)
    (Open white_cabinet_1_bottom_region)
  )
  (:goal (And (In akita_black_bowl_1 white_cabinet_1_bottom_region) (Turnon flat_stove_1)))
)
"""
GOAL_LINE = 30
GOAL = "(In akita_black_bowl_1 white_cabinet_1_bottom_region) (Turnon flat_stove_1)"


def spoilt(folder: Path, old: str, new: str) -> Path:
    """The good file with one replacement, written to a folder."""
    assert GOOD.count(old) >= 1, old
    path = folder / "mine.bddl"
    path.write_text(GOOD.replace(old, new, 1))
    return path


def with_goal(folder: Path, goal: str) -> Path:
    """The good file with another goal."""
    return spoilt(folder, GOAL, goal)
