"""Figures with their uncertainty, and distances between two sets: no images, no networks, only numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 1000  # of a bootstrap


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
        return float(_f1(*self.counts.T))

    def as_json(self, seed: int = 0) -> dict[str, float]:
        """The value with its 95 % bootstrap interval, resampling items."""
        low, high = _percentile_interval(self.counts.T, _f1, seed, self.value)
        return {"value": self.value, "low": low, "high": high, "n": len(self.counts)}


def proportion(hits: int, total: int) -> dict[str, float]:
    """A fraction with its 95 % Wilson score interval (Wilson 1927), which holds near 0 and 1 too."""
    if not total:
        return {"value": math.nan, "low": 0.0, "high": 1.0, "n": 0}
    interval = stats.binomtest(hits, total).proportion_ci(method="wilson")
    return {"value": hits / total, "low": float(interval.low), "high": float(interval.high), "n": total}


def bootstrap(values: Sequence[float], seed: int = 0) -> dict[str, float]:
    """A mean with its 95 % percentile bootstrap interval."""
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        return {"value": math.nan, "low": math.nan, "high": math.nan, "n": 0}
    low, high = _percentile_interval(data[None], np.mean, seed, float(data.mean()))
    return {"value": float(data.mean()), "low": low, "high": high, "n": len(data)}


def wasserstein(first: Sequence[float], second: Sequence[float]) -> float:
    """The first Wasserstein distance between two samples on a line, in their unit; NaN where one is empty."""
    return float(stats.wasserstein_distance(first, second)) if len(first) and len(second) else math.nan


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """The Fréchet distance between Gaussians fitted to two sets of vectors (N, D) and (M, D) (arXiv 1706.08500).

    The trace of the root of the two covariances' product is the nuclear norm of (N, M) products of the centred vectors,
    which, unlike the root of a matrix, is exact also where there are fewer vectors than dimensions.
    """
    if min(len(first), len(second)) < 2:
        return math.nan
    means = first.mean(0) - second.mean(0)
    one, two = ((vectors - vectors.mean(0)) / math.sqrt(len(vectors) - 1) for vectors in (first, second))
    shared = np.linalg.norm(one @ two.T, "nuc")
    return float(means @ means + np.square(one).sum() + np.square(two).sum() - 2.0 * shared)


def _percentile_interval(samples: np.ndarray, statistic: Callable[..., np.ndarray], seed: int,
                         value: float) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a statistic of (K, N) samples that are resampled together.

    One observation says nothing of its spread, nor does a `value` of NaN: then both ends are `value`.
    """
    if samples.shape[-1] < 2 or math.isnan(value):
        return value, value
    interval = stats.bootstrap(tuple(samples), statistic, paired=True, vectorized=True, n_resamples=RESAMPLES,
                               method="percentile", rng=np.random.default_rng(seed)).confidence_interval
    return float(interval.low), float(interval.high)


def _f1(hits: np.ndarray, surplus: np.ndarray, missed: np.ndarray, axis: int = -1) -> np.ndarray:
    """F1 of counts that are summed over an axis; NaN where there is nothing to find."""
    twice = 2.0 * hits.sum(axis)
    with np.errstate(invalid="ignore"):
        return twice / (twice + surplus.sum(axis) + missed.sum(axis))
