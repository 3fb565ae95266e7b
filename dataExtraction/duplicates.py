"""Is a composed character one that exists? Told by the strokes, whatever the component trees say.

KanjiVG does not always divide a kanji at the same place (例 is 亻, 歹 and 刂, not 亻 and 列), so comparing pairs of
components lets some real kanji through.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from svg_paths import Stroke, sample

# KanjiVG units. A kanji put together from components of two others comes this near to itself: its worst stroke, the
# mean of all.
MAX_STROKE_DISTANCE, MAX_MEAN_DISTANCE = 8.0, 3.5


def key_points(strokes: Iterable[Stroke]) -> np.ndarray:
    """Start, middle and end of each stroke: (n, 6), KanjiVG units."""
    points_by_stroke = []
    for stroke in strokes:
        points = sample(stroke, 4)
        points_by_stroke.append((*points[0], *points[len(points) // 2], *points[-1]))
    return np.array(points_by_stroke)


class ExistingGlyphs:
    """The strokes of many glyphs, to be compared with others whatever the order of strokes."""

    def __init__(self, glyphs: Iterable[tuple[Stroke, ...]]) -> None:
        """Take in the strokes of each glyph."""
        by_count = defaultdict(list)
        for strokes in glyphs:
            by_count[len(strokes)].append(key_points(strokes))
        self._points = {count: np.stack(points) for count, points in by_count.items()}
        self._sorted = {count: np.sort(points, axis=1) for count, points in self._points.items()}

    def distance(self, strokes: tuple[Stroke, ...]) -> float:
        """How far the nearest glyph with as many strokes is: the distance of the stroke that fits worst, KanjiVG units.

        Infinite where none is near on the mean.
        """
        ours = key_points(strokes)
        if len(ours) not in self._points:
            return float("inf")
        # Sorted coordinates differ less than those of any pairing of strokes: a lower bound that leaves few candidates.
        bound = np.abs(self._sorted[len(ours)] - np.sort(ours, axis=0)).mean(axis=(1, 2))
        candidates = self._points[len(ours)][bound < MAX_MEAN_DISTANCE]
        if not len(candidates):
            return float("inf")
        between = np.abs(candidates[:, :, None] - ours[None, None]).mean(axis=-1)  # (glyphs, their strokes, ours)
        worst = np.maximum(between.min(axis=1).max(axis=1), between.min(axis=2).max(axis=1))
        return float(worst.min())

    def has(self, strokes: tuple[Stroke, ...]) -> bool:
        """True if a glyph of the same look is among them."""
        return self.distance(strokes) < MAX_STROKE_DISTANCE
