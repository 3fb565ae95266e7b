"""The score: its prompts, its figures, its report and its page."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import evaluate as evaluate_command
from dataset.captioned_folder import read_dataset
from dataset.rows import Row
from recogniser_fixtures import glyph, reading, save_judge, save_kanji_set
from scoring import benchmark
from scoring.figures import Real as RealCharacters
from scoring.figures import ScoredSample, balance, exact_match, found_by_frequency, part_found, score_set
from scoring.prompt_sets import Prompt, budget_prompts, heldout_prompts, known_prompts, pair_prompts, wild_prompts


@pytest.fixture
def judges(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "JUDGE", save_judge(tmp_path / "judge"))
    monkeypatch.setattr(benchmark, "CONTROL", save_judge(tmp_path / "second", seed=1))


def command(kanji, base, output, *more):
    return ["--model", str(base), "--train_data_dir", str(kanji), "--output", str(output), "--device", "cpu",
            "--steps", "2", "--known", "3", "--heldout", "3", "--pairs", "2", "--wild", "2", "--budget", "2", *more]


def drawn(prompt, elements, seed=0, **more):
    import torch

    vector = torch.nn.functional.normalize(torch.randn(8, generator=torch.Generator().manual_seed(seed)), dim=0)
    return ScoredSample(prompt, seed, Image.new("L", (16, 16), "white"), reading(elements, embedding=vector, **more))


def prompt(text, *answers):
    return Prompt(text, tuple(frozenset(answer) for answer in answers))


@pytest.fixture
def real():
    readings = [drawn(prompt("x"), "口十", seed).reading for seed in range(12)]
    placed = balance([glyph({"left": "口", "right": "十"})] * 12)
    return RealCharacters(readings, readings, [], [frozenset("口十")] * 12, placed, placed, [3, 5, 5, 8])


def test_the_same_command_gives_the_same_report(kanji, base, tmp_path, judges, capsys):
    for name in ("one", "two"):
        assert evaluate_command.main(command(kanji, base, tmp_path / name, "--best_of", "2", "--best_of_prompts", "2")) == 0
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two")]
    for report in reports:
        del report["settings"]["output"]
    assert reports[0] == reports[1]
    assert list(reports[0]["sets"]) == ["known", "heldout", "pairs", "wild", "budget"]
    assert set(reports[0]["best_of"]) == {"n", "wild", "pairs"}
    assert "chance" in capsys.readouterr().out


def test_the_page_is_whole_in_itself_and_shows_every_picture(kanji, base, tmp_path, judges):
    assert evaluate_command.main(command(kanji, base, tmp_path / "report")) == 0
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf8")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert not re.search(r"""(?:src|href)=['"](?!data:)|url\(|@import|https?://""", page)
    assert page.count("<figure") == sum(figures["pictures"] for figures in report["sets"].values())
    assert page.count("</figure>") == page.count("<figure")


@pytest.mark.parametrize(("harm", "words"), [
    ("judge", r"train_recogniser\.py"), ("model", "no such pipeline folder"), ("data", r"dataExtraction/main\.py"),
    ("pairs", "heldout_pairs")])
def test_what_is_missing_is_said_in_one_message(harm, words, kanji, base, tmp_path, judges, monkeypatch, capsys):
    if harm == "judge":
        monkeypatch.setattr(benchmark, "JUDGE", tmp_path / "none")
    if harm == "model":
        base = tmp_path / "none"
    if harm == "data":
        kanji = tmp_path / "none"
    if harm == "pairs":
        kanji = save_kanji_set(tmp_path / "kanji")
        (kanji / "heldout_pairs.jsonl").unlink()
    assert evaluate_command.main(command(kanji, base, tmp_path / "report")) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ") and re.search(words, message)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("flags", [["--steps", "0"], ["--known", "-1"],
                                   [f for name in benchmark.SETS for f in (f"--{name}", "0")]])
def test_a_setting_out_of_range_is_refused(flags, kanji, base, tmp_path, capsys):
    with pytest.raises(SystemExit) as leaving:
        evaluate_command.main(["--output", str(tmp_path), *flags])
    assert leaving.value.code == 2
    assert re.search(r"must be|nothing to score", " ".join(capsys.readouterr().err.replace("|", " ").split()))


