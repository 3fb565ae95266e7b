"""Figures with their intervals, against values worked out by hand or known."""

from __future__ import annotations

import numpy as np
import pytest

from common.statistics import F1, bootstrap, frechet, mean, proportion, to_json, wasserstein


def test_wilsons_interval_of_eight_in_ten():
    figure = proportion(8, 10)
    assert figure.value == 0.8
    assert figure.low == pytest.approx(0.4902, abs=1e-3)
    assert figure.high == pytest.approx(0.9433, abs=1e-3)


def test_an_interval_of_all_hits_ends_at_one_and_does_not_begin_there():
    figure = proportion(20, 20)
    assert figure.high == pytest.approx(1.0) and 0.8 < figure.low < 0.9


def test_a_fraction_of_nothing_cannot_be_said():
    assert proportion(0, 0).value is None


def test_f1_counts_hits_surplus_and_misses_over_all_items():
    score = F1.of([frozenset("ab"), frozenset("c")], [frozenset("a"), frozenset("cd")])
    assert score.value == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert score.figure().low <= score.value <= score.figure().high


def test_a_bootstrap_is_the_same_for_the_same_seed_and_holds_the_mean():
    values = list(range(50))
    assert bootstrap(values, 1) == bootstrap(values, 1)
    assert bootstrap(values).low < 24.5 < bootstrap(values).high


def test_the_wasserstein_distance_of_a_shifted_sample_is_the_shift():
    values = np.random.default_rng(0).normal(size=200)
    assert wasserstein(values, values + 0.3) == pytest.approx(0.3)
    assert wasserstein([0.0, 1.0], [0.0, 0.0, 1.0, 1.0]) == pytest.approx(0.0)


def test_the_frechet_distance_of_a_sample_to_itself_is_zero_and_to_a_shifted_one_the_squared_shift():
    sample = np.random.default_rng(0).normal(size=(300, 5))
    assert frechet(sample, sample) == pytest.approx(0.0, abs=1e-9)
    assert frechet(sample, sample + 2.0) == pytest.approx(5 * 4.0)


def test_a_sample_has_no_frechet_distance_to_itself_though_it_has_fewer_vectors_than_dimensions():
    sample = np.random.default_rng(0).normal(size=(20, 50))
    assert frechet(sample, sample) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0, 3.0]])
def test_few_or_equal_values_have_an_interval_of_no_width(values):
    figure = bootstrap(values)
    assert figure.n == len(values)
    assert figure.low == figure.high == figure.value


def test_of_nothing_there_is_no_mean_and_no_distance():
    assert mean([]) is None and wasserstein([], [1.0]) is None and frechet(np.ones((1, 2)), np.ones((3, 2))) is None
    assert F1.of([], []).figure().value is None and F1.of([frozenset()], [frozenset()]).figure().value is None


def test_figures_within_others_become_json():
    figure = {"value": 3.0, "low": 3.0, "high": 3.0, "n": 1}
    assert to_json({"one": bootstrap([3.0]), "more": (bootstrap([3.0]), "a word")}) == {
        "one": figure, "more": [figure, "a word"]}
