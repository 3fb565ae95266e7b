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
from common.statistics import proportion
from headless_browser import Browser, find_browser
from recogniser_fixtures import save_judge
from scoring import blind_test
from scoring.prompt_sets import wild_prompts

COUNT, MEANINGS, OPTIONS = 8, 5, 4
needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (apt install chromium)")


def command(kanji, base, output, *more):
    return ["--model", str(base), "--train_data_dir", str(kanji), "--output", str(output), "--count", str(COUNT),
            "--meanings", str(MEANINGS), "--steps", "2", "--device", "cpu", *more]


@pytest.fixture(scope="module")
def page(kanji, base, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "blind.html"
    assert blind_test_command.main(command(kanji, base, path)) == 0
    return path


def data_of(page):
    return json.loads(re.search(r"^const data = (.*);$", page.read_text(encoding="utf8"), re.M)[1])


def truth_of(page, section="glyphs"):
    return json.loads(base64.b64decode(data_of(page)["truth"]))[section]


def test_half_of_the_glyphs_are_real_and_held_out(page, kanji):
    held_out = {json.loads(line)["literal"]
                for line in (kanji / "test" / "metadata.jsonl").read_text(encoding="utf8").splitlines()}
    truth = truth_of(page)
    real = [one for one in truth if one["real"]]
    assert len(truth) == COUNT and len(real) == COUNT // 2
    assert {one["literal"] for one in real} <= held_out


def images_of(page, section="glyphs"):
    sources = [source.partition(",")[2] for source in html.parse(str(page)).xpath(f"//*[@id='{section}']//img/@src")]
    return [Image.open(io.BytesIO(base64.b64decode(source))) for source in sources]


def test_all_glyphs_are_images_of_one_kind_and_size(page):
    images = images_of(page) + images_of(page, "meanings")
    assert [(image.mode, image.size) for image in images] == [("L", (32, 32))] * (COUNT + MEANINGS)


def test_each_meaning_is_among_four_different_words_of_the_modern_world(page):
    names = {prompt.text for prompt in wild_prompts(None)}
    questions = truth_of(page, "meanings")
    options = [word for one in questions for word in one["options"]]
    assert len(questions) == MEANINGS and all(one["words"] in one["options"] for one in questions)
    assert len(options) == OPTIONS * MEANINGS and set(options) <= names
    assert len(set(options)) == len(options)  # an answer tells nothing of another


def test_what_is_meant_is_not_among_the_characters_of_the_first_round(kanji, base, tmp_path):
    assert blind_test_command.main(command(kanji, base, tmp_path / "blind.html", "--meanings", "27")) == 0
    asked = [one["words"] for one in truth_of(tmp_path / "blind.html", "meanings")]
    assert len(set(asked)) == 27
    assert not {one.get("words") for one in truth_of(tmp_path / "blind.html")} & set(asked)


def test_the_right_word_stands_at_every_place_for_some_seed(kanji):
    places = set()
    for seed in range(10):
        config = blind_test.BlindTestConfig(train_data_dir=kanji, count=COUNT, meanings=MEANINGS, seed=seed)
        places |= {options.index(word) for word, options in blind_test.choose_meanings(config, ()).items()}
    assert places == set(range(OPTIONS))


def test_the_second_round_changes_nothing_of_the_first_and_can_be_left_out(kanji, base, page, tmp_path):
    alone = tmp_path / "alone.html"
    assert blind_test_command.main(command(kanji, base, alone, "--meanings", "0")) == 0
    assert truth_of(alone) == truth_of(page) and truth_of(alone, "meanings") == []
    assert [image.tobytes() for image in images_of(alone)] == [image.tobytes() for image in images_of(page)]
    assert "What does it mean" not in alone.read_text(encoding="utf8")


def test_a_number_of_meanings_below_zero_is_refused(kanji, base, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        blind_test_command.main(command(kanji, base, tmp_path / "no.html", "--meanings", "-1"))
    assert end.value.code == 2 and "--meanings -1: must be at least 0" in capsys.readouterr().err


@pytest.mark.parametrize("meanings", ["28", "110"])
def test_more_meanings_than_there_are_words_are_refused_and_no_page_is_written(kanji, base, tmp_path, capsys, meanings):
    assert blind_test_command.main(command(kanji, base, tmp_path / "no.html", "--meanings", meanings)) == 1
    assert f"--meanings {meanings}: at most 27" in capsys.readouterr().err
    assert not (tmp_path / "no.html").exists()


@pytest.mark.parametrize("best_of", [1, 3])
def test_each_invented_glyph_is_drawn_again_by_its_command(kanji, base, tmp_path, monkeypatch, best_of):
    monkeypatch.setattr(blind_test, "JUDGE", save_judge(tmp_path / "judge"))
    monkeypatch.chdir(base.parent)
    page, flags = tmp_path / "blind.html", ["--best_of", str(best_of), "--seed", "4"]
    assert blind_test_command.main([*command(kanji, base, page, *flags), "--model", base.name]) == 0
    invented = [(one, image) for one, image in zip(truth_of(page), images_of(page), strict=True) if not one["real"]]
    meant = list(zip(truth_of(page, "meanings"), images_of(page, "meanings"), strict=True))
    assert len({one["words"] for one, _ in invented + meant}) == COUNT // 2 + MEANINGS
    for number, (one, image) in enumerate(invented[:2] + meant[:2]):
        folder = tmp_path / f"again-{number}"
        assert one["seed"] in (4, 1_000_004, 2_000_004)[:best_of]
        assert generate_command.main([*shlex.split(one["command"])[2:], "--output", str(folder)]) == 0
        again, = folder.glob("*[0-9].png")
        pixels = [np.asarray(picture.convert("L"), dtype=int) for picture in (image, Image.open(again))]
        assert np.abs(pixels[0] - pixels[1]).max() <= 1  # grey levels of 255: another batch's rounding


def test_the_page_does_not_say_where_the_model_lies(page, base):
    assert data_of(page)["settings"]["model"] == base.name
    told = truth_of(page) + truth_of(page, "meanings")
    assert not any(str(base.parent) in one.get("command", "") for one in told)


def test_the_source_shows_neither_which_are_real_nor_what_is_meant_and_fetches_nothing(page):
    text = page.read_text(encoding="utf8")
    assert not any(word in text for one in truth_of(page, "meanings") for word in one["options"])
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


KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39}  # Windows' codes, by which Chromium knows them


def press(browser, key, **more):
    """Press a key and let it go."""
    text = "\r" if key == "Enter" else key if len(key) == 1 else ""
    event = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0])), **more}
    browser.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **event)
    browser.call("Input.dispatchKeyEvent", type="keyUp", **event)


