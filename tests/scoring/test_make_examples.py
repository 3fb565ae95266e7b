"""make_examples.py: what is drawn, what the page shows, and that a stopped run leaves a whole folder."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path

import pytest
from lxml import html
from PIL import Image

import generate as generate_command
import make_examples as make_examples_command
from common.errors import UserError
from common.locks import locked
from generation import planning
from headless_browser import Browser, find_browser
from planner_fixtures import save_small_planner
from recogniser_fixtures import save_judge, save_kanji_set
from scoring import examples, examples_folder
from scoring.examples import ExamplesConfig
from training_fixtures import forked, save_base

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (apt install chromium)")
PROMPTS = "moon\n# People & places\nBuzz Aldrin\n<b>&\n\n# Long ones\n" + "unbroken" * 12 + "\nmoon\n"
WORDS = ["moon", "Buzz Aldrin", "<b>&", "unbroken" * 12, "moon"]
STEMS = ["moon-0", "buzz-aldrin-0", "b-0", ("unbroken" * 12)[:60] + "-0", "moon-2-0"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A random base, two random judges and a small kanji set."""
    folder = tmp_path_factory.mktemp("sources")
    save_base(folder / "base", channels=1)
    save_kanji_set(folder / "kanji")
    save_small_planner(folder / "planner")
    return folder, save_judge(folder / "judge"), save_judge(folder / "control", seed=1)


def use(patch, sources):
    """The small judges and the small planner in the place of the shipped ones."""
    patch.setattr(examples, "JUDGE", sources[1])
    patch.setattr(examples, "CONTROL", sources[2])
    patch.setattr(planning, "PLANNER_WEIGHTS", sources[0] / "planner")


@pytest.fixture
def judges(sources, monkeypatch):
    use(monkeypatch, sources)


def command(sources, output, prompts, *more):
    file = output.with_name(f"{output.name}-prompts.txt")
    file.write_text(prompts, encoding="utf8")
    return ["--model", str(sources[0] / "base"), "--train_data_dir", str(sources[0] / "kanji"), "--prompts_file",
            str(file), "--output", str(output), "--best_of", "3", "--steps", "2", "--device", "cpu", *more]


@pytest.fixture(scope="module")
def made(sources, tmp_path_factory):
    output = tmp_path_factory.mktemp("made") / "examples"
    with pytest.MonkeyPatch.context() as patch:
        use(patch, sources)
        assert make_examples_command.main(command(sources, output, PROMPTS, "--plan", "on")) == 0
    return output


