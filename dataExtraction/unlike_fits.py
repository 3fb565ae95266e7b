"""All the ways in which two components fit each other, no two of them alike to the eye.

fitting.py finds the best one; the rules are the same. Here every pair of components of an arrangement is asked for, so
what can be known of all of them at once is computed at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from arrangements import Arrangement
from fitting import MAX_TRIES, PlacedComponent, boxes_and_rooms, misfits, weighed

_ALL_TRIES = 24  # pairs of sources, the best fitting first, whose distance is measured; best_fit has MAX_TRIES
_UNLIKE = 3.0  # KanjiVG units, a stroke's width: two pictures differ where a side of a component lies so far elsewhere


class UnlikeFits:
    """The components of both slots of an arrangement, with all their sources that are weighed."""

    def __init__(
        self, arrangement: Arrangement, first: list[list[PlacedComponent]], second: list[list[PlacedComponent]]
    ) -> None:
        """Take every occurrence of each component of the first slot, and of the second."""
        self._gap, self._max_misfit = arrangement.gap, arrangement.max_misfit
        sources = [list(map(weighed, slot)) for slot in (first, second)]
        self._sources = [list(itertools.chain.from_iterable(slot)) for slot in sources]
        self._starts = [np.cumsum([0, *map(len, slot)]) for slot in sources]
        self._points = (
            [_first_factor(source.points) for source in self._sources[0]],
            [_second_factor(source.points) for source in self._sources[1]],
        )
        self._misfits = np.empty(list(map(len, self._sources)))
        if self._misfits.size:
            both = first_boxes, second_boxes = list(map(boxes_and_rooms, self._sources))
            self._boxes = [boxes[:, 0] for boxes in both]
            for start, end in itertools.pairwise(self._starts[0]):  # not at once, which would take a gigabyte
                self._misfits[start:end] = misfits(first_boxes[start:end], second_boxes)

    def possible(self) -> np.ndarray:
        """Which components fill each other's room in some of their sources: (first, second), bool."""
        if not self._misfits.size:
            return np.zeros([len(starts) - 1 for starts in self._starts], dtype=bool)
        least = np.minimum.reduceat(self._misfits, self._starts[0][:-1], axis=0)
        return np.minimum.reduceat(least, self._starts[1][:-1], axis=1) <= self._max_misfit

    def of(self, first: int, second: int) -> Iterator[tuple[PlacedComponent, PlacedComponent]]:
        """Pairs of sources in which two components, given by their indices, fit each other; the best fit first.

        No two of them are alike. After as many tries as best_fit has, what is like a failed one is not tried either.
        """
        rows = slice(self._starts[0][first], self._starts[0][first + 1])
        columns = slice(self._starts[1][second], self._starts[1][second + 1])
        misfit = self._misfits[rows, columns]
        fitting = np.argwhere(misfit <= self._max_misfit)
        fitting = fitting[np.argsort(misfit[*fitting.T], kind="stable")] + (rows.start, columns.start)
        looks = np.concatenate([self._boxes[0][fitting[:, 0]], self._boxes[1][fitting[:, 1]]], axis=1)
        for attempt in range(_ALL_TRIES):
            if not len(fitting):
                return
            a, b = fitting[0]
            least = max(0.0, float((self._points[0][a] @ self._points[1][b]).min())) ** 0.5
            fits = self._gap[0] <= least <= self._gap[1]
            others = are_unlike(looks, looks[0]) if fits or attempt >= MAX_TRIES else slice(1, None)
            fitting, looks = fitting[others], looks[others]
            if fits:
                yield self._sources[0][a], self._sources[1][b]


def look_of(components: tuple[PlacedComponent, PlacedComponent]) -> np.ndarray:
    """What tells two pictures of the same two components apart: the boxes of both, (8,)."""
    return np.array([*components[0].box, *components[1].box])


def are_unlike(looks: np.ndarray, look: np.ndarray) -> np.ndarray:
    """Which of some looks (n, 8) are unlike another (8,): (n,), bool."""
    return np.abs(looks - look).max(axis=1, initial=0.0) >= _UNLIKE


def _first_factor(points: np.ndarray) -> np.ndarray:
    """(n, 4): its product with the second factor of other points is the squared distances, (n, m)."""
    return np.column_stack([np.ones(len(points)), (points**2).sum(axis=1), -2.0 * points])


def _second_factor(points: np.ndarray) -> np.ndarray:
    """(4, m), as _first_factor says."""
    return np.vstack([(points**2).sum(axis=1), np.ones(len(points)), points.T])