def tab_to(browser, selector):
    """Go to an element by the Tab key alone."""
    for _ in range(100):
        if browser.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            return
        press(browser, "Tab")
    raise AssertionError(f"Tab does not reach {selector}")


def tap(browser, selector):
    """Touch the middle of an element where it is, without scrolling."""
    x, y = browser.evaluate(f"""(() => {{ const box = document.querySelector({json.dumps(selector)})
        .getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()""")
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def text_of(browser, selector):
    text = browser.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
    return " ".join(text.split())  # also those that keep a line together


def mark(browser, truth, right):
    """Mark the glyphs; the first `right` of them as they are."""
    for index, one in enumerate(truth):
        answer = one["real"] if index < right else not one["real"]
        browser.click(f"input[name=glyph-{index}][value={'real' if answer else 'invented'}]")


def number_of(one, is_right):
    """The number of the right word among the options, or of the first that is wrong; from 1 on."""
    return 1 + next(number for number, word in enumerate(one["options"]) if (word == one["words"]) == is_right)


def option(index, number):
    return f"#meanings fieldset:nth-of-type({index + 1}) .options button:nth-of-type({number})"


def save(browser, folder):
    """Save the answers by the page's button; what the file says."""
    browser.download_to(folder)
    browser.click("#save")
    saved = folder / "blind_test_answers.json"
    while not saved.exists() or not saved.read_bytes().endswith(b"}\n"):
        browser.evaluate("new Promise((done) => setTimeout(done, 20))")
    return json.loads(saved.read_text(encoding="utf8"))


