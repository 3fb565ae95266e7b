"""Is a composed character one that exists? Told by the strokes, whatever the component trees say.

KanjiVG does not always divide a kanji at the same place (例 is 亻, 歹 and 刂, not 亻 and 列), so comparing pairs of
components lets some real kanji through.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from paths import Stroke, sample

# KanjiVG units. A kanji put together from parts of two others comes this near to itself: its worst stroke, the mean.
COPY_WORST, COPY_MEAN = 8.0, 3.5


def stroke_ends(strokes: Iterable[Stroke]) -> np.ndarray:
    """Start, middle and end of each stroke: (n, 6), KanjiVG units."""
    rows = []
    for stroke in strokes:
        points = sample(stroke, 4)
        rows.append((*points[0], *points[len(points) // 2], *points[-1]))
    return np.array(rows)


class Shapes:
    """The shapes of many characters, to be compared with others whatever the order of strokes."""

    def __init__(self, characters: Iterable[tuple[Stroke, ...]]) -> None:
        """Take in the strokes of each character."""
        by_count = defaultdict(list)
        for strokes in characters:
            by_count[len(strokes)].append(stroke_ends(strokes))
        self._ends = {count: np.stack(ends) for count, ends in by_count.items()}
        self._sorted = {count: np.sort(ends, axis=1) for count, ends in self._ends.items()}

    def distance(self, strokes: tuple[Stroke, ...]) -> float:
        """How far the nearest character with as many strokes is: the distance, in units, of the stroke that fits worst.

        Infinite where none is near on the mean.
        """
        ends = stroke_ends(strokes)
        if len(ends) not in self._ends:
            return float("inf")
        # Sorted coordinates differ less than those of any pairing of strokes: a lower bound that leaves few candidates.
        bound = np.abs(self._sorted[len(ends)] - np.sort(ends, axis=0)).mean(axis=(1, 2))
        others = self._ends[len(ends)][bound < COPY_MEAN]
        if not len(others):
            return float("inf")
        between = np.abs(others[:, :, None] - ends[None, None]).mean(axis=-1)  # (characters, their strokes, ours)
        worst = np.maximum(between.min(axis=1).max(axis=1), between.min(axis=2).max(axis=1))
        return float(worst.min())

    def has(self, strokes: tuple[Stroke, ...]) -> bool:
        """True if a character of the same look is among them."""
        return self.distance(strokes) < COPY_WORST
