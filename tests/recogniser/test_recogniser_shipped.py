"""The weights that come with the project: what they weigh, what they claim, and that they read held-out kanji."""

from __future__ import annotations

import pytest

from data_fixtures import kanji_image
from recogniser.judge import CONTROL, JUDGE, Judge
from recogniser.network import WEIGHTS

pytestmark = pytest.mark.skipif(not (JUDGE / WEIGHTS).is_file(), reason="the weights are not in this checkout")


@pytest.fixture(scope="module")
def judge():
    return Judge.load(JUDGE, None)


def test_all_weights_together_stay_within_six_megabytes():
    files = [path for path in JUDGE.parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 6_000_000


@pytest.mark.parametrize("folder", [JUDGE, CONTROL])
def test_each_judge_states_its_figures_on_held_out_characters(folder):
    metadata = Judge.load(folder, None).metadata
    assert metadata["held_out"]["characters"] > 300
    for name in ("component_f1", "stroke_error", "well_formed", "broken_refused"):
        figure = metadata["held_out"][name]
        assert figure["low"] <= figure["value"] <= figure["high"]


@pytest.mark.parametrize(("literal", "left", "right", "strokes"), [("位", "亻", "立", 7), ("利", "禾", "刂", 7)])
@pytest.mark.parametrize("size", [128, 512])
def test_held_out_kanji_are_read_as_what_they_are_at_any_size(judge, literal, left, right, strokes, size):
    reading = judge.read([kanji_image(literal, size)])[0]
    assert {(one.position, one.element) for one in reading.components} == {("left", left), ("right", right)}
    assert reading.is_well_formed and abs(reading.strokes - strokes) < 1.5


def test_a_held_out_kanji_upside_down_is_refused(judge):
    assert not judge.read([kanji_image("位").rotate(180)])[0].is_well_formed


def test_a_component_of_two_senses_is_named_by_the_one_that_was_asked_for(judge):
    moon = kanji_image("月")
    for prompt, meanings, original in (("moon", "moon/meat", "月"), ("Full Moon", "moon/meat", "月"),
                                       ("meat", "meat/month", "肉")):
        reading = judge.read([moon], [prompt])[0]
        assert reading.explain() == f"whole 月 {meanings}, 4 strokes"
        assert [component.original for component in reading.components] == [original]
    assert judge.read([moon])[0].explain() == "whole 月 meat/month, 4 strokes"


def test_both_have_the_same_labels_and_know_each_sense(judge):
    known, control = judge.vocabulary, Judge.load(CONTROL, None).vocabulary
    assert known == control
    senses = dict(zip(known.elements, known.senses, strict=True))
    assert {sense.original for sense in senses["日"]} == {"日", "曰"}
