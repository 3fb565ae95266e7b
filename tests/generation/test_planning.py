"""Words become components, the judge says which of them it finds, and every picture can be drawn again."""

from __future__ import annotations

import copy
import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import generate as generate_command
from common.command_line import parse
from generation import drawing, planning
from generation.best_of import Candidate, best_candidate
from generation.check import explain, found_components, found_in_words
from generation.drawing import draw_to_folder
from generation.output import redraw_command
from generation.planning import find_planner, plan_requests
from generation.request import ImageRequest, noise_seed, read_requests
from generation.settings import GenerateConfig, SamplingSettings
from planner.plan import Plan, PlannedComponent
from planner.planner import Planner
from planner_fixtures import load_small_planner, save_small_planner
from recogniser.judge import Component, Judge, Reading
from recogniser_fixtures import reading


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory):
    return save_small_planner(tmp_path_factory.mktemp("planner") / "weights")


@pytest.fixture(scope="module")
def planner(weights) -> Planner:
    return Planner.load(weights, None)


@pytest.fixture
def shipped(weights, monkeypatch) -> None:
    """The small planner in the place of the shipped one."""
    monkeypatch.setattr(planning, "PLANNER_WEIGHTS", weights)


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch) -> None:
    """Nothing is known of what the shipped base draws well: its table is not of this planner's making."""
    monkeypatch.setattr(planning.DrawnComponents, "of_model", lambda _model: None)


def planned(planner: Planner, *words: str, say=lambda _line: None, **flags) -> list[ImageRequest]:
    config = GenerateConfig(prompts=words, **flags)
    return plan_requests(read_requests(config), planner, config, say)


def plan(*forms: str, words: str = "rocket", source: str = "network", strokes: int = 5) -> Plan:
    names = {"口": "mouth", "十": "ten", "二": "two", "人": "person"}
    slots = ("whole",) if len(forms) == 1 else ("left", "right")
    return Plan(words, tuple(PlannedComponent(form, names[form], slot, 0.5)
                             for form, slot in zip(forms, slots, strict=True)), strokes, source)


def request(of: Plan | None, *others: Plan, words: str = "rocket", **more) -> ImageRequest:
    return ImageRequest(words, more.pop("strokes", None), more.pop("seed", 0), "rocket-0", of, others)


# --- what is planned -------------------------------------------------------------------------------------------------
def test_the_model_is_given_the_plan_and_the_noise_is_that_of_the_users_own_words(planner):
    drawn, = planned(planner, "person  with two heads", strokes=9, seed=3)
    assert drawn.plan.source == "network" and {"二", "人"} == drawn.plan.forms
    assert drawn.prompt == f"{drawn.plan.prompt}, 9 strokes" and drawn.plan.prompt == "two person"
    assert drawn.words == "person  with two heads" and drawn.noise_seed == noise_seed(3, drawn.words)
    assert drawn.title == "person  with two heads, 9 strokes"


def test_words_that_a_kanji_means_are_drawn_as_they_are_unless_it_is_to_be_new(planner):
    drawn, = planned(planner, "Mouth")
    assert drawn.plan.source == "kanji" and drawn.prompt == "Mouth" and drawn.other_plans == ()
    new, = planned(planner, "Mouth", novel=True)
    assert new.plan.source == "network" and new.prompt != "Mouth"
    assert all("".join(sorted(one.forms)) not in planner.components.unplanned_pairs
               for one in (new.plan, *new.other_plans))


def test_a_picture_depends_on_its_seed_and_not_on_how_many_are_drawn(planner):
    several = planned(planner, "two mouths", count=4)
    assert several[2] == planned(planner, "two mouths", seed=2)[0]
    assert several[0].plan == planner.plans("two mouths")[0]
    for one in several:
        assert len({one.plan, *one.other_plans}) == 1 + len(one.other_plans)


