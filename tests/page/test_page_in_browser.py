"""The page of demo.py in a real headless browser that may reach nothing but this machine: type, swap, draw, keep."""

from __future__ import annotations

import json

import pytest

from generation.vectors import find_strokes
from headless_browser import Browser, find_browser
from page import studio as studio_module
from page.serving import install_command
from page_fixtures import few_kanji, image_of

pytest.importorskip("gradio", reason=f"gradio is not installed ({install_command()})")
pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (apt install chromium)")]
WORDS = "two of a person"


@pytest.fixture(scope="module")
def address(studio, tmp_path_factory):
    from page.layout import serve

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder := tmp_path_factory.mktemp("gradio")))
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1")
        blocks, url = serve(studio)
        yield url
        blocks.close(verbose=False)
    assert not [path for path in folder.rglob("*") if path.is_file()]  # nothing is written, so no disk can be full


@pytest.fixture
def visitor(address, tmp_path):
    with Browser(tmp_path / "profile", 1280, 900, loopback=True) as browser:
        enter(browser, address)
        yield browser
        assert browser.faults == []


def enter(browser, address):
    browser.visit(address)
    for part in ("#words textarea, #words input", "#examples button:nth-child(5)", "#plan", "#gallery", "footer"):
        browser.wait_for(f"document.querySelector({json.dumps(part)}) !== null")  # gradio lays them out one by one


def field(name):
    return f"document.querySelector('#{name} textarea, #{name} input')"


def fill(browser, name, text):
    browser.evaluate(f"{field(name)}.focus()")
    browser.type(text)


def shown(browser, selector):
    return browser.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.innerText)")


def wait_for_best(browser, title):
    browser.wait_for(f"document.querySelector('figure.best h2')?.innerText === {json.dumps(title)}")


def test_words_are_typed_planned_swapped_drawn_and_kept(visitor, tmp_path):
    fill(visitor, "words", WORDS)
    visitor.click("#plan")
    visitor.wait_for(f"{field('part-0-0')}?.value === 'two'")
    assert visitor.evaluate(f"{field('part-0-1')}.value") == "person"
    visitor.click("#swap-0-0")
    visitor.wait_for(f"{field('part-0-0')}.value !== 'two'")
    swapped = visitor.evaluate(f"{field('part-0-0')}.value")
    visitor.click("#draw")
    wait_for_best(visitor, WORDS)
    reasons = shown(visitor, "figure .parts")
    assert len(reasons) == 4 and all(swapped in reason and "person" in reason for reason in reasons)
    assert shown(visitor, ".mark") == ["the best of 4"]
    visitor.download_to(tmp_path)
    for ending, start in (("png", b"\x89PNG"), ("svg", b"<svg"), ("json", b"{")):
        kept = tmp_path / f"two-of-a-person-0.{ending}"
        visitor.click(f"figure.best a[download$='.{ending}']")
        while not kept.is_file() or not kept.read_bytes().startswith(start):
            visitor.evaluate("1")
    assert json.loads((tmp_path / "two-of-a-person-0.json").read_text(encoding="utf8"))["words"] == WORDS


def test_the_strokes_are_played_anew_at_each_look_and_kept(visitor, studio, tmp_path, monkeypatch):
    image = image_of(few_kanji(tmp_path / "kanjivg")[0])
    monkeypatch.setattr(studio_module, "find_strokes", lambda _, *rest: find_strokes(image, *rest))
    fill(visitor, "words", WORDS)
    visitor.press("Enter")
    visitor.wait_for("document.querySelector('.play') !== null")
    assert len(shown(visitor, "figure")) == 4 and len(shown(visitor, ".play")) == 1
    playing = "document.querySelector('.play img')"
    source = visitor.evaluate(f"{playing}.src")
    for _ in range(2):  # another address each time, or the browser would show the strokes as it left them
        visitor.evaluate("document.querySelector('.play summary').focus()")
        visitor.press("Enter")
        visitor.wait_for(f"{playing}.src !== {json.dumps(source)} && {playing}.complete && {playing}.naturalWidth > 0")
        source = visitor.evaluate(f"{playing}.src")
        visitor.press("Enter")
        visitor.wait_for("!document.querySelector('.play').open")
    visitor.download_to(tmp_path)
    visitor.click("figure.best a[download$='.strokes.svg']")
    kept = tmp_path / "two-of-a-person-0.strokes.svg"
    while not kept.is_file() or not kept.read_bytes().endswith(b"</svg>\n"):
        visitor.evaluate("1")


