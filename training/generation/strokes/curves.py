"""Cubic Bézier strokes as points that depend on their control points linearly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

SPACING = 1.2  # units, about, between neighbouring points of a stroke
ROUGH = 6  # points of a curve where thousands are looked at


def curve_points(stroke: np.ndarray, spacing: float = SPACING) -> np.ndarray:
    """Points (n, 2) along a stroke of control points (3k + 1, 2), both ends among them."""
    return weights_of(stroke, spacing) @ stroke


def weights_of(stroke: np.ndarray, spacing: float = SPACING) -> np.ndarray:
    """What each control point counts at each of n points along a stroke: (n, 3k + 1); each row sums to 1."""
    lengths = np.linalg.norm(np.diff(stroke, axis=0), axis=1).reshape(-1, 3).sum(1)
    steps = [max(2, math.ceil(length / spacing)) for length in lengths]
    weights = np.zeros((sum(steps) + 1, len(stroke)))
    row = 0
    for curve, count in enumerate(steps):
        weights[row:row + count + 1, 3 * curve:3 * curve + 4] = _bernstein(count)
        row += count
    return weights


@lru_cache(maxsize=256)
def _bernstein(steps: int) -> np.ndarray:
    """The cubic Bernstein polynomials at 0, 1/steps ... 1: (steps + 1, 4)."""
    t = np.linspace(0.0, 1.0, steps + 1)
    s = 1.0 - t
    return np.stack([s**3, 3 * s * s * t, 3 * s * t * t, t**3], axis=1)


def rough_points(strokes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2) in the middles of ROUGH parts of each curve of many strokes, and what each counts (n,): its length.

    Faster than `curve_points` by far where there are thousands of strokes.
    """
    control = np.concatenate(strokes).astype(np.float32)
    sizes = np.array([len(stroke) for stroke in strokes])
    ends = np.zeros(len(control), dtype=bool)
    ends[np.cumsum(sizes) - 1] = True
    place = np.arange(len(control)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    starts = np.flatnonzero((place % 3 == 0) & ~ends)
    curves = np.stack([control[starts + number] for number in range(4)], axis=1)  # (curves, 4, 2)
    t = ((np.arange(ROUGH) + 0.5) / ROUGH).astype(np.float32)
    s = 1 - t
    points = np.stack([s**3, 3 * s * s * t, 3 * s * t * t, t**3], axis=1) @ curves
    lengths = np.linalg.norm(np.diff(curves, axis=1), axis=2).sum(1) / ROUGH
    return points.reshape(-1, 2), np.repeat(lengths, ROUGH)
