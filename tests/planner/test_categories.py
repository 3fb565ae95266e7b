"""What kinds of things are written with, and how two components go together, on a WordNet of a few lines."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataset.captioned_folder import DatasetError
from planner.arrange import PairTable, best_arrangement
from planner.categories import CATEGORIES, DECAY, Categories
from planner.components import read_fits
from planner.wordnet import Synset, WordNet
from planner_fixtures import components


def synset(offset: str, word: str, *hypernyms: str) -> Synset:
    return Synset(offset, (word,), f"a {word}", hypernyms, False, (), 6)


@pytest.fixture
def wordnet() -> WordNet:
    synsets = [synset("1", "thing"), synset("2", "vehicle", "1"), synset("3", "car", "2"), synset("4", "taxi", "3")]
    return WordNet({one.offset: one for one in synsets}, {one.words[0]: (one.offset,) for one in synsets}, {})


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "categories.tsv"
    path.write_text(text, encoding="utf8")
    return path


def test_the_nearest_category_counts_most_and_the_first_component_more(tmp_path: Path, wordnet: WordNet) -> None:
    path = table(tmp_path, "# a comment\nvehicle#1\t口\nthing#1\t十 口\ncar#1\t人 二\n")
    weights = Categories.read(wordnet, path).weights(wordnet.synsets["4"], wordnet)
    assert weights["人"] == 1.0 and weights["二"] == 0.7
    assert weights["口"] == pytest.approx(DECAY) and weights["十"] == pytest.approx(DECAY ** 2)


def test_what_no_category_stands_above_gets_nothing(tmp_path: Path, wordnet: WordNet) -> None:
    categories = Categories.read(wordnet, table(tmp_path, "car#1\t口\n"))
    scores = categories.scores([wordnet.synsets["2"], wordnet.synsets["4"]], wordnet, components())
    assert scores[0].eq(0).all() and scores[1, components().index("口")] == 1.0


@pytest.mark.parametrize("line", ["lorry#1\t口", "car#2\t口", "car#1\t", "car\t口", "car#x\t口"])
def test_a_line_that_is_no_sense_is_named(line: str, tmp_path: Path, wordnet: WordNet) -> None:
    with pytest.raises(ValueError, match=r"categories.tsv line 2: 'c|categories.tsv line 2: 'l"):
        Categories.read(wordnet, table(tmp_path, f"thing#1\t口\n{line}\n"))


def test_no_category_is_written_twice_and_each_has_components() -> None:
    lines = [line.split("\t") for line in CATEGORIES.read_text(encoding="utf8").splitlines() if line[0] != "#"]
    assert len({noun for noun, _ in lines}) == len(lines) > 500
    assert all(len(form) == 1 for _, forms in lines for form in forms.split())


def test_of_pairs_that_are_nearly_as_good_the_one_with_room_for_each_other_is_planned() -> None:
    known = components()
    scores = torch.tensor([0.0, 2.0, 3.0, 2.0])  # 二 above 十 or 人
    for fitting in "十人":
        table = PairTable(replace(known, fits={"top": {"二": fitting}}), torch.zeros(4, 4), {})
        best = next(table.ranked(scores))
        assert (known.forms[best.first], known.forms[best.second], best.slots) == ("二", fitting, ("top", "bottom"))
    either = best_arrangement(replace(known, fits={"top": {"口": "人"}}), 0, 3, unfit=100.0)
    assert either.slots == ("top", "bottom"), "a way with room is taken before one that is more usual"


def test_a_file_of_what_fits_is_read_or_the_command_that_makes_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fits.jsonl"
    path.write_text('{"slots": ["left", "right"], "first": "水", "second": "馬車"}\n', encoding="utf8")
    assert read_fits(path) == {"left": {"水": "馬車"}}
    for text in ('{"slots": ["left"', '{"first": "水"}', "[]"):
        path.write_text(text, encoding="utf8")
        with pytest.raises(DatasetError, match=r"fits\.jsonl: cannot be read.*dataExtraction/main\.py --fits"):
            read_fits(path)
    with pytest.raises(DatasetError, match="No such file"):
        read_fits(tmp_path / "none.jsonl")


def test_the_best_pair_is_not_an_existing_kanji_and_a_penalty_moves_it_back() -> None:
    known = components()
    scores = torch.tensor([3.0, 2.9, 1.0, 0.9])  # 口 and 十 would be 叶
    plain = PairTable(known, torch.zeros(4, 4), {})
    best = [{known.forms[one.first], known.forms[one.second]} for one in plain.ranked(scores)]
    assert {"口", "十"} not in best and len(best) == 5
    held_back = PairTable(known, torch.zeros(4, 4), {"".join(sorted(best[0])): 5.0})
    assert {known.forms[index] for index in held_back.best(scores[None])[1][0, 0].tolist()} == best[1]
    assert held_back.best(scores[None])[0][0, -1] == -math.inf
