"""Promises about the line art that the autoencoder sees beside glyphs."""

import random
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw

from trainer import line_art
from trainer.line_art import LINES, SCALE, SOLIDS, UNSEEN_MARKS, UNSEEN_WIDTHS, WIDTHS, held_out_pictures

COUNT = 40


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack([line_art.training_picture(0, index) for index in range(COUNT)])


def test_a_picture_is_a_function_of_seed_and_index(pictures):
    assert (pictures.shape, pictures.dtype) == ((COUNT, 128, 128), np.uint8)
    assert np.array_equal(line_art.training_picture(0, 7), pictures[7])
    assert not np.array_equal(line_art.training_picture(1, 7), pictures[7])
    assert len({picture.tobytes() for picture in pictures}) == COUNT


def test_pictures_are_black_on_white_with_soft_edges(pictures):
    for picture in pictures:
        grey = np.mean((picture > 0) & (picture < 255))
        assert picture.min() < 128 and 0.0 < grey < 0.3
    assert np.mean(pictures > 128) > 0.5, "paper for the most part"


def drawn(mark, pen: int, seed: int) -> np.ndarray:
    """One mark alone, large: bool, where its ink is."""
    image = Image.new("L", (128 * SCALE,) * 2, 255)
    mark(ImageDraw.Draw(image), random.Random(seed), 0, pen)
    return np.asarray(image) == 0


@pytest.mark.parametrize("mark", [*LINES, *SOLIDS, *UNSEEN_MARKS])
def test_every_mark_leaves_ink_and_another_seed_gives_another(mark):
    first, second = drawn(mark, 8, 0), drawn(mark, 8, 1)
    assert first.any() and second.any()
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("mark", LINES)
def test_lines_have_the_width_of_the_pen(mark):
    """Ink doubles with the width, or nearly so: lines cross, and leave the picture."""
    ink = [sum(drawn(mark, round(width * SCALE), seed).sum() for seed in range(6)) for width in (1, 2, 4, 8)]
    assert all(1.5 < wide / narrow < 2.2 for narrow, wide in pairwise(ink))


def test_pens_reach_from_one_to_eight_px_and_some_are_never_trained_on():
    assert (min(WIDTHS), max(WIDTHS)) == (1.0, 8.0)
    assert all(abs(width - unseen) > 0.25 for width in WIDTHS for unseen in UNSEEN_WIDTHS)
    assert not {*UNSEEN_MARKS} & {*LINES, *SOLIDS}


def test_what_is_measured_on_is_always_the_same_and_never_trained_on(pictures):
    groups, again = dict(held_out_pictures(2)), dict(held_out_pictures(3))
    assert len(groups) == 11
    for name, held_out in groups.items():
        assert held_out.shape == (2, 128, 128)
        assert np.array_equal(held_out, again[name][:2])
        assert not any(np.array_equal(one, other) for one in held_out for other in pictures)