def test_the_noise_of_a_picture_depends_on_its_own_prompt_alone():
    assert benchmark.seed_of(0, "wild", "Ferrari", 1) == benchmark.seed_of(0, "wild", "Ferrari", 1)
    assert len({benchmark.seed_of(*key) for key in ((0, "wild", "a", 0), (1, "wild", "a", 0), (0, "known", "a", 0),
                                                   (0, "wild", "b", 0), (0, "wild", "a", 1))}) == 5


def test_known_prompts_are_meanings_of_everyday_training_kanji_and_know_all_kanji_of_that_meaning(kanji):
    rows = read_dataset(kanji, progress=False)
    chosen = known_prompts(rows, 5, 0)
    assert chosen == known_prompts(rows, 5, 0) and len(chosen) == 5
    captions = {caption for row in rows if not row.is_composed for caption in row.captions}
    assert all(one.text in captions and one.answers and one.literals for one in chosen)


def test_heldout_prompts_are_all_meanings_of_the_held_out_kanji(kanji):
    held_out, rows = read_dataset(kanji, "test", progress=False), read_dataset(kanji, progress=False)
    prompts = heldout_prompts(held_out, rows, None, 0)
    assert {one.text for one in prompts} == {c for row in held_out for c in row.captions}


def test_a_held_out_kanji_that_stands_in_others_as_a_part_is_told_apart(real):
    held_out = [Row(Path("a.png"), "a", ("mouth",), {"literal": "口", "components": []}),
                Row(Path("b.png"), "b", ("ten",), {"literal": "十", "components": []})]
    parts = [{"element": "口", "original": "口", "position": "left"},
             {"element": "亻", "original": "人", "position": "right"}]
    rows = [Row(Path("c.png"), "c", ("mouth person",), {"kind": "composed", "components": parts})]
    assert [(one.text, one.seen_as_part) for one in heldout_prompts(held_out, rows, None, 0)] == [
        ("mouth", True), ("ten", False)]
    told = [drawn(replace(prompt(text, parts), seen_as_part=seen), found, number)
            for number, (text, parts, found, seen) in enumerate((
                ("mouth", "口", "口十", True), ("ten", "十", "二人", False), ("two", "二", "二人", False)))]
    figures = score_set(told, real, 0)
    assert figures["meaning"]["one_part"]["value"] == pytest.approx(2 / 3)
    assert figures["meaning_never_a_part"]["one_part"]["value"] == 0.5
    assert "meaning_never_a_part" not in score_set(told[1:], real, 0)


def test_pair_prompts_know_both_parts(kanji):
    assert all(len(one.answers) == 1 and len(one.answers[0]) == 2 for one in pair_prompts(kanji, 10, 0))


def test_a_part_may_be_another_of_the_same_name_but_its_own_come_first(tmp_path):
    def line(*parts):
        return {"text": "ward person", "components": [
            {"element": element, "original": original, "meaning": name} for element, original, name in parts]}

    (tmp_path / "heldout_pairs.jsonl").write_text(json.dumps(line(("十", "十", "ward"), ("亻", "人", "person"))))
    rows = [Row(Path("a.png"), "a", ("ward",), line(("二", "二", "ward"), ("人", "人", "person"), ("口", "口", None)))]
    (one,) = pair_prompts(tmp_path, 1, 0, rows)
    assert one.answers == (frozenset("十人"), frozenset("二人"))

    pictures = [drawn(one, "二人", 0), drawn(one, "十人", 1), drawn(one, "二口", 2), drawn(one, "口人", 3)]
    assert part_found(pictures, 0)["all"]["value"] == 0.5 and exact_match(pictures, 0)["value"] == 0.25
    assert [band["value"] for band in found_by_frequency(pictures, {"十": 30, "人": 300, "二": 50}, 0)] == [0.25, 0.75]


def test_budget_prompts_say_how_many_strokes(kanji):
    for one in budget_prompts(read_dataset(kanji, progress=False), 4, 0):
        assert one.asked == f"{one.text}, {one.strokes} strokes"


