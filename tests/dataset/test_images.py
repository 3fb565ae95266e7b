"""A picture reaches the VAE whole: nothing cropped, nothing flipped, white around it and behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.images import load_image


def test_a_picture_of_the_right_size_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(pixels).save(tmp_path / "a.png")
    grey, colour = load_image(tmp_path / "a.png", 8, 1), load_image(tmp_path / "a.png", 8, 3)
    assert np.allclose(grey[0], pixels / 127.5 - 1, atol=1e-6)
    assert grey.dtype == np.float32
    assert colour.shape == (3, 8, 8)
    assert (colour == grey).all()


def test_nothing_is_cropped_and_the_margin_is_white(tmp_path: Path) -> None:
    Image.new("L", (40, 20), 0).save(tmp_path / "wide.png")
    wide = load_image(tmp_path / "wide.png", 16, 1)[0]
    assert (wide[:4] == 1).all()
    assert (wide[4:12] == -1).all()
    assert (wide[12:] == 1).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.putpixel((3, 4), (0, 0, 0, 255))
    if mode == "P":
        flat = Image.new("P", (8, 8), 1)
        flat.putpalette([0, 0, 0, 255, 0, 255])
        flat.putpixel((3, 4), 0)
        flat.save(tmp_path / "a.png", transparency=1)
    else:
        image.convert(mode).save(tmp_path / "a.png")
    pixels = load_image(tmp_path / "a.png", 8, 3)
    assert (pixels[:, 4, 3] == -1).all()
    assert pixels.sum() == 3 * 62
