"""Promises about a file of plans: what --plans makes of it, and what is said where it is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import data_fixtures
import imagefolder
import main
import sources
from compose_plans import (
    EXISTS,
    LOOKS_LIKE_ONE,
    NO_FIT,
    NOT_IN_SLOT,
    NOT_TWO,
    SAME_TWICE,
    TOO_MANY_STROKES,
)
from contents import read_composer
from data_fixtures import SEAHORSE, parts, plan, table, write_plans
from errors import UserError
from fits import fitting_forms

SCRIPT = Path(main.__file__)


def rows(folder, split="train"):
    return table(folder / split / "metadata.jsonl")


def rejected(folder):
    """The reason for each word or character that was left out."""
    by_reason = imagefolder.read_manifest(folder)["rejected"]
    return {name: reason for reason, names in by_reason.items() for name in names}


def test_a_plan_becomes_the_character_of_its_two_components_and_nothing_else(make):
    folder = make(plans=[plan("sea horse", confidence=0.5)])
    (row,) = rows(folder)
    assert row.pop("file_name").startswith("n_sea-horse_")
    assert row == {
        "text": "sea horse",
        "captions": ["sea horse", "water horse"],
        "literal": "",
        "strokes": 13,
        "grade": None,
        "frequency": None,
        "radical": None,
        "components": [
            {"element": "氵", "original": "水", "meaning": "water", "position": "left"},
            {"element": "馬", "original": "馬", "meaning": "horse", "position": "right"},
        ],
        "kind": "named",
        "ids": "⿰氵馬",
        "word": "sea horse",
    }
    (picture,) = (folder / "train").glob("*.png")
    with Image.open(picture) as image:
        assert (image.mode, image.size) == ("L", (32, 32))
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "checksums.jsonl", "manifest.json", "train"]


def test_the_names_are_the_plans_own_and_in_slot_order_whatever_the_files(make):
    components = [("馬", "steed", "right"), ("水", "sea", "left")]
    (row,) = rows(make(plans=[plan("Seepferd", components)]))
    assert row["captions"] == ["Seepferd", "sea steed"]
    assert [part["meaning"] for part in row["components"]] == ["sea", "steed"]


def test_each_plan_that_cannot_be_composed_is_in_the_manifest_with_its_reason(make):
    left_right = {
        EXISTS: "日月",  # 明
        LOOKS_LIKE_ONE: "木丁",  # 朽, to the eye
        SAME_TWICE: "水水",
        NOT_IN_SLOT: "三馬",  # of no kanji the left
        NO_FIT: "其中",
        TOO_MANY_STROKES: "馬复",
    }
    plans = [
        plan(reason, [(first, "a", "left"), (second, "b", "right")]) for reason, (first, second) in left_right.items()
    ]
    plans += [plan(NOT_TWO, [("水", "water", "whole")]), plan("three", [*SEAHORSE, ("日", "day", "right")])]
    folder = make(plans=[*plans, plan("sea horse")])
    assert rejected(folder) == {reason: reason for reason in (*left_right, NOT_TWO)} | {"three": NOT_TWO}
    counts = imagefolder.read_manifest(folder)["counts"]
    assert counts == {"train": 1, "named": 1, "rearranged": 0}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Of its 9 plans 8 could not be composed" in card
    assert "WordNet 3.0" in card and "Ulrich Apel" in card


def test_what_does_not_fit_in_its_slots_is_composed_in_others_and_counted(make):
    away = [("水", "water", "top"), ("馬", "horse", "bottom")]
    apart = [("水", "water", "left"), ("馬", "horse", "bottom")]
    folder = make(plans=[plan("top", away), plan("apart", apart), plan("beside")])
    assert [row["ids"] for row in rows(folder)] == ["⿰氵馬"] * 3
    assert imagefolder.read_manifest(folder)["counts"]["rearranged"] == 2
    assert len({row["file_name"] for row in rows(folder)}) == 3


def test_held_out_pairs_are_composed_for_comparison(make, dataset_without_names):
    pairs = table(dataset_without_names / "heldout_pairs.jsonl")
    folder = make(plans=[plan(pair["ids"], parts(pair)) for pair in pairs])
    assert len(pairs) == len(rows(folder)) > 3


def test_all_that_is_composed_in_the_dataset_can_be_planned(make, dataset_without_names):
    composed = [row for row in rows(dataset_without_names) if row["kind"] == "composed"]
    folder = make(plans=[plan(row["file_name"], parts(row)) for row in composed])
    planned = {row["word"]: row["ids"] for row in rows(folder)}
    assert len(planned) > 0.98 * len(composed)
    assert sum(planned.get(row["file_name"]) == row["ids"] for row in composed) > 0.9 * len(composed)


def test_a_second_run_does_nothing_and_other_plans_are_refused_until_forced(make, capsys):
    folder = make(plans=[plan("sea horse")])
    before = data_fixtures.tree(folder)
    make(plans=[plan("sea horse")])
    assert "up to date" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"plans_sha256 .*--force"):
        make(plans=[plan("other")])
    assert data_fixtures.tree(folder) == before
    make(plans=[plan("other")], force=True)
    assert [row["word"] for row in rows(folder)] == ["other"]
    whole = data_fixtures.tree(folder)
    next(folder.glob("train/*.png")).unlink()
    make(plans=[plan("other")])
    assert data_fixtures.tree(folder) == whole


def test_which_components_fit_which_is_said_without_a_dataset(make, few_sources, dataset_without_names, tmp_path):
    assert not make(fits=tmp_path / "fits.jsonl").exists()
    options = main.Options(**few_sources)
    composer = read_composer(options.kanjidic, sources.find_kanjivg(options.kanjivg)[0], options)
    assert table(tmp_path / "fits.jsonl") == list(fitting_forms(composer)) != []

    fits = {(*line["slots"], line["first"]): line["second"] for line in fitting_forms(composer, min_uses=1)}
    composed = [row["components"] for row in rows(dataset_without_names) if row["kind"] == "composed"]
    held_out = [pair["components"] for pair in table(dataset_without_names / "heldout_pairs.jsonl")]
    assert len(composed) > 100 and len(held_out) >= 10
    for first, second in composed + held_out:  # which of them are held out it does not tell
        assert second["original"] in fits[first["position"], second["position"], first["original"]]
    assert "中" not in fits["left", "right", "其"]


def test_what_fits_is_said_alone_and_where_it_can_be_written(make, tmp_path):
    with pytest.raises(UserError, match=r"--fits .* without --names, --plans and --preview"):
        make(plans=[plan("a")], fits=tmp_path / "fits.jsonl")
    with pytest.raises(UserError, match=r"--fits /proc/fits.jsonl: cannot be written"):
        make(fits=Path("/proc/fits.jsonl"))


def test_where_no_plan_can_be_composed_nothing_is_written(make, tmp_path):
    with pytest.raises(UserError, match=r"plans\.jsonl: no plan of it can be composed: moon: .*existing"):
        make(plans=[plan("moon", [("日", "day", "left"), ("月", "moon", "right")])])
    assert [path.name for path in tmp_path.iterdir()] == ["plans.jsonl"]


@pytest.mark.parametrize("options", [{"names": [plan("b")]}, {"preview": Path("sheet.png")}, {"limit": 5}])
def test_plans_are_composed_alone(make, options):
    with pytest.raises(UserError, match=r"--plans .* without --names, --preview and --limit"):
        make(plans=[plan("a")], **options)


def test_plans_are_not_written_into_the_datasets_folder(make):
    with pytest.raises(UserError, match=r"--plans .* --output of its own"):
        make(plans=[plan("a")], output=main.Options.output)


# ---------------------------------------------------------------- files that are no plans

GOOD = json.dumps(plan("good"))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (GOOD[:50], "not a whole JSON object"),
        ("[" * 100_000, "not a whole JSON object"),
        ("boat, water", "not a whole JSON object"),
        ('["boat"]', "not a plan"),
        (b"\xff", "not UTF-8"),
        (GOOD, "'good' stands on line 1 already"),
        ({"word": "a"}, "without components"),
        ({"components": []}, "without word"),
        (plan("a", colour="red"), 'unknown field "colour"'),
        (plan("a", []), "components is"),
        (plan("a", [*SEAHORSE, *SEAHORSE]), "components is"),
        ({"word": "a", "components": ["水", "馬"]}, "not a component"),
        ({"word": "a", "components": [{"form": "水", "slot": "left"}]}, "without name"),
        (plan("a", [("水", "water", "middle"), SEAHORSE[1]]), 'slot "middle"'),
        (plan("a", [("水", "water", "whole"), SEAHORSE[1]]), 'slot "whole"'),
        (plan("a", SEAHORSE[:1]), 'slot "left" is none of a plan of one component: whole'),
        (plan("a", [("wa", "water", "left"), SEAHORSE[1]]), "not one character"),
        (plan("a", [("ζ", "zeta", "left"), SEAHORSE[1]]), "'ζ' is in no character of KanjiVG"),
        (plan(" "), "word is"),
        (plan("a\nb"), "word is"),
        (plan("\ud800"), "word is"),
        (plan(7), "word is 7"),
        (plan("a", [("水", "", "left"), SEAHORSE[1]]), "name is"),
        (plan("a", confidence=1.5), "confidence is 1.5"),
        (plan("a", confidence="high"), "confidence is"),
        (plan("a", confidence=float("nan")), "confidence is NaN"),
        (plan("a", confidence=True), "confidence is true"),
    ],
)
@pytest.mark.parametrize("flag", ["plans", "names"])
def test_a_line_that_is_no_plan_is_named_and_nothing_written(make, tmp_path, flag, line, problem):
    text = json.dumps(line) if isinstance(line, dict) else line
    path = tmp_path / "asked.jsonl"
    path.write_bytes(GOOD.encode() + b"\n\n" + (text if isinstance(text, bytes) else text.encode()) + b"\n")
    with pytest.raises(UserError) as caught:
        make(**{flag: path})
    assert f"{path}, line 3: " in str(caught.value) and problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["asked.jsonl"]


@pytest.mark.parametrize("flag", ["plans", "names"])
def test_a_file_that_is_not_there_or_empty_is_named_with_its_flag(make, tmp_path, flag):
    with pytest.raises(UserError, match=f"--{flag} .*none.jsonl: no such file"):
        make(**{flag: tmp_path / "none.jsonl"})
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match=f"--{flag} .*empty.jsonl: no plan in it"):
        make(**{flag: tmp_path / "empty.jsonl"})
    with pytest.raises(UserError, match=f"--{flag} .*: cannot be read"):
        make(**{flag: tmp_path})


# ---------------------------------------------------------------- the command line


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True,
                          timeout=300)  # fmt: skip


def test_plans_from_the_command_line(tmp_path, few_sources):
    path = write_plans(tmp_path / "plans.jsonl", [plan("sea horse"), plan("alone", [("水", "water", "whole")])])
    flags = [item for name, value in few_sources.items() for item in (f"--{name}", value)]
    done = run(*flags, "--plans", path, "--output", tmp_path / "made", "--size", 64)
    assert done.returncode == 0, done.stderr
    assert "left out, not two components: 1 (alone)" in done.stdout
    assert "1 characters for words (0 in other slots than planned)" in done.stdout
    path.write_text("torn")
    refused = run(*flags, "--plans", path, "--output", tmp_path / "other")
    assert (refused.returncode, refused.stderr) == (
        2, f"error: {path}, line 1: not a whole JSON object (cut off?)\n")  # fmt: skip
    assert not (tmp_path / "other").exists()


