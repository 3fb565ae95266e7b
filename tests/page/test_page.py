"""The page of demo.py without gradio: what is asked for, planned, swapped, drawn and shown."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import math
import re
import shlex
import shutil
import sys
from concurrent.futures import Future
from dataclasses import replace

import pytest
from PIL import Image

import demo as demo_command
from common.command_line import parse
from common.errors import UserError
from generation import drawing
from generation.best_of import Candidate, draw_candidates
from generation.drawing import draw_to_folder
from generation.request import ImageRequest
from generation.settings import GenerateConfig
from generation.strokes.kanjivg import NoStrokesError
from page import cards, serving
from page import studio as studio_module
from page.cards import Card, cards_of
from page.config import MAX_CANDIDATES, MAX_LETTERS, MAX_PROMPTS, Wish
from page.guard import Guard
from page.plan_row import MAX_SWAPS, PlanRow
from page.studio import Drawn
from page.visit import MAX_HISTORY, Visit
from page_fixtures import few_kanji, image_of, save_run
from planner.plan import Plan, PlannedComponent
from planner_fixtures import load_small_planner
from recogniser_fixtures import reading

MODEL = "small"
WORDS = "two of a person"


@pytest.fixture(scope="module")
def planner(tmp_path_factory):
    return load_small_planner(tmp_path_factory.mktemp("planner") / "weights")


def wish(words=WORDS, **more):
    return Wish.of(words, MODEL, **{"candidates": 2, **more})


def data_of(url):
    return base64.b64decode(url.partition(",")[2])


def generated(studio, output, **flags):
    config = GenerateConfig(model=studio.config.model, steps=2, device="cpu", output=output, svg=True, **flags)
    draw_to_folder(config)
    return {path.name: path.read_bytes() for path in output.iterdir()}


# --- what is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates", [pytest.param(1, marks=pytest.mark.variant), 3])
def test_the_page_draws_what_generate_py_draws_for_the_same_words_and_seed(candidates, studio, tmp_path):
    visit, _ = Visit().drawn(studio, wish(f"{WORDS}, mouth", candidates=candidates, seed=2), [])
    visit = visit.with_strokes(studio)
    files = generated(studio, tmp_path, prompts=(WORDS, "mouth"), best_of=candidates, seed=2, explain=True)
    for group, stem in zip(visit.groups, ("two-of-a-person-2", "mouth-2"), strict=True):
        best = group[0]
        assert best.is_best and best.stem == stem and len(group) == candidates
        assert data_of(best.png) == files[f"{stem}.png"]
        assert data_of(best.svg) == files[f"{stem}.svg"]
        assert data_of(best.json) == files[f"{stem}.json"]


def test_a_plan_of_the_visitor_is_drawn_as_generate_py_draws_its_parts(studio, tmp_path):
    visit, _ = Visit().planned(studio, wish(), [])
    visit, _ = visit.drawn(studio, wish(strokes=7), [("ten", "person")])
    assert visit.rows[0].is_own and visit.rows[0].texts == ("ten", "person")
    files = generated(studio, tmp_path, prompts=(WORDS,), best_of=2, strokes=7, parts="ten, person")
    assert data_of(visit.groups[0][0].png) == files["two-of-a-person-0.png"]


def test_every_candidate_can_be_drawn_again_by_the_command_in_its_json(studio, tmp_path):
    visit, _ = Visit().drawn(studio, wish(seed=5), [])
    made = json.loads(data_of(visit.groups[0][1].json))
    assert made["command"] == visit.groups[0][1].command
    again = parse(GenerateConfig, shlex.split(made["command"])[2:], None)
    files = generated(studio, tmp_path, prompts=again.prompts, parts=again.parts, seed=again.seed)
    assert files[f"two-of-a-person-{again.seed}.png"] == data_of(visit.groups[0][1].png)


def test_progress_is_told_to_the_last_step(studio):
    told = []
    Visit().drawn(studio, wish(), [], lambda done, of: told.append((done, of)))
    assert told == [(1, 2), (2, 2)]


def test_nothing_is_written(studio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Visit().drawn(studio, wish(), [])[0].with_strokes(studio)
    assert not list(tmp_path.iterdir())


# --- strokes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def kanji_drawn(studio, tmp_path, monkeypatch):
    """The studio's pen draws a kanji, whatever it is asked for."""
    kanji = few_kanji(tmp_path / "kanjivg")[0]

    def draw(pipeline, requests, *rest):
        return [[replace(one, image=image_of(kanji)) for one in group]
                for group in draw_candidates(pipeline, requests, *rest)]

    for module in (studio_module, drawing):
        monkeypatch.setattr(module, "draw_candidates", draw)
    return kanji


