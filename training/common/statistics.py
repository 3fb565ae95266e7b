"""Figures with their uncertainty, and distances between two sets: no pictures, no networks, only numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000  # of a bootstrap
NORMAL_95 = 1.959964  # the standard normal's 97.5 % point


@dataclass(frozen=True)
class F1:
    """Micro-averaged F1 over items, each with its hits, its misses and what was found beside them."""

    counts: np.ndarray
    """int64 (N, 3): found and true, found and not true, true and not found."""

    @classmethod
    def of(cls, found: Sequence[frozenset], true: Sequence[frozenset]) -> F1:
        """Count over pairs of sets."""
        rows = [(len(a & b), len(a - b), len(b - a)) for a, b in zip(found, true, strict=True)]
        return cls(np.array(rows, dtype=np.int64).reshape(-1, 3))

    @property
    def value(self) -> float:
        """2 hits / (2 hits + surplus + missed); NaN where there is nothing to find."""
        return float(_f1(self.counts.sum(0)))

    def as_json(self, seed: int = 0) -> dict[str, float]:
        """The value with its 95 % bootstrap interval, resampling items."""
        draw = np.random.default_rng(seed)
        picks = draw.integers(len(self.counts), size=(RESAMPLES, len(self.counts))) if len(self.counts) else None
        values = _f1(self.counts[picks].sum(1)) if picks is not None else np.array([math.nan])
        low, high = _interval(values)
        return {"value": self.value, "low": low, "high": high, "n": len(self.counts)}


def proportion(hits: int, total: int) -> dict[str, float]:
    """A share with its 95 % Wilson score interval (Wilson 1927), which holds near 0 and 1 too."""
    if not total:
        return {"value": math.nan, "low": 0.0, "high": 1.0, "n": 0}
    share, square = hits / total, NORMAL_95**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = NORMAL_95 / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return {"value": share, "low": max(0.0, middle - half), "high": min(1.0, middle + half), "n": total}


def bootstrap(values: Sequence[float], seed: int = 0) -> dict[str, float]:
    """A mean with its 95 % percentile bootstrap interval."""
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        return {"value": math.nan, "low": math.nan, "high": math.nan, "n": 0}
    draw = np.random.default_rng(seed)
    means = data[draw.integers(len(data), size=(RESAMPLES, len(data)))].mean(1)
    low, high = _interval(means)
    return {"value": float(data.mean()), "low": low, "high": high, "n": len(data)}


def wasserstein(first: Sequence[float], second: Sequence[float]) -> float:
    """The first Wasserstein distance between two samples on a line, in their unit."""
    a, b = np.sort(np.asarray(first, dtype=np.float64)), np.sort(np.asarray(second, dtype=np.float64))
    if not len(a) or not len(b):
        return math.nan
    places = np.sort(np.concatenate([a, b]))
    widths = np.diff(places)
    below_a = np.searchsorted(a, places[:-1], side="right") / len(a)
    below_b = np.searchsorted(b, places[:-1], side="right") / len(b)
    return float((np.abs(below_a - below_b) * widths).sum())


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """The Fréchet distance between Gaussians fitted to two sets of vectors (N, D) and (M, D) (arXiv 1706.08500)."""
    if min(len(first), len(second)) < 2:
        return math.nan
    means = first.mean(0) - second.mean(0)
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = _root(one)
    both = np.linalg.eigvalsh(root @ two @ root).clip(min=0.0)
    return float(means @ means + np.trace(one) + np.trace(two) - 2.0 * np.sqrt(both).sum())


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T


def _f1(counts: np.ndarray) -> np.ndarray:
    hits, surplus, missed = counts[..., 0], counts[..., 1], counts[..., 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2.0 * hits / (2.0 * hits + surplus + missed)


def _interval(values: np.ndarray) -> tuple[float, float]:
    if np.isnan(values).all():
        return math.nan, math.nan
    return float(np.nanpercentile(values, 2.5)), float(np.nanpercentile(values, 97.5))
