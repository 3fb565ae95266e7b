"""Promises about --names: characters for words in the dataset."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

import data_fixtures
import imagefolder
import main
from compose_plans import (
    HELD_OUT_CAPTION,
    HELD_OUT_KANJI,
    HELD_OUT_PAIR,
    NO_FIT,
    NOT_IN_SLOT,
)
from data_fixtures import SEAHORSE, parts, plan, table
from errors import UserError
from plans import NAMES_FILE


def rows(folder, split="train"):
    return table(folder / split / "metadata.jsonl")


def rejected(folder):
    """The reason for each word or character that was left out."""
    by_reason = imagefolder.read_manifest(folder)["rejected"]
    return {name: reason for reason, names in by_reason.items() for name in names}


def test_names_come_after_the_others_which_stay_as_they_are(make, dataset_without_names):
    folder = make(names=[plan("sea horse")])
    made, without = rows(folder), rows(dataset_without_names)
    assert made[:-1] == [row | {"word": ""} for row in without]
    assert rows(folder, "test") == [row | {"word": ""} for row in rows(dataset_without_names, "test")]
    assert (made[-1]["kind"], made[-1]["word"], made[-1]["captions"]) == (
        "named", "sea horse", ["sea horse", "water horse"])  # fmt: skip
    alike = [f"train/{row['file_name']}" for row in without] + ["heldout_pairs.jsonl"]
    now, before = data_fixtures.tree(folder), data_fixtures.tree(dataset_without_names)
    assert all(now[name] == before[name] for name in alike)
    assert f"train/{made[-1]['file_name']}" in now


def test_without_names_the_dataset_says_nothing_of_them(dataset_without_names):
    manifest = imagefolder.read_manifest(dataset_without_names)
    assert set(manifest["counts"]) == {"train", "test", "real", "composed"}
    assert not any("sha256" in option for option in manifest["options"])
    assert "word" not in rows(dataset_without_names)[0]
    card = (dataset_without_names / "README.md").read_text(encoding="utf-8")
    assert "`named`" not in card and "WordNet" not in card


def test_what_is_held_out_is_in_no_named_row(make, dataset_without_names):
    def of_two(row):
        return {part["position"] for part in row["components"]} == {"left", "right"}

    held_out = rows(dataset_without_names, "test")
    kanji = next(row for row in held_out if of_two(row))
    pair = table(dataset_without_names / "heldout_pairs.jsonl")[0]
    first, second = parts(pair)
    called = [("水", second[1], "left"), ("馬", first[1].upper(), "right")]  # a held-out pair's names, other way round
    folder = make(
        names=[
            plan("held-out kanji", parts(kanji)),
            plan("the other way", [(form, name, {"left": "right"}.get(slot, "left")) for form, name, slot in
                                   parts(kanji)]),
            plan("held-out pair", parts(pair)),
            plan(held_out[-1]["text"].upper()),
            plan(pair["captions"][-1]),
            plan("its names", called),
            plan("sea horse"),
        ]
    )  # fmt: skip
    reasons = rejected(folder)
    assert reasons["held-out kanji"] == reasons["the other way"] == HELD_OUT_KANJI
    assert reasons["held-out pair"] == HELD_OUT_PAIR
    captions = [held_out[-1]["text"].upper(), pair["captions"][-1], "its names"]
    assert [reasons[word] for word in captions] == [HELD_OUT_CAPTION] * 3
    assert [row["word"] for row in rows(folder) if row["kind"] == "named"] == ["sea horse"]


def test_manifest_and_card_say_which_names_and_what_they_are(make, tmp_path):
    folder = make(names=[plan("sea horse"), plan("does not fit", [("一", "one", "left"), SEAHORSE[1]])])
    manifest = imagefolder.read_manifest(folder)
    assert manifest["options"]["names_sha256"] == hashlib.sha256((tmp_path / "names.jsonl").read_bytes()).hexdigest()
    counts = manifest["counts"]
    assert (counts["named"], counts["rearranged"]) == (1, 0)
    assert counts["train"] + counts["test"] == counts["real"] + counts["composed"] + counts["named"]
    assert rejected(folder)["does not fit"] in (NO_FIT, NOT_IN_SLOT)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{column}` |" in card for column in rows(folder)[0])
    assert "`named`" in card and "1 more are named" in card and "WordNet 3.0 (Princeton University)" in flat(card)


def flat(text):
    return " ".join(text.replace("*", "").split())


def test_a_second_run_with_the_same_names_does_nothing_and_others_are_refused(make, capsys):
    folder = make(names=[plan("sea horse")])
    before = data_fixtures.tree(folder)
    make(names=[plan("sea horse")])
    assert "up to date" in capsys.readouterr().out
    for names in ([plan("other")], None):
        with pytest.raises(UserError, match=r"names_sha256 .*--force"):
            make(names=names)
    assert data_fixtures.tree(folder) == before
    shutil.rmtree(folder)
    assert data_fixtures.tree(make(names=[plan("sea horse")], workers=2)) == before


def test_names_need_no_composed_characters_and_may_be_previewed(make, tmp_path):
    folder = make(names=[plan("sea horse")], compose=0)
    assert {row["kind"] for row in rows(folder)} == {"real", "named"}
    make(names=[plan("sea horse")], preview=tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getextrema() == (0, 255)


def test_datasets_loads_a_set_with_names(make, tmp_path):
    import datasets

    folder = make(names=[plan("sea horse")])
    loaded = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"][-1]["word"] == "sea horse"
    assert loaded["test"][0]["word"] == ""
    alone = make(plans=[plan("sea horse")], output=tmp_path / "alone")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(alone), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"][0]["text"] == "sea horse"


@pytest.mark.parametrize("rest", [[], ["--size", "64"]])
def test_names_alone_means_the_file_that_is_shipped(monkeypatch, rest):
    import command_line

    seen = []
    monkeypatch.setattr(sys, "argv", ["main.py", "--names", *rest])
    command_line.run(seen.append, "")
    monkeypatch.setattr(sys, "argv", ["main.py", "--names", "mine.jsonl", *rest])
    command_line.run(seen.append, "")
    assert [options.names for options in seen] == [NAMES_FILE, Path("mine.jsonl")]
    assert Path(main.__file__).parent / "names.jsonl" == NAMES_FILE
