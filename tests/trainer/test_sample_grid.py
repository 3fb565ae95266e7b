"""A seed means the same everywhere: what the sample grid shows is what generate.py draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accelerate import Accelerator

from generation.request import noise_seed
from generation.sampling import draw
from generation.settings import SamplingSettings
from models.pipelines import load_pipeline
from trainer.sample_grid import SampleGrid
from training_fixtures import save_base, small_config

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
