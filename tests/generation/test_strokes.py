"""generation/strokes: a drawn character as strokes is that character, in order, in KanjiVG's form."""

from __future__ import annotations

import io
import itertools
import json

import cairosvg
import numpy as np
import pytest
from lxml import etree
from PIL import Image, ImageDraw

import data_fixtures
from generation.request import ImageRequest
from generation.strokes import kanjivg
from generation.strokes.curves import curve_points, rough_points
from generation.strokes.document import StrokeTree, path_data
from generation.strokes.finding import StrokeFinder
from generation.strokes.kanjivg import Group, NoStrokesError, control_points, read_kanji
from generation.strokes.templates import Templates
from generation.svg import INK
from generation.vectors import save_vectors
from headless_browser import Browser, find_browser
from kanjivg_reader import parse_svg
from planner.plan import Plan, PlannedComponent

LITERALS = "明時晴暗林好妹始姉江河池海苦草花茶回国近道"
SIDE = 128
needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (apt install chromium)")


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory):
    folder = data_fixtures.write_kanjivg(tmp_path_factory.mktemp("kanjivg"), LITERALS)
    return {one.literal: one for one in read_kanji(folder)}


@pytest.fixture(scope="module")
def finder(glyphs):
    return StrokeFinder(Templates(glyphs.values()))


def drawn(strokes, side=SIDE):
    """Strokes as a model draws them: with edges of another renderer."""
    tree = StrokeTree(tuple(strokes), (Group({}, tuple(range(len(strokes)))),))
    return Image.fromarray(tree.drawn(4 * side)).resize((side, side), Image.Resampling.BICUBIC)


def slots(found):
    return [(one.slot, one.source) for one in found.components]


def component(glyphs, literal, slot):
    return next(one for one in Templates([glyphs[literal]]).slots[slot].components)


@pytest.fixture(scope="module")
def invented(glyphs):
    """日 of 時 beside 毎 of 海, each a little moved and bent."""
    left, right = component(glyphs, "時", "left").strokes, component(glyphs, "海", "right").strokes
    return [stroke * (1.05, 0.97) + (1.0, 2.0) for stroke in left] + [
        stroke + np.sin(stroke[:, ::-1] / 15) for stroke in right]


def test_strokes_of_a_new_character_are_found_in_drawing_order(finder, invented):
    found = finder.find(drawn(invented), {"日"})
    assert found.iou > 0.93 and found.is_kept and not found.added and not found.absent
    assert [one.slot for one in found.components] == ["left", "right"]
    assert len(found.tree.strokes) == len(invented)
    for stroke, expected in zip(found.tree.strokes, invented, strict=True):
        assert np.abs(stroke[[0, -1]] - expected[[0, -1]]).max() < 3.0  # units, of 109; begins and ends where it did


def test_a_kanji_that_exists_has_the_order_of_its_own_strokes(finder, glyphs):
    for literal in "回近":  # what lies around is drawn last
        found = finder.find(drawn(glyphs[literal].strokes))
        assert found.iou > 0.95
        for stroke, expected in zip(found.tree.strokes, glyphs[literal].strokes, strict=True):
            assert np.abs(stroke[0] - expected[0]).max() < 2.0, literal


def test_a_stroke_too_many_is_added_and_one_too_few_is_left_out(finder, invented):
    bar = np.linspace((8.0, 103.0), (48.0, 101.0), 4)
    found = finder.find(drawn([*invented[1:], bar]), {"日"})
    assert found.iou > 0.9 and found.added >= 1
    assert np.abs(found.tree.strokes[-1][[0, -1]] - bar[[0, -1]]).max() < 4.0


def test_what_no_component_is_like_is_not_called_its_strokes(finder):
    image = Image.new("L", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).ellipse((35, 35, 95, 95), fill="black")
    found = finder.find(image)
    assert found is None or not found.is_kept


@pytest.mark.parametrize("image", [Image.new("L", (SIDE, SIDE), "white"), Image.new("L", (SIDE, SIDE), "black"),
                                   Image.new("L", (64, SIDE), "black")], ids=["blank", "black", "oblong"])
def test_an_image_that_can_have_no_strokes_has_none(finder, image):
    assert finder.find(image) is None


def test_an_image_of_any_size_and_mode_is_met(finder, invented):
    assert finder.find(drawn(invented, 256).convert("RGB"), {"日"}).iou > 0.92


@pytest.fixture(scope="module")
def saved(finder, invented, tmp_path_factory):
    """What generate.py --svg writes of that character, and what its JSON says."""
    folder = tmp_path_factory.mktemp("pictures")
    plan = Plan("a <moon>", (PlannedComponent("日", "sun", "left"),), 10, "given")
    request = ImageRequest("a <moon>", None, 0, "a-moon-0", plan=plan)
    said, lack = save_vectors(drawn(invented), request, folder, finder)
    assert lack is None
    return folder, said["stroke_paths"]


