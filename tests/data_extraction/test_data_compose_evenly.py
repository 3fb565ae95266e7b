"""Promises about characters whose components take turns, on real strokes."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

import data_fixtures
from arrangements import ARRANGEMENTS
from compose import MAX_STROKES, Composer
from compose_evenly import compose_evenly
from duplicates import MAX_STROKE_DISTANCE, ExistingGlyphs
from fitting import boxes_and_rooms, distance, misfits
from held_out import is_held_out, is_held_out_pair
from kanjidic import read_kanjidic
from kanjivg_reader import is_kanji, read_kanjivg

COUNT = 700
LEFT_RIGHT = ARRANGEMENTS[0]


@pytest.fixture(scope="module")
def glyphs():
    """The drawings of some 600 kanji: enough for every arrangement."""
    files = data_fixtures.all_svgs().items()
    return read_kanjivg((name, data) for name, data in files if "05f00" <= name[:5] < "06200" or name[:5] > "09580")[0]


@pytest.fixture(scope="module")
def composer(glyphs, tmp_path_factory):
    literals = [chr(int(name[:5], 16)) for name in data_fixtures.all_svgs()]
    path = data_fixtures.write_kanjidic(tmp_path_factory.mktemp("kanjidic") / "k.xml", filter(is_kanji, literals))
    return Composer(glyphs, read_kanjidic(path), sorted(filter(is_kanji, glyphs)), "en")


@pytest.fixture(scope="module")
def composed(composer):
    return compose_evenly(composer, COUNT, seed=0, shapes=3)


def pairs_of(characters):
    """How many characters there are of each arrangement and two components."""
    return Counter((c.arrangement.name, *((p.element, p.original) for p in c.components)) for c in characters)


def shown(composer, characters, arrangement, slot):
    """How often each component of a slot that is shown at all is shown, by its key."""
    ours = [c for c in characters if c.arrangement is arrangement]
    return Counter((c.components[slot].element, c.components[slot].original) for c in ours)


def test_as_many_are_made_as_were_asked_for_no_two_by_the_same_name(composed):
    assert len(composed) == len({character.name for character in composed}) == COUNT
    assert {character.arrangement for character in composed} == {*ARRANGEMENTS}


def test_all_are_new_fit_and_come_from_train_kanji_and_none_is_held_out(composer, composed, glyphs):
    existing = ExistingGlyphs(glyph.strokes for glyph in glyphs.values())
    for character in composed:
        arrangement, components = character.arrangement, character.components
        forms = [placed.original for placed in components]
        assert composer.is_new(arrangement, *forms) and not is_held_out_pair(*forms)
        assert existing.distance(character.strokes) >= MAX_STROKE_DISTANCE
        assert len(character.strokes) <= MAX_STROKES
        assert arrangement.gap[0] <= distance(*(placed.points for placed in components)) <= arrangement.gap[1]
        assert misfits(*(boxes_and_rooms([placed]) for placed in components)) <= arrangement.max_misfit
        assert not any(is_held_out(placed.source) for placed in components)


def test_no_pair_comes_more_often_than_was_asked_for_and_looks_unlike_itself(composed):
    assert max(pairs_of(composed).values()) == 3
    by_elements = itertools.groupby(sorted(composed, key=elements), key=elements)
    for _, alike in by_elements:
        looks = [np.array([placed.box for placed in character.components]) for character in alike]
        assert all(np.abs(a - b).max() >= 3.0 for a, b in itertools.combinations(looks, 2))


def elements(character):
    return (character.arrangement.name, *(placed.element for placed in character.components))


def test_names_count_the_characters_of_the_same_elements(composed):
    for name, alike in itertools.groupby(sorted(composed, key=elements), key=elements):
        numbers = sorted(character.number for character in alike)
        assert numbers == list(range(1, len(numbers) + 1)), name
    second = next(character for character in composed if character.number == 2)
    assert second.name.endswith("_2")


def test_components_are_shown_more_evenly_than_by_sampling(composer):
    many = compose_evenly(composer, COUNT, seed=0)
    sampled = composer.compose(COUNT, seed=0)
    for slot in (0, 1):
        evenly, by_chance = (shown(composer, made, LEFT_RIGHT, slot) for made in (many, sampled))
        assert len(evenly) > len(by_chance)
        assert max(evenly.values()) < max(by_chance.values())


def test_common_components_are_shown_more_often_where_less_evenness_is_asked_for(composer):
    pool = composer.pools[LEFT_RIGHT.name][0]
    commonest = max(sorted(pool), key=lambda key: composer.commonness(pool[key]))
    times = [shown(composer, compose_evenly(composer, COUNT, 0, evenness=evenness), LEFT_RIGHT, 0)[commonest]
             for evenness in (0.0, 0.5, 1.0)]  # fmt: skip
    assert times[0] > times[1] > times[2] > 0


def test_fewer_are_the_first_of_more_and_another_seed_gives_others(composer, composed):
    fewer = compose_evenly(composer, COUNT // 4, seed=0, shapes=3)
    assert [(c.name, c.captions) for c in fewer] == [(c.name, c.captions) for c in composed[: COUNT // 4]]
    other = compose_evenly(composer, COUNT // 4, seed=1, shapes=3)
    assert {c.name for c in other} != {c.name for c in fewer}


def test_only_components_that_are_common_enough_are_composed(composer):
    for character in compose_evenly(composer, 100, seed=0, min_commonness=12):
        for pool, placed in zip(composer.pools[character.arrangement.name], character.components, strict=True):
            assert composer.commonness(pool[placed.element, placed.original]) >= 12


def test_all_that_fits_is_found_before_it_ends(composer, glyphs):
    """Sampling each pair until it seldom finds a new one gives no pair that taking turns does not."""
    few = Composer(glyphs, composer.kanji, sorted(filter(is_kanji, glyphs))[:90], "en")
    found = pairs_of(compose_evenly(few, 100_000, seed=0))
    sampled = pairs_of(few.compose(100_000, seed=0))
    assert sampled and found.keys() >= sampled.keys()
    several = compose_evenly(few, 100_000, seed=0, shapes=24)
    assert len(several) > len(found) and pairs_of(several).keys() == found.keys()


def test_a_pool_that_runs_out_gives_fewer_and_ends():
    assert compose_evenly(Composer({}, {}, "", "en"), 100, seed=0) == []
