"""A seed means the same everywhere: what the sample grid shows is what generate.py draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator

from data_fixtures import kanji_image
from generation.request import noise_seed
from generation.sampling import draw
from generation.settings import SamplingSettings
from models.pipelines import load_pipeline
from recogniser.judge import JUDGE, Judge
from recogniser.network import WEIGHTS
from trainer.sample_grid import SampleGrid, score
from training_fixtures import metrics, run_main, save_base, save_dataset, small_config

PROMPTS = ("moon", "water tree, 4 strokes", "fire")


def test_the_grid_shows_what_generate_draws_with_seed_0(tmp_path: Path) -> None:
    base = str(save_base(tmp_path / "base"))
    config = small_config(tmp_path / "base", tmp_path, tmp_path / "run", validation_prompts=PROMPTS,
                          num_inference_steps=4, guidance_scale=5.0)
    pipeline = load_pipeline(base)
    grid = SampleGrid(pipeline, config, Accelerator(cpu=True, mixed_precision="no"))
    assert pipeline.text_encoder is None, "its memory is the training's"
    shown = [np.asarray(image) for image in grid.images(pipeline.unet.eval(), on_step=lambda: None)]

    settings = SamplingSettings(steps=4, guidance_scale=5.0)
    for seed in (0, 1):
        batches = draw(load_pipeline(base), settings, PROMPTS, [noise_seed(seed, prompt) for prompt in PROMPTS])
        drawn = [np.asarray(image) for batch in batches for image in batch]
        assert [np.array_equal(one, other) for one, other in zip(shown, drawn, strict=True)] == 3 * [seed == 0]


@pytest.mark.skipif(not (JUDGE / WEIGHTS).is_file(), reason="the weights are not in this checkout")
def test_what_the_judge_finds_in_a_grid_is_its_score() -> None:
    judge, upside_down = Judge.load(dataset=None), kanji_image("位").rotate(180)
    images = [kanji_image("位"), kanji_image("利"), upside_down]
    assert score(images, ["⿰ person 人, stand 立", "⿰ rice 禾, water 水", "moon"], judge) == {
        "score/well_formed": pytest.approx(2 / 3), "score/components": 3 / 4}
    assert score([upside_down], ["moon"], judge) == {"score/well_formed": 0.0}


@pytest.mark.skipif(not (JUDGE / WEIGHTS).is_file(), reason="the weights are not in this checkout")
def test_a_run_reports_the_score_of_its_grids(tmp_path: Path) -> None:
    config = small_config(save_base(tmp_path / "base"), save_dataset(tmp_path / "data"), tmp_path / "run",
                          max_train_steps=4, validation_steps=2, score_samples=True,
                          validation_prompts=("moon", "boat 舟, water 水"))
    assert run_main(config, tmp_path / "log").status == 0, (tmp_path / "log").read_text()
    scored = [line for line in metrics(tmp_path / "run") if "score/well_formed" in line]
    assert [line["step"] for line in scored] == [2, 4]
    assert all(line.keys() == {"step", "score/well_formed", "score/components"} for line in scored)
