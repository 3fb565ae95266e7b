"""The page of a report: what it says, that it carries all it shows, and that it fits a desk and a phone."""

from __future__ import annotations

import json
import re

import pytest
from lxml import html

import evaluate as evaluate_command
from headless_browser import Browser, find_browser
from planner_fixtures import save_small_planner
from recogniser_fixtures import save_judge
from scoring import benchmark
from scoring.report import Report
from wordnet_fixtures import save_wordnet

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (apt install chromium)")
OVERFLOWING = """(() => { const width = document.documentElement.clientWidth; return [
    ...document.querySelectorAll('body *')].filter((element) => { const box = element.getBoundingClientRect();
    return box.width && (box.right > width + 0.5 || box.left < -0.5); }).map((element) => element.outerHTML); })()"""


@pytest.fixture(scope="module")
def folder(kanji, base, tmp_path_factory):
    """The folder of a report with all sets and all tables."""
    made = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "JUDGE", save_judge(made / "judge"))
        patch.setattr(benchmark, "CONTROL", save_judge(made / "control", seed=1))
        patch.setattr(benchmark, "PLANNER_WEIGHTS", save_small_planner(made / "planner"))
        patch.setattr(benchmark, "WORDNET_CACHE", save_wordnet(made / "cache" / "wordnet").parent)
        assert evaluate_command.main([
            "--model", str(base), "--train_data_dir", str(kanji), "--output", str(made / "report"), "--device", "cpu",
            "--steps", "1", "--known", "4", "--heldout", "8", "--pairs", "4", "--wild", "8", "--budget", "3",
            "--plans", "8", "--best_of", "2", "--best_of_prompts", "2"]) == 0
    return made / "report"


@pytest.fixture(scope="module")
def report(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf8"))


@pytest.fixture(scope="module")
def page(folder):
    return html.fromstring((folder / "report.html").read_text(encoding="utf8"))


def test_the_verdict_says_the_figures_of_the_report_in_words(page, report):
    first, second = (sentence.text_content() for sentence in page.find_class("verdict")[0].iter("p"))
    wild, plans = report["sets"]["wild_planned"], report["sets"]["plans"]
    assert [int(number) for number in re.findall(r"(\d+)\s%", first)] == [round(100 * value) for value in (
        wild["well_formed"]["value"], wild["control_well_formed"]["value"], wild["meaning"]["one_component"]["value"],
        wild["plans"]["all_components"]["value"], wild["plans"]["all_components"]["shuffled_baseline"])]
    assert "names of the modern world" in first and "no model was trained on" in second
    assert f"{plans['well_formed']['value']:.0%}".removesuffix("%") in second


def test_every_sample_is_shown_once_and_the_first_of_each_prompt_without_a_click(page, report):
    for name, score in report["sets"].items():
        (section,) = page.xpath(f"//section[@id='{name}']")
        figures, folded = section.findall(".//figure"), section.findall(".//details//figure")
        assert len(figures) == score["samples"] and len(figures) - len(folded) == min(6, score["prompts"])
        opened = [figure.findtext(".//b") for figure in figures if figure not in folded]
        assert len(set(opened)) == len(opened)


def test_the_table_of_figures_has_a_line_a_figure_and_a_column_a_set(page):
    table = page.xpath("//table")[0]
    columns = [cell.text_content() for cell in table.xpath(".//thead//th")]
    assert columns == ["real kanji", "The modern world, planned", "New words, planned", "The modern world",
                       "Two concepts", "Two concepts, planned", "Held-out kanji, planned", "Held-out kanji",
                       "Known kanji, planned", "Known kanji", "A number of strokes"]
    for line in table.xpath(".//tbody/tr"):
        assert [cell.get("data-column") for cell in line.iter("td")] == columns


def test_the_page_carries_all_it_shows(folder, page):
    assert not re.search(r"url\(|@import|https?://", (folder / "report.html").read_text(encoding="utf8"))
    assert not list(page.iter("script", "link", "iframe"))
    assert all(image.get("src").startswith("data:image/png;base64,") for image in page.iter("img"))
    assert all(link.get("href").startswith("#") for link in page.iter("a"))


def test_no_folder_of_this_machine_is_named(folder, base, kanji):
    for name in ("report.html", "report.json"):
        text = (folder / name).read_text(encoding="utf8")
        assert base.name in text and not any(str(path) in text for path in (base, kanji, folder, folder.parent))


def test_a_report_is_read_back_as_it_was(report):
    there = Report.from_json({name: value for name, value in report.items() if name != "samples"})
    assert json.loads(json.dumps(there.to_json())) == {
        name: value for name, value in report.items() if name != "samples"}


@needs_browser
@pytest.mark.parametrize(("width", "height", "mobile"), [(1280, 900, False), (390, 844, True)])
def test_the_page_fits_a_desk_and_a_phone(folder, tmp_path, width, height, mobile):
    with Browser(tmp_path / "profile") as browser:
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                     mobile=mobile)
        browser.open(folder / "report.html")
        browser.wait_for("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert browser.evaluate("window.innerWidth") == width  # a phone zooms out from what is too wide
        for details in ("", "for (const one of document.querySelectorAll('details')) one.open = true;"):
            browser.evaluate(details)
            assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            assert browser.evaluate(OVERFLOWING) == []
        browser.evaluate("for (const one of document.querySelectorAll('details')) one.open = false;")
        tops = browser.evaluate("[...document.images].filter((image) => image.checkVisibility()).map("
                                "(image) => image.getBoundingClientRect().bottom + scrollY)")
        assert sum(bottom <= 2 * height for bottom in tops) >= 3  # in the first two screens
        hidden = browser.evaluate("[...document.querySelectorAll('table')].filter((one) => "
                                  "one.scrollWidth > one.clientWidth).length")
        assert hidden == 0 and browser.faults == []