def test_the_strokes_of_the_best_are_those_that_generate_py_writes(studio, kanji_drawn, tmp_path):
    drawn, _ = Visit().drawn(studio, wish(f"{WORDS}, mouth"), [])
    assert drawn.lacks_strokes and not any(card.stroke_svg for group in drawn.groups for card in group)
    visit = drawn.with_strokes(studio)
    files = generated(studio, tmp_path / "out", prompts=(WORDS, "mouth"), best_of=2)
    assert not visit.lacks_strokes and len(visit.groups) == 2
    for group in visit.groups:
        assert data_of(group[0].stroke_svg) == files[group[0].strokes_name]
        assert data_of(group[0].json) == files[f"{group[0].stem}.json"]
        assert data_of(group[0].stroke_svg).count(b"<path") == len(kanji_drawn.strokes)
        assert not any(card.stroke_svg or card.lacks_strokes for card in group[1:])
    assert visit.history == (visit.groups[1][0], visit.groups[0][0])
    assert visit.with_strokes(studio) is visit


def test_strokes_that_come_late_change_nothing_that_was_asked_for_meanwhile(studio, kanji_drawn):
    drawn, _ = Visit().drawn(studio, wish(), [])
    found = drawn.with_strokes(studio)
    planned, _ = drawn.planned(studio, wish("mouth"), [])
    joined = planned.joined(found)
    assert joined.rows == planned.rows and joined.groups == found.groups and joined.history == found.history
    assert not joined.lacks_strokes and joined.joined(found) is joined
    other, _ = drawn.drawn(studio, wish("mouth", seed=1), [])
    assert other.joined(found) is other and other.lacks_strokes


def test_the_strokes_are_kept_and_played_and_stay_in_the_history(studio, kanji_drawn):
    drawn, _ = Visit().drawn(studio, wish(), [])
    before = cards.gallery(drawn.groups, is_looking=drawn.lacks_strokes)
    assert "looking for its strokes" in text_of(before) and "<details class=\"play\"" not in before
    visit = drawn.with_strokes(studio)
    page, past = cards.gallery(visit.groups), cards.history(visit.history)
    assert page.count('download="two-of-a-person-0.strokes.svg"') == past.count(".strokes.svg") == 1
    assert page.count('<details class="play"') == 1 and "looking for" not in text_of(page)


def test_of_strokes_that_are_not_found_one_line_is_said(studio):
    visit = Visit().drawn(studio, wish(), [])[0].with_strokes(studio)  # what random weights draw has none
    page = cards.gallery(visit.groups)
    assert text_of(page).count("no strokes were found that draw it again") == 1
    assert ".strokes.svg" not in page and "<details class=\"play\"" not in page
    assert json.loads(data_of(visit.groups[0][0].json))["stroke_paths"]["file"] is None


def test_a_model_that_was_not_trained_on_kanji_gets_no_strokes(studio):
    drawn = replace(drawn_by_hand(reading("口十")), is_line_art=False)
    visit = Visit(groups=(tuple(cards_of(drawn)),), strokeless=(drawn,))
    assert not visit.lacks_strokes
    page = cards.gallery(visit.with_strokes(studio).groups, is_looking=visit.lacks_strokes)
    assert "strokes were found" not in page and "looking for" not in page


def test_where_kanjivg_is_not_there_the_picture_is_drawn_and_the_lack_is_said(studio, monkeypatch):
    drawn, _ = Visit().drawn(studio, wish(), [])
    monkeypatch.setattr(studio, "_finder", failed := Future())
    failed.set_exception(NoStrokesError("KanjiVG is not there"))
    with pytest.raises(UserError, match="KanjiVG is not there"):
        drawn.with_strokes(studio)
    assert drawn.groups[0][0].png


# --- plans ------------------------------------------------------------------------------------------------------------


