"""The shipped planner and its file of names: what they plan, and what they know nothing of."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from planner.exclusions import DEVELOPMENT, PLANS, WILD, read_fitting, read_prompts
from planner.labels import read_fitting_forms
from planner.names import MAX_SHARED
from planner.plan import Plan, PlannedComponent
from planner.planner import NAMES_FILE, PLANNER_WEIGHTS, Planner, PlannerError, _halves
from recogniser.labels import SLOTS


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner.load()


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return [json.loads(line) for line in NAMES_FILE.read_text(encoding="utf8").splitlines()]


def test_the_file_of_names_knows_nothing_of_what_the_score_asks(rows: list[dict]) -> None:
    asked = {words.lower() for path in (WILD, PLANS, DEVELOPMENT) for words in read_prompts(path)}
    assert len(asked) > 400 and len(rows) >= 10_000
    assert not asked & {row["word"].lower() for row in rows}


def test_names_have_two_components_of_the_planner_in_slots_that_go_together(planner: Planner, rows: list[dict]) -> None:
    unplanned = planner.components.unplanned_pairs
    for row in rows:
        first, second = row["components"]
        assert {first["form"], second["form"]} <= set(planner.components.forms)
        assert {first["slot"], second["slot"]} <= set(SLOTS)
        assert "".join(sorted((first["form"], second["form"]))) not in unplanned


def test_names_are_kept_apart(rows: list[dict]) -> None:
    plans = Counter(frozenset(one["form"] for one in row["components"]) for row in rows)
    assert max(plans.values()) <= MAX_SHARED and len(plans) > 9000
    forms = Counter(form for plan, count in plans.items() for form in plan for _ in range(count))
    assert max(forms.values()) < 0.05 * len(rows)


def test_the_development_names_are_planned_better_than_shuffled_ones() -> None:
    planner, names = Planner.load(names=None), read_fitting(DEVELOPMENT)
    forms = [planner.plans(words)[0].forms for words, _ in names]
    fitting = sum(bool(own & wanted) for own, (_, wanted) in zip(forms, names, strict=True)) / len(names)
    others = [bool(own & wanted) for number, own in enumerate(forms)
              for other, (_, wanted) in enumerate(names) if other != number]
    assert fitting > 0.7 and sum(others) / len(others) < 0.12


def test_the_meaning_of_a_kanji_is_that_kanji_unless_it_has_to_be_new(planner: Planner) -> None:
    (plan,) = planner.plans("moon")
    assert (plan.source, plan.prompt, plan.forms) == ("kanji", "moon", {"月"})
    (new,) = planner.plans("moon", novel=True)
    assert new.source != "kanji" and len(new.components) == 2


@pytest.mark.parametrize(("meaning", "reason"), [
    ("thunder", "top 雨 rain + bottom 田 rice field"), ("peak", "top 山 mountain + bottom 領 jurisdiction")])
def test_a_kanji_is_planned_in_its_own_order_also_of_components_that_no_new_one_has(
        meaning: str, reason: str, planner: Planner) -> None:
    plan = planner.plans(meaning)[0]
    assert plan.source == "kanji" and plan.reason() == f"{meaning}: {reason}"
    tokens = {"⿱", *(one.form for one in plan.components)}
    assert plan.prompt_with(tokens) == "⿱ " + ", ".join(f"{one.name} {one.form}" for one in plan.components)


@pytest.mark.parametrize("meaning", ["full moon", "love", "memorize"])
def test_a_kanji_of_many_components_or_of_one_without_a_name_is_planned_anew(meaning: str, planner: Planner) -> None:
    assert meaning in planner.components.meanings
    assert planner.plans(meaning)[0].source == "network"


def test_of_several_kanji_a_meaning_is_a_usual_one(planner: Planner) -> None:
    assert [planner.components.meanings[meaning] for meaning in ("cloth", "big brother", "fire")] == ["布", "兄", "火"]


def test_no_plan_is_the_pair_of_an_existing_kanji_and_further_plans_differ(planner: Planner) -> None:
    for words in ("wind turbine", "Ferrari", "bicycle", "electric car"):
        plans = planner.plans(words, count=4)
        assert len({plan.forms for plan in plans}) == len(plans) == 4
        for plan in plans:
            assert "".join(sorted(plan.forms)) not in planner.components.unplanned_pairs


def test_words_are_looked_up_by_their_other_names_and_in_the_plural(rows: list[dict]) -> None:
    planner = Planner.load()
    row = next(row for row in rows if row.get("also") and row["also"][0].isalpha())
    assert planner.plans(row["also"][0])[0].forms == {one["form"] for one in row["components"]}
    assert planner.plans("guitars")[0].forms == planner.plans("the guitar")[0].forms == planner.plans("guitar")[0].forms
    assert planner.plans("guitars")[0].source == "names"


def test_further_plans_of_a_word_are_of_what_is_known_to_fit_it(rows: list[dict]) -> None:
    planner, fitting = Planner.load(), read_fitting_forms()
    several = [row for row in rows if len(fitting[row["word"].lower()]) > 3][::200]
    assert len(several) > 50
    for row in several:
        first, *further = planner.plans(row["word"], count=4, novel=True)
        assert first.forms == {one["form"] for one in row["components"]}
        assert all(plan.forms <= set(fitting[row["word"].lower()]) for plan in further[:1])
        assert not planner.components.unplanned_pairs & {"".join(sorted(plan.forms)) for plan in further}


@pytest.mark.parametrize("words", ["water horse", "Water and Horse", "horse  water"])
def test_words_that_name_two_components_are_these(words: str, planner: Planner) -> None:
    plan, other = planner.plans(words, count=2)
    assert plan.forms == planner.given(["water", "horse"]).forms and plan.words == words
    assert other.forms != plan.forms


@pytest.mark.parametrize(("words", "forms"), [
    ("snow horse", "雪馬"), ("two dragons", "二龍"), ("the person of the dragon", "人龍"), ("tiger, mountain", "虎山")])
def test_words_name_components_too_that_no_new_character_would_have_by_itself(
        words: str, forms: str, planner: Planner) -> None:
    plan = planner.plans(words)[0]
    assert plan.source == "given" and plan.forms == set(forms) and 5 < plan.strokes < 40
    assert not plan.forms <= set(planner.components.forms)


def test_a_king_is_what_is_drawn_as_one(planner: Planner) -> None:
    assert planner.plans("fish king")[0].forms == {"魚", "玉"} and planner.plans("fish king")[0].source == "given"
    assert planner.plans("fish beginning")[0].forms == {"魚", "元"}


@pytest.mark.parametrize("words", ["wall sea", "rock music", "the cream of"])
def test_words_name_no_component_that_no_reader_would_think_of(words: str, planner: Planner) -> None:
    assert planner.plans(words, novel=True)[0].source == "network"


@pytest.mark.parametrize(("words", "half", "of_half"), [
    ("electric horse", "馬", "力"), ("robot dog", "犬", "金"), ("money tree", "木", "貝")])
def test_of_a_phrase_each_half_has_its_component(words: str, half: str, of_half: str, planner: Planner) -> None:
    assert planner.plans(words)[0].forms == {half, of_half}
    assert half in planner.plans(words.split()[1])[0].forms and half not in planner.plans(words.split()[0])[0].forms


def test_a_phrase_is_parted_in_two_in_every_way_without_what_joins_it() -> None:
    assert _halves("a ship of the desert") == [("ship", "desert")]
    assert _halves("big red dog") == [("big", "red dog"), ("big red", "dog")]
    assert _halves("moon") == _halves("one two three four five") == []


def test_components_that_are_not_planned_with_can_be_asked_for_by_name(planner: Planner) -> None:
    plan = planner.given(["love", "water"])
    assert plan.forms == {"愛", "水"} and plan.components[0].slot == "left"
    assert len(planner.named.forms) > planner.named.planned == len(planner.components.forms)
    assert planner.named.forms[:planner.named.planned] == planner.components.forms


def test_what_the_network_would_plan_too_keeps_its_place_before_it(planner: Planner) -> None:
    assert planner.plans("moon wind", count=4)[0].source == "given"
    words = [row for row in planner.names if row.isalpha()][:200]
    assert all(planner.plans(word, count=4)[0].source in ("kanji", "names") for word in words)


def test_a_pair_that_is_only_called_like_an_existing_one_is_planned_for_words_that_name_it(planner: Planner) -> None:
    assert "金鳥" in planner.named.alike_pairs and "金隹" in planner.named.existing_pairs
    assert planner.plans("gold bird")[0].forms == {"金", "鳥"}
    assert "鳥" not in planner.partners("gold bird", "金", 200)


def test_two_that_are_an_existing_kanji_are_planned_otherwise(planner: Planner) -> None:
    existing = next(pair for pair in sorted(planner.components.existing_pairs)
                    if all(form in planner.components.forms for form in pair))
    names = [planner.components.names[planner.components.index(form)][0] for form in existing]
    assert planner.plans(" ".join(names), novel=True)[0].forms != set(existing)


@pytest.mark.parametrize("words", ["asdfghjkl", "qwzxv", "xkcdq pqrs"])
def test_of_gibberish_nothing_is_planned(words: str, planner: Planner) -> None:
    assert planner.plans(words) == []


def test_a_component_that_no_reader_knows_is_not_planned(planner: Planner) -> None:
    assert not {"丶", "丿", "僉", "襄", "冖"} & set(planner.components.forms)
    assert {"人", "水", "艸", "疒"} <= set(planner.components.forms)


def test_a_plan_says_its_reason_and_comes_back_from_json(planner: Planner) -> None:
    plan = planner.given(["water", "boat"], "submarine")
    assert plan.reason().startswith("submarine: ") and plan.strokes > 4
    assert "舟 boat" in plan.reason() and "水 water" in plan.reason()
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == Plan(
        plan.words, plan.components, plan.strokes, plan.source)


def test_too_few_strokes_give_the_plan_with_the_fewest(planner: Planner) -> None:
    fewest = planner.plans("wind turbine", max_strokes=1)
    assert len(fewest) == 1 and fewest[0].strokes <= planner.plans("wind turbine")[0].strokes


@pytest.mark.parametrize("words", ["🙂", "山", "12", "…"])
def test_of_what_is_no_english_word_nothing_is_planned(words: str, planner: Planner) -> None:
    assert planner.plans(words) == []


def test_components_that_do_not_exist_are_named_with_some_that_do(planner: Planner) -> None:
    with pytest.raises(PlannerError, match=r"'boot'.*boat"):
        planner.given(["boot", "water"])


def test_a_planner_that_is_missing_or_broken_says_the_way_out(tmp_path) -> None:
    with pytest.raises(PlannerError, match="--plan off"):
        Planner.load(tmp_path)
    for path in PLANNER_WEIGHTS.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:100])
    with pytest.raises(PlannerError, match="train_planner"):
        Planner.load(tmp_path)


def test_most_plans_have_room_for_both_components(planner: Planner, rows: list[dict]) -> None:
    """What has none is drawn half as often: of unseen nouns it was one plan in four when nobody asked."""
    known, without = planner.components, Planner.load(names=None)
    plans = [plan for words, _ in read_fitting(DEVELOPMENT) for plan in without.plans(words)
             if plan.source == "network"]
    assert len(plans) > 90
    pairs = [plan.components for plan in plans] + [
        tuple(PlannedComponent(**one, confidence=1.0) for one in row["components"]) for row in rows]
    fitting = [known.fit(known.index(one.form), known.index(other.form), (one.slot, other.slot))
               for one, other in pairs]
    assert sum(fitting[:len(plans)]) > 0.8 * len(plans)
    assert sum(fitting[len(plans):]) > 0.8 * len(rows)


def test_its_weights_are_small() -> None:
    assert sum(path.stat().st_size for path in PLANNER_WEIGHTS.iterdir()) <= 2_000_000
