"""The dictionary of our own of the modern world: what stands in it, how it is read, and what is planned from it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from planner.categories import CATEGORIES
from planner.exclusions import DEVELOPMENT, PLANS, WILD, read_prompts
from planner.modern import MAX_KINDS, MODERN, read_modern
from planner.planner import NAMES_FILE, Planner
from planner.wordnet import WordNet
from planner.words import looked_up
from wordnet_fixtures import save_wordnet


@pytest.fixture(scope="module")
def entries() -> list[tuple[list[str], list[str], str]]:
    lines = [line.split("\t") for line in MODERN.read_text(encoding="utf8").splitlines() if line[0] != "#"]
    return [(names.split("|"), kinds.split("|"), gloss) for names, kinds, gloss in lines]


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    return WordNet.read(save_wordnet(tmp_path / "wordnet"))


def table(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "modern.tsv"
    path.write_text("# a comment\n\n" + "".join(f"{line}\n" for line in lines), encoding="utf8")
    return path


def test_no_name_of_it_is_one_that_the_score_asks_or_that_settings_are_chosen_on(entries) -> None:
    asked = {form for path in (WILD, PLANS, DEVELOPMENT) for words in read_prompts(path) for form in looked_up(words)}
    assert len(asked) > 400
    assert not asked & {form for names, _, _ in entries for name in names for form in looked_up(name)}


def test_each_name_stands_in_it_once(entries) -> None:
    names = Counter(name.lower() for names, _, _ in entries for name in names)
    assert len(entries) > 1500 and max(names.values()) == 1


def test_kinds_are_categories_and_glosses_are_short(entries) -> None:
    lines = CATEGORIES.read_text(encoding="utf8").splitlines()
    categories = {line.partition("\t")[0] for line in lines if line[0] != "#"}
    assert all(1 <= len(set(kinds)) == len(kinds) <= MAX_KINDS and set(kinds) <= categories for _, kinds, _ in entries)
    assert all(2 <= len(gloss.split()) <= 15 and not set('";()') & set(gloss) for _, _, gloss in entries)


def test_an_entry_is_a_noun_whose_hypernyms_are_its_kinds(tmp_path: Path, wordnet: WordNet) -> None:
    (entry,) = read_modern(wordnet, frozenset(), table(tmp_path, "Lake Placid|Placid\tlake#1|water#1\tA calm lake"))
    assert (entry.words, entry.definition) == (("Lake Placid", "Placid"), "A calm lake")
    assert entry.hypernyms == (wordnet.sense("lake#1"), wordnet.sense("water#1"))
    known = wordnet.with_entries([entry])
    assert known.is_kind_of(known.synsets[entry.offset], "water") and known.senses["placid"] == (entry.offset,)
    assert "placid" not in wordnet.senses


def test_an_entry_of_which_a_name_is_excluded_is_left_out(tmp_path: Path, wordnet: WordNet) -> None:
    path = table(tmp_path, "Harbors|Havens\tlake#1\tWhere ships lie", "Quay\tlake#1\tWhere ships lie")
    assert [entry.words for entry in read_modern(wordnet, {"haven"}, path)] == [("Quay",)]


@pytest.mark.parametrize("line", ["Quay\tlake#1", "Quay\t\tWhere ships lie", "Quay\tlake#2\tWhere ships lie",
                                  "Quay\tlake\tWhere ships lie", "Quay\tlake#1|ten#1|two#1\tWhere ships lie"])
def test_a_line_that_is_no_entry_is_named(line: str, tmp_path: Path, wordnet: WordNet) -> None:
    with pytest.raises(ValueError, match=r"modern\.tsv line 3: "):
        read_modern(wordnet, frozenset(), table(tmp_path, line))


def test_its_names_are_planned_from_the_file_of_names_in_which_they_come_first(entries) -> None:
    rows = [json.loads(line) for line in NAMES_FILE.read_text(encoding="utf8").splitlines()]
    names = [names[0] for names, _, _ in entries]
    first = [row["word"] for row in rows[:len(names) * 9 // 10]]
    assert [name for name in names if name in set(first)] == first
    planner = Planner.load()
    for name in first[::100]:
        assert planner.plans(name, novel=True)[0].source == "names"