def test_the_keyboard_is_enough_and_the_visit_is_remembered(visitor):
    visitor.evaluate(f"{field('words')}.focus()")
    visitor.type("mouth")
    visitor.press("Enter")
    wait_for_best(visitor, "mouth")
    assert shown(visitor, "#history h3") == []
    visitor.evaluate(f"{field('words')}.focus()")
    visitor.type("person")
    for _ in range(20):
        visitor.press("Tab")
        if visitor.evaluate("document.activeElement.id") == "draw":
            break
    visitor.press(" ")
    wait_for_best(visitor, "person")
    assert shown(visitor, "#history h3") == ["mouth"]


def test_an_example_is_drawn_by_one_click(visitor):
    visitor.click("#examples button:nth-child(5)")
    visitor.wait_for("document.querySelectorAll('figure.best').length === 2")
    assert visitor.evaluate(f"{field('words')}.value") == "black hole, camera"


def test_two_visitors_at_once_do_not_mix(visitor, address, tmp_path):
    with Browser(tmp_path / "other", loopback=True) as other:
        enter(other, address)
        for browser, words in ((visitor, "ten"), (other, "person")):
            fill(browser, "words", words)
            browser.press("Enter")
        for browser, words in ((visitor, "ten"), (other, "person")):
            wait_for_best(browser, words)
            fill(browser, "words", f"{words} two")
            browser.press("Enter")
            wait_for_best(browser, f"{words} two")
            assert shown(browser, "#history h3") == [words]


def test_tags_are_text_and_what_cannot_be_drawn_is_said(visitor):
    hostile = "<img src=x onerror=window.broken=1> {{7*7}} ${7*7} <script>window.broken=1</script>"
    fill(visitor, "words", hostile)
    visitor.press("Enter")
    wait_for_best(visitor, hostile)
    assert visitor.evaluate("window.broken === undefined")
    fill(visitor, "words", "a" * 300)
    visitor.press("Enter")
    visitor.wait_for("document.querySelector('[role=alert]')?.innerText.includes('too long')")
    assert shown(visitor, "figure.best h2") == [hostile]  # what there was is still there


def test_nothing_of_this_machine_can_be_read_or_laid_down_through_the_page(visitor, studio):
    for path in ("/gradio_api/file=/etc/hostname", f"/gradio_api/file={studio.config.model}/config.json",
                 "/gradio_api/upload_progress?upload_id=1"):
        assert visitor.evaluate(f"fetch({json.dumps(path)}).then(answer => answer.status)") == 403
    upload = "fetch('/gradio_api/upload', {method: 'POST', body: new FormData()}).then(answer => answer.status)"
    assert visitor.evaluate(upload) == 403
    assert str(studio.config.model) not in visitor.evaluate("fetch('/config').then(answer => answer.text())")


def test_the_page_fits_a_phone(visitor):
    visitor.resize(390, 844, mobile=True)
    fill(visitor, "words", WORDS)
    visitor.press("Enter")
    wait_for_best(visitor, WORDS)
    assert visitor.evaluate("document.documentElement.scrollWidth") == 390
    assert visitor.evaluate("document.querySelector('figure.best').getBoundingClientRect().width") > 340
    visitor.wait_for("Math.abs(document.querySelector('#gallery').getBoundingClientRect().top) < 100")
    outside = ("[...document.querySelectorAll('button, input, a, img, p')].filter(one => one.offsetParent"
               " && one.getBoundingClientRect().right > 391).map(one => one.outerHTML.slice(0, 80))")
    assert visitor.evaluate(outside) == []


def test_nothing_is_asked_of_anyone_else(visitor):
    """The negative control: what leaves this machine is noted, and the browser is told to refuse it."""
    assert visitor.evaluate("fetch('http://example.org/').then(() => true, () => false)") is False
    noted, visitor.faults[:] = list(visitor.faults), []
    policy = visitor.evaluate("fetch('/').then(answer => answer.headers.get('content-security-policy'))")
    assert "connect-src 'self'" in policy
    assert all("example.org" in fault for fault in noted)
