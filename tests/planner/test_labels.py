"""The table of which components fit which words: what stands in it, how it is read, and what is planned from it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from planner.exclusions import DEVELOPMENT, PLANS, WILD, read_prompts
from planner.labels import LABELS, Label, read_labels
from planner.names import forms_of, plan_rows
from planner.planner import NAMES_FILE, Planner
from planner.training import labels_target
from planner.wordnet import WordNet
from planner.words import looked_up
from planner_fixtures import components, load_small_planner
from wordnet_fixtures import save_wordnet


@pytest.fixture(scope="module")
def lines() -> list[tuple[list[str], str, str]]:
    fields = [line.split("\t") for line in LABELS.read_text(encoding="utf8").splitlines() if line[0] != "#"]
    return [(names.split("|"), forms, "".join(description)) for names, forms, *description in fields]


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    return WordNet.read(save_wordnet(tmp_path / "wordnet"))


def table(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "labels.tsv"
    path.write_text("# a comment\n\n" + "".join(f"{line}\n" for line in lines), encoding="utf8")
    return path


def test_no_name_of_it_is_one_that_the_score_asks_or_that_settings_are_chosen_on(lines) -> None:
    asked = {form for path in (WILD, PLANS, DEVELOPMENT) for words in read_prompts(path) for form in looked_up(words)}
    assert len(asked) > 400
    assert not asked & {form for names, _, _ in lines for name in names for form in looked_up(name)}


def test_each_name_stands_in_it_once_with_components_that_are_planned_with(lines) -> None:
    names = Counter(name.lower() for names, _, _ in lines for name in names)
    assert len(lines) > 20_000 and max(names.values()) == 1
    known = set(Planner.load(names=None).components.forms)
    assert all(2 <= len(set(forms)) == len(forms) <= 5 and set(forms) <= known for _, forms, _ in lines)


def test_descriptions_are_short_and_its_components_are_many(lines) -> None:
    described = [description for _, _, description in lines if description]
    assert len(described) > 5000
    assert all(len(description.split()) <= 15 and not set('";()') & set(description) for description in described)
    first = Counter(form for _, forms, _ in lines for form in forms[:2])
    assert len(first) > 230 and max(first.values()) < 0.07 * len(lines)


def test_words_are_those_of_the_table_and_what_wordnet_calls_the_same_first(tmp_path: Path) -> None:
    folder = save_wordnet(tmp_path / "wordnet")
    data = (folder / "data.noun").read_text().replace(" 01 lake 0 ", " 02 lake 0 mere 0 ")
    (folder / "data.noun").write_text(data)
    with (folder / "index.noun").open("a") as file:
        file.write(f"mere n 1 1 @ 1 1 {WordNet.read(folder).senses['lake'][0]}\n")
    path = table(tmp_path, "lake\t口十", "mere\t口二\tA brand of milk", "Quay|Pier\t十二人\tWhere ships lie")
    assert read_labels(WordNet.read(folder), frozenset(), path) == [
        Label(("lake", "mere"), ("口", "十")), Label(("mere",), ("口", "二")),
        Label(("Quay", "Pier"), ("十", "二", "人"))]


def test_a_label_of_which_a_name_is_excluded_is_left_out(tmp_path: Path, wordnet: WordNet) -> None:
    path = table(tmp_path, "Harbors|Havens\t口十\tWhere ships lie", "Quay\t口二\tWhere ships lie")
    assert read_labels(wordnet, {"haven"}, path) == [Label(("Quay",), ("口", "二"))]


@pytest.mark.parametrize("line", ["Quay", "Quay\t", "Quay\t口", "Quay\t口口", "Quay\t口十\t", "\t口十",
                                  "Quay\t口十\tWhere ships lie\tmore", "Quay|\t口十"])
def test_a_line_that_is_no_label_is_named(line: str, tmp_path: Path, wordnet: WordNet) -> None:
    with pytest.raises(UserError, match=r"labels\.tsv line 3: "):
        read_labels(wordnet, frozenset(), table(tmp_path, line))


def test_what_is_learned_of_a_label_is_a_distribution_for_each_of_its_words() -> None:
    target = labels_target(components(), [Label(("Quay", "Pier"), ("十", "口")), Label(("Bay",), ("人", "象"))])
    assert torch.equal(target[0], target[1]) and torch.allclose(target.sum(1), torch.ones(3))
    assert target[0].argsort(descending=True)[:2].tolist() == [1, 0] and target[0].count_nonzero() == 2
    assert target[2].tolist() == [0.0, 0.0, 0.0, 1.0], "a form that this planner does not have is left out"


def test_pairs_of_a_label_come_before_those_that_the_network_adds(tmp_path: Path) -> None:
    pairs = load_small_planner(tmp_path / "planner").fitting_pairs

    def ranked(*scores: torch.Tensor) -> list[set[str]]:
        return [{"口十二人"[one.first], "口十二人"[one.second]} for one in pairs.ranked_of_fitting("人象口", *scores)]

    assert ranked() == [{"人", "口"}], "象 is not known"
    assert ranked(torch.tensor([1.0, 9.0, 2.0, -5.0]))[:3] == [{"人", "口"}, {"人", "十"}, {"人", "二"}]


def test_no_pair_is_planned_that_exists_that_is_held_out_or_that_many_words_have(tmp_path: Path) -> None:
    planner = load_small_planner(tmp_path / "planner")
    labels = [Label((f"Quay {number}",), ("口", "十", "二", "人")) for number in range(10)]
    rows = list(plan_rows(planner, labels, frozenset(["人口"])))
    assert [forms_of(row) for row in rows] == ["二口"] * 6 + ["二十"] * 4, "口十 is a kanji, 人口 is held out"


def test_nearly_all_are_planned_with_their_best_component_and_another_of_theirs(lines) -> None:
    rows = {row["word"]: forms_of(row) for line in NAMES_FILE.read_text(encoding="utf8").splitlines()
            for row in [json.loads(line)]}
    planned = [(set(rows[names[0]]), forms) for names, forms, _ in lines if names[0] in rows]
    assert len(planned) > 0.95 * len(lines)
    assert sum(forms[0] in own for own, forms in planned) > 0.85 * len(planned)
    assert sum(own <= set(forms) for own, forms in planned) > 0.97 * len(planned)
    planner = Planner.load()
    assert all(planner.plans(names[0], novel=True)[0].source == "names" for names, _, _ in lines[::500]
               if names[0] in rows)