def test_a_plan_is_shown_in_words_with_the_slot_and_the_form_of_each_part(planner):
    row = PlanRow.planned(WORDS, planner.plans(WORDS)[0])
    assert row.texts == ("two", "person") and row.labels == ("Top 二", "Bottom 人")
    assert PlanRow.planned("???", None).labels == ("First part", "Second part")
    assert PlanRow.planned("???", None).texts == ("", "")


def test_swapping_goes_through_the_planner_s_next_best_and_keeps_the_other_part(planner):
    row, seen = PlanRow.planned(WORDS, planner.plans(WORDS)[0]), []
    for _ in range(3):
        row = row.swapped(0, planner)
        assert row.is_own and row.texts[1] == "person"
        seen.append(row.texts[0])
    assert len(set(seen[:2])) == 2 and "person" not in seen
    assert seen[2] == "two"  # of three that may stand beside it; then it begins again


def test_no_swap_makes_a_kanji_that_exists(planner):
    assert "十" not in planner.partners("ten", "口", MAX_SWAPS)
    assert planner.partners("ten", None, 1) == ["十"]


def test_an_empty_box_is_filled_by_swapping(planner):
    row = PlanRow.planned("mouth", planner.plans("mouth")[0])
    assert row.texts == ("mouth", "")
    row = row.swapped(1, planner)
    assert row.texts[0] == "mouth" and row.texts[1] in ("two", "person")
    assert PlanRow.planned("???", None).swapped(0, planner).is_own


def test_parts_are_typed_over_in_any_order_and_by_form(planner):
    row = PlanRow.planned(WORDS, planner.plans(WORDS)[0])
    assert row.typed(row.texts, planner) is row
    assert row.typed(("Human Being", "口"), planner).texts == ("person", "mouth")
    assert row.typed(("ten", ""), planner).texts == ("ten", "")
    assert row.typed(("ten", "ten"), planner).plan.forms == {"十"}


def test_two_empty_boxes_are_the_planner_s_own_plan_again(studio):
    visit, _ = Visit().planned(studio, wish(), [])
    own, _ = visit.planned(studio, wish(), [("ten", "mouth")])
    assert own.rows[0].is_own
    again, _ = own.planned(studio, wish(), [("", "")])
    assert again.rows == visit.rows


def test_a_part_that_does_not_exist_is_named_without_a_flag(planner):
    row = PlanRow.planned(WORDS, planner.plans(WORDS)[0])
    with pytest.raises(UserError, match=r"^there is no component 'persn'; there are, for instance: person"):
        row.typed(("persn", "two"), planner)


def test_a_plan_of_the_visitor_stays_and_the_planner_s_own_follows_the_seed(studio):
    visit, _ = Visit().planned(studio, wish(), [])
    visit, _ = visit.swapped(studio, MODEL, 0, 0, [visit.rows[0].texts])
    swapped = visit.rows[0]
    for seed in range(3):
        visit, _ = visit.planned(studio, wish(seed=seed), [swapped.texts])
        assert visit.rows[0] == swapped
    visit, _ = visit.planned(studio, wish("ten"), [swapped.texts])  # other words: what was in the boxes is not theirs
    assert visit.rows[0].words == "ten" and not visit.rows[0].is_own


def test_a_model_that_was_not_trained_on_kanji_gets_the_words_as_they_are(studio, base):
    before = studio.config
    studio.config = replace(before, models=(base,))
    try:
        visit, notes = Visit().drawn(studio, Wish.of("moon", base.name, candidates=1), [])
    finally:
        studio.config = before
    assert visit.rows[0].plan is None and visit.groups[0][0].parts == ()
    assert notes == ["the words are drawn as they are: this model was not trained on kanji"]


# --- visitors ---------------------------------------------------------------------------------------------------------


def test_two_visitors_do_not_mix(studio):
    start = Visit()
    one, _ = start.drawn(studio, wish("ten"), [])
    other, _ = start.drawn(studio, wish("person"), [])
    one, _ = one.drawn(studio, wish("ten two"), [])
    assert [card.title for card in one.history] == ["ten two", "ten"]
    assert [card.title for card in other.history] == ["person"]
    assert start == Visit()


