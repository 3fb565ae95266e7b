"""svg.py: an image as SVG is that image, and a clean file."""

from __future__ import annotations

import io

import cairosvg
import numpy as np
import pytest
from lxml import etree
from PIL import Image, ImageDraw, ImageFilter

from generation import svg
from generation.svg import save_svg, to_svg

SVG = "{http://www.w3.org/2000/svg}"
SIDE = 128


@pytest.fixture
def image():
    """A box with a hole, a dot, a slanting stroke and a ring, with grey edges, as a model draws them."""
    large = Image.new("L", (4 * SIDE, 4 * SIDE), "white")
    ink = ImageDraw.Draw(large)
    ink.rectangle((60, 60, 220, 440), outline="black", width=24)
    ink.ellipse((420, 40, 460, 90), fill="black")
    ink.line((280, 200, 470, 130), fill="black", width=22)
    ink.ellipse((270, 260, 460, 450), outline="black", width=22)
    return large.filter(ImageFilter.GaussianBlur(3)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def rendered(svg, background="white"):
    png = cairosvg.svg2png(svg.encode("utf8"), background_color=background, output_width=SIDE, output_height=SIDE)
    return Image.open(io.BytesIO(png))


def overlap(one, other):
    """Ink in both images, of the ink in either."""
    one, other = (np.asarray(picture.convert("L")) < 128 for picture in (one, other))
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_rendered_again_it_is_the_image(image, mode):
    assert overlap(image, rendered(to_svg(image.convert(mode), "moon"))) > 0.9


def test_it_has_a_title_and_paths_only_in_the_images_own_units(image):
    root = etree.fromstring(to_svg(image, "moon").encode("utf8"))
    assert [child.tag for child in root] == [f"{SVG}title", *[f"{SVG}path"] * 4]  # one for each piece of ink
    assert root.get("viewBox") == "0 0 128 128" and root.get("width") == root.get("height") == "128"
    assert all(set(path.attrib) == {"d"} for path in root.iterfind(f"{SVG}path"))


def test_nothing_lies_behind_the_ink(image):
    assert rendered(to_svg(image, "moon"), background=None).convert("RGBA").getpixel((1, 1))[3] == 0


def test_it_has_few_nodes(image):
    assert sum(outline.count("C") for outline in svg.outlines(image)) < 150  # of some 3,700 px of edges as traced


def test_an_oblong_or_a_large_picture_keeps_its_size():
    picture = Image.new("L", (1024, 640), "white")
    ImageDraw.Draw(picture).rectangle((900, 500, 1000, 600), fill="black")
    svg = to_svg(picture, "moon")
    assert 'viewBox="0 0 1024 640"' in svg
    corner = np.argwhere(np.asarray(Image.open(io.BytesIO(cairosvg.svg2png(svg.encode(), background_color="white")))
                                    .convert("L")) < 128)
    assert np.abs(corner.min(0) - (500, 900)).max() <= 4 and np.abs(corner.max(0) - (600, 1000)).max() <= 4


def test_a_blank_picture_gives_a_valid_file_without_paths():
    root = etree.fromstring(to_svg(Image.new("L", (SIDE, SIDE), "white"), "nothing").encode("utf8"))
    assert [child.tag for child in root] == [f"{SVG}title"]


@pytest.mark.parametrize("words", ["<b>&\"'", "]]>", "月 moon", "a\x00\x1b\udce9b"])
def test_any_prompt_can_be_a_title(words, tmp_path):
    save_svg(Image.new("L", (8, 8), "white"), words, tmp_path / "a.svg")
    title = etree.parse(tmp_path / "a.svg").findtext(f"{SVG}title")
    assert title == ("ab" if "\x00" in words else words)


def test_an_error_leaves_the_file_as_it_was(image, tmp_path, monkeypatch):
    save_svg(image, "moon", tmp_path / "a.svg")
    before = (tmp_path / "a.svg").read_bytes()
    monkeypatch.setattr(svg.vtracer, "convert_raw_image_to_svg", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_svg(image, "tree", tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]
