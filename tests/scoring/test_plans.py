"""Planned prompts, what their figures say, the guessing test, and the same plans composed without a model."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tqdm import tqdm

import evaluate as evaluate_command
from dataset.captioned_folder import DatasetError, read_dataset
from models.component_tokens import add_component_tokens
from models.pipelines import load_pipeline
from planner.exclusions import DEVELOPMENT, PLANS, WILD, excluded_words, read_prompts
from planner.planner import Planner, PlannerError
from planner.wordnet import WordNet, WordNetError
from planner_fixtures import save_small_planner
from recogniser_fixtures import MEANINGS, glyph, reading, save_judge
from scoring import benchmark, evaluation
from scoring.composed import plans_text, read_composed
from scoring.config import EvaluateConfig
from scoring.evaluation import Sampler
from scoring.figures import ScoredSample
from scoring.guessing import Taxonomy, guessed, guessed_words, real_prompts
from scoring.plan_figures import planned_component, planned_components, score_plans, score_shortly
from scoring.prompt_sets import Prompt, planned, plans_prompts
from wordnet_fixtures import save_wordnet


@pytest.fixture(scope="module")
def planner(tmp_path_factory):
    return Planner.load(save_small_planner(tmp_path_factory.mktemp("planner") / "weights"), None)


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory):
    return WordNet.read(save_wordnet(tmp_path_factory.mktemp("wordnet") / "dict"))


@pytest.fixture(scope="module")
def taxonomy(wordnet):
    return Taxonomy(wordnet)


def drawn(prompt, elements, seed=0):
    vector = torch.nn.functional.normalize(torch.randn(8, generator=torch.Generator().manual_seed(seed)), dim=0)
    return ScoredSample(prompt, seed, Image.new("L", (16, 16), "white"), reading(elements, embedding=vector))


def test_a_planned_prompt_asks_for_the_components_with_the_noise_of_the_words(planner):
    (prompt,) = planned([Prompt("person of two")], planner, None)
    assert prompt.plan.forms == frozenset("二人") and prompt.asked == "two person" and prompt.title == "person of two"
    assert prompt.request(3).noise_seed == Prompt("person of two").request(3).noise_seed
    assert planned([Prompt("人")], planner, None)[0].asked == "人"  # nothing can be planned: drawn as it is


def test_a_model_with_tokens_of_components_is_given_what_generate_py_gives_it(base, planner, monkeypatch):
    pipeline, asked = load_pipeline(str(base)), []
    add_component_tokens(pipeline, {"二": "two", "人": "person"})

    def draw(_pipeline, _config, prompts, noise_seeds):
        asked.extend(prompts)
        yield [Image.new("L", (16, 16))] * len(noise_seeds)

    monkeypatch.setattr(evaluation, "draw", draw)
    prompts = [*planned([Prompt("person of two", strokes=4)], planner, None), Prompt("person of two")]
    sampler = Sampler(pipeline, torch.device("cpu"), EvaluateConfig())
    sampler.sample([(prompt, 0) for prompt in prompts], tqdm(disable=True))
    assert asked == ["two 二, person 人, 4 strokes", "person of two"]


def test_the_words_of_the_plans_are_two_hundred_that_stand_in_no_other_file(wordnet, kanji):
    words = read_prompts(PLANS)
    assert len(words) == len({word.lower() for word in words}) == 200
    assert {word.lower() for word in words}.isdisjoint(
        word.lower() for word in read_prompts(WILD) + read_prompts(DEVELOPMENT))
    excluded = excluded_words(kanji, read_dataset(kanji, "test", progress=False), wordnet)
    assert {word.lower() for word in words} <= excluded
    assert [prompt.text for prompt in plans_prompts(3)] == words[:3]


def test_found_components_are_those_planned_and_words_without_a_plan_count_as_missed(planner):
    prompts = planned([Prompt("person of two"), Prompt("mouth of a person"), Prompt("人")], planner, None)
    samples = [drawn(prompts[0], "二人", 0), drawn(prompts[0], "二口", 1), drawn(prompts[1], "口人", 2),
               drawn(prompts[1], "十", 3), drawn(prompts[2], "人", 4), drawn(prompts[2], "口人", 5)]
    assert planned_component(samples, 0).value == pytest.approx(3 / 6)
    assert planned_components(samples, 0).value == pytest.approx(2 / 6)
    figures = score_plans(samples, 0)
    assert (figures.planned.value, figures.distinct.value) == (pytest.approx(2 / 3), 1.0)
    assert (figures.commonest.value, figures.commonest_component) == (1.0, "人 person")
    assert figures.all_components.shuffled_baseline < figures.all_components.value
    assert score_plans(samples[4:], 0) is None and score_shortly(samples[4:], 0).planned_component is None


def test_plans_of_the_same_components_are_not_distinct(planner):
    prompts = planned([Prompt("person of two"), Prompt("two person")], planner, None)
    assert score_plans([drawn(one, "二人", number) for number, one in enumerate(prompts)], 0).distinct.value == 0.5


def test_a_word_is_nearer_to_its_kind_than_to_others(taxonomy):
    assert taxonomy.similarity("river", "lake") > taxonomy.similarity("river", "sailor") == 0.0
    assert taxonomy.similarity("Child", "sailor") == taxonomy.similarity("sailor", "child") > 0.0
    assert taxonomy.similarity("child", "child") == 1.0 and taxonomy.similarity("nonsense", "child") == 0.0


def test_the_word_is_guessed_from_what_was_read_and_by_chance_where_nothing_was(taxonomy):
    words = {"sailor": "人", "dozen": "二", "river": "口", "lake": "口", "Ferrari": "口"}
    samples = [drawn(Prompt(word), elements, number) for number, (word, elements) in enumerate(words.items())]
    figure = guessed_words(taxonomy, samples, 0)
    assert figure.n == 4 and figure.value == 1.0 - 0.25  # a mouth is a river's, so "lake" is not guessed
    assert figure.shuffled_baseline < 0.5
    unread = [(sample.prompt, replace(sample.reading, components=())) for sample in samples]
    assert guessed(taxonomy, unread, 0).value == 0.25
    assert guessed_words(taxonomy, samples[2:], 0) is None  # too few to choose among


def test_words_of_the_same_kanji_are_not_set_against_each_other(taxonomy):
    def value(*literals):
        prompts = [Prompt("river", literals=literals), Prompt("lake", literals=("川",)), Prompt("ten"),
                   Prompt("sailor"), Prompt("person")]
        return guessed(taxonomy, [(prompt, reading("口")) for prompt in prompts], 0).value

    assert value("川") > value("湖")  # "lake" loses to "river", which a mouth is a part of


def test_of_a_real_kanji_the_first_meaning_that_is_known_is_asked_for(taxonomy):
    prompts = real_prompts([("Ferrari", "river", "lake"), ("Ferrari",)], taxonomy)
    assert [prompt.text for prompt in prompts] == ["river", ""]


def plans_of(planner, *words):
    return {word: planner.plans(word)[0] for word in words}


def save_composed(folder, plans, elements):
    """A folder as dataExtraction/main.py --plans makes it."""
    (folder / "train").mkdir(parents=True)
    lines = []
    for number, plan in enumerate(plans.values()):
        glyph(dict(zip(("top", "bottom"), elements, strict=True))).save(folder / "train" / f"{number}.png")
        lines.append(json.dumps({
            "file_name": f"{number}.png", "text": plan.words, "captions": [plan.words], "word": plan.words,
            "kind": "named", "strokes": 4, "components": [
                {"element": one, "original": one, "meaning": MEANINGS[one], "position": "left"} for one in elements]}))
    (folder / "train" / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_plans_are_written_as_what_composes_them_reads_them(planner):
    (plan,) = plans_of(planner, "person of two").values()
    line = json.loads(plans_text([plan]))
    assert line.pop("confidence") == pytest.approx(sum(one.confidence for one in plan.components) / 2, abs=1e-3)
    assert line == {"word": "person of two", "components": [{"form": "二", "name": "two", "slot": "top"},
                                                            {"form": "人", "name": "person", "slot": "bottom"}]}


def test_composed_plans_are_read_by_word_and_those_of_other_plans_refused(planner, tmp_path):
    plans = plans_of(planner, "person of two")
    folder = save_composed(tmp_path / "composed", plans, "二人")
    assert set(read_composed(folder, plans)) == {"person of two"}
    with pytest.raises(DatasetError, match="no plan of these words"):
        read_composed(folder, plans_of(planner, "mouth of a person"))
    with pytest.raises(DatasetError, match=r"composed of other plans .*--plans"):
        read_composed(folder, {"person of two": planner.plans("mouth of a person")[0]})


@pytest.fixture
def score(kanji, base, tmp_path, planner, monkeypatch):
    """Scores `wild` and `plans`, two prompts each, with the flags given; returns the status and the report."""
    weights = save_small_planner(tmp_path / "weights")
    monkeypatch.setattr(benchmark, "JUDGE", save_judge(tmp_path / "judge"))
    monkeypatch.setattr(benchmark, "CONTROL", tmp_path / "no control judge")
    monkeypatch.setattr(benchmark, "PLANNER_WEIGHTS", weights)
    monkeypatch.setattr(benchmark, "WORDNET_CACHE", save_wordnet(tmp_path / "cache" / "wordnet").parent)

    def run(*flags):
        status = evaluate_command.main([
            "--model", str(base), "--train_data_dir", str(kanji), "--output", str(tmp_path / "report"), "--device",
            "cpu", "--steps", "1", "--known", "0", "--heldout", "0", "--pairs", "0", "--wild", "2", "--budget", "0",
            "--plans", "2", *flags])
        return status, json.loads((tmp_path / "report" / "report.json").read_text()) if status == 0 else None

    return run


def test_without_weights_planned_sets_are_left_out_and_that_is_said(score, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "PLANNER_WEIGHTS", tmp_path / "none")
    status, report = score()
    assert status == 0 and list(report["sets"]) == ["wild"] and not (tmp_path / "report" / "plans.jsonl").exists()
    assert re.search(r"Planned sets are left out.*train_planner\.py", capsys.readouterr().out)
    assert "Planned sets are left out" in (tmp_path / "report" / "report.html").read_text(encoding="utf8")
    assert score("--wild", "0")[0] == 1 and "train_planner.py" in capsys.readouterr().err


def test_without_wordnet_the_guessing_test_is_left_out_and_that_is_said(score, monkeypatch, capsys):
    def find(folder, cache):
        raise WordNetError("WordNet cannot be had")

    monkeypatch.setattr(benchmark, "find_wordnet", find)
    assert score()[0] == 0
    assert "The guessing test is left out: WordNet cannot be had." in capsys.readouterr().out


def test_a_wordnet_that_is_named_must_be_there(score, tmp_path, capsys):
    assert score("--wordnet", str(tmp_path))[0] == 1
    assert "cannot be read as WordNet" in capsys.readouterr().err


def test_plan_off_leaves_planned_sets_out(score):
    status, report = score("--plan", "off")
    assert status == 0 and list(report["sets"]) == ["wild"] and report["left_out"] == []
    with pytest.raises(ValueError, match="nothing to score"):
        EvaluateConfig(known=0, heldout=0, pairs=0, wild=0, budget=0, plan="off")


def test_a_report_has_its_plans_beside_it_and_reads_them_composed(score, planner, tmp_path):
    status, report = score()
    assert status == 0 and report["composed"] is None
    lines = [json.loads(line) for line in (tmp_path / "report" / "plans.jsonl").read_text().splitlines()]
    words = read_prompts(WILD) + read_prompts(PLANS)
    assert [line["word"] for line in lines] == words  # all of them, whatever was sampled
    plans = plans_of(planner, words[0])
    folder = save_composed(tmp_path / "composed", plans, sorted(plans[words[0]].forms))
    status, report = score("--composed_plans", str(folder))
    (name, composed), = report["composed"].items()
    assert status == 0 and name == "wild_planned" and composed["composed"]["value"] == 0.5
    assert composed["score"]["planned_components"]["n"] == composed["model"]["planned_components"]["n"] == 1
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf8")
    assert "composed from KanjiVG’s strokes" in page


def test_a_planned_sample_says_its_plan_and_what_was_found(score):
    _, report = score()
    for sample in report["samples"]["plans"]:
        forms = [one["form"] for one in sample["plan"]["components"]]
        assert f"--parts '{', '.join(forms)}'" in sample["command"]
        assert set(sample["found"]) <= {one["form"] for one in sample["plan"]["components"]}
    assert all("plan" not in sample and "--plan off" in sample["command"] for sample in report["samples"]["wild"])


def test_weights_that_are_not_whole_are_refused(score, tmp_path, monkeypatch, capsys):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "planner.json").write_text("{")
    monkeypatch.setattr(benchmark, "PLANNER_WEIGHTS", tmp_path / "half")
    assert score()[0] == 1 and "train_planner.py" in capsys.readouterr().err
    with pytest.raises(PlannerError):
        benchmark.load_planner(EvaluateConfig())