def test_a_visit_remembers_a_bounded_number_of_characters(studio):
    visit, _ = Visit().drawn(studio, wish(candidates=1), [])
    full = replace(visit, history=visit.history * MAX_HISTORY)
    assert len(full.drawn(studio, wish(candidates=1), [])[0].history) == MAX_HISTORY


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fields", "message"), [
    ({"words": ""}, "word or two"), ({"words": " , ,"}, "word or two"), ({"words": None}, "word or two"),
    ({"words": "\x00\ud800"}, "word or two"), ({"words": "a" * (MAX_LETTERS + 1)}, "too long"),
    ({"words": "a " * 10**6}, "too long"), ({"words": ",".join(map(str, range(MAX_PROMPTS + 1)))}, "at once"),
    ({"strokes": 41}, "Strokes"), ({"strokes": -1}, "Strokes"), ({"candidates": MAX_CANDIDATES + 1}, "Candidates"),
    ({"candidates": 1.5}, "Candidates"), ({"candidates": None}, "Candidates"), ({"seed": math.nan}, "Seed"),
    ({"seed": math.inf}, "Seed"), ({"seed": "x"}, "Seed"), ({"seed": 1e300}, "Seed"), ({"seed": [1]}, "Seed")])
def test_what_cannot_be_asked_for_is_said(fields, message):
    with pytest.raises(UserError, match=message):
        Wish.of(**{"words": "moon", "model": MODEL, **fields})


def test_words_are_cleaned_and_asked_for_once():
    assert Wish.of("  Full \n Moon\x07 ,, tree,Full Moon", MODEL).prompts == ("Full Moon", "tree")
    assert Wish.of("moon", MODEL, strokes=0).strokes is Wish.of("moon", MODEL, strokes="").strokes is None


def test_a_plan_that_is_spelled_in_components_is_one_character(studio):
    for spelled in ("⿰ two 二, person 人", "two 二, person 人"):
        assert Wish.of(f" {spelled}\n", MODEL).prompts == (spelled,)
    assert Wish.of("⿰ two 二, person", MODEL).prompts == ("⿰ two 二", "person")  # of which one is no component
    visit, _ = Visit().drawn(studio, wish("⿰ two 二, person 人", candidates=1), [])
    assert [row.texts for row in visit.rows] == [("two", "person")]
    assert [group[0].title for group in visit.groups] == ["⿰ two 二, person 人"]


HOSTILE = "<script>alert(1)</script> {{7*7}} ${7*7} \"'><img src=x onerror=alert(1)>"


def test_tags_in_words_are_text(studio):
    visit, notes = Visit().drawn(studio, wish(HOSTILE), [])
    shown = [cards.gallery(visit.groups), cards.history(visit.history), cards.plan_head(visit.rows[0]),
             cards.notes([HOSTILE, *notes], is_problem=True)]
    for page in shown:
        assert "<script" not in page and "<img src=x" not in page and html.escape(HOSTILE)[:20] in page
    assert b"<script" not in data_of(visit.groups[0][0].svg)


def test_a_model_that_is_gone_is_said_and_the_others_draw_on(studio, base):
    gone = save_run(studio_module.RUNS / "gone", base)
    (gone / "pipeline").unlink()
    shutil.copytree(base, gone / "pipeline")
    assert str(gone) in studio.models().values()
    name = next(label for label, path in studio.models().items() if path == str(gone))
    Visit().drawn(studio, Wish.of("ten", name), [])
    shutil.rmtree(gone)
    with pytest.raises(UserError, match="not there any more"):
        Visit().drawn(studio, Wish.of("ten", name), [])
    assert Visit().drawn(studio, wish("ten"), [])[0].groups


def test_weights_that_were_replaced_are_loaded_anew(studio, base):
    changing = save_run(studio_module.RUNS / "changing", base)
    (changing / "pipeline").unlink()
    shutil.copytree(base, changing / "pipeline")
    before = studio.model("changing")
    assert studio.model("changing") is before
    weights = next((changing / "pipeline" / "unet").glob("*.safetensors"))
    (weights.parent / "new").write_bytes(weights.read_bytes())
    (weights.parent / "new").replace(weights)
    after = studio.model("changing")
    assert after is not before and after.provenance == before.provenance
    shutil.rmtree(changing)


def test_a_folder_that_is_no_model_is_said(studio, tmp_path):
    before, folder = studio.config, tmp_path / "no-model"
    folder.mkdir()
    (folder / "model_index.json").write_text("not JSON")
    studio.config = replace(before, models=(folder,))
    try:
        with pytest.raises(UserError, match="cannot be read"):
            studio.model("no-model")
    finally:
        studio.config = before


