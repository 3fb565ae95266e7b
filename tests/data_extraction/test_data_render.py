"""Promises about drawing."""

from __future__ import annotations

import io
import os
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

import data_fixtures
from kanjivg_reader import parse_svg
from parallel_render import _undisturbed, render_all
from render import InkError, Pen, clean_svg, draw, png
from svg_paths import parse_path

SOME = "一丶漢図鬱国凸人馬龍"


def strokes(literal):
    return parse_svg(f"{ord(literal):05x}.svg", data_fixtures.svg(literal)).strokes


@pytest.mark.parametrize("size", [16, 128, 512])
@pytest.mark.parametrize("literal", SOME)
def test_the_fast_way_gives_cairosvgs_own_picture(literal, size):
    import cairosvg

    pen = Pen(size)
    reference = cairosvg.svg2png(bytestring=clean_svg(strokes(literal), pen).encode(), background_color="white")
    theirs = np.asarray(Image.open(io.BytesIO(reference)).convert("L"), dtype=float)
    ours = np.asarray(draw(strokes(literal), pen), dtype=float)
    assert ours.shape == theirs.shape == (size, size)
    assert np.abs(ours - theirs).mean() < 0.05  # of 255 grey levels
    assert np.abs(ours - theirs).max() <= 3


def test_a_picture_is_grey_with_black_ink_on_white():
    picture = Image.open(io.BytesIO(png(strokes("漢"), Pen())))
    assert (picture.mode, picture.size, picture.format) == ("L", (128, 128), "PNG")
    assert picture.getextrema() == (0, 255)
    assert picture.getpixel((0, 0)) == 255


def test_a_wider_stroke_has_more_ink():
    ink = [255 - np.asarray(draw(strokes("人"), Pen(128, width)), dtype=float).mean() for width in (1, 3, 6)]
    assert ink[0] < ink[1] < ink[2]


@pytest.mark.parametrize("width", [0.5, 3, 12])
def test_every_real_character_has_enough_ink_at_every_width(width):
    for literal in SOME:
        draw(strokes(literal), Pen(64, width))


def test_a_blank_and_a_blackened_picture_are_refused():
    with pytest.raises(InkError):
        draw((), Pen())
    with pytest.raises(InkError):
        draw((parse_path("M200,200c1,1,2,2,3,3"),), Pen())  # outside the picture
    hatching = tuple(parse_path(f"M0,{y}h109") for y in range(0, 109, 2))
    with pytest.raises(InkError):
        draw(hatching, Pen())


def test_the_number_of_processes_does_not_change_the_pictures():
    glyphs = [strokes(literal) for literal in SOME] * 20 + [()]
    alone, together = (list(render_all(glyphs, Pen(32), workers)) for workers in (1, 2))
    assert alone == together
    assert isinstance(alone[-1], str)  # the blank one: its reason
    assert all(isinstance(picture, bytes) for picture in alone[:-1])


def test_the_clean_svg_has_the_strokes_and_nothing_else():
    text = clean_svg(strokes("漢"), Pen(96, 2.5))
    assert text.count("<path") == 13
    assert "<text" not in text
    assert 'width="96"' in text
    assert 'stroke-width="2.5"' in text


def test_a_signal_waits_while_workers_start_whichever_thread_takes_it():
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: came.append(number))
    try:
        other.start()  # it does not block the signal, so that the kernel gives it to this one
        with _undisturbed():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            assert came == []
        assert came == [signal.SIGTERM]
    finally:
        ended.set()
        other.join()
        signal.signal(signal.SIGTERM, before)
