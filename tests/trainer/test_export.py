"""What is written for others loads and draws with diffusers alone, as its card says, word for word."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export as export_command
import generate
from snippet_fixtures import images_of, python_blocks, shell_blocks
from training_fixtures import forked, run_main, save_base, save_dataset, small_config

CLASSES = ("StableDiffusionPipeline", "DiffusionPipeline", "AutoPipelineForText2Image")


def run_pipeline(folder: Path) -> Path:
    """A finished run of a random base of Stable Diffusion's shape, in fp16, as runs end by default."""
    save_base(folder / "base", "sd2")
    config = small_config(folder / "base", save_dataset(folder / "data"), folder / "my run", max_train_steps=1,
                          validation_prompts=('a "quoted" moon', "water"), num_inference_steps=4)
    ended = run_main(config, folder / "log")
    assert ended.status == 0, ended.output
    return folder / "my run" / "pipeline"


def exported_tiny(folder: Path) -> Path:
    assert export_command.main(["tiny", "--output", str(folder / "exported"), "--dtype", "fp16"]) == 0
    return folder / "exported"


def drawn_by_the_cards_command(card: str, folder: Path) -> np.ndarray:
    """What generate.py draws for the command that the card names, run in `folder`."""
    command = next(block for block in shell_blocks(card) if "generate.py" in block)
    flags = shlex.split(command)[2:]

    def work() -> None:
        os.chdir(folder)
        assert generate.main([*flags, "--output", "drawn", "--device", "cpu"]) == 0

    ended = forked(work, folder / "generate.log")
    assert ended.status == 0, ended.output
    image, = (folder / "drawn").glob("*-0.png")
    return np.asarray(Image.open(image).convert("RGB"))


@pytest.mark.parametrize("make", [run_pipeline, pytest.param(exported_tiny, marks=pytest.mark.variant)])
def test_the_cards_snippets_run_as_they_stand_and_draw_what_generate_draws(make, tmp_path: Path) -> None:
    pipeline = make(tmp_path)
    card = (pipeline / "README.md").read_text(encoding="utf8")
    plain, as_generate = python_blocks(card)
    images = images_of({**{kind: plain.replace(CLASSES[0], kind) for kind in CLASSES}, "guided": as_generate}, tmp_path)
    assert all(image.std() > 0 for image in images.values())
    assert np.array_equal(np.asarray(Image.fromarray(images["guided"]).convert("RGB")),
                          drawn_by_the_cards_command(card, tmp_path))
    assert str(tmp_path) not in card


def test_an_exported_model_keeps_its_licence_and_its_weights(base: Path, tmp_path: Path) -> None:
    from models.pipelines import load_pipeline, module_hash

    assert export_command.main([str(base), "--output", str(tmp_path / "one")]) == 0
    assert export_command.main([str(tmp_path / "one"), "--output", str(tmp_path / "two")]) == 0
    before, after = load_pipeline(str(base)), load_pipeline(str(tmp_path / "two"))
    for part in ("unet", "vae", "text_encoder"):
        assert module_hash(getattr(before, part)) == module_hash(getattr(after, part)), part
    card = (tmp_path / "two" / "README.md").read_text()
    assert "license: other" in card and "kanji\n" not in card.split("---")[1]
    exported_tiny(tmp_path)
    card = (tmp_path / "exported" / "README.md").read_text()
    assert "license: cc-by-sa-4.0" in card and "- kanji\n" in card and "KANJIDIC2" in card
    assert json.loads((tmp_path / "exported/text_encoder/config.json").read_text())["dtype"] == "float32"


def test_a_pipeline_with_minilm_has_its_licence_beside_it_and_named_in_its_card(base: Path, tmp_path: Path) -> None:
    exported_tiny(tmp_path)
    assert export_command.main([str(tmp_path / "exported"), "--output", str(tmp_path / "again")]) == 0
    for name in ("exported", "again"):
        assert "Apache License\n" in (tmp_path / name / "text_encoder" / "LICENSE").read_text()
        card = (tmp_path / name / "README.md").read_text()
        licences = card.split("## Licence and attributions")[1]
        assert "all-MiniLM-L6-v2" in licences and card.count("Apache License 2.0") == 1
    assert export_command.main([str(base), "--output", str(tmp_path / "other")]) == 0
    assert not (tmp_path / "other" / "text_encoder" / "LICENSE").exists()
    assert "MiniLM" not in (tmp_path / "other" / "README.md").read_text()


def test_what_cannot_be_exported_is_said_and_what_is_there_is_left(
        base: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert export_command.main([str(base), "--output", str(base)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert export_command.main([str(tmp_path / "none"), "--output", str(tmp_path / "new")]) == 1
    assert "no such pipeline folder" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