def test_the_document_is_one_that_a_reader_of_kanjivg_reads(saved, invented):
    folder, said = saved
    assert said["file"] == "a-moon-0.strokes.svg" and said["iou"] >= 0.9 and said["count"] == len(invented)
    assert [one["position"] for one in said["components"]] == ["left", "right"]
    glyph = parse_svg("0e000.svg", (folder / said["file"]).read_bytes())
    assert len(glyph.strokes) == len(invented)
    assert [slot.position for slot in glyph.slots] == ["left", "right"]
    assert json.dumps(said)


def test_its_paths_are_numbered_in_drawing_order_and_its_title_is_the_words(saved):
    root = etree.fromstring((saved[0] / "a-moon-0.strokes.svg").read_bytes())
    paths = root.findall(".//{*}path")
    assert [path.get("id") for path in paths] == [f"kvg:a-moon-0-s{number + 1}" for number in range(len(paths))]
    assert root.findtext("{*}title") == "a <moon>"
    assert len(set(root.xpath("//@id"))) == len(root.xpath("//@id"))


def test_any_program_shows_it_whole_without_playing_it(saved, invented):
    png = cairosvg.svg2png((saved[0] / "a-moon-0.strokes.svg").read_bytes(), background_color="white")
    ink = np.asarray(Image.open(io.BytesIO(png)).convert("L")) < INK
    expected = np.asarray(drawn(invented)) < INK
    assert (ink & expected).sum() / (ink | expected).sum() >= 0.9


@pytest.mark.slow
@needs_browser
def test_a_browser_plays_the_strokes_one_after_another(saved, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open(saved[0] / "a-moon-0.strokes.svg")
        plays = browser.evaluate("""document.getAnimations().map(one => {
            const timing = one.effect.getComputedTiming(); return [timing.delay, timing.endTime]; })""")
        assert len(plays) == saved[1]["count"]
        assert all(ends <= begins for (_, ends), (begins, _) in itertools.pairwise(plays))
        browser.evaluate("document.getAnimations().forEach(one => { one.pause(); one.currentTime = 0 })")
        style = "getComputedStyle(document.querySelectorAll('path')[3])"
        assert browser.evaluate(f"{style}.strokeDashoffset") == "1.1px"  # nothing of the fourth is seen at first
        browser.evaluate("document.getAnimations().forEach(one => one.finish())")
        assert browser.evaluate(f"{style}.strokeDasharray") == "none"
    assert not browser.faults


def test_an_image_whose_strokes_are_not_found_keeps_its_outline_and_says_so(finder, tmp_path):
    (tmp_path / "disc-0.strokes.svg").write_text("of an older image")
    image = Image.new("L", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).ellipse((35, 35, 95, 95), fill="black")
    said, lack = save_vectors(image, ImageRequest("disc", None, 0, "disc-0"), tmp_path, finder)
    assert said["stroke_paths"]["file"] is None and "disc-0.svg has its outline alone" in lack
    assert [path.name for path in tmp_path.iterdir()] == ["disc-0.svg"]


def test_a_kanjivg_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(kanjivg, "PACKAGE", "no-such-package")
    with pytest.raises(NoStrokesError, match="pip install"):
        StrokeFinder()
    (tmp_path / "0660e.svg").write_text("<svg")
    with pytest.raises(NoStrokesError, match="holds no file of KanjiVG"):
        read_kanji(tmp_path)


def test_path_data_are_read_as_they_are_written():
    points = control_points("M10,20c1,0,2,1,3,1.5S5-1,6,2s1,1 2,2")
    assert points.tolist() == [[10, 20], [11, 20], [12, 21], [13, 21.5], [14, 22], [5, -1], [6, 2],
                               [7, 5], [7, 3], [8, 4]]
    assert np.allclose(control_points(path_data(points)), points)
    for data in ("", "M1,2", "c1,2,3,4,5,6", "M1,2c1,2,3", "M1,2q1,2,3,4", "M1,2M3,4c1,1,1,1,1,1"):
        with pytest.raises(ValueError, match="path"):
            control_points(data)


def test_points_of_many_strokes_lie_on_their_curves(glyphs):
    strokes = [stroke for one in glyphs.values() for stroke in one.strokes]
    points, lengths = rough_points(strokes)
    assert len(points) == len(lengths) == 6 * sum(len(stroke) // 3 for stroke in strokes)
    dense = np.concatenate([curve_points(stroke, 0.2) for stroke in strokes])
    assert max(np.linalg.norm(dense - point, axis=1).min() for point in points[::50]) < 0.2
