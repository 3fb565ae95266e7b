"""A picture reaches the VAE whole: nothing cropped, nothing flipped, white around it and behind it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from dataset.captioned_folder import DatasetError, read_dataset
from dataset.images import load_image


def load(path: Path, resolution: int, channels: int) -> np.ndarray:
    """A picture as it comes out of a set of it alone."""
    (path.parent / "metadata.jsonl").write_text(json.dumps({"file_name": path.name, "text": "moon"}))
    (row,) = read_dataset(path.parent, progress=False)
    return load_image(row, resolution, channels)


def test_a_picture_of_the_right_size_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(pixels).save(tmp_path / "a.png")
    grey, colour = load(tmp_path / "a.png", 8, 1), load(tmp_path / "a.png", 8, 3)
    assert np.allclose(grey[0], pixels / 127.5 - 1, atol=1e-6)
    assert grey.dtype == np.float32
    assert colour.shape == (3, 8, 8)
    assert (colour == grey).all()


def test_nothing_is_cropped_and_the_margin_is_white(tmp_path: Path) -> None:
    Image.new("L", (40, 20), 0).save(tmp_path / "wide.png")
    wide = load(tmp_path / "wide.png", 16, 1)[0]
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
    pixels = load(tmp_path / "a.png", 8, 3)
    assert (pixels[:, 4, 3] == -1).all()
    assert pixels.sum() == 3 * 62


@pytest.mark.parametrize("name", ["a.png", "a.pgm"])
def test_grey_of_16_bits_keeps_its_greys(name: str, tmp_path: Path) -> None:
    greys = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    if name == "a.png":
        Image.fromarray(greys).save(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(b"P5\n8 8\n65535\n" + greys.astype(">u2").tobytes())
    expected = greys / 65535 * 2 - 1
    for channels in (1, 3):
        assert np.allclose(load(tmp_path / name, 8, channels), expected, atol=1 / 255)


def test_a_transparent_grey_of_16_bits_is_white(tmp_path: Path) -> None:
    greys = np.full((8, 8), 300, dtype=np.uint16)
    greys[4, 3] = 0
    Image.fromarray(greys).save(tmp_path / "a.png", transparency=300)
    pixels = load(tmp_path / "a.png", 8, 1)[0]
    assert pixels[4, 3] == -1 and pixels.sum() == 62


def test_greys_of_unknown_white_are_refused(tmp_path: Path) -> None:
    Image.new("F", (8, 8), 0.5).save(tmp_path / "a.png", format="TIFF")
    with pytest.raises(DatasetError, match=r"a\.png is no whole picture .*no numbers of 8 or 16 bits"):
        load(tmp_path / "a.png", 8, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_upright_as_its_camera_says(orientation: int, tmp_path: Path) -> None:
    upright = Image.new("L", (16, 16), "white")
    upright.paste(0, (0, 0, 4, 8))
    turned = {3: [Image.Transpose.ROTATE_180], 6: [Image.Transpose.ROTATE_90], 8: [Image.Transpose.ROTATE_270],
              2: [Image.Transpose.FLIP_LEFT_RIGHT], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
              5: [Image.Transpose.TRANSPOSE], 7: [Image.Transpose.TRANSVERSE]}.get(orientation, [])
    stored = upright
    for turn in turned:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.allclose(load(tmp_path / "a.png", 16, 1)[0], np.asarray(upright) / 127.5 - 1, atol=1e-6)
