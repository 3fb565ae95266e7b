"""The glyphs of a blind test and its page."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from common.device import choose_device
from dataset.captioned_folder import DatasetError, read_dataset
from dataset.images import load_image
from dataset.rows import Row
from generation.settings import SamplingSettings
from models.pipelines import load_model
from recogniser.judge import JUDGE, Judge
from scoring.prompt_sets import Prompt, pair_prompts, wild_prompts

PAGE = Path(__file__).with_name("blind_test_page.html")


@dataclass(frozen=True, kw_only=True)
class BlindTestConfig(SamplingSettings):
    """Settings of a blind test; the seed also decides which glyphs are shown, and in which order."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder of dataExtraction/main.py, with its held-out kanji in test/."""
    output: Path = Path("blind_test.html")
    """The page to write."""
    count: int = 40
    """Glyphs on the page, an even number; half of them are real."""
    best_of: int = 1
    """Draw so many for each invented glyph and show the judge's choice; the page says so."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        super().__post_init__()
        if self.count < 2 or self.count % 2:
            raise ValueError(f"--count {self.count}: must be an even number, at least 2")
        self.require_at_least({"best_of": 1})


@dataclass(frozen=True)
class Glyph:
    """One glyph of the test: its picture, whether it is real, and what it is (a kanji, or the prompt)."""

    picture: Image.Image
    real: bool
    name: str
    seed: int | None = None


def collect(config: BlindTestConfig) -> list[Glyph]:
    """The glyphs in the order in which they are shown, a function of the seed."""
    rows = rare_rows(read_dataset(config.train_data_dir, "test"), config.count // 2, config.seed)
    prompts = choose_prompts(config)
    device = choose_device(config.device)
    pipeline = load_model(config.model, config.revision).to(device)
    glyphs = [*_real(pipeline, rows, device), *_invented(pipeline, prompts, config)]
    random.Random(config.seed).shuffle(glyphs)
    return glyphs


def rare_rows(held_out: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Held-out kanji that few readers know. Raises DatasetError where there are not enough."""
    rare = [row for row in held_out if not row.is_composed and not row.is_frequent]
    if len(rare) < count:
        raise DatasetError(f"{len(rare)} rare held-out kanji, where {count} are needed: lower --count, or make the "
                           "whole set with: python dataExtraction/main.py")
    return random.Random(seed).sample(rare, count)


def choose_prompts(config: BlindTestConfig) -> list[Prompt]:
    """What is invented: half from the modern world, half two-concept prompts that were never composed."""
    count = config.count // 2
    wild = random.Random(config.seed).sample(wild_prompts(None), k=count - count // 2)
    prompts = wild + pair_prompts(config.train_data_dir, count // 2, config.seed)
    if len(prompts) < count:
        raise DatasetError(f"{config.train_data_dir}: {len(prompts)} prompts, where {count} are needed: lower --count")
    return prompts


def page(glyphs: Sequence[Glyph], config: BlindTestConfig) -> str:
    """The page's HTML. The truth lies in it in base64, so that a glance at its source tells nothing."""
    truth = [{"real": glyph.real, "name": glyph.name, "seed": glyph.seed} for glyph in glyphs]
    settings = {"model": config.model, "seed": config.seed, "best_of": config.best_of, "steps": config.steps,
                "guidance_scale": config.guidance_scale, "guided_fraction": config.guided_fraction}
    data = {
        "glyphs": [_inline(glyph.picture) for glyph in glyphs],
        "truth": base64.b64encode(json.dumps(truth).encode()).decode(),
        "settings": settings,
    }
    # "</" would end the script element that the data stands in
    return PAGE.read_text(encoding="utf8").replace("__DATA__", json.dumps(data).replace("</", "<\\/"))


@torch.no_grad()
def _real(pipeline: Any, rows: Sequence[Row], device: torch.device) -> list[Glyph]:
    """The rows' pictures after one round trip through the autoencoder, as the invented ones come out of it."""
    vae, side = pipeline.vae, pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    glyphs = []
    for row in rows:
        picture = torch.from_numpy(load_image(row.path, side, vae.config.in_channels))[None].to(device, vae.dtype)
        decoded = vae.decode(vae.encode(picture).latent_dist.mode()).sample
        image = pipeline.image_processor.postprocess(decoded, output_type="pil")[0]
        glyphs.append(Glyph(image, True, row.metadata.get("literal") or row.path.name))
    return glyphs


def _invented(pipeline: Any, prompts: Sequence[Prompt], config: BlindTestConfig) -> list[Glyph]:
    judge = Judge.load(JUDGE, None) if config.best_of > 1 else None
    count = len(prompts) * config.best_of  # each picture has noise of its own, so that no two glyphs share a layout
    texts, pictures = [prompts[number // config.best_of].text for number in range(count)], []
    with tqdm(total=count, desc="inventing", unit="picture") as bar:
        for batch in config.draw(pipeline, texts, range(config.seed, config.seed + count)):
            pictures += batch
            bar.update(len(batch))
    glyphs = []
    for place, prompt in enumerate(prompts):
        tries = pictures[place * config.best_of:(place + 1) * config.best_of]
        best = judge.best(judge.read(tries)) if judge else 0
        glyphs.append(Glyph(tries[best], False, prompt.text, config.seed + place * config.best_of + best))
    return glyphs


def _inline(picture: Image.Image) -> str:
    """A grey PNG as a data URL; real and invented ones are saved alike."""
    data = io.BytesIO()
    picture.convert("L").save(data, format="PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
