"""generate.py: what is drawn, how it is named, and what is refused."""

from __future__ import annotations

import io
import json
import shlex
from dataclasses import replace
from types import SimpleNamespace

import cairosvg
import numpy as np
import pytest
import torch
from PIL import Image

import data_fixtures
import generate as generate_command
from common import device
from common.command_line import parse
from common.errors import UserError
from generation import best_of, drawing, request
from generation.best_of import Candidate, choose
from generation.drawing import draw_to_folder
from generation.output import redraw_command
from generation.request import ImageRequest, read_requests, unique_stems
from generation.settings import GenerateConfig, SamplingSettings
from recogniser.judge import Reading


def test_each_prompt_gets_count_pictures_with_seeds_that_follow_one_another():
    requests = read_requests(GenerateConfig(prompts=("moon", "Buzz Aldrin"), count=2, seed=5))
    assert [(request.words, request.seed, request.stem) for request in requests] == [
        ("moon", 5, "moon-5"), ("moon", 6, "moon-6"), ("Buzz Aldrin", 5, "buzz-aldrin-5"),
        ("Buzz Aldrin", 6, "buzz-aldrin-6")]


def test_a_stroke_budget_is_said_as_in_training():
    for words, strokes, prompt in (("moon", 8, "moon, 8 strokes"), ("one", 1, "one, 1 stroke")):
        asked, = read_requests(GenerateConfig(prompts=(words,), strokes=strokes))
        assert asked.prompt == prompt


def test_noise_depends_on_seed_and_words_and_not_on_the_stroke_budget():
    noise = {(words, strokes, seed):
             read_requests(GenerateConfig(prompts=(words,), strokes=strokes, seed=seed))[0].noise_seed
             for words in ("moon", "tree") for strokes in (None, 8) for seed in (0, 1)}
    assert noise["moon", None, 0] == noise["moon", 8, 0]
    assert len(set(noise.values())) == 4


