"""Of a set that the embedded base's autoencoder does not serve, that is said before training, with the figure."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from common.paths import TINY_DIR
from dataset.captioned_folder import read_dataset
from dataset.rows import Row
from models.parts import load_whole
from trainer import parts
from trainer.autoencoder_check import KANJI_FRACTION, MAX_FRACTION, redrawing_error, what_to_say
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


def test_strokes_of_a_kanjis_width_are_served_and_nothing_is_said(vae: AutoencoderKL, tmp_path: Path) -> None:
    assert what_to_say(vae, drawn(tmp_path, "white", "black", 4), TINY) is None


@pytest.mark.parametrize(("paper", "ink", "width"), [("white", "black", 24), ("black", "white", 4)],
                         ids=["solid bars", "white on black"])
def test_what_comes_out_wrong_is_said_with_the_figure_and_the_way_out(
        paper: str, ink: str, width: int, vae: AutoencoderKL, tmp_path: Path) -> None:
    said = what_to_say(vae, drawn(tmp_path, paper, ink, width), replace(TINY, train_data_dir=tmp_path))
    error, percent = re.search(r"error of (0\.\d{3}) on \[-1, 1\], (\d+)% of their ink", said).groups()
    assert float(error) > 0 and int(percent) >= 100 * MAX_FRACTION > 100 * KANJI_FRACTION
    assert f"python training/train_base.py --train_data_dir {tmp_path}" in said


def test_empty_paper_has_no_ink_to_lose(vae: AutoencoderKL) -> None:
    assert redrawing_error(vae, torch.ones(1, 1, 128, 128))[1] == 0.0


def test_characters_and_other_bases_are_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = drawn(tmp_path, "black", "white", 4)
    parts.say_what_is_redrawn_badly(replace(TINY, pretrained_model_name_or_path=str(tmp_path)), None, rows)
    kanji = [replace(row, metadata={"literal": "舟"}) for row in rows]
    parts.say_what_is_redrawn_badly(TINY, None, kanji)
    assert capsys.readouterr().err == ""