def test_seeds_take_turns_among_the_plans_that_are_good(planner, monkeypatch):
    worth = {"first": (0.8, 0.8), "second": (0.8, 0.7), "third": (0.3, 0.2)}
    several = [Plan(name, (PlannedComponent("口", "mouth", "left", one), PlannedComponent("人", "man", "right", two)),
                    5, "network") for name, (one, two) in worth.items()]
    monkeypatch.setattr(planner, "plans", lambda *_, **__: several)
    drawn = planned(planner, "anything", count=4)
    assert [one.plan.words for one in drawn] == ["first", "second", "first", "second"]
    assert [one.words for one in drawn[1].other_plans] == ["first", "third"]


def test_what_the_model_draws_well_decides_among_good_plans(planner, monkeypatch):
    first = planned(planner, "person with two heads")[0].other_plans[0]
    easy = dict.fromkeys(first.forms, 50)
    table = planning.DrawnComponents(dict.fromkeys(planner.components.forms, 50), easy)
    monkeypatch.setattr(planning.DrawnComponents, "of_model", lambda _model: table)
    monkeypatch.setattr(planning, "GOOD_PLAN", 0.0)
    assert planned(planner, "person with two heads")[0].plan.forms == first.forms


def test_what_nothing_is_known_of_is_drawn_as_it_is_and_that_is_said(planner):
    said = []
    drawn = planned(planner, "🚀🌕", "Ελλάδα", "月", "two mouths", say=said.append)
    assert [one.plan is None for one in drawn] == [True, True, True, False]
    assert [one.prompt for one in drawn[:3]] == ["🚀🌕", "Ελλάδα", "月"]
    assert [line.partition(":")[0] for line in said] == ["🚀🌕", "Ελλάδα", "月"]
    assert all("drawn as they are" in line for line in said)


def test_ten_thousand_characters_are_planned_and_said_in_a_line(planner):
    words = "mouth and person " * 600
    drawn, = planned(planner, words)
    line = explain(drawn, reading("口人"))
    assert drawn.plan is not None and len(line) < 200 and "…" in line and len(drawn.stem) < 80


def test_a_plan_keeps_to_the_strokes_asked_for_or_says_that_it_cannot(planner):
    said = []
    few, none = (planned(planner, "mouth of a person", strokes=strokes, say=said.append)[0] for strokes in (5, 2))
    assert few.plan.strokes <= 5 and few.prompt.endswith(", 5 strokes")
    assert none.plan.strokes > 2 and len(said) == 1 and "2 strokes are too few" in said[0] and "about" in said[0]


def test_parts_are_a_plan_of_ones_own_by_name_or_kanji(planner):
    for parts in ("two, person", "人,二", " human being ,Two"):
        drawn, = planned(planner, "rocket", parts=parts)
        assert drawn.plan.source == "given" and drawn.words == "rocket" and drawn.plan.forms == {"二", "人"}
        assert drawn.prompt == "two person"  # as kanji have the two, one above the other
    alone, = planned(planner, parts="person")
    assert (alone.words, alone.prompt) == ("person", "person")
    assert planned(planner, parts="human being, ten")[0].words == "human being ten"


@pytest.mark.parametrize(("parts", "message"), [
    ("boat, mouth", r"no component 'boat'; there are, for instance: .*mouth"),
    ("moth, tree", "'moth' and no 'tree'.*mouth"), ("mouth, ten, two", "3 components"), ("mouth,", "an empty name"),
    ("", "an empty name"), ("x" * 10_000, "no component")])
