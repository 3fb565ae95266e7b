"""The score: its prompts, its figures, its report and its page."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lxml import html
from PIL import Image

import evaluate as evaluate_command
import generate as generate_command
from dataset.captioned_folder import read_dataset
from dataset.rows import Row
from generation import planning
from generation.request import read_requests
from generation.settings import GenerateConfig
from models.component_tokens import add_component_tokens
from models.pipelines import load_pipeline
from planner.planner import Planner
from planner_fixtures import save_small_planner
from recogniser_fixtures import MEANINGS, glyph, reading, save_judge, save_kanji_set
from scoring import benchmark, evaluation, report_page
from scoring.config import SETS
from scoring.figures import (
    RealKanji,
    ScoredSample,
    all_components,
    exact_match,
    found_by_frequency,
    ink_balance,
    one_component,
    score_set,
)
from scoring.matching import counted
from scoring.prompt_sets import (
    Prompt,
    budget_prompts,
    heldout_prompts,
    known_prompts,
    pair_prompts,
    wild_prompts,
)
from wordnet_fixtures import save_wordnet


@pytest.fixture(scope="module")
def planner(tmp_path_factory):
    return save_small_planner(tmp_path_factory.mktemp("planner") / "weights")


@pytest.fixture
def judges(tmp_path, monkeypatch, planner):
    """The judges, the planner and the WordNet of the fixtures."""
    monkeypatch.setattr(benchmark, "JUDGE", save_judge(tmp_path / "judge"))
    monkeypatch.setattr(benchmark, "CONTROL", save_judge(tmp_path / "control", seed=1))
    monkeypatch.setattr(benchmark, "PLANNER_WEIGHTS", planner)
    monkeypatch.setattr(benchmark, "WORDNET_CACHE", save_wordnet(tmp_path / "cache" / "wordnet").parent)


def command(kanji, base, output, *more):
    return ["--model", str(base), "--train_data_dir", str(kanji), "--output", str(output), "--device", "cpu",
            "--steps", "2", "--known", "3", "--heldout", "3", "--pairs", "2", "--wild", "2", "--budget", "2",
            "--plans", "2", *more]


def sample(prompt, elements, seed=0, **more):
    import torch

    vector = torch.nn.functional.normalize(torch.randn(8, generator=torch.Generator().manual_seed(seed)), dim=0)
    return ScoredSample(prompt, seed, Image.new("L", (16, 16), "white"), reading(elements, embedding=vector, **more))


def prompt(text, *answers):
    return Prompt(text, tuple(frozenset(answer) for answer in answers))


@pytest.fixture
def real():
    readings = [sample(prompt("x"), "口十", seed).reading for seed in range(12)]
    placed = ink_balance([glyph({"left": "口", "right": "十"})] * 12)
    return RealKanji(readings, readings, [], [frozenset("口十")] * 12, placed, placed, [3, 5, 5, 8])


def test_the_same_command_gives_the_same_report(kanji, base, tmp_path, judges, capsys):
    for name in ("one", "two"):
        arguments = command(kanji, base, tmp_path / name, "--best_of", "2", "--best_of_prompts", "2")
        assert evaluate_command.main(arguments) == 0
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two")]
    for report in reports:
        del report["settings"]["output"]
    assert reports[0] == reports[1]
    assert list(reports[0]["sets"]) == ["known", "heldout", "pairs", "wild", "budget", "plans", "pairs_planned",
                                        "wild_planned", "heldout_planned", "known_planned"]
    assert set(reports[0]["best_of"]["sets"]) == {"wild", "pairs", "pairs_planned", "wild_planned", "plans"}
    assert "shuffled-prompt baseline" in capsys.readouterr().out


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


def test_a_set_for_which_a_small_dataset_has_no_prompt_is_left_out_and_that_is_said(base, tmp_path, judges, capsys):
    kanji = save_kanji_set(tmp_path / "kanji")
    (kanji / "heldout_pairs.jsonl").write_text("")
    assert evaluate_command.main(command(kanji, base, tmp_path / "report")) == 0
    assert not {"pairs", "pairs_planned"} & json.loads((tmp_path / "report" / "report.json").read_text())["sets"].keys()
    said = "Left out, since this dataset gives no prompt for them: pairs, pairs_planned."
    assert said in capsys.readouterr().out and said in (tmp_path / "report" / "report.html").read_text()


def test_where_no_set_has_a_prompt_that_is_said_before_anything_is_drawn(base, tmp_path, judges, monkeypatch, capsys):
    kanji = save_kanji_set(tmp_path / "kanji")
    (kanji / "heldout_pairs.jsonl").write_text("")
    monkeypatch.setattr(evaluation.Sampler, "sample", None)
    others = [flag for name in SETS if name != "pairs" for flag in (f"--{name}", "0")]
    assert evaluate_command.main([*command(kanji, base, tmp_path / "report"), *others]) == 1
    assert "gives no prompt for what is to be scored (pairs, pairs_planned)" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--steps", "0"], ["--known", "-1"],
                                   [f for name in SETS for f in (f"--{name}", "0")]])
def test_a_setting_out_of_range_is_refused(flags, kanji, base, tmp_path, capsys):
    with pytest.raises(SystemExit) as leaving:
        evaluate_command.main(["--output", str(tmp_path), *flags])
    assert leaving.value.code == 2
    assert re.search(r"must be|nothing to score", " ".join(capsys.readouterr().err.replace("|", " ").split()))


def test_a_command_of_the_page_makes_the_very_image_that_was_scored(kanji, base, tmp_path, judges, planner,
                                                                    monkeypatch):
    scored = []

    def keep(folder, report, samples, settings, plans):
        scored.extend(sample for of_set in samples.values() for sample in of_set)
        return write_report(folder, report, samples, settings, plans)

    write_report = report_page.write_report
    monkeypatch.setattr(report_page, "write_report", keep)
    monkeypatch.chdir(base.parent)  # so that the model has a relative path, which the commands give as it is
    flags = ["--guidance_scale", "2", "--seed", "5"]
    assert evaluate_command.main(command(kanji, base.name, tmp_path / "report", *flags)) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf8"))
    page = html.fromstring((tmp_path / "report" / "report.html").read_text(encoding="utf8"))
    said = [sample for of_set in report["samples"].values() for sample in of_set]
    assert sorted(sample["command"] for sample in said) == sorted(code.text for code in page.iter("code"))
    assert {sample["seed"] for sample in report["samples"]["wild"]} == {5, 6, 7, 8}
    monkeypatch.setattr(planning, "PLANNER_WEIGHTS", planner)
    by_set = [name for name, of_set in report["samples"].items() for _ in of_set]
    chosen = [1, *(by_set.index(name) for name in ("wild", "budget", "plans", "wild_planned"))]  # 1 is a second seed
    for index in chosen:
        program, script, *arguments = shlex.split(said[index]["command"])
        assert (program, script) == ("python", "training/generate.py") and ("--strokes" in arguments) == (
            scored[index].prompt.strokes is not None)
        output = tmp_path / str(index)
        assert generate_command.main([*arguments, "--device", "cpu", "--output", str(output)]) == 0
        (path,) = set(output.glob("*.png")) - {output / "collated_examples.png"}
        errors = np.asarray(Image.open(path), np.int16) - np.asarray(scored[index].image, np.int16)
        assert np.abs(errors).max() <= 1  # of 255: alone in its batch it is rounded differently


def test_the_best_is_chosen_among_the_candidates_of_generate_py(kanji, base, tmp_path, judges, planner, monkeypatch):
    sample_images, asked = evaluation.Sampler.sample, []

    def keep(sampler, prompts, bar):
        asked.append([(prompt.asked, seed) for prompt, seed in prompts if prompt.text == "Ferrari"])
        return sample_images(sampler, prompts, bar)

    monkeypatch.setattr(evaluation.Sampler, "sample", keep)
    flags = ["--known", "0", "--heldout", "0", "--pairs", "0", "--budget", "0", "--plans", "0", "--best_of", "8",
             "--seed", "5", "--no_guess"]
    assert evaluate_command.main(command(kanji, base, tmp_path / "report", *flags)) == 0
    (request,) = read_requests(GenerateConfig(prompts=("Ferrari",), seed=5))
    wild, planned_wild, best, planned_best = asked
    assert wild == [("Ferrari", seed) for seed in (5, 6, 7, 8)]
    assert best == [("Ferrari", request.candidate(number).seed) for number in range(8)]
    config = GenerateConfig(prompts=("Ferrari",), plan="on", model=str(base))
    (request,) = planning.plan_requests(read_requests(config), Planner.load(planner, None), config)
    candidates = [request.candidate(number).prompt for number in range(8)]
    assert [prompt for prompt, _ in planned_wild] == candidates[:1] * 4 and candidates[0] != "Ferrari"
    assert [prompt for prompt, _ in planned_best] == candidates and len(set(candidates)) > 1


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


def test_a_held_out_kanji_that_stands_in_others_as_a_component_is_told_apart(real):
    held_out = [Row(Path("a.png"), "a", ("mouth",), {"literal": "口", "components": []}),
                Row(Path("b.png"), "b", ("ten",), {"literal": "十", "components": []})]
    components = [{"element": "口", "original": "口", "position": "left"},
                  {"element": "亻", "original": "人", "position": "right"}]
    rows = [Row(Path("c.png"), "c", ("mouth person",), {"kind": "composed", "components": components})]
    assert [(one.text, one.seen_as_component) for one in heldout_prompts(held_out, rows, None, 0)] == [
        ("mouth", True), ("ten", False)]
    told = [sample(replace(prompt(text, answer), seen_as_component=seen), found, number)
            for number, (text, answer, found, seen) in enumerate((
                ("mouth", "口", "口十", True), ("ten", "十", "二人", False), ("two", "二", "二人", False)))]
    figures = score_set(told, real, 0)
    assert figures.meaning.one_component.value == pytest.approx(2 / 3)
    assert figures.meaning_never_a_component.one_component.value == 0.5
    assert score_set(told[1:], real, 0).meaning_never_a_component is None


def test_pair_prompts_know_both_components(kanji):
    assert all(len(one.answers) == 1 and len(one.answers[0]) == 2 for one in pair_prompts(kanji, 10, 0))


def test_a_component_may_be_a_homonym_but_its_own_come_first(tmp_path):
    def line(*components):
        return {"text": "ward person", "components": [
            {"element": element, "original": original, "meaning": name} for element, original, name in components]}

    (tmp_path / "heldout_pairs.jsonl").write_text(json.dumps(line(("十", "十", "ward"), ("亻", "人", "person"))))
    rows = [Row(Path("a.png"), "a", ("ward",), line(("二", "二", "ward"), ("人", "人", "person"), ("口", "口", None)))]
    (one,) = pair_prompts(tmp_path, 1, 0, rows)
    assert one.answers == (frozenset("十人"), frozenset("二人"))

    samples = [sample(one, "二人", 0), sample(one, "十人", 1), sample(one, "二口", 2), sample(one, "口人", 3)]
    assert all_components(samples, 0).value == 0.5 and exact_match(samples, 0).value == 0.25
    assert [band.value for band in found_by_frequency(samples, {"十": 30, "人": 300, "二": 50}, 0)] == [0.25, 0.75]


def test_budget_prompts_say_how_many_strokes(kanji):
    for one in budget_prompts(read_dataset(kanji, progress=False), 4, 0):
        assert one.asked == f"{one.text}, {one.strokes} strokes"


def test_the_wild_prompts_are_the_first_exercises_and_a_hundred_more():
    prompts = wild_prompts(None)
    assert [one.text for one in prompts[:5]] == ["Buzz Aldrin", "Ferrari", "Full Moon", "Instagram", "Bible"]
    assert len(prompts) == len({one.text for one in prompts}) == 109
    assert all(one.answers and all(len(form) == 1 for form in one.answers[0]) for one in prompts)


def test_perfect_samples_have_an_f1_of_one_and_more_than_the_shuffled_baseline(real):
    samples = [sample(prompt("mouth ten", "口十"), "口十", 0), sample(prompt("two person", "二人"), "二人", 1)]
    meaning = score_set(samples, real, 0).meaning
    assert meaning.f1.value == 1.0 and meaning.all_components.value == 1.0
    assert meaning.f1.shuffled_baseline == 0.0 and meaning.one_component.shuffled_baseline == 0.0


def test_of_a_list_of_which_any_component_fits_only_one_is_asked_for(real):
    samples = [sample(Prompt("Ferrari", (frozenset("口人"),), any_fits=True), "口十", 0),
               sample(Prompt("pizza", (frozenset("二"),), any_fits=True), "十", 1)]
    meaning = score_set(samples, real, 0).meaning
    assert meaning.one_component.value == 0.5 and meaning.f1 is None and meaning.all_components is None


def test_the_best_of_several_right_answers_counts(real):
    samples = [sample(prompt("mouth", "二人", "口十"), "口十", 0), sample(prompt("ten", "十"), "十", 1)]
    assert score_set(samples, real, 0).meaning.f1.value == 1.0


def test_a_component_counts_with_every_sense_but_only_for_one_at_a_time(real):
    moon = replace(reading("口", well_formed=0.9).components[0], element="月", original="肉", other_originals=("月",))
    ten = reading("十").components[0]
    vector = sample(prompt("x"), "口").reading.embedding

    def drawn(text, answer, *components, seed=0):
        return ScoredSample(prompt(text, answer), seed, Image.new("L", (16, 16), "white"), replace(
            reading(embedding=vector), components=components))

    samples = [drawn("moon ten", "月十", moon, ten), drawn("meat ten", "肉十", moon, ten),
               drawn("moon meat", "月肉", moon), drawn("both", "月肉", moon, replace(moon, other_originals=()))]
    assert [bool(all_components([one], 0).value) for one in samples] == [True, True, False, True]
    assert [counted(one.found, one.prompt.answers[0]) for one in samples] == [(2, 0, 0), (2, 0, 0), (1, 0, 1),
                                                                             (2, 0, 0)]
    told = score_set(samples[:2], real, 0).meaning  # the baseline is counted alike: the other's prompt fits as well
    assert told.f1.value == told.f1.shuffled_baseline == 1.0


def test_one_component_and_both_are_told_apart():
    elements = {"a": "口人", "b": "口十", "c": "二人"}
    samples = [sample(prompt(text, "口十"), found) for text, found in elements.items()]
    assert one_component(samples, 0).value == pytest.approx(2 / 3)
    assert all_components(samples, 0).value == pytest.approx(1 / 3)


def test_components_are_counted_by_how_often_training_shows_them():
    samples = [sample(prompt("mouth ten", "口十"), "口人", 0), sample(prompt("mouth two", "口二"), "口二", 1),
               sample(prompt("mouth two", "口二"), "十", 2)]
    bands = found_by_frequency(samples, {"口": 300, "十": 25, "二": 30}, 0)
    assert [(band.min_uses, band.value, band.n) for band in bands] == [
        (20, pytest.approx((0 + 1 / 2) / 2), 2), (100, pytest.approx(2 / 3), 1)]


def test_samples_of_one_prompt_do_not_count_as_independent(real):
    several = [sample(prompt(str(number % 5), "口"), "口十", number, well_formed=0.9 if number % 5 else 0.1)
               for number in range(50)]
    alone = [sample(prompt(str(number), "口"), "口十", number, well_formed=0.9 if number % 5 else 0.1)
             for number in range(50)]
    widths = [figures.well_formed.high - figures.well_formed.low
              for figures in (score_set(several, real, 0), score_set(alone, real, 0))]
    assert widths[0] > 1.5 * widths[1]


def test_copies_stroke_count_errors_and_diversity_are_counted(real):
    asked = Prompt("moon", strokes=7)
    samples = [sample(asked, "口", 0, strokes=5.0, is_copy=True, nearest="口", similarity=0.99),
               sample(asked, "口", 1, strokes=8.0, nearest="口", similarity=0.5)]
    figures = score_set(samples, real, 0)
    assert figures.novelty.copies.value == 0.5
    assert figures.strokes.stroke_count_error.value == pytest.approx(1.5)
    assert 0.0 < figures.diversity.between_seeds.value <= 2.0
    assert figures.diversity.between_prompts is None


def test_the_balance_of_an_image_is_where_its_ink_is():
    left = ink_balance([glyph({"left": "口"}), Image.new("L", (64, 64), "white")])
    assert left[0][0] < 0.35 and left[0][2] == 1.0 and left[0][1] == pytest.approx(0.5, abs=0.02)
    assert left[1].tolist() == [0.5] * 4


def test_a_model_with_tokens_of_components_is_asked_for_the_pairs_in_these_too(kanji, base, tmp_path, judges, planner):
    pipeline = load_pipeline(str(base))
    add_component_tokens(pipeline, {"⿰": "left right", **MEANINGS})
    pipeline.save_pretrained(tmp_path / "with tokens")
    flags = ["--known", "0", "--heldout", "0", "--wild", "0", "--budget", "0", "--plans", "0", "--no_guess"]
    assert evaluate_command.main(command(kanji, tmp_path / "with tokens", tmp_path / "report", *flags)) == 0
    sets = json.loads((tmp_path / "report" / "report.json").read_text())["sets"]
    assert list(sets) == ["pairs", "pairs_spelled", "pairs_planned"]
    assert sets["pairs_spelled"]["plans"]["planned"]["value"] == 1.0
    assert sets["pairs_spelled"]["samples"] == sets["pairs"]["samples"] > 0
