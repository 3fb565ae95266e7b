"""Promises about path data."""

from __future__ import annotations

import pytest

import data_fixtures
from fitting import box_of, points_of
from kanjivg_reader import parse_svg
from svg_paths import PathError, parse_path, path_data, sample


def test_relative_and_absolute_data_give_the_same_stroke():
    assert parse_path("M20,19.5c3,1,8,5,10,8") == parse_path("M 20 19.5 C23,20.5 28,24.5 30,27.5")


def test_a_smooth_curve_reflects_the_control_point():
    assert parse_path("M0,0C0,10,10,10,10,0S20-10,20,0") == parse_path("M0,0C0,10,10,10,10,0C10,-10,20,-10,20,0")


def test_numbers_may_stand_without_separators():
    assert parse_path("M.5.5c1-1,2-2,3.5-.5") == ((0.5, 0.5), (1.5, -0.5, 2.5, -1.5, 4.0, 0.0))


def test_repeated_numbers_repeat_the_command():
    assert len(parse_path("M0,0c1,1,2,2,3,3,1,1,2,2,3,3")) == 3


def test_lines_are_straight_curves():
    stroke = parse_path("M0,0L10,0V10H0l5,5")
    assert [curve[-2:] for curve in stroke] == [(0, 0), (10, 0), (10, 10), (0, 10), (5, 15)]
    assert all(y == 0 for x, y in sample(parse_path("M0,0h10")))


NO_STROKES = """
    M10,10 | C1,1,2,2,3,3 | M10 | M10,10C1,1,2,2,3 | M10,10c | M1e999,0C1,1,2,2,3,3 | Mnan,10C1,1,2,2,3,3 | hello
    | M10,10Q1,1,2,2 | M10,10C1,1,2,2,3,3M5,5C1,1,2,2,3,3 | M10,10CNaN,1,2,2,3,3 | M10;10C1,1,2,2,3,3 | |
"""


@pytest.mark.parametrize("data", NO_STROKES.split("|"))
def test_what_is_no_stroke_is_refused(data):
    with pytest.raises(PathError):
        parse_path(data)


def test_written_path_data_reads_back_as_the_same_stroke():
    for stroke in parse_svg("06f22.svg", data_fixtures.svg("漢")).strokes:
        assert parse_path(path_data(stroke)) == stroke


def test_the_bounding_box_holds_a_known_arc():
    # The usual four-curve circle about (50, 50), radius 30.
    k = 30 * 0.5522847
    circle = f"M80,50C80,{50 + k},{50 + k},80,50,80S20,{50 + k},20,50S{50 - k},20,50,20S80,{50 - k},80,50"
    assert box_of(points_of([parse_path(circle)])) == pytest.approx((20, 20, 80, 80), abs=0.1)
