"""The blind test: what is on the page, and that a reader can use it, in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex

import numpy as np
import pytest
from lxml import html
from PIL import Image

import blind_test as blind_test_command
import generate as generate_command
from headless_browser import Browser, find_browser
from recogniser_fixtures import save_judge
from scoring import blind_test

COUNT = 8
needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (apt install chromium)")


def command(kanji, base, output, *more):
    return ["--model", str(base), "--train_data_dir", str(kanji), "--output", str(output), "--count", str(COUNT),
            "--steps", "2", "--device", "cpu", *more]


@pytest.fixture(scope="module")
def page(kanji, base, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "blind.html"
    assert blind_test_command.main(command(kanji, base, path)) == 0
    return path


def data_of(page):
    return json.loads(re.search(r"^const data = (.*);$", page.read_text(encoding="utf8"), re.M)[1])


def truth_of(page):
    return json.loads(base64.b64decode(data_of(page)["truth"]))


def test_half_of_the_glyphs_are_real_and_held_out(page, kanji):
    held_out = {json.loads(line)["literal"]
                for line in (kanji / "test" / "metadata.jsonl").read_text(encoding="utf8").splitlines()}
    truth = truth_of(page)
    real = [one for one in truth if one["real"]]
    assert len(truth) == COUNT and len(real) == COUNT // 2
    assert {one["literal"] for one in real} <= held_out


def images_of(page):
    sources = [image.get("src").partition(",")[2] for image in html.parse(str(page)).iter("img")]
    return [Image.open(io.BytesIO(base64.b64decode(source))) for source in sources]


def test_all_glyphs_are_images_of_one_kind_and_size(page):
    assert [(image.mode, image.size) for image in images_of(page)] == [("L", (32, 32))] * COUNT


@pytest.mark.parametrize("best_of", [1, 3])
def test_each_invented_glyph_is_drawn_again_by_its_command(kanji, base, tmp_path, monkeypatch, best_of):
    monkeypatch.setattr(blind_test, "JUDGE", save_judge(tmp_path / "judge"))
    monkeypatch.chdir(base.parent)
    page, flags = tmp_path / "blind.html", ["--best_of", str(best_of), "--seed", "4"]
    assert blind_test_command.main([*command(kanji, base, page, *flags), "--model", base.name]) == 0
    invented = [(one, image) for one, image in zip(truth_of(page), images_of(page), strict=True) if not one["real"]]
    assert len({one["words"] for one, _ in invented}) == len(invented) == COUNT // 2
    for number, (one, image) in enumerate(invented[:2]):
        folder = tmp_path / f"again-{number}"
        assert one["seed"] in (4, 1_000_004, 2_000_004)[:best_of]
        assert generate_command.main([*shlex.split(one["command"])[2:], "--output", str(folder)]) == 0
        again, = folder.glob("*[0-9].png")
        pixels = [np.asarray(picture.convert("L"), dtype=int) for picture in (image, Image.open(again))]
        assert np.abs(pixels[0] - pixels[1]).max() <= 1  # grey levels of 255: another batch's rounding


def test_the_page_does_not_say_where_the_model_lies(page, base):
    assert data_of(page)["settings"]["model"] == base.name
    assert not any(str(base.parent) in one["command"] for one in truth_of(page) if not one["real"])


def test_the_source_does_not_show_which_are_real_and_fetches_nothing(page):
    text = page.read_text(encoding="utf8")
    assert not any((one.get("literal") or one.get("words")) in text for one in truth_of(page))
    assert "http" not in text


def test_the_same_command_makes_the_same_page(kanji, base, page, tmp_path):
    assert blind_test_command.main(command(kanji, base, tmp_path / "again.html")) == 0
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_another_seed_makes_another_page(kanji, base, page, tmp_path):
    assert blind_test_command.main(command(kanji, base, tmp_path / "other.html", "--seed", "1")) == 0
    assert data_of(tmp_path / "other.html")["truth"] != data_of(page)["truth"]


def test_best_of_several_lets_the_judge_choose_and_says_so(kanji, base, tmp_path, monkeypatch):
    monkeypatch.setattr(blind_test, "JUDGE", save_judge(tmp_path / "judge"))
    assert blind_test_command.main(command(kanji, base, tmp_path / "best.html", "--best_of", "3")) == 0
    assert data_of(tmp_path / "best.html")["settings"]["best_of"] == 3
    assert "best of 3, chosen by a recogniser" in (tmp_path / "best.html").read_text(encoding="utf8")


def test_too_few_rare_kanji_are_said_and_no_page_is_written(kanji, base, tmp_path, capsys):
    assert blind_test_command.main([*command(kanji, base, tmp_path / "no.html"), "--count", "400"]) == 1
    assert "rare held-out kanji" in capsys.readouterr().err
    assert not (tmp_path / "no.html").exists()


def mark(browser, truth, right):
    """Mark the glyphs; the first `right` of them as they are."""
    for index, one in enumerate(truth):
        answer = one["real"] if index < right else not one["real"]
        browser.click(f"input[name=glyph-{index}][value={'real' if answer else 'invented'}]")


@needs_browser
def test_a_reader_marks_all_sees_the_accuracy_with_its_interval_and_saves_the_answers(page, tmp_path):
    truth = truth_of(page)
    with Browser(tmp_path / "profile") as browser:
        browser.download_to(tmp_path)
        browser.open(page)
        assert browser.evaluate("document.querySelectorAll('fieldset img').length") == COUNT
        browser.wait_for("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert browser.evaluate("document.getElementById('show').disabled")
        mark(browser, truth, right=6)
        browser.click("#show")
        assert "6 of 8 right: 75 %, 95 % interval 41 % to 93 %" in browser.evaluate(
            "document.getElementById('result').textContent")
        assert browser.evaluate("document.querySelectorAll('fieldset.right').length") == 6
        browser.click("#save")
        saved = tmp_path / "blind_test_answers.json"
        while not saved.exists() or not saved.read_bytes().endswith(b"}\n"):
            browser.evaluate("new Promise((done) => setTimeout(done, 20))")
        assert browser.faults == []
    answers = json.loads(saved.read_text(encoding="utf8"))
    assert answers["right"] == 6 and answers["of"] == COUNT
    assert [{name: one[name] for name in told} for one, told in zip(answers["answers"], truth, strict=True)] == truth


@needs_browser
@pytest.mark.parametrize(("width", "mobile"), [(360, True), (390, True), (1280, False)])
def test_the_page_fits_a_phone_and_a_desktop(page, tmp_path, width, mobile):
    with Browser(tmp_path / "profile") as browser:
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=740, deviceScaleFactor=2, mobile=mobile)
        browser.open(page)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("Math.min(...[...document.images].map((image) => image.clientWidth))") >= 96
