"""Promises about composed characters, on real strokes."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

import data_fixtures
from arrangements import ARRANGEMENTS
from captions import composed_captions, concepts_of, names_of
from compose import MAX_STROKES, Composer
from duplicates import MAX_STROKE_DISTANCE, ExistingGlyphs
from fitting import distance
from held_out import HELD_OUT_FRACTION, is_held_out, is_held_out_pair
from kanjidic import Kanji, read_kanjidic
from kanjivg_reader import Component, is_kanji, read_kanjivg

COUNT = 600


@pytest.fixture(scope="module")
def glyphs():
    """The drawings of some 1,900 kanji: enough for every arrangement."""
    files = data_fixtures.all_svgs().items()
    return read_kanjivg((name, data) for name, data in files if "05e00" <= name[:5] < "06a00" or name[:5] > "08f00")[0]


@pytest.fixture(scope="module")
def kanji(tmp_path_factory):
    """A dictionary of all kanji that KanjiVG draws."""
    literals = [chr(int(name[:5], 16)) for name in data_fixtures.all_svgs()]
    path = tmp_path_factory.mktemp("kanjidic") / "k.xml"
    return read_kanjidic(data_fixtures.write_kanjidic(path, filter(is_kanji, literals)))


@pytest.fixture(scope="module")
def composer(glyphs, kanji):
    return Composer(glyphs, kanji, sorted(filter(is_kanji, glyphs)), "en")


@pytest.fixture(scope="module")
def composed(composer):
    return composer.compose(COUNT, seed=0)


def originals(character):
    return tuple(component.original for component in character.components)


def test_as_many_are_made_as_were_asked_for(composed):
    assert len(composed) == COUNT
    assert len({character.name for character in composed}) == COUNT


def test_every_arrangement_is_among_them(composed):
    assert {character.arrangement.name for character in composed} == {arrangement.name for arrangement in ARRANGEMENTS}


def test_no_pair_is_that_of_an_existing_kanji(composed, glyphs):
    existing = {
        (a.position, a.original, b.position, b.original)
        for glyph in glyphs.values()
        for a, b in itertools.permutations(glyph.slots, 2)
    }
    for character in composed:
        first, second = originals(character)
        assert (character.arrangement.first, first, character.arrangement.second, second) not in existing


def test_no_pair_is_that_of_a_held_out_kanji_in_any_order(composed, glyphs):
    held_out = {
        frozenset((a.original, b.original))
        for glyph in glyphs.values()
        if is_held_out(glyph.literal)
        for a, b in itertools.combinations(glyph.slots, 2)
    }
    assert held_out
    assert not held_out & {frozenset(originals(character)) for character in composed}


def test_no_picture_is_that_of_an_existing_kanji(composed, glyphs):
    shapes = ExistingGlyphs(glyph.strokes for glyph in glyphs.values())
    assert all(shapes.distance(character.strokes) >= MAX_STROKE_DISTANCE for character in composed)


def test_components_come_from_the_same_slots_of_train_kanji(composed, glyphs):
    for character in composed:
        positions = (character.arrangement.first, character.arrangement.second)
        for placed, position in zip(character.components, positions, strict=True):
            assert not is_held_out(placed.source)
            slots = {slot.position: slot for slot in glyphs[placed.source].slots}
            assert slots[position].element == placed.element
            assert placed.strokes == tuple(glyphs[placed.source].strokes[i] for i in slots[position].strokes)


def test_the_components_keep_their_distance(composed):
    for character in composed:
        smallest, largest = character.arrangement.gap
        assert smallest <= distance(*(placed.points for placed in character.components)) <= largest


def test_no_character_is_too_complex(composed):
    assert max(len(character.strokes) for character in composed) <= MAX_STROKES
    assert all(len(c.strokes) == sum(len(placed.strokes) for placed in c.components) for c in composed)


def test_captions_are_made_of_both_names(composed):
    for character in composed:
        first, second = (placed.names for placed in character.components)
        assert character.captions[0] == f"{first[0]} {second[0]}"
        assert 1 <= len(character.captions) <= 3
        for caption in character.captions:
            assert any(name in caption for name in first)
            assert any(name in caption for name in second)


def test_the_same_seed_gives_the_same_characters_and_another_seed_others(composer, composed):
    assert [c.name for c in composer.compose(COUNT, seed=0)] == [c.name for c in composed]
    assert [c.captions for c in composer.compose(COUNT, seed=0)] == [c.captions for c in composed]
    assert {c.name for c in composer.compose(COUNT, seed=1)} != {c.name for c in composed}


def test_asking_for_fewer_gives_some_of_the_same(composer, composed):
    assert {c.name for c in composer.compose(COUNT // 4, seed=0)} <= {c.name for c in composed}


def test_only_components_that_are_common_enough_are_composed(composer, composed):
    def rarest(characters):
        pooled = [p for c in characters for p in zip(composer.pools[c.arrangement.name], c.components, strict=True)]
        return min(composer.commonness(pool[placed.element, placed.original]) for pool, placed in pooled)

    common = composer.compose(COUNT, seed=0, min_commonness=12)
    assert len(common) == COUNT
    assert rarest(composed) < 12 <= rarest(common)


def test_held_out_pairs_are_never_composed(composer, composed):
    pairs = composer.held_out_pairs(50, 0, composed)
    assert len(pairs) == 50
    assert all(is_held_out_pair(*originals(pair)) for pair in pairs)
    assert not any(is_held_out_pair(*originals(character)) for character in composed)
    assert not {pair.captions[0] for pair in pairs} & {character.captions[0] for character in composed}


def test_a_pool_that_runs_out_gives_fewer_and_ends(glyphs, kanji):
    few = Composer(glyphs, kanji, "明時晴暗晩", "en").compose(100, seed=0)
    assert len(few) < 20
    assert Composer({}, {}, "", "en").compose(100, seed=0) == []


def test_what_is_held_out_never_moves():
    """Were it to move, models trained before would be tested on what they saw."""
    literals = "一本分東者金立円関戦通的度成和領県結海利広必位水火木"
    assert "".join(filter(is_held_out, literals)) == "本分東者金立円関戦通的度成和領県結海利広必位"
    assert is_held_out_pair("魚", "間")
    assert is_held_out_pair("間", "魚")
    assert not is_held_out_pair("水", "馬")
    fraction = sum(is_held_out(chr(code)) for code in range(0x4E00, 0x9FFF)) / (0x9FFF - 0x4E00)
    assert abs(fraction - HELD_OUT_FRACTION) < 0.01


# ---------------------------------------------------------------- names and captions


def entry(literal, *meanings, grade=None):
    return {literal: Kanji(literal, meanings, (), (), 4, grade, None, 85)}


def component(element, original=""):
    return Component(element, original or element, "left", (0, 1))


def test_a_component_goes_by_its_meaning_form():
    assert names_of(component("氵", "水"), entry("水", "water", grade=1), "en") == ("water",)


def test_a_radical_that_is_no_word_goes_by_unicodes_name():
    assert names_of(component("禾"), entry("禾", "two-branch tree"), "en")[0] == "grain"
    assert names_of(component("宀"), {}, "en") == ("roof",)
    assert names_of(component("禾"), entry("禾", "arbre"), "fr") == ("arbre",)


def test_only_short_names_become_half_of_a_caption():
    meanings = ("counter for chapters", "to get", "-times", "1-3AM")
    assert concepts_of(component("章"), entry("章", *meanings, grade=3), "en") == ("get",)
    assert concepts_of(component("⺍", "つ"), {}, "en") == ()


@pytest.mark.parametrize("language", ["en", "fr", "es", "pt"])
def test_captions_vary_in_form(language):
    rng = random.Random(0)
    captions = {c for _ in range(50) for c in composed_captions(("water", "river"), ("horse",), language, rng)}
    assert {"water horse", "water, horse", "river horse"} <= captions
    if language == "en":
        assert {"water and horse", "horse of water"} <= captions


def test_a_description_sequence_says_how_the_components_stand():
    arrangements = {arrangement.name: arrangement for arrangement in ARRANGEMENTS}
    assert arrangements["left-right"].sequence("氵", "馬") == "⿰氵馬"
    assert arrangements["top-bottom"].sequence("艹", "化") == "⿱艹化"
    assert arrangements["kamae"].sequence("囗", "玉") == "⿴囗玉"
    assert arrangements["kamae"].sequence("門", "日") == "⿵門日"


def test_distance_is_the_least_between_two_point_sets():
    assert distance(np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([[13.0, 4.0], [50.0, 50.0]])) == 5.0
