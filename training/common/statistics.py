"""Figures with their uncertainty, and distances between two sets: no images, no networks, only numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES = 1000  # of a bootstrap


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval; n: of how many observations. None stands for what cannot be said."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def to_json(value: Any) -> Any:
    """Dataclasses such as figures, also within dicts and lists, as JSON holds them."""
    if is_dataclass(value):
        return asdict(value)
    if isinstance(value, dict):
        return {key: to_json(inner) for key, inner in value.items()}
    return [to_json(inner) for inner in value] if isinstance(value, list | tuple) else value


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

    def figure(self, seed: int = 0) -> Figure:
        """The value with its 95 % bootstrap interval, resampling items."""
        return _bootstrapped(self.counts.T, _f1, seed)


def proportion(hits: int, total: int) -> Figure:
    """A fraction with its 95 % Wilson score interval (Wilson 1927), which holds near 0 and 1 too."""
    if not total:
        return Figure(None, 0.0, 1.0, 0)
    interval = stats.binomtest(hits, total).proportion_ci(method="wilson")
    return Figure(hits / total, float(interval.low), float(interval.high), total)


def bootstrap(values: Sequence[float], seed: int = 0) -> Figure:
    """A mean with its 95 % percentile bootstrap interval."""
    return _bootstrapped(np.asarray(values, dtype=np.float64)[None], np.mean, seed)


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return float(np.mean(values)) if len(values) else None


def wasserstein(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The first Wasserstein distance between two samples on a line, in their unit; None where one is empty."""
    return float(stats.wasserstein_distance(first, second)) if len(first) and len(second) else None


def frechet(first: np.ndarray, second: np.ndarray) -> float | None:
    """The Fréchet distance between Gaussians fitted to two sets of vectors (N, D) and (M, D) (arXiv 1706.08500).

    The trace of the root of the two covariances' product is the nuclear norm of the centred vectors' (N, M) products,
    which, unlike the root of a matrix, is exact also where there are fewer vectors than dimensions. None where a set
    has fewer than two.
    """
    if min(len(first), len(second)) < 2:
        return None
    apart = first.mean(0) - second.mean(0)
    one, two = ((vectors - vectors.mean(0)) / math.sqrt(len(vectors) - 1) for vectors in (first, second))
    shared = np.linalg.norm(one @ two.T, "nuc")
    return float(apart @ apart + np.square(one).sum() + np.square(two).sum() - 2.0 * shared)


def _bootstrapped(samples: np.ndarray, statistic: Callable[..., np.ndarray], seed: int) -> Figure:
    """A statistic of (K, N) samples, resampled together, with its 95 % percentile bootstrap interval.

    One observation says nothing of its spread: then both ends are the value.
    """
    count = samples.shape[-1]
    value = float(statistic(*samples, axis=-1)) if count else math.nan
    if math.isnan(value):
        return Figure(None, None, None, count)
    if count < 2:
        return Figure(value, value, value, count)
    interval = stats.bootstrap(tuple(samples), statistic, paired=True, vectorized=True, n_resamples=RESAMPLES,
                               method="percentile", rng=np.random.default_rng(seed)).confidence_interval
    return Figure(value, float(interval.low), float(interval.high), count)


def _f1(hits: np.ndarray, surplus: np.ndarray, missed: np.ndarray, axis: int = -1) -> np.ndarray:
    """F1 of counts that are summed over an axis; NaN where there is nothing to find."""
    twice = 2.0 * hits.sum(axis)
    with np.errstate(invalid="ignore"):
        return twice / (twice + surplus.sum(axis) + missed.sum(axis))