def test_a_prompts_file_is_read_line_by_line_without_comments(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("# a comment\nmoon\n\n  Full Moon \n", encoding="utf8")
    assert [request.words for request in read_requests(GenerateConfig(prompts=("tree",), prompts_file=file))] == [
        "tree", "moon", "Full Moon"]


def test_a_byte_order_mark_is_no_part_of_a_heading_or_a_prompt(tmp_path):
    file = tmp_path / "prompts.txt"
    for text, sections in (("# Plain\nmoon\n", [("Plain", ["moon"])]), ("moon\n", [("", ["moon"])])):
        file.write_text(text, encoding="utf-8-sig")
        assert request.read_sections(file) == sections


def test_comment_lines_head_the_prompts_that_follow(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("moon\n# A heading of no prompts\n## Plain meanings\ntree\n\nfire\n#\nhorse\n", encoding="utf8")
    assert request.read_sections(file) == [("", ["moon"]), ("Plain meanings", ["tree", "fire"]), ("", ["horse"])]


@pytest.mark.parametrize("config", [GenerateConfig(), GenerateConfig(prompts=("moon", "  "))])
def test_no_prompt_or_an_empty_one_is_refused(config):
    with pytest.raises(UserError, match="prompt"):
        read_requests(config)


def test_a_prompts_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--prompts_file .*nowhere\.txt"):
        read_requests(GenerateConfig(prompts_file=tmp_path / "nowhere.txt"))


@pytest.mark.parametrize(("flag", "value"), [("count", 0), ("steps", 0), ("seed", -1), ("strokes", 0), ("strokes", 41),
                                             ("guided_fraction", 1.5), ("guidance_scale", float("nan")),
                                             ("guidance_scale", float("inf")), ("guidance_scale", 0.5)])
def test_values_out_of_range_name_their_flag(flag, value):
    with pytest.raises(ValueError, match=f"--{flag} {value}"):
        GenerateConfig(prompts=("moon",), **{flag: value})


def test_two_prompts_never_share_a_file():
    assert unique_stems(["Full Moon", "full moon!", "月", "???", "!!!"]) == [
        "full-moon", "full-moon-2", "月", "prompt", "prompt-2"]


def test_a_gpu_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda"):
        device.choose_device("cuda")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The embedded base's own images, drawn together and one by one."""
    together, alone = tmp_path_factory.mktemp("together"), tmp_path_factory.mktemp("alone")
    draw_to_folder(GenerateConfig(prompts=("moon", "tree", "horse"), steps=4, plan="off", output=together))
    draw_to_folder(GenerateConfig(prompts=("tree",), steps=4, plan="off", output=alone, svg=True))
    return together, alone


def test_a_batch_changes_nothing(drawn):
    together, alone = (np.asarray(Image.open(folder / "tree-0.png"), dtype=float) for folder in drawn)
    assert np.abs(together - alone).mean() < 0.5  # grey levels of 255: a matrix product's rounding, no other image
    other = np.asarray(Image.open(drawn[0] / "moon-0.png"), dtype=float)
    assert np.abs(together - other).mean() > 5.0


def test_words_of_which_the_model_knows_none_are_said(tmp_path, capsys):
    draw_to_folder(GenerateConfig(prompts=("🚀", "moon 🚀", "moon"), steps=1, plan="off", output=tmp_path))
    said = [line for line in capsys.readouterr().out.splitlines() if "knows nothing of this" in line]
    assert len(said) == 1 and said[0].startswith("🚀: ")


def test_a_picture_says_how_it_was_made(drawn):
    made = json.loads((drawn[0] / "horse-0.json").read_text(encoding="utf8"))
    assert made["prompt"] == "horse"
    assert made["seed"] == 0
    assert made["steps"] == 4
    assert made["command"] == "python training/generate.py horse --plan off --steps 4"
    assert made["plan"] is None and made["reason"] is None and "found" not in made
    assert len(made["model"]["unet_sha256"]) == 64


def test_vector_paths_lie_beside_a_picture_where_they_are_asked_for(drawn):
    together, alone = drawn
    assert not list(together.glob("*.svg"))
    assert "<title>tree</title>" in (alone / "tree-0.svg").read_text(encoding="utf8")
    said = json.loads((alone / "tree-0.json").read_text(encoding="utf8"))["stroke_paths"]
    assert (alone / "tree-0.strokes.svg").exists() == (said["file"] is not None)
    assert "stroke_paths" not in json.loads((together / "tree-0.json").read_text(encoding="utf8"))


def test_the_first_candidate_is_the_picture_that_is_drawn_without_choosing():
    request = read_requests(GenerateConfig(prompts=("moon",), seed=3))[0]
    assert request.candidate(0) == request
    assert len({request.candidate(number).seed for number in range(8)}) == 8


def test_what_is_read_is_said_in_the_sense_that_was_asked_for(tmp_path, monkeypatch):
    strokes, _, _ = data_fixtures.svg("月").partition(b'<g id="kvg:StrokeNumbers')
    moon = Image.open(io.BytesIO(cairosvg.svg2png(strokes + b"</svg>", background_color="white", output_width=128)))
    monkeypatch.setattr(best_of, "draw", lambda _pipeline, _settings, prompts, _seeds, on_step: [[moon] * len(prompts)])
    flags = ["--plan", "off", "--explain", "--output", str(tmp_path)]
    assert generate_command.main(["moon", "Full Moon", "meat", *flags]) == 0
    said = {stem: json.loads((tmp_path / f"{stem}-0.json").read_text(encoding="utf8"))["reading"]["explanation"]
            for stem in ("moon", "full-moon", "meat")}
    assert said["moon"].startswith("whole 月 moon/meat, 4 strokes")
    assert said["full-moon"].startswith("whole 月 moon/meat, 4 strokes")
    assert said["meat"].startswith("whole 月 meat/month, 4 strokes")


class Judge:
    """Finds the darkest image the best formed."""

    def read(self, images, prompts):
        return [Reading(1.0 - np.asarray(image).mean() / 255.0, True, 8, ()) for image in images]

    def best(self, readings, strokes):
        return max(range(len(readings)), key=lambda index: readings[index].well_formed)


def candidates(*levels, words="moon"):
    """Candidates of one request, plain images of these levels of grey."""
    request = ImageRequest(words, None, 0, "moon-0")
    return [Candidate(request.candidate(number), number, Image.new("L", (8, 8), level))
            for number, level in enumerate(levels)]


def test_the_judge_chooses_and_its_reading_is_kept():
    several = candidates(200, 20, 120)
    chosen = choose(several, Judge())
    assert (chosen.image, chosen.number, chosen.request) == (several[1].image, 1, several[1].request)
    assert chosen.reading.explain() == "no component that is known, 8 strokes"


def test_without_a_judge_nothing_is_chosen_or_read():
    several = candidates(200, 20)
    assert choose(several, None) == several[0]


@pytest.mark.parametrize("words", ["Buzz Aldrin", "it's", "-40 degrees", "--help", "moon; rm *", "月"])
def test_a_command_draws_the_same_request_with_the_same_settings_again(words):
    settings = SamplingSettings(model="runs/my model", steps=7, guidance_scale=4.5, guided_fraction=1.0, seed=3)
    request = ImageRequest(words, 9, 2_000_003, "x-3")
    python, program, *flags = shlex.split(redraw_command(request, settings))
    assert (python, program) == ("python", "training/generate.py")
    config = parse(GenerateConfig, flags, None)
    again, = read_requests(config)
    assert (again.words, again.prompt, again.noise_seed) == (words, request.prompt, request.noise_seed)
    assert GenerateConfig.like(config, ()) == GenerateConfig.like(replace(settings, seed=2_000_003), ())


def test_a_command_says_only_what_differs_from_the_defaults_and_nothing_of_this_machine():
    request = ImageRequest("moon", None, 0, "moon-0")
    assert redraw_command(request, SamplingSettings()) == "python training/generate.py moon --plan off"
    assert redraw_command(request, SamplingSettings(model="/home/somebody/runs/mine", device="cpu")) == (
        "python training/generate.py moon --plan off --model mine")


def test_the_command_beside_an_image_draws_it_again(tmp_path, monkeypatch):
    """One that a judge chose, at another seed than the one that was asked for."""
    monkeypatch.setattr(drawing.Judge, "load", lambda: SimpleNamespace(
        read=Judge().read, best=lambda readings, _strokes: len(readings) - 1))
    draw_to_folder(GenerateConfig(prompts=("Full Moon",), steps=3, seed=5, best_of=2, strokes=8, plan="off",
                                  output=tmp_path / "a"))
    made = json.loads((tmp_path / "a" / "full-moon-5.json").read_text(encoding="utf8"))
    assert made["words"] == "Full Moon" and made["seed"] == 1_000_005 and "noise_seed" not in made
    assert generate_command.main([*shlex.split(made["command"])[2:], "--output", str(tmp_path / "b")]) == 0
    one, other = (np.asarray(Image.open(path), dtype=int) for path in (
        tmp_path / "a" / "full-moon-5.png", tmp_path / "b" / "full-moon-1000005.png"))
    assert np.abs(one - other).max() <= 1  # grey levels of 255: another batch's rounding
