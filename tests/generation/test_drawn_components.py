"""The table of what a model draws well: it chooses among plans that are nearly as good, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UserError
from generation.drawn_components import TABLE, DrawnComponents
from generation.planning import best_drawn_first
from planner.plan import Plan, PlannedComponent

DRAWN = DrawnComponents({"口": 40, "十": 40, "人": 40}, {"口": 40, "十": 10, "人": 36})


def plan(*components: tuple[str, float], source: str = "network") -> Plan:
    named = tuple(PlannedComponent(form, form, slot, confidence)
                  for (form, confidence), slot in zip(components, ("left", "right"), strict=True))
    return Plan("rocket", named, 8, source)


def test_what_was_often_found_is_likelier_and_what_was_never_asked_for_is_as_likely_as_most() -> None:
    assert DRAWN.probability("口") > DRAWN.probability("人") > DRAWN.probability("十") > 0
    assert DRAWN.probability("馬") == pytest.approx(86 / 120)
    assert DRAWN.probability_of(plan(("口", 1), ("十", 1))) == DRAWN.probability("口") * DRAWN.probability("十")


def test_of_plans_that_are_nearly_as_good_the_one_comes_first_that_is_drawn_well() -> None:
    hard, easy, worse = plan(("口", 0.6), ("十", 0.5)), plan(("口", 0.6), ("人", 0.4)), plan(("口", 0.3), ("人", 0.2))
    assert best_drawn_first([hard, easy, worse], DRAWN) == [easy, hard, worse]
    assert best_drawn_first([hard, worse, easy], None) == [hard, worse, easy]


def test_the_plan_of_an_existing_kanji_stays_first() -> None:
    kanji, easy = plan(("口", 1.0), ("十", 1.0), source="kanji"), plan(("口", 1.0), ("人", 1.0))
    assert best_drawn_first([kanji, easy], DRAWN) == [kanji, easy]


def test_a_table_comes_back_as_it_was_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert DrawnComponents.of_model(str(tmp_path)) is None
    DRAWN.save(str(tmp_path))
    assert DrawnComponents.of_model(str(tmp_path)) == DRAWN
    (tmp_path / TABLE).write_text('{"口": 3}')
    with pytest.raises(UserError, match=r"drawn_components.json.*measure_components"):
        DrawnComponents.of_model(str(tmp_path))
