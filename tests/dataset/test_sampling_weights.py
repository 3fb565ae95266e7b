"""How often each row is drawn: frequent kanji more, composed rows at their fraction, rare components more."""

from __future__ import annotations

import pytest
import torch

from dataset.rows import Row
from dataset.sampling_weights import row_weights, with_extra
from plan_fixtures import rows


def test_composed_rows_make_up_their_fraction_and_frequent_kanji_weigh_more() -> None:
    several = [*rows(10, strokes=None, kind="real"), *rows(20, strokes=None, kind="composed"),
               *rows(10, strokes=None, kind="named")]
    weights = row_weights(several, composed_fraction=0.25, frequent_kanji_weight=3.0)
    assert weights[10:].sum() / weights.sum() == pytest.approx(0.25)
    graded = [row for grade in (None, 8, 4, 2, 1) for row in rows(1, strokes=None, grade=grade)]
    assert row_weights(graded, 0.5, 3.0).tolist() == [1.0, 3.0, 3.0, 6.0, 12.0]
    in_words = [row for grade in (None, "8", "1") for row in rows(1, strokes=None, grade=grade)]
    assert row_weights(in_words, 0.5, 3.0).tolist() == [1.0, 3.0, 12.0]


def test_an_exponent_draws_composed_rows_by_their_rarest_component_and_leaves_the_others() -> None:
    def composed(*elements: str) -> list[Row]:
        components = [{"element": element, "original": element} for element in elements]
        return rows(1, strokes=None, kind="composed", components=components)

    several = [*rows(3, strokes=None, kind="real", components=[{"element": "夕"}]), *composed("口", "夕"),
               *(row for _ in range(3) for row in composed("口", "木")), *composed("口")]
    plain, whole, half = (row_weights(several, 0.5, 3.0, exponent) for exponent in (0.0, 1.0, 0.5))
    assert torch.equal(plain, row_weights(several, 0.5, 3.0))
    assert torch.equal(whole[:3], plain[:3]) and whole[3:].sum() == pytest.approx(plain[3:].sum().item())
    # 夕 is rarest in one composed row, 木 in three, 口 in five: weights in proportion to 1, 1/3, 1/5
    assert (whole[3:8] / whole[3]).tolist() == pytest.approx([1.0, 1 / 3, 1 / 3, 1 / 3, 1 / 5])
    assert (half[3:8] / half[3]).tolist() == pytest.approx([1.0, 3 ** -0.5, 3 ** -0.5, 3 ** -0.5, 5 ** -0.5])
    crowd = [*composed("口", "夕"), *(row for _ in range(99) for row in composed("口"))]
    weights = row_weights(crowd, 0.5, 3.0, 1.0)
    assert weights[0] / weights[1] == pytest.approx(5.0), "at most MAX_RARITY_WEIGHT times the usual"
    of_nothing = rows(9, kind="composed")
    assert torch.equal(row_weights(of_nothing, 0.5, 3.0, 1.0), row_weights(of_nothing, 0.5, 3.0))


def test_rows_of_a_second_folder_weigh_the_same_and_leave_the_others_proportions() -> None:
    weights = with_extra(torch.tensor([1.0, 3.0]).double(), 4, 0.2)
    assert weights.tolist() == pytest.approx([0.2, 0.6, 0.05, 0.05, 0.05, 0.05])
    assert with_extra(weights, 0, 0.2) is weights


def test_a_frequent_kanji_weight_of_one_weighs_all_the_same() -> None:
    assert torch.equal(row_weights([*rows(5, grade=1), *rows(5, grade=None)], 0.5, 1.0), torch.ones(10).double())


def test_a_set_of_anything_else_is_drawn_evenly() -> None:
    assert torch.equal(row_weights(rows(strokes=None), 0.5, 3.0), torch.ones(40).double())