def test_the_wild_prompts_are_the_first_exercises_and_a_hundred_more():
    prompts = wild_prompts(None)
    assert [one.text for one in prompts[:5]] == ["Buzz Aldrin", "Ferrari", "Full Moon", "Instagram", "Bible"]
    assert len(prompts) == len({one.text for one in prompts}) == 109
    assert all(one.answers and all(len(form) == 1 for form in one.answers[0]) for one in prompts)


def test_perfect_drawings_have_an_f1_of_one_and_more_than_shuffled_baseline(real):
    pictures = [drawn(prompt("mouth ten", "口十"), "口十", 0), drawn(prompt("two person", "二人"), "二人", 1)]
    meaning = score_set(pictures, real, 0)["meaning"]
    assert meaning["f1"]["value"] == 1.0 and meaning["all_parts"]["value"] == 1.0
    assert meaning["f1_shuffled_baseline"] == 0.0 and meaning["one_part_shuffled_baseline"] == 0.0


def test_of_a_list_of_which_any_part_fits_only_one_is_asked_for(real):
    pictures = [drawn(Prompt("Ferrari", (frozenset("口人"),), any_fits=True), "口十", 0),
                drawn(Prompt("pizza", (frozenset("二"),), any_fits=True), "十", 1)]
    meaning = score_set(pictures, real, 0)["meaning"]
    assert meaning["one_part"]["value"] == 0.5 and "f1" not in meaning and "all_parts" not in meaning


def test_the_best_of_several_right_answers_counts(real):
    pictures = [drawn(prompt("mouth", "二人", "口十"), "口十", 0), drawn(prompt("ten", "十"), "十", 1)]
    assert score_set(pictures, real, 0)["meaning"]["f1"]["value"] == 1.0


def test_one_part_and_both_parts_are_told_apart():
    elements = {"a": "口人", "b": "口十", "c": "二人"}
    pictures = [drawn(prompt(text, "口十"), found) for text, found in elements.items()]
    found = part_found(pictures, 0)
    assert found["one"]["value"] == pytest.approx(2 / 3) and found["all"]["value"] == pytest.approx(1 / 3)


def test_parts_are_counted_by_how_often_training_shows_them():
    pictures = [drawn(prompt("mouth ten", "口十"), "口人", 0), drawn(prompt("mouth two", "口二"), "口二", 1),
                drawn(prompt("mouth two", "口二"), "十", 2)]
    bands = found_by_frequency(pictures, {"口": 300, "十": 25, "二": 30}, 0)
    assert [(band["uses"], band["value"], band["n"]) for band in bands] == [
        (20, pytest.approx((0 + 1 / 2) / 2), 2), (100, pytest.approx(2 / 3), 1)]


def test_pictures_of_one_prompt_do_not_count_as_independent(real):
    several = [drawn(prompt(str(number % 5), "口"), "口十", number, well_formed=0.9 if number % 5 else 0.1)
               for number in range(50)]
    alone = [drawn(prompt(str(number), "口"), "口十", number, well_formed=0.9 if number % 5 else 0.1)
             for number in range(50)]
    widths = [figures["well_formed"]["high"] - figures["well_formed"]["low"]
              for figures in (score_set(several, real, 0), score_set(alone, real, 0))]
    assert widths[0] > 1.5 * widths[1]


def test_copies_budget_errors_and_diversity_are_counted(real):
    asked = Prompt("moon", strokes=7)
    pictures = [drawn(asked, "口", 0, strokes=5.0, is_copy=True, nearest="口", likeness=0.99),
                drawn(asked, "口", 1, strokes=8.0, nearest="口", likeness=0.5)]
    figures = score_set(pictures, real, 0)
    assert figures["novelty"]["copies"]["value"] == 0.5
    assert figures["strokes"]["budget_error"]["value"] == pytest.approx(1.5)
    assert 0.0 < figures["diversity"]["between_seeds"] <= 2.0
    assert math.isnan(figures["diversity"]["between_prompts"])


def test_the_balance_of_a_picture_is_where_its_ink_is():
    left = balance([glyph({"left": "口"}), Image.new("L", (64, 64), "white")])
    assert left[0][0] < 0.35 and left[0][2] == 1.0 and left[0][1] == pytest.approx(0.5, abs=0.02)
    assert left[1].tolist() == [0.5] * 4
