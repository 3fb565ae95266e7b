"""An image's ink in KanjiVG's units."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

from generation.strokes.kanjivg import STROKE_WIDTH, UNITS
from generation.svg import INK

SIDE = 128  # px, of the image that strokes are fitted to
PIXEL = UNITS / SIDE  # units
MAX_POINTS = 250  # along the lines, where many components are compared
CAP = 6.0  # units; what is farther away is no nearer to being wrong


class Ink:
    """The ink of a square image: its pixels that are ink, coverage 0 to 1 of SIDE x SIDE, the middle of its lines."""

    def __init__(self, image: Image.Image) -> None:
        """Take an image, black on white, of any size."""
        grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        self.inked = np.asarray(image.convert("L")) < INK
        self.coverage = 1.0 - np.asarray(grey, dtype=np.float32) / 255.0

    @cached_property
    def points(self) -> np.ndarray:
        """Points (n, 2) along the middle of the lines, in units, x and y: pixels deeper than most within the ink."""
        smooth = gaussian_filter(self.coverage, 0.8)
        depth = distance_transform_edt(self.coverage > 0.5)
        deep = depth >= min(0.42 * STROKE_WIDTH / PIXEL, depth.max())
        ridge = deep & (smooth > 0.5)
        rows, columns = np.nonzero(ridge)
        return (np.stack([columns, rows], axis=1) + 0.5) * PIXEL

    @cached_property
    def some_points(self) -> np.ndarray:
        """Of these points at most MAX_POINTS, evenly taken."""
        return self.points[::-(-len(self.points) // MAX_POINTS) or 1]

    @cached_property
    def tree(self) -> cKDTree:
        """Finds the nearest of these points."""
        return cKDTree(self.points)

    @cached_property
    def _far(self) -> np.ndarray:
        """How far each pixel's middle is from the nearest of these points, in units, at most CAP."""
        middle = np.zeros((SIDE, SIDE), dtype=bool)
        columns, rows = (self.points / PIXEL).astype(int).T
        middle[rows, columns] = True
        return np.minimum(distance_transform_edt(~middle) * PIXEL, CAP).astype(np.float32)

    def distance_at(self, points: np.ndarray) -> np.ndarray:
        """How far points (n, 2) are from the middle of a line, in units, at most CAP."""
        columns, rows = np.clip((points / PIXEL).astype(int), 0, SIDE - 1).T
        return self._far[rows, columns]

    def blurred(self, sigma: float) -> np.ndarray:
        """The coverage blurred by a Gaussian of `sigma` px."""
        return gaussian_filter(self.coverage, sigma)
