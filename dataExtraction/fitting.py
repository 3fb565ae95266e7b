"""Components as they stand in their slots, and which two fit each other.

Two sources fit where each component fills the room that the other's own companion filled, and where the strokes keep
the distance that real kanji keep.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from arrangements import Arrangement
from svg_paths import Box, Stroke, sample

_MAX_SOURCES = 32  # of a component that are weighed; evenly spaced over all it has
MAX_TRIES = 6  # pairs of sources, the best fitting first, whose distance is measured


@dataclass(frozen=True)
class PlacedComponent:
    """A component as it stands in its slot of one real kanji."""

    source: str  # the kanji
    element: str  # the shape, such as 氵
    original: str  # the form that carries the meaning, such as 水
    names: tuple[str, ...]  # one or two words for it, the main one first
    strokes: tuple[Stroke, ...]
    points: np.ndarray = field(compare=False, repr=False)  # (n, 2), along the strokes; KanjiVG units
    box: Box  # around the strokes
    room: Box  # the box of its companion in the source: where a companion is at home


def points_of(strokes: Iterable[Stroke]) -> np.ndarray:
    """Points along some strokes: (n, 2), KanjiVG units."""
    return np.array([point for stroke in strokes for point in sample(stroke)])


def box_of(points: np.ndarray) -> Box:
    """The box around points: left, top, right, bottom."""
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def best_fit(
    arrangement: Arrangement, first: list[PlacedComponent], second: list[PlacedComponent]
) -> tuple[PlacedComponent, PlacedComponent] | None:
    """The two sources in which two components fit each other best, or None where none of the best few pairs fits.

    `first` and `second` are every occurrence of the one component in its slot, and of the other. The arrangement says
    how near the strokes may come and how far a box may differ from its room.
    """
    first, second = weighed(first), weighed(second)
    misfit = misfits(boxes_and_rooms(first), boxes_and_rooms(second))
    for index in np.argsort(misfit, axis=None, kind="stable")[:MAX_TRIES]:
        row, column = divmod(int(index), len(second))
        if misfit[row, column] > arrangement.max_misfit:
            return None
        a, b = first[row], second[column]
        if arrangement.gap[0] <= distance(a.points, b.points) <= arrangement.gap[1]:
            return a, b
    return None


def weighed(components: list[PlacedComponent]) -> list[PlacedComponent]:
    """Of all occurrences of a component in its slot those that are weighed: at most 32, evenly spaced."""
    if len(components) <= _MAX_SOURCES:
        return components
    return [components[i * len(components) // _MAX_SOURCES] for i in range(_MAX_SOURCES)]


def boxes_and_rooms(components: list[PlacedComponent]) -> np.ndarray:
    """The box and the room of each component: (n, 2, 4), KanjiVG units."""
    return np.array([(component.box, component.room) for component in components])


def misfits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far boxes differ from the rooms that they would get: (first, second), KanjiVG units, mean over the sides.

    `first` and `second` are the boxes and rooms of components, (n, 2, 4).
    """
    boxes_a, rooms_a, boxes_b, rooms_b = first[:, 0], first[:, 1], second[:, 0], second[:, 1]
    return (
        np.abs(boxes_a[:, None] - rooms_b[None]).mean(axis=-1) + np.abs(boxes_b[None] - rooms_a[:, None]).mean(axis=-1)
    ) / 2


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """The least distance between two sets of points, in their units: within half a unit that of the strokes."""
    across = np.subtract.outer(first[:, 0], second[:, 0])
    down = np.subtract.outer(first[:, 1], second[:, 1])
    across *= across
    down *= down
    across += down
    return float(across.min()) ** 0.5
