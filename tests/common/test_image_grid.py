"""Images with their captions under them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from common.image_grid import captioned_grid


def grid(*captions: str) -> np.ndarray:
    return np.asarray(captioned_grid([Image.new("L", (64, 64), 200)] * len(captions), captions))


@pytest.mark.parametrize(("caption", "shown"), [
    ("⿰ boat 舟, water 水", "boat, water"), ("Beyoncé", "Beyonce"), ("水", ""), ("Buzz Aldrin, 8 strokes",) * 2])
def test_a_caption_shows_what_the_font_has_and_no_boxes(caption, shown):
    assert np.array_equal(grid(caption), grid(shown))
    assert bool((grid(caption)[74:] < 128).any()) == bool(shown)


def test_images_without_captions_make_no_grid():
    with pytest.raises(ValueError, match="1 images and 2 captions"):
        captioned_grid([Image.new("L", (8, 8))], ["one", "two"])