@pytest.fixture(scope="module")
def page(made):
    return html.fromstring((made / "index.html").read_text(encoding="utf8"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def provenance(folder, stem):
    return json.loads((folder / f"{stem}.json").read_text(encoding="utf8"))


def test_every_prompt_has_a_card_under_its_heading(page):
    assert [card.findtext("h3") for card in page.iter("article")] == WORDS
    assert [section.findtext("h2") for section in page.iter("section")] == [None, "People & places", "Long ones"]
    assert [len(section.findall(".//article")) for section in page.iter("section")] == [1, 2, 2]
    titles = [f"#{title.get('id')}" for title in page.iter("h2")]
    assert [link.get("href") for link in page.iterfind(".//nav/a")] == titles  # the last: how to read the page


def test_every_card_shows_the_one_image_and_the_best_of_several_which_is_marked(made, page):
    for card, words, stem in zip(page.iter("article"), WORDS, STEMS, strict=True):
        first, best = card.iter("img")
        assert [first.get("src"), best.get("src")] == [f"{stem}.png", f"{stem}-best-of-3.png"]
        assert all((made / picture.get("src")).is_file() and words in picture.get("alt") for picture in (first, best))
        captions = [" ".join(caption.text_content().split()) for caption in card.iter("figcaption")]
        for caption, drawn in zip(card.iter("figcaption"), (stem, f"{stem}-best-of-3"), strict=True):
            plan = " + ".join(item.text_content() for item in caption.iter("li"))
            assert provenance(made, drawn)["reason"] == f"{words}: {plan}"
        assert "chosen by the recogniser" not in captions[0]
        assert captions[1].startswith("best of 3, chosen by the recogniser")
        assert all("well-formed" in caption and "stroke" in caption and "nearest real kanji" in caption
                   and "found" in caption and "seed 0" in caption for caption in captions)


def test_the_page_fetches_nothing(page):
    assert not list(page.iter("script", "link", "iframe"))
    assert not any("//" in picture.get("src") for picture in page.iter("img"))


def test_the_page_attributes_its_sources_and_tells_the_fractions(made, page):
    text = " ".join(page.text_content().split())
    assert "KanjiVG, copyright © Ulrich Apel and contributors, CC BY-SA 3.0" in text
    assert "KANJIDIC2, the property of the Electronic Dictionary Research and Development Group" in text
    assert "CC BY-SA 4.0" in text
    fractions = {row.findtext("th"): row.findtext("td/b") + row.find("td/b").tail
                 for row in page.iterfind(".//tbody/tr")}
    for name, stems in (("large images, none chosen", STEMS),
                        ("small images, best of 3", [f"{stem}-best-of-3" for stem in STEMS])):
        of = [provenance(made, stem) for stem in stems]
        planned = [one for one in of if one["plan"]]
        formed = sum(one["reading"]["is_well_formed"] for one in of)
        found = sum(len(one["found"]) == len(one["plan"]["components"]) for one in planned)
        assert fractions.pop(f"{name}: well-formed") == f"{formed / 5:.0%} ({formed} of 5)".replace("%", " %")
        assert fractions.pop(f"{name}: every planned component found") == (
            f"{found / len(planned):.0%} ({found} of {len(planned)})".replace("%", " %"))
    assert not fractions


def test_images_and_jsons_are_those_of_generate_py(made, sources, judges, tmp_path):
    from generation.drawing import draw_to_folder
    from generation.settings import GenerateConfig

    draw_to_folder(GenerateConfig(prompts=("Buzz Aldrin",), model=str(sources[0] / "base"), output=tmp_path, steps=2,
                                  plan="on"))
    alone, here = provenance(tmp_path, "buzz-aldrin-0"), provenance(made, "buzz-aldrin-0")
    assert {name: here[name] for name in alone} == alone
    assert provenance(made, "buzz-aldrin-0-best-of-3")["best_of"] == 3
    pictures = [list(Image.open(folder / "buzz-aldrin-0.png").get_flattened_data()) for folder in (tmp_path, made)]
    assert max(abs(one - other) for one, other in zip(*pictures, strict=True)) <= 1  # of 255: another batch's rounding


def test_the_command_beside_an_image_draws_it_again(sources, judges, page, made, tmp_path, monkeypatch):
    """Where the model has a relative name, as `runs/tiny` has; of a folder elsewhere only its last part is told."""
    stem = "buzz-aldrin-0-best-of-3"
    told = [code.text_content() for code in page.iter("code")]
    command = provenance(made, stem)["command"]
    assert command in told and len(WORDS) <= len(told) <= 2 * len(WORDS)
    monkeypatch.chdir(sources[0])
    python, program, *flags = shlex.split(command)
    assert (python, program) == ("python", "training/generate.py")
    assert generate_command.main([*flags, "--output", str(tmp_path)]) == 0
    again, = (path for path in tmp_path.glob("*.png") if path.name != "collated_examples.png")
    images = [list(Image.open(path).get_flattened_data()) for path in (again, made / f"{stem}.png")]
    assert max(abs(one - other) for one, other in zip(*images, strict=True)) <= 1  # of 255: another batch's rounding


def test_nothing_in_the_folder_tells_of_this_machine(made, sources):
    for path in made.iterdir():
        if path.suffix in (".json", ".html"):
            text = path.read_text(encoding="utf8")
            assert str(sources[0]) not in text and str(made) not in text
            assert "noise_seed" not in text


def test_the_grid_shows_the_first_pictures_only(made):
    from common.image_grid import captioned_grid

    firsts = [Image.open(made / f"{stem}.png") for stem in STEMS]
    assert Image.open(made / "collated_examples.png").tobytes() == captioned_grid(firsts, WORDS, 10).tobytes()


def test_nothing_else_is_left_in_the_folder(made):
    stems = [name for stem in STEMS for name in (stem, f"{stem}-best-of-3")]
    assert {path.name for path in made.iterdir()} == {
        "index.html", "collated_examples.png", *(f"{stem}.{kind}" for stem in stems for kind in ("png", "json"))}


def test_without_the_dataset_no_nearest_kanji_is_named(sources, judges, tmp_path):
    output = tmp_path / "examples"
    flags = [*command(sources, output, "moon\n"), "--train_data_dir", str(tmp_path / "none")]
    assert make_examples_command.main(flags) == 0
    assert "nearest" not in (output / "index.html").read_text(encoding="utf8")


def test_images_of_prompts_no_longer_listed_go_and_other_files_stay(sources, judges, tmp_path):
    output = tmp_path / "examples"
    assert make_examples_command.main(command(sources, output, "moon\ntree\n")) == 0
    others = {"mine.png": "a", "mine.json": "{}", "list.json": "[]", "broken.json": "{", "prompts.txt": "moon",
              "horse-0.json": '{"words": "horse"}', "horse-0.png": "b"}
    for name, text in others.items():
        (output / name).write_text(text)
    assert make_examples_command.main(command(sources, output, "moon\n")) == 0
    assert {path.name for path in output.iterdir()} == {
        *others, "index.html", "collated_examples.png", "moon-0.png", "moon-0.json", "moon-0-best-of-3.png",
        "moon-0-best-of-3.json"}


def stop(*_):
    os.kill(os.getpid(), signal.SIGTERM)


def fail(*_):
    raise OSError("no space left on device")


@pytest.mark.parametrize(("trouble", "status"), [(stop, 143), (fail, 1)])
def test_stopped_or_failed_while_it_writes_it_leaves_the_folder_as_it_was(sources, judges, tmp_path, monkeypatch,
                                                                         trouble, status):
    output = tmp_path / "examples"
    assert make_examples_command.main(command(sources, output, "moon\ntree\n")) == 0
    before = contents(output)
    monkeypatch.setattr(examples, "write_page", trouble)
    assert make_examples_command.main([*command(sources, output, "tree\n"), "--seed", "7"]) == status
    assert contents(output) == before


def test_a_signal_while_files_move_waits_until_the_page_is_whole(sources, judges, tmp_path, monkeypatch):
    output = tmp_path / "examples"
    assert make_examples_command.main(command(sources, output, "moon\n")) == 0
    remove_old = examples_folder.remove_old

    def stopped_then_remove(*arguments):
        stop()
        remove_old(*arguments)

    monkeypatch.setattr(examples_folder, "remove_old", stopped_then_remove)
    assert make_examples_command.main(command(sources, output, "tree\n")) == 143
    assert {path.name for path in output.iterdir()} == {"index.html", "collated_examples.png", *(
        f"tree-0{more}" for more in (".png", ".json", "-best-of-3.png", "-best-of-3.json"))}


def killed_at(calls):
    """A path's replace() that kills its process, as by SIGKILL, at a call into the examples' own folder."""
    replace, left = Path.replace, [calls]

    def replace_or_die(path, target):
        left[0] -= path.parent.name == ".making" and not path.name.startswith(".")
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(path, target)

    return replace_or_die


@pytest.mark.parametrize("moved", [0, 3])
def test_what_a_killed_run_was_moving_is_moved_by_the_next_one_before_it_draws(sources, judges, tmp_path, monkeypatch,
                                                                              moved):
    output = tmp_path / "examples"
    assert make_examples_command.main(command(sources, output, "moon\ntree\n")) == 0
    (output / "mine.txt").write_text("mine")
    flags = [*command(sources, output, "tree\n"), "--seed", "7"]
    assert make_examples_command.main([*flags, "--output", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed_at(moved))
        killed = forked(lambda: make_examples_command.main(flags), tmp_path / "said")
    assert killed.status == -signal.SIGKILL, killed.output
    with monkeypatch.context() as patch:
        patch.setattr(examples, "draw_examples", fail)
        assert make_examples_command.main(flags) == 1
    assert contents(output) == {**contents(tmp_path / "whole"), "mine.txt": b"mine"}


def test_a_run_that_was_killed_while_it_wrote_leaves_the_page_and_the_next_one_clears_up(sources, judges, tmp_path,
                                                                                        monkeypatch):
    output = tmp_path / "examples"
    assert make_examples_command.main(command(sources, output, "moon\n")) == 0
    before = contents(output)
    with monkeypatch.context() as patch:
        patch.setattr(examples, "write_page", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        forked(lambda: make_examples_command.main(command(sources, output, "moon\n", "--seed", "7")), tmp_path / "said")
    assert any((output / ".making").iterdir())
    (output / ".making").rename(tmp_path / "left")
    assert contents(output) == before
    (tmp_path / "left").rename(output / ".making")
    assert make_examples_command.main(command(sources, output, "moon\n")) == 0
    assert contents(output) == before


def test_two_runs_never_write_into_one_folder_at_once(sources, judges, tmp_path, capsys):
    output = tmp_path / "examples"
    with locked(output / ".making"):
        assert make_examples_command.main(command(sources, output, "moon\n")) == 1
    assert "another run is at work there" in capsys.readouterr().err


@pytest.mark.parametrize(("prompts", "message"), [("# a heading\n\n", "no prompt in it"), (None, "cannot be read")])
def test_a_prompts_file_that_says_nothing_is_named(tmp_path, prompts, message):
    file = tmp_path / "prompts.txt"
    if prompts is not None:
        file.write_text(prompts, encoding="utf8")
    with pytest.raises(UserError, match=rf"--prompts_file .*prompts\.txt: .*{message}"):
        examples.make(ExamplesConfig(prompts_file=file, output=tmp_path / "out"), None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("flag", "value"), [("best_of", 1), ("columns", 0), ("steps", 0), ("seed", -1)])
def test_values_out_of_range_name_their_flag(flag, value):
    with pytest.raises(ValueError, match=f"--{flag} {value}"):
        ExamplesConfig(**{flag: value})


@needs_browser
@pytest.mark.parametrize(("width", "mobile", "least"), [(1280, False, 150), (390, True, 150)])
def test_the_page_fits_a_desktop_and_a_phone(made, tmp_path, width, mobile, least):
    with Browser(tmp_path / "profile") as browser:
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=mobile)
        browser.open(made / "index.html")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("document.images[0].getBoundingClientRect().bottom") <= 800, "a glyph at first sight"
        assert browser.evaluate("window.innerWidth") == width  # a phone zooms out from what is too wide
        browser.wait_for("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        sides = browser.evaluate("[...document.images].map((image) => image.clientWidth)")
        assert all(first >= least and first > best for first, best in zip(sides[::2], sides[1::2], strict=True))
        assert browser.faults == []
