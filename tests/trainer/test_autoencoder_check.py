"""Of a set that the embedded base's autoencoder does not serve, that is said before training, with the figures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageDraw

from common.paths import TINY_DIR
from dataset.captioned_folder import read_dataset
from dataset.rows import Row
from icon_fixtures import save_icons
from models.parts import load_whole
from trainer import parts
from trainer.autoencoder_check import KANJI, MAX_HOLLOW, MAX_WRONG, redrawing, what_to_say
from trainer.presets import TINY
from training_fixtures import AutoencoderKL


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return load_whole(AutoencoderKL, TINY_DIR / "vae").eval()


def drawn(folder: Path, paper: str, ink: str, width: int) -> list[Row]:
    """Two pictures of straight strokes, captioned."""
    for number in range(2):
        picture = Image.new("L", (128, 128), paper)
        for place in (24, 64, 104):
            line = (16, place, 112, place) if number else (place, 16, place, 112)
            ImageDraw.Draw(picture).line(line, fill=ink, width=width)
        picture.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("strokes")
    return read_dataset(folder, progress=False)


def icons(folder: Path, pen: float) -> list[Row]:
    return read_dataset(save_icons(folder / "icons", pen, inner=False), progress=False)


def figures(said: str) -> tuple[float, int, int]:
    """The error, and of the ink how many per cent are wrong, and hollow."""
    error, wrong, hollow = re.search(r"error of (0\.\d{3}) on \[-1, 1\], (\d+)% of their ink, and leaves (\d+)% of it "
                                     r"hollow", said).groups()
    return float(error), int(wrong), int(hollow)


@pytest.mark.parametrize(("paper", "ink", "width"), [("white", "black", 4), ("white", "black", 24),
                                                     ("black", "white", 4)],
                         ids=["a kanji's width", "solid bars", "white on black"])
def test_of_black_and_white_strokes_nothing_is_said(paper: str, ink: str, width: int, vae: AutoencoderKL,
                                                    tmp_path: Path) -> None:
    assert what_to_say(vae, drawn(tmp_path, paper, ink, width), TINY) is None


@pytest.mark.parametrize("pen", [3.5, 9.0, 20.0])
def test_of_icons_of_any_pen_nothing_is_said(pen: float, vae: AutoencoderKL, tmp_path: Path) -> None:
    assert what_to_say(vae, icons(tmp_path, pen), TINY) is None


def test_what_comes_back_hollow_is_told_by_that_where_little_of_the_ink_is_wrong(
        vae: AutoencoderKL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = vae.decode

    def hollow_inside(latents: torch.Tensor) -> SimpleNamespace:
        redrawn = decode(latents).sample
        paper = torch.nn.functional.max_pool2d((redrawn > -0.9).float(), 7, stride=1, padding=3)
        return SimpleNamespace(sample=torch.where(paper == 0, 0.0, redrawn))

    monkeypatch.setattr(vae, "decode", hollow_inside)
    error, wrong, hollow = figures(what_to_say(vae, icons(tmp_path, 9.0), TINY))
    assert 0.0 < error < 0.1 and wrong <= 100 * MAX_WRONG
    assert hollow > 2 * 100 * MAX_HOLLOW > 100 * KANJI.hollow


@pytest.mark.parametrize(("paper", "ink", "width"), [("white", "black", 1), ("white", "gray", 24),
                                                     ("gray", "black", 4)],
                         ids=["hairlines", "grey bars", "black on grey"])
def test_what_comes_out_wrong_is_said_with_the_figure_and_the_way_out(
        paper: str, ink: str, width: int, vae: AutoencoderKL, tmp_path: Path) -> None:
    said = what_to_say(vae, drawn(tmp_path, paper, ink, width), replace(TINY, train_data_dir=tmp_path))
    error, wrong, _ = figures(said)
    assert error > 0.0 and wrong >= 100 * MAX_WRONG > 100 * KANJI.wrong
    assert f"python training/train_base.py --train_data_dir {tmp_path}" in said


def test_hollow_is_what_comes_back_paler_within_the_ink_and_not_at_its_edge(vae: AutoencoderKL,
                                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.ones(1, 1, 128, 128)
    images[..., 60:65, 20:120] = -1.0  # a line of 5 px: 3 px of it, and 98 of its length, lie within
    pale = torch.where(images < 0, 0.0, 1.0)
    monkeypatch.setattr(vae, "decode", lambda _: SimpleNamespace(sample=pale))
    assert redrawing(vae, images).hollow == pytest.approx(3 * 98 / (5 * 100))
    pale[..., 61:64, 21:119] = -1.0
    assert redrawing(vae, images).hollow == 0.0


def test_empty_paper_has_no_ink_to_lose(vae: AutoencoderKL) -> None:
    found = redrawing(vae, torch.ones(1, 1, 128, 128))
    assert (found.wrong, found.hollow) == (0.0, 0.0)


def test_characters_and_other_bases_are_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = drawn(tmp_path, "black", "white", 4)
    parts.say_what_is_redrawn_badly(replace(TINY, pretrained_model_name_or_path=str(tmp_path)), None, rows)
    kanji = [replace(row, metadata={"literal": "舟"}) for row in rows]
    parts.say_what_is_redrawn_badly(TINY, None, kanji)
    assert capsys.readouterr().err == ""
