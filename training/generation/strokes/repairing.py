"""What a component of a real kanji has that the drawn character has not, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label
from scipy.spatial import cKDTree

from generation.strokes.curves import curve_points
from generation.strokes.document import length
from generation.strokes.ink import PIXEL, SIDE, Ink

OFF = 1.2  # units, the mean distance from the middle of the ink of a stroke that is not there
SHRUNK = 0.3  # a stroke that was fitted to less of its length than this is not there either
SHORT = 6.0  # units; a dot may shrink
UNCOVERED = 1.6  # units; ink farther than this from every stroke lacks one
MIN_ADDED = 4.0  # units, the length of the shortest piece of such ink that is a stroke


def absent(fitted: Sequence[np.ndarray], before: Sequence[np.ndarray], ink: Ink) -> list[bool]:
    """Of each fitted stroke whether the image has nothing like it; `before`: the strokes as they were before."""
    return [ink.tree.query(curve_points(stroke))[0].mean() > OFF
            or (length(was) > SHORT and length(stroke) < SHRUNK * length(was))
            for stroke, was in zip(fitted, before, strict=True)]


def lacking(strokes: Sequence[np.ndarray], ink: Ink) -> list[np.ndarray]:
    """Straight strokes along the ink that no stroke covers, each from its left or upper end; the upper ones first."""
    far, _ = cKDTree(np.concatenate([curve_points(stroke) for stroke in strokes])).query(ink.points)
    bare = ink.points[far > UNCOVERED]
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    columns, rows = (bare / PIXEL).astype(int).T
    mask[rows, columns] = True
    pieces = label(mask, np.ones((3, 3)))[0][rows, columns]
    added = []
    for piece in range(1, pieces.max(initial=0) + 1):
        points = bare[pieces == piece]
        middle = points.mean(0)
        along = np.linalg.svd(points - middle, full_matrices=False)[2][0]
        along = along if along[np.abs(along).argmax()] > 0 else -along
        reach = (points - middle) @ along
        if np.ptp(reach) >= MIN_ADDED:
            added.append(middle + np.linspace(reach.min(), reach.max(), 4)[:, None] * along)
    return sorted(added, key=lambda stroke: float(stroke[0].sum()))
