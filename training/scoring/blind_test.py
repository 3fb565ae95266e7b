"""The glyphs of a blind test and its page."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from common.device import choose_device
from common.paths import shown_name
from common.quiet import known_noise_off
from common.settings import setting
from dataset.captioned_folder import DatasetError, read_dataset
from dataset.images import load_image
from dataset.rows import Row
from generation.best_of import choose, draw_candidates
from generation.output import redraw_command
from generation.request import ImageRequest, read_requests
from generation.settings import GenerateConfig, SamplingSettings
from models.pipelines import load_model
from recogniser.judge import JUDGE, Judge
from scoring import pages
from scoring.prompt_sets import pair_prompts, wild_prompts

with known_noise_off():
    from diffusers import StableDiffusionPipeline

TEMPLATE = "blind_test.html"


@dataclass(frozen=True, kw_only=True)
class BlindTestConfig(SamplingSettings):
    """Settings of a blind test; the seed also decides which glyphs are shown, and in which order."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder of dataExtraction/main.py, with its held-out kanji in test/."""
    output: Path = Path("blind_test.html")
    """The page to write."""
    count: int = setting(40, at_least=2, multiple_of=2)
    """Glyphs on the page, an even number; half of them are real."""
    best_of: int = setting(1, at_least=1)
    """Draw so many for each invented glyph and show the judge's choice; the page says so."""


@dataclass(frozen=True)
class Glyph:
    """One glyph of the test: its image, and which kanji it is or which request it was drawn for."""

    image: Image.Image
    literal: str | None = None
    request: ImageRequest | None = None

    def truth(self, config: BlindTestConfig) -> dict[str, Any]:
        """What the page and the saved answers say of it in the end."""
        if self.request is None:
            return {"real": True, "literal": self.literal}
        return {"real": False, "words": self.request.words, "seed": self.request.seed,
                "command": redraw_command(self.request, config)}


def collect(config: BlindTestConfig) -> list[Glyph]:
    """The glyphs in the order in which they are shown, a function of the seed."""
    rows = rare_rows(read_dataset(config.train_data_dir, "test"), config.count // 2, config.seed)
    requests = read_requests(GenerateConfig.like(config, choose_prompts(config)))
    device = choose_device(config.device)
    pipeline = load_model(config.model, config.revision).to(device)
    glyphs = [*_real(pipeline, rows, device), *_invented(pipeline, requests, config)]
    random.Random(config.seed).shuffle(glyphs)
    return glyphs


def rare_rows(held_out: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Held-out kanji that few readers know. Raises DatasetError where there are not enough."""
    rare = [row for row in held_out if not row.is_composed and not row.is_frequent]
    if len(rare) < count:
        raise DatasetError(f"{len(rare)} rare held-out kanji, where {count} are needed: lower --count, or make the "
                           "whole set with: python dataExtraction/main.py")
    return random.Random(seed).sample(rare, count)


def choose_prompts(config: BlindTestConfig) -> list[str]:
    """What is invented: half from the modern world, half two-concept prompts that were never composed."""
    count = config.count // 2
    wild = random.Random(config.seed).sample(wild_prompts(None), k=count - count // 2)
    prompts = wild + pair_prompts(config.train_data_dir, count // 2, config.seed)
    if len(prompts) < count:
        raise DatasetError(f"{config.train_data_dir}: {len(prompts)} prompts, where {count} are needed: lower --count")
    return [prompt.text for prompt in prompts]


def page(glyphs: Sequence[Glyph], config: BlindTestConfig) -> str:
    """The page's HTML. The truth lies in it in base64, so that a glance at its source tells nothing."""
    truth = json.dumps([glyph.truth(config) for glyph in glyphs])
    settings = {"model": shown_name(config.model), "seed": config.seed, "best_of": config.best_of,
                "steps": config.steps, "guidance_scale": config.guidance_scale,
                "guided_fraction": config.guided_fraction}
    return pages.render(TEMPLATE, images=[pages.data_url(glyph.image) for glyph in glyphs],
                        data={"truth": base64.b64encode(truth.encode()).decode(), "settings": settings})


@torch.no_grad()
def _real(pipeline: StableDiffusionPipeline, rows: Sequence[Row], device: torch.device) -> list[Glyph]:
    """The rows' images after one round trip through the autoencoder, as the invented ones come out of it."""
    vae, side = pipeline.vae, pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    glyphs = []
    for row in rows:
        pixels = torch.from_numpy(load_image(row.path, side, vae.config.in_channels))[None].to(device, vae.dtype)
        decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample
        image = pipeline.image_processor.postprocess(decoded, output_type="pil")[0]
        glyphs.append(Glyph(image, literal=row.metadata.get("literal") or row.path.name))
    return glyphs


def _invented(pipeline: StableDiffusionPipeline, requests: Sequence[ImageRequest],
              config: BlindTestConfig) -> list[Glyph]:
    """An image for each request, the judge's choice where there are several."""
    judge = Judge.load(JUDGE, None) if config.best_of > 1 else None
    chosen = [choose(candidates, judge)
              for candidates in draw_candidates(pipeline, requests, config, config.best_of)]
    return [Glyph(one.image, request=one.request) for one in chosen]