@needs_browser
def test_a_reader_goes_through_both_rounds_sees_both_results_and_saves_the_answers(page, tmp_path):
    glyphs, meanings = truth_of(page), truth_of(page, "meanings")
    with Browser(tmp_path / "profile") as browser:
        browser.open(page)
        browser.wait_for("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert browser.evaluate("document.getElementById('next').disabled")
        mark(browser, glyphs, right=6)
        browser.click("#next")
        assert browser.evaluate("document.querySelectorAll('fieldset.right').length") == 0  # not before the end
        for index, one in enumerate(meanings):
            browser.click(option(index, number_of(one, is_right=index < 2)))
        browser.click("#next")
        assert text_of(browser, "#glyphs-score") == (
            "Real or invented? 75 % 6 of 8 right; 95 % interval 41 % to 93 %; guessing gives 50 %. "
            + browser.evaluate("document.querySelector('#glyphs-score .more').textContent"))
        assert text_of(browser, "#meanings-score") == (
            "What does it mean? 40 % 2 of 5 right; 95 % interval 12 % to 77 %; guessing gives 25 %.")
        assert browser.evaluate("document.querySelectorAll('#glyphs fieldset.right').length") == 6
        assert browser.evaluate("document.querySelectorAll('#meanings fieldset.right').length") == 2
        answers = save(browser, tmp_path)
        assert browser.faults == []
    for section, truth, right, chance in (("glyphs", glyphs, 6, 0.5), ("meanings", meanings, 2, 0.25)):
        found, expected = answers[section], proportion(right, len(truth))
        assert (found["right"], found["of"], found["chance"]) == (right, len(truth), chance)
        assert [found["low"], found["high"]] == pytest.approx([expected.low, expected.high])
        assert [{name: one[name] for name in told}
                for one, told in zip(found["answers"], truth, strict=True)] == truth
        assert [one["right"] for one in found["answers"]] == [index < right for index in range(len(truth))]
    assert all((one["answer"] == one["words"]) == one["right"] for one in answers["meanings"]["answers"])


@needs_browser
def test_both_rounds_are_done_with_the_keyboard_alone(page, tmp_path):
    glyphs, meanings = truth_of(page), truth_of(page, "meanings")
    with Browser(tmp_path / "profile") as browser:
        browser.open(page)
        for index, one in enumerate(glyphs):
            tab_to(browser, f"input[name=glyph-{index}]")
            press(browser, " " if one["real"] else "ArrowRight")
        tab_to(browser, "#next")
        press(browser, "Enter")
        for one in meanings:
            press(browser, str(number_of(one, is_right=True)))
        assert browser.evaluate("document.activeElement.id") == "next"
        press(browser, "Enter")
        assert "8 of 8 right" in text_of(browser, "#glyphs-score")
        assert "5 of 5 right" in text_of(browser, "#meanings-score")
        tab_to(browser, "#save")
        assert browser.faults == []


@needs_browser
def test_a_reader_can_go_back_and_a_key_held_or_a_double_click_is_one_answer(page, tmp_path):
    meanings = truth_of(page, "meanings")
    with Browser(tmp_path / "profile") as browser:
        browser.open(page)
        mark(browser, truth_of(page), right=0)
        press(browser, "1")  # of no use in the first round
        browser.click("#next")
        press(browser, str(number_of(meanings[0], is_right=False)))
        for key in ("1", "4"):
            press(browser, key, autoRepeat=True)
        press(browser, "5")
        press(browser, "1", modifiers=2)  # with Ctrl, which is the browser's own
        assert text_of(browser, "#progress") == "1 of 5 marked"
        browser.click("#back")
        tab_to(browser, option(0, number_of(meanings[0], is_right=True)))
        press(browser, "Enter")
        for index, one in enumerate(meanings[1:], start=1):
            assert text_of(browser, "#progress") == f"{index} of 5 marked"
            browser.click(option(index, number_of(one, is_right=True)))
            browser.evaluate("document.querySelector('#meanings fieldset:not([hidden]) button')"
                             ".dispatchEvent(new MouseEvent('click', {detail: 2}))")
        browser.click("#next")
        assert "5 of 5 right" in text_of(browser, "#meanings-score")


@needs_browser
def test_without_the_second_round_the_result_follows_the_first(kanji, base, tmp_path):
    page = tmp_path / "blind.html"
    assert blind_test_command.main(command(kanji, base, page, "--meanings", "0")) == 0
    with Browser(tmp_path / "profile") as browser:
        browser.open(page)
        mark(browser, truth_of(page), right=6)
        browser.click("#next")
        assert "6 of 8 right; 95 % interval 41 % to 93 %; guessing gives 50 %." in text_of(browser, "#result")
        assert save(browser, tmp_path).keys() == {"settings", "reader", "glyphs"}
        assert browser.faults == []


def fits(browser, width):
    """Whether nothing is wider than the screen and no image that is shown is too small to read."""
    return browser.evaluate(f"""document.documentElement.scrollWidth <= {width} && [...document.images].every(
        (image) => image.offsetParent === null || image.clientWidth >= 96)""")


@needs_browser
@pytest.mark.parametrize(("width", "mobile"), [(360, True), (390, True), (1280, False)])
def test_the_page_fits_a_phone_and_a_desktop(page, tmp_path, width, mobile):
    with Browser(tmp_path / "profile") as browser:
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=664, deviceScaleFactor=2, mobile=mobile)
        browser.call("Emulation.setTouchEmulationEnabled", enabled=mobile)
        browser.open(page)
        assert fits(browser, width)
        mark(browser, truth_of(page), right=0)
        browser.click("#next")
        for index, one in enumerate(truth_of(page, "meanings")):
            assert fits(browser, width)
            choice = option(index, number_of(one, is_right=True))
            assert browser.evaluate(f"document.querySelector({json.dumps(choice)}).clientHeight") >= 44
            (tap if mobile else Browser.click)(browser, choice)
            browser.wait_for(f"meanings.answers[{index}] !== null")  # a touch is a click only a little later
        browser.click("#next")
        assert fits(browser, width)
        assert "5 of 5 right" in text_of(browser, "#meanings-score")