def test_no_folder_of_this_machine_is_told_and_none_can_be_named(studio):
    assert not any("/" in label for label in studio.models() if label != "tiny")
    for name in ("/etc", "../..", str(studio.config.model), ""):
        with pytest.raises(UserError, match="not there any more"):
            studio.model(name)


def test_only_the_routes_that_the_page_uses_are_open():
    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def answer(path):
        sent = []

        async def send(message):
            sent.append(message)

        asyncio.run(Guard(app)({"type": "http", "path": path}, None, send))
        return sent[0]["status"], dict(sent[0]["headers"])

    for path in ("/", "/config", "/assets/index.js", "/gradio_api/queue/join", "/gradio_api/heartbeat/abc"):
        status, headers = answer(path)
        assert status == 200 and b"connect-src 'self'" in headers[b"content-security-policy"]
    for path in ("/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/monitoring",
                 "/gradio_api/proxy=http://example.org", "/gradio_api/call/on_draw", "/assets/../../secret",
                 "/gradio_api/vibe-edit/", "/gradio_api/run/predict"):
        assert answer(path)[0] == 403, path


# --- cards ------------------------------------------------------------------------------------------------------------


def drawn_by_hand(*readings):
    parts = PlannedComponent("口", "mouth", "left"), PlannedComponent("十", "ten", "right")
    plan = Plan("rocket", parts, 5, "network")
    request = ImageRequest("rocket", None, 0, "rocket-0", plan)
    candidates = tuple(Candidate(request.candidate(number), number, Image.new("L", (8, 8), "white"), one)
                       for number, one in enumerate(readings))
    return Drawn(candidates, candidates[-1], GenerateConfig(prompts=("rocket",)), {"name": "tiny"}, True)


def text_of(page):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_reason_stands_under_each_character_and_the_best_is_first_and_marked():
    drawn = drawn_by_hand(reading("口二", strokes=9.6, well_formed=0.1),
                          reading("口十", nearest="叶", is_copy=True))
    page = cards.gallery([cards_of(drawn)])
    best, other = page.split("<figure")[1:]
    assert 'class="best"' in best and 'class="best"' not in other and page.count("the best of") == 1
    assert "left 口 mouth + right 十 ten 5 strokes, both found" in text_of(best)
    assert "nearest real kanji 叶 , a near copy" in text_of(best)
    assert "10 strokes, one of two found: 口 mouth , not well-formed" in text_of(other)
    assert "read in it: left 口 mouth + right 二 two" in text_of(other)
    assert re.findall(r'download="([^"]+)"', page) == [
        f"{stem}.{ending}" for stem in ("rocket-0", "rocket-0-candidate-1") for ending in ("png", "svg", "json")]


def test_a_card_of_words_without_a_plan_says_so():
    drawn = drawn_by_hand(reading("口十"))
    request = replace(drawn.best.request, plan=None)
    alone = replace(drawn.best, request=request)
    card = Card.of(alone, replace(drawn, best=alone, candidates=(alone,), is_line_art=False))
    assert card.shown == card.png and card.found == ""
    assert "the words as they are" in cards.gallery([[card]])


def test_the_acknowledgements_stand_on_the_page():
    said = text_of(cards.footer(False))
    for name in ("KanjiVG", "Ulrich Apel", "Electronic Dictionary Research and Development Group", "CC BY-SA 4.0",
                 "WordNet", "python dataExtraction/main.py"):
        assert name in said
    assert "dataExtraction" not in cards.footer(True)


# --- the command ------------------------------------------------------------------------------------------------------


def test_without_gradio_the_command_that_installs_it_is_said(monkeypatch, capsys):
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda _name: None)
    assert demo_command.main([]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.endswith("-m pip install 'gradio>=6.31,<7'\n") and said.count("\n") == 1
    assert shlex.split(said.partition("installs it: ")[2])[1:] == ["-m", "pip", "install", serving.GRADIO]


def test_the_command_names_this_python(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert serving.install_command().startswith(".venv/bin/python -m pip install ")
    monkeypatch.setattr(sys, "executable", "/usr/my python")
    assert serving.install_command().startswith("'/usr/my python' -m pip")
