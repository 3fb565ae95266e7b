"""make_font.py: what is typed shows the characters, in real renderers, and what cannot be in a font is said."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, features

import make_font as make_font_command
from common.errors import UserError
from generation import font_file
from generation.font import ATTRIBUTION, characters_of, font_of
from generation.font_file import FontConfig, make_font
from generation.font_names import MAX_TYPED, glyph_names, letter_name, spellings, typed_words
from headless_browser import Browser, find_browser

ROOT = Path(__file__).resolve().parents[2]
SIDE = 128
needs_raqm = pytest.mark.skipif(not features.check("raqm"), reason="this Pillow has no raqm, which makes ligatures")
needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (apt install chromium)")


def picture(seed=0):
    """A box with a hole and a bar that only this seed has."""
    image = Image.new("L", (SIDE, SIDE), "white")
    ink = ImageDraw.Draw(image)
    ink.rectangle((20, 20, 60, 100), outline="black", width=8)
    ink.line((70, 20 + 20 * seed, 110, 60 + 10 * seed), fill="black", width=8)
    return image


def save(folder, stem, words, image=None, **said):
    folder.mkdir(exist_ok=True)
    (image or picture()).save(folder / f"{stem}.png")
    (folder / f"{stem}.json").write_text(json.dumps({"words": words, **said}), encoding="utf8")


@pytest.fixture
def folder(tmp_path):
    """Three characters as generate.py saves them, two of the same words, and its grid."""
    for seed, (stem, words) in enumerate((("rocket-0", "rocket"), ("full-moon-0", "Full Moon"),
                                          ("full-moon-1", "Full Moon"))):
        save(tmp_path / "pictures", stem, words, picture(seed), seed=int(stem[-1]))
    picture().save(tmp_path / "pictures/collated_examples.png")
    return tmp_path / "pictures"


@pytest.fixture
def font(folder, tmp_path):
    make_font(FontConfig(pictures=folder, output=tmp_path / "my.ttf"))
    return tmp_path / "my.ttf"


def typed(font, text):
    """The ink of a text as Pillow draws it: (128, width), True where there is ink."""
    loaded = ImageFont.truetype(font, SIDE, layout_engine=ImageFont.Layout.RAQM)
    image = Image.new("L", (round(loaded.getlength(text)), SIDE), "white")
    ImageDraw.Draw(image).text((0, SIDE * 0.88), text, font=loaded, fill="black", anchor="ls")
    return np.asarray(image) < 128


def overlap(one, other):
    """Ink in both, of the ink in either."""
    return (one & other).sum() / (one | other).sum()


@needs_raqm
def test_typing_the_words_shows_the_picture_and_a_number_the_next_one_of_the_same_words(font):
    for seed, ways in enumerate((("rocket", "Rocket", "ROCKET", "\ue002"),
                                 ("Full Moon", "full moon", "FULL MOON", "\ue000"),
                                 ("full moon2", "Full Moon2", "\ue001"))):
        expected = np.asarray(picture(seed)) < 128
        for way in ways:
            assert overlap(typed(font, way), expected) > 0.9, way


@needs_raqm
def test_letters_are_drawn_until_a_word_is_whole_and_beside_it(font):
    assert typed(font, "rocke").shape[1] > 1.5 * SIDE
    assert typed(font, "rocket, rocket").shape[1] == typed(font, "rocket").shape[1] * 2 + typed(font, ", ").shape[1]
    assert typed(font, "abc xyz 0123456789").any()


@needs_raqm
def test_of_words_that_begin_alike_the_longest_is_taken(tmp_path):
    for seed, words in enumerate(("fire", "fire ghost")):
        save(tmp_path / "pictures", words, words, picture(seed))
    make_font(FontConfig(pictures=tmp_path / "pictures", output=tmp_path / "my.ttf"))
    assert typed(tmp_path / "my.ttf", "fire ghost").shape[1] == SIDE
    assert typed(tmp_path / "my.ttf", "fire goat").shape[1] > SIDE


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_the_picture_for_its_words(font, tmp_path):
    data = base64.b64encode(font.read_bytes()).decode()
    page = tmp_path / "page.html"
    page.write_text(f"""<style>@font-face {{ font-family: mine; src: url(data:font/ttf;base64,{data}) }}
        body {{ margin: 0 }} span {{ font: {SIDE}px/{SIDE}px mine }}</style><span>rocket</span>""", encoding="utf8")
    with Browser(tmp_path / "profile", width=400, height=300) as browser:
        browser.open(page)
        assert browser.evaluate(f"document.fonts.load('{SIDE}px mine').then(fonts => fonts.length)") == 1
        width = browser.evaluate("document.querySelector('span').getBoundingClientRect().width")
        shot = browser.call("Page.captureScreenshot", clip={"x": 0, "y": 0, "width": SIDE, "height": SIDE, "scale": 1})
    ink = np.asarray(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("L")) < 128
    assert width == pytest.approx(SIDE, abs=0.1)
    assert overlap(ink, np.asarray(picture()) < 128) > 0.8
    assert not browser.faults


def test_the_font_says_its_words_as_glyph_names_and_whose_it_is(font):
    loaded = TTFont(font)
    assert {"rocket", "Full_Moon", "Full_Moon.2"} <= set(loaded.getGlyphOrder())
    assert [loaded.getBestCmap()[0xE000 + index] for index in range(3)] == ["Full_Moon", "Full_Moon.2", "rocket"]
    said = {number: loaded["name"].getDebugName(number) for number in (0, 1, 13, 14)}
    assert said[1] == "My Kanji" and said[14] == "https://creativecommons.org/licenses/by-sa/4.0/"
    assert said[0] in said[13] and "Attribution-ShareAlike 4.0" in said[13]
    assert loaded["OS/2"].fsType == 0


def test_the_attribution_is_that_of_the_notice():
    notice = " ".join((ROOT / "NOTICE").read_text(encoding="utf8").split())
    parts = re.findall(r"Copyright \(C\)[^,]*|The property of [^(]*\(EDRDG\), used in conformance with the Group's "
                       r"licence|https://[\w./-]*\w", ATTRIBUTION)
    assert len(parts) == 6
    for said in parts:
        assert said in notice, said


def test_outlines_are_quadratic_and_run_as_truetype_has_them(font):
    loaded = TTFont(font)
    glyph = loaded["glyf"]["rocket"]
    areas = []
    for contour in range(glyph.numberOfContours):
        start = glyph.endPtsOfContours[contour - 1] + 1 if contour else 0
        x, y = np.array(glyph.coordinates[start:glyph.endPtsOfContours[contour] + 1]).T
        areas.append((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    assert sorted(area > 0 for area in areas) == [False, False, True]  # two pieces of ink; one has a hole
    assert glyph.xMin >= 0 and glyph.xMax <= 1000 and glyph.yMin >= -120 and glyph.yMax <= 880


def test_the_same_pictures_make_the_same_bytes(font, folder, tmp_path):
    make_font(FontConfig(pictures=folder, output=tmp_path / "again.ttf"))
    assert (tmp_path / "again.ttf").read_bytes() == font.read_bytes()


@pytest.mark.parametrize(("words", "name"), [
    ("Full Moon", "Full_Moon"), ("Pelé's café", "Pele_s_cafe"), ("東京", "uni6771uni4EAC"), ("7up", "_7up"),
    ("🚀", "character"), ("\x00", "character"), ("../../etc", "etc"), ("mark", "mark")])
def test_a_glyph_name_has_only_what_such_a_name_may_have(words, name):
    assert glyph_names([words], []) == [name]


def test_a_font_of_words_that_no_name_or_key_has_and_of_the_feature_languages_own_is_whole(tmp_path):
    words = ["東京", "café", "a", "one", "mark", "by", "x" * 5000, "\x00", "🚀", "<b>\\"]
    data = io.BytesIO()
    characters = characters_of([(one, picture()) for one in words])
    font_of(characters, "<My> & 字").save(data)
    order = TTFont(io.BytesIO(data.getvalue())).getGlyphOrder()
    assert len(order) == len(set(order)) == 1 + len(set(map(chr, range(32, 127))) | set("東京éÉ🚀")) - 1 + len(words)
    assert [one.words for one in characters if one.typed is None] == ["a", "x" * 5000, "\x00", "🚀"]


@given(st.lists(st.text(max_size=80), max_size=6))
def test_whatever_the_words_names_are_legal_and_nothing_is_typed_for_two(words):
    names = glyph_names(words, ["a", "one"])
    assert len({*names, "a", "one"}) == len(words) + 2
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9._]{0,62}", name) for name in names)
    typed = [one for one in typed_words(words) if one]
    assert len(set(typed)) == len(typed)
    assert all(len(way) <= MAX_TYPED for one, own in zip(typed_words(words), words, strict=True) if one
               for way in spellings(one, own))
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9._]*", letter_name(letter)) for letter in "".join(words))


def test_a_number_that_other_words_have_is_passed_over():
    assert typed_words(["apollo", "Apollo", "apollo2", "APOLLO"]) == ["apollo", "apollo3", "apollo2", "apollo4"]


def test_what_cannot_be_in_it_is_said_and_the_rest_is(folder, tmp_path, capsys):
    picture().save(folder / "alone.png")
    (folder / "torn.png").write_bytes((folder / "rocket-0.png").read_bytes()[:60])
    (folder / "torn.json").write_text('{"words": "torn"}')
    save(folder, "blank", "blank", Image.new("L", (SIDE, SIDE), "white"))
    save(folder, "wordless", None)
    picture().save(folder / "broken.png")
    (folder / "broken.json").write_text('{"words": ')
    assert make_font_command.main([str(folder), "--output", str(tmp_path / "my.ttf")]) == 0
    said = capsys.readouterr()
    assert "U+E002  rocket: type rocket\n" in said.out and "3 characters" in said.out
    for name in ("alone", "torn", "blank", "wordless", "broken"):
        assert re.search(f"left out: .*{name}", said.err), name


@pytest.mark.parametrize(("made", "message"), [
    (None, "no such folder"), ([], "holds no picture with a JSON"), (["alone.png"], "no alone.json beside it")])
def test_a_folder_without_pictures_that_have_words_is_refused(made, message, tmp_path):
    for name in made or []:
        (tmp_path / "pictures").mkdir()
        picture().save(tmp_path / "pictures" / name)
    if made == []:
        (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match=message):
        make_font(FontConfig(pictures=tmp_path / "pictures", output=tmp_path / "my.ttf"))
    assert not (tmp_path / "my.ttf").exists()


@pytest.mark.parametrize("output", [".", "my.otf", "my"])
def test_an_output_that_is_no_font_is_refused(output, folder, tmp_path):
    with pytest.raises(UserError, match=r"--output .*\.ttf"):
        make_font(FontConfig(pictures=folder, output=tmp_path / output))


@pytest.mark.parametrize("family", ["", " ", "x" * 32, "a\nb"])
def test_a_family_name_that_no_font_can_have_is_refused(family, folder):
    with pytest.raises(ValueError, match="--family"):
        FontConfig(pictures=folder, family=family)


def test_more_characters_than_a_font_has_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(font_file, "MAX_CHARACTERS", 2)
    with pytest.raises(UserError, match="3 pictures; a font can have 2"):
        make_font(FontConfig(pictures=folder, output=tmp_path / "my.ttf"))


def test_a_full_disk_leaves_the_font_as_it_was(folder, tmp_path):
    output = tmp_path / "my.ttf"
    output.write_bytes(b"as it was")
    ended = subprocess.run(
        ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", sys.executable, ROOT / "training/make_font.py", folder,
         "--output", output], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    assert ended.returncode == 1 and ended.stderr.splitlines()[-1].startswith("error: [Errno 27] File too large")
    assert output.read_bytes() == b"as it was" and list(tmp_path.glob(".*")) == []