def test_parts_that_cannot_be_had_are_named_and_nothing_is_written(shipped, base, tmp_path, capsys, parts, message):
    assert generate_command.main(["rocket", "--parts", parts, "--model", str(base), "--device", "cpu", "--output",
                                  str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert not (tmp_path / "out").exists() and len(said) < 400
    assert re.search(message, said)


@pytest.mark.parametrize("flags", [{"parts": "mouth", "plan": "off"}, {"parts": "mouth", "novel": True},
                                   {"plan": "off", "novel": True}])
def test_flags_that_contradict_one_another_are_refused(flags):
    with pytest.raises(ValueError, match=r"--(parts|novel)"):
        GenerateConfig(prompts=("moon",), **flags)


# --- in words or in components ---------------------------------------------------------------------------------------
def test_a_plan_is_handed_over_in_components_where_each_has_a_name_and_a_token():
    assert plan("二", "人").prompt_with({"二", "人", "口"}) == "two 二, person 人"
    assert plan("二", "人").prompt_with({"二", "人", "⿰", "⿱"}) == "⿰ two 二, person 人"
    assert plan("二", "人").prompt_with({"二", "口"}) == plan("二", "人").prompt_with(()) == "two person"
    assert plan("口", words="Mouth", source="kanji").prompt_with({"口"}) == "Mouth"
    assert plan("口", words="Mouth", source="kanji").prompt_with({"人"}) == "Mouth"
    nameless = Plan("rocket", (PlannedComponent("口", "", "whole"),), 3, "given")
    assert nameless.prompt_with({"口"}) == nameless.prompt


def test_words_that_spell_components_are_a_plan_of_their_own_and_behind_other_words_they_are_drawn_as_they_stand(
        planner):
    said = []
    whole, without, mixed = planned(planner, "⿱ two 二, person 人", "two 二, person 人", "rocket, two 二, person 人",
                                    say=said.append)
    tokens = {"二", "人", "⿱"}
    assert [replace(one, tokens=tokens).prompt for one in (whole, without, mixed)] == [
        "⿱ two 二, person 人", "two 二, person 人", "rocket, two 二, person 人"]
    assert whole.plan.reason().endswith(": top 二 two + bottom 人 person") and whole.prompt == "two person"
    assert whole.other_plans == () and mixed.plan is None and said == []
    assert Plan.spelled("rocket 🚀") is Plan.spelled("山") is Plan.spelled("Full Moon") is None


def test_a_model_whose_tokenizer_has_the_components_is_given_them_and_any_other_their_names(shipped, base, tmp_path):
    from models.component_tokens import add_component_tokens
    from models.pipelines import load_pipeline

    pipeline = load_pipeline(str(base))
    add_component_tokens(pipeline, {"二": "two", "人": "person"})
    pipeline.save_pretrained(tmp_path / "with tokens")

    def drawn(model, output, *flags) -> dict:
        flags = ["rocket", "--model", str(model), "--device", "cpu", "--steps", "2", *flags]
        assert generate_command.main([*flags, "--output", str(tmp_path / output)]) == 0
        return json.loads((tmp_path / output / "rocket-0.json").read_text(encoding="utf8"))

    own = drawn(tmp_path / "with tokens", "own", "--parts", "two, person", "--strokes", "4")
    assert own["prompt"] == "two 二, person 人, 4 strokes" and "two 二, person" not in own["reason"]
    again = drawn(tmp_path / "with tokens", "again", *shlex.split(own["command"])[3:-2], "--strokes", "4",
                  "--model", str(tmp_path / "with tokens"))
    assert again["prompt"] == own["prompt"]
    assert (tmp_path / "again/rocket-0.png").read_bytes() == (tmp_path / "own/rocket-0.png").read_bytes()
    assert drawn(tmp_path / "with tokens", "mouth", "--parts", "two, mouth")["prompt"] == "mouth two"
    assert drawn(tmp_path / "with tokens", "off", "--plan", "off")["prompt"] == "rocket"
    assert drawn(base, "other", "--parts", "two, person")["prompt"] == "two person"


# --- for which models ------------------------------------------------------------------------------------------------
def test_another_base_is_not_planned_for_and_a_run_says_of_itself_whether_it_is(shipped, base, tmp_path):
    from models.pipelines import load_pipeline

    pipeline, said = load_pipeline(str(base)), []
    assert find_planner(GenerateConfig(model=str(base)), pipeline, said.append) is None
    assert re.search("drawn as they are.*--plan on", said.pop())
    assert find_planner(GenerateConfig(model=str(base), plan="on"), pipeline, said.append) is not None
    assert find_planner(GenerateConfig(model=str(base), parts="mouth"), pipeline, said.append) is not None
    for kanji in (True, False):
        (tmp_path / "config.json").write_text(json.dumps({"kanji": kanji}))
        found = find_planner(GenerateConfig(model=str(tmp_path)), pipeline, said.append)
        assert (found is not None) == kanji
    assert len(said) == 1


def test_the_embedded_base_is_planned_for_but_not_a_run_of_it_on_something_else(shipped, tmp_path):
    from models.pipelines import load_pipeline

    pipeline = load_pipeline("tiny")
    assert find_planner(GenerateConfig(), pipeline) is not None
    assert find_planner(GenerateConfig(plan="off"), pipeline) is None
    (tmp_path / "config.json").write_text('{"settings": {"pretrained_model_name_or_path": "tiny"}}')
    assert find_planner(GenerateConfig(model=str(tmp_path)), pipeline) is not None
    (tmp_path / "config.json").write_text('{"kanji": false}')
    assert find_planner(GenerateConfig(model=str(tmp_path)), pipeline, lambda _: None) is None


@pytest.mark.parametrize("fault", ["missing", "cut", "foreign"])
def test_a_planner_that_cannot_be_had_is_said_and_plan_off_draws_all_the_same(tmp_path, base, monkeypatch, capsys,
                                                                               fault):
    folder = tmp_path / "weights"
    if fault != "missing":
        save_small_planner(folder)
        file = folder / "planner.safetensors"
        file.write_bytes(file.read_bytes()[:1000] if fault == "cut" else b"not weights")
    monkeypatch.setattr(planning, "PLANNER_WEIGHTS", folder)
    flags = ["moon", "--model", str(base), "--device", "cpu", "--steps", "1", "--output", str(tmp_path / "out")]
    assert generate_command.main([*flags, "--plan", "on"]) == 1
    assert "weights" in (said := capsys.readouterr().err) and "--plan off" in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()
    assert generate_command.main([*flags, "--plan", "off"]) == 0
    assert (tmp_path / "out" / "moon-0.png").is_file()


def test_without_names_the_network_plans_and_with_them_they_come_first(tmp_path):
    file = tmp_path / "names.jsonl"
    parts = [{"form": "十", "name": "ten", "slot": "left"}, {"form": "人", "name": "person", "slot": "right"}]
    file.write_text(json.dumps({"word": "Two Mouths", "confidence": 0.6, "components": parts}), encoding="utf8")
    drawn, = planned(load_small_planner(tmp_path / "weights", file), "two mouths")
    assert (drawn.plan.source, drawn.prompt, drawn.plan.strokes) == ("names", "ten person", 4)


# --- whether it was drawn --------------------------------------------------------------------------------------------
def test_components_are_found_by_meaning_form_in_any_sense_or_by_their_name():
    moon = Component("月", "月", "moon", "left", 0.9, ("meat",), ("肉",))
    read = Reading(0.9, True, 6.0, (moon, Component("𠆢", "入", "person", "top", 0.9)))
    parts = PlannedComponent("肉", "meat", "left"), PlannedComponent("人", "person", "right")
    meat = Plan("steak", parts, 6, "names")
    assert found_components(meat, read) == list(meat.components)
    assert found_components(plan("口", "十"), read) == []


@pytest.mark.parametrize(("of", "read", "words"), [
    (plan("口", "十"), "十口", "both found"), (plan("口", "十"), "人口", "one of two found: 口 mouth"),
    (plan("口", "十"), "人", "none found"), (plan("口"), "口", "found"), (plan("口"), "", "not found")])
def test_what_is_found_is_said_in_words(of, read, words):
    assert found_in_words(of, reading(read)) == words


def test_an_explanation_names_plan_strokes_and_findings_and_what_is_read_instead():
    assert explain(request(plan("口", "十")), reading("口十", strokes=5.2)) == (
        "rocket: left 口 mouth + right 十 ten, 5 strokes, both found")
    assert explain(request(plan("口", "十")), reading("口人", strokes=5, nearest="囚")) == (
        "rocket: left 口 mouth + right 十 ten, 5 strokes, one of two found: 口 mouth; "
        "read: left 口 mouth + right 人 person; nearest real kanji 囚")
    assert explain(request(None), reading("口人", strokes=5)) == "rocket: left 口 mouth + right 人 person, 5 strokes"


def candidates(*readings, strokes: int | None = None) -> list[Candidate]:
    asked = request(plan("口", "十"), strokes=strokes)
    return [Candidate(asked.candidate(number), number, Image.new("L", (8, 8)), read)
            for number, read in enumerate(readings)]


def test_the_best_is_one_in_which_what_was_planned_is_found_then_well_formed_then_near_the_strokes():
    judge = Judge.__new__(Judge)
    one, both = reading("口人", well_formed=0.99), reading("口十", well_formed=0.4)
    assert best_candidate(candidates(one, both, reading("")), judge).number == 1
    far, near = reading("口十", well_formed=0.9, strokes=9), reading("口十", well_formed=0.9, strokes=5)
    assert best_candidate(candidates(one, both, far), judge).number == 2
    assert best_candidate(candidates(one, both, far, near, strokes=5), judge).number == 3
    assert best_candidate(candidates(reading("十"), reading("人"), reading("口")), judge).number == 0


def test_of_several_plans_that_are_found_the_best_comes_first_unless_strokes_are_asked_for():
    judge = Judge.__new__(Judge)
    for strokes, number in ((None, 0), (5, 1)):
        asked = request(plan("口", "十"), plan("口", "人"), strokes=strokes)
        read = [Candidate(asked.candidate(0), 0, Image.new("L", (8, 8)), reading("口十", 0.9, strokes=9)),
                Candidate(asked.candidate(1), 1, Image.new("L", (8, 8)), reading("口人", 0.99, strokes=5))]
        assert read[1].request.plan == plan("口", "人")
        assert best_candidate(read, judge).number == number


def test_a_near_copy_of_a_kanji_is_kept_only_where_no_other_is_as_good_or_where_it_is_the_plan():
    judge, ink = Judge.__new__(Judge), Image.new("L", (8, 8))

    def chosen(*readings, **of) -> int:
        asked = request(of.pop("planned", plan("口", "十")), **of)
        return best_candidate([Candidate(asked.candidate(number), number, ink, read)
                               for number, read in enumerate(readings)], judge).number

    copied, novel = reading(well_formed=0.99, is_copy=True), reading(well_formed=0.9)
    assert chosen(copied, novel) == 1
    assert chosen(copied, novel, planned=None) == 1
    assert chosen(copied, novel, planned=plan("口", "十", source="kanji")) == 0
    assert chosen(copied, reading(well_formed=0.4)) == 0, "not well-formed"
    assert chosen(copied, reading("口人")) == 0, "not all that was planned"
    assert chosen(copied, reading(well_formed=0.9, strokes=9.0), strokes=5) == 0, "further from the strokes"
    assert chosen(copied, novel, strokes=5) == 1


def test_a_candidate_of_another_plan_is_better_than_a_near_copy():
    asked = request(plan("口", "十"), plan("口", "人"))
    read = [Candidate(asked.candidate(0), 0, Image.new("L", (8, 8)), reading("口十", is_copy=True)),
            Candidate(asked.candidate(1), 1, Image.new("L", (8, 8)), reading("口人"))]
    assert best_candidate(read, Judge.__new__(Judge)).number == 1


def test_candidates_differ_in_plan_and_the_first_is_the_picture_itself():
    asked = request(plan("口", "十"), plan("口", "人"), plan("二", "人"), seed=4)
    drawn = [asked.candidate(number) for number in range(8)]
    assert drawn[0] == asked and len({one.seed for one in drawn}) == 8
    plans = [one.plan for one in drawn]
    assert plans.count(asked.plan) > plans.count(asked.other_plans[0]) >= plans.count(asked.other_plans[1]) > 0
    assert {one.plan for one in map(request(plan("口")).candidate, range(8))} == {plan("口")}
    assert request(None).candidate(5).plan is None


# --- what is written -------------------------------------------------------------------------------------------------
@pytest.fixture
def drawn(shipped, base, tmp_path):
    """A picture for each kind of plan, drawn by a base that draws grey pictures."""
    config = GenerateConfig(prompts=("two mouths", "mouth", "🚀"), model=str(base), device="cpu", steps=2, plan="on",
                            best_of=3, seed=1, output=tmp_path / "drawn")
    draw_to_folder(config)
    return tmp_path / "drawn"


def test_the_json_says_plan_reason_and_what_was_found(drawn):
    made = {path.stem: json.loads(path.read_text(encoding="utf8")) for path in drawn.glob("*.json")}
    network, kanji, none = made["two-mouths-1"], made["mouth-1"], made["prompt-1"]
    assert Plan.from_json(network["plan"]).reason() == network["reason"]
    assert network["reason"].startswith("two mouths: ")
    assert network["prompt"] == Plan.from_json(network["plan"]).prompt and isinstance(network["found"], list)
    assert kanji["plan"]["source"] == "kanji" and kanji["prompt"] == "mouth"
    assert none["plan"] is None and none["reason"] is None and "found" not in none
    assert "--parts" in network["command"] and "--parts" not in kanji["command"] and "--plan off" in none["command"]


def test_each_is_drawn_again_by_its_command_also_by_another_planner(drawn, base, tmp_path, monkeypatch):
    monkeypatch.chdir(base.parent)
    monkeypatch.setattr(drawing, "Judge", None)  # nothing is read when nothing is chosen or explained
    for path in drawn.glob("*.json"):
        made = json.loads(path.read_text(encoding="utf8"))
        output = tmp_path / f"again-{path.stem}"
        flags = shlex.split(made["command"])[2:]
        assert generate_command.main([*flags, "--device", "cpu", "--output", str(output)]) == 0
        again, = (one for one in output.glob("*.png") if one.name != "collated_examples.png")
        images = [np.asarray(Image.open(one), dtype=int) for one in (path.with_suffix(".png"), again)]
        assert np.abs(images[0] - images[1]).max() <= 1  # grey levels of 255: another batch's rounding


@pytest.mark.parametrize("of", [None, plan("口", "二", source="network"), plan("口", source="given"),
                                plan("口", "人", source="names")])
def test_a_command_asks_the_model_for_the_same(planner, of):
    asked = request(of, words="it's a, b", seed=7)
    flags = shlex.split(redraw_command(asked, SamplingSettings()))[2:]
    config = parse(GenerateConfig, flags, None)
    again, = plan_requests(read_requests(config), None if config.plan == "off" else planner, config)
    assert again.noise_seed == asked.noise_seed
    assert sorted(again.prompt.split()) == sorted(asked.prompt.split())


def test_a_command_names_the_component_also_where_another_has_its_name(planner):
    """As 言 and 曰 are both "say"."""
    alike = copy.copy(planner)
    alike.components = replace(planner.components, names=tuple(("person",) for _ in planner.components.forms))
    for forms in ("口", "十", "二", "人", "口人", "十二"):
        config = parse(GenerateConfig, shlex.split(redraw_command(request(plan(*forms)), SamplingSettings()))[2:], None)
        again, = plan_requests(read_requests(config), alike, config)
        assert again.plan.forms == frozenset(forms)


def test_an_image_is_explained_only_where_a_judge_reads_it(shipped, base, tmp_path, capsys):
    flags = ["two mouths", "--model", str(base), "--device", "cpu", "--steps", "1", "--plan", "on", "--output",
             str(tmp_path)]
    assert generate_command.main(flags) == 0
    said = capsys.readouterr().out
    assert "two mouths: " in said and "found" not in said
    assert generate_command.main([*flags, "--explain"]) == 0
    assert "found" in capsys.readouterr().out
