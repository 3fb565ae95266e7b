"""The two rounds of a blind test and its page: real or invented, and what an invented character means."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from common.device import choose_device
from common.errors import UserError
from common.paths import shown_name
from common.quiet import known_noise_off
from common.settings import setting
from dataset.captioned_folder import DatasetError, read_dataset
from dataset.images import load_image
from dataset.rows import Row
from generation.best_of import Candidate, choose, draw_candidates
from generation.output import redraw_command
from generation.request import ImageRequest, read_requests
from generation.settings import GenerateConfig, SamplingSettings
from models.pipelines import load_model
from planner.exclusions import WILD
from recogniser.judge import JUDGE, Judge
from scoring import pages
from scoring.prompt_sets import pair_prompts, wild_prompts

with known_noise_off():
    from diffusers import StableDiffusionPipeline

TEMPLATE = "blind_test.html"
OPTIONS = 4  # words to choose from in the second round, so that guessing is right in one of four


@dataclass(frozen=True, kw_only=True)
class BlindTestConfig(SamplingSettings):
    """Settings of a blind test; the seed also decides which glyphs are shown, and in which order."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder of dataExtraction/main.py, with its held-out kanji in test/."""
    output: Path = Path("blind_test.html")
    """The page to write."""
    count: int = setting(40, at_least=2, multiple_of=2)
    """Glyphs of the first round, an even number; half of them are real."""
    meanings: int = setting(20, at_least=0)
    """Invented characters whose meaning the second round asks for, up to a quarter of wild.txt; 0 leaves it out."""
    best_of: int = setting(1, at_least=1)
    """Draw so many for each invented glyph and show the judge's choice; the page says so."""


@dataclass(frozen=True)
class Glyph:
    """One glyph of the first round: its image, and which kanji it is or which request it was drawn for."""

    image: Image.Image
    literal: str | None = None
    request: ImageRequest | None = None

    def truth(self, config: BlindTestConfig) -> dict[str, Any]:
        """What the page and the saved answers say of it in the end."""
        if self.request is None:
            return {"real": True, "literal": self.literal}
        return {"real": False, **_origin(self.request, config)}


@dataclass(frozen=True)
class Question:
    """One character of the second round: its image, the request it was drawn for, and the words to choose from."""

    image: Image.Image
    request: ImageRequest
    options: tuple[str, ...]

    def truth(self, config: BlindTestConfig) -> dict[str, Any]:
        """What is asked, and what the page and the saved answers say of it in the end."""
        return {**_origin(self.request, config), "options": self.options}


@dataclass(frozen=True)
class BlindTest:
    """Both rounds, each in the order in which it is shown."""

    glyphs: list[Glyph]
    questions: list[Question]


def collect(config: BlindTestConfig) -> BlindTest:
    """Both rounds, a function of the seed; the number of questions changes nothing of the first."""
    rows = rare_rows(read_dataset(config.train_data_dir, "test"), config.count // 2, config.seed)
    prompts = choose_prompts(config)
    meant = choose_meanings(config, shown=prompts)
    device = choose_device(config.device)
    pipeline = load_model(config.model, config.revision).to(device)
    judge = Judge.load(JUDGE, None) if config.best_of > 1 else None
    glyphs = [*_real(pipeline, rows, device),
              *(Glyph(one.image, request=one.request) for one in _invented(pipeline, prompts, config, judge))]
    random.Random(config.seed).shuffle(glyphs)
    drawn = _invented(pipeline, list(meant), config, judge)
    return BlindTest(glyphs, [Question(one.image, one.request, options)
                              for one, options in zip(drawn, meant.values(), strict=True)])


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


def choose_meanings(config: BlindTestConfig, shown: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The words that the second round asks for, none of them `shown` in the first, each with its options in order.

    No word is an option twice, so that no answer tells anything of another. Raises UserError where there are too few.
    """
    words = [prompt.text for prompt in wild_prompts(None)]
    fresh = [word for word in words if word not in shown]
    most = min(len(fresh), len(words) // OPTIONS)
    if config.meanings > most:
        raise UserError(f"--meanings {config.meanings}: at most {most} beside a first round of {config.count}, with "
                        f"{OPTIONS} words each of the {len(words)} in {WILD.name}")
    rng = random.Random(config.seed)
    right = rng.sample(fresh, config.meanings)
    others = rng.sample([word for word in words if word not in right], (OPTIONS - 1) * config.meanings)
    options = [[word, *others[index::config.meanings]] for index, word in enumerate(right)]
    return {word: tuple(rng.sample(four, len(four))) for word, four in zip(right, options, strict=True)}


def page(test: BlindTest, config: BlindTestConfig) -> str:
    """The page's HTML. The truth lies in it in base64, so that a glance at its source tells nothing."""
    truth = json.dumps({"glyphs": [glyph.truth(config) for glyph in test.glyphs],
                        "meanings": [question.truth(config) for question in test.questions]})
    settings = {"model": shown_name(config.model), "seed": config.seed, "best_of": config.best_of,
                "steps": config.steps, "guidance_scale": config.guidance_scale,
                "guided_fraction": config.guided_fraction}
    return pages.render(TEMPLATE, glyphs=[pages.data_url(glyph.image) for glyph in test.glyphs],
                        questions=[pages.data_url(question.image) for question in test.questions],
                        data={"truth": base64.b64encode(truth.encode()).decode(), "options": OPTIONS,
                              "settings": settings})


def _origin(request: ImageRequest, config: BlindTestConfig) -> dict[str, Any]:
    """What an invented character was drawn for, and the command that draws it again."""
    return {"words": request.words, "seed": request.seed, "command": redraw_command(request, config)}


@torch.no_grad()
def _real(pipeline: StableDiffusionPipeline, rows: Sequence[Row], device: torch.device) -> list[Glyph]:
    """The rows' images after one round trip through the autoencoder, as the invented ones come out of it."""
    vae, side = pipeline.vae, pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    glyphs = []
    for row in rows:
        pixels = torch.from_numpy(load_image(row, side, vae.config.in_channels))[None].to(device, vae.dtype)
        decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample
        image = pipeline.image_processor.postprocess(decoded, output_type="pil")[0]
        glyphs.append(Glyph(image, literal=row.metadata.get("literal") or row.path.name))
    return glyphs


def _invented(pipeline: StableDiffusionPipeline, prompts: Sequence[str], config: BlindTestConfig,
              judge: Judge | None) -> list[Candidate]:
    """An image for each prompt, the judge's choice where there are several."""
    if not prompts:
        return []
    requests = read_requests(GenerateConfig.like(config, prompts))
    return [choose(candidates, judge)
            for candidates in draw_candidates(pipeline, requests, config, config.best_of)]
