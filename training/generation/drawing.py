"""From requests to a folder of pictures, each with a JSON that says how it was made."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from common.device import choose_device
from common.files import save_image, write_text
from common.image_grid import captioned_grid
from common.quiet import known_noise_off
from generation.request import ImageRequest, read_requests
from generation.settings import GenerateConfig
from generation.svg import save_svg
from models.pipelines import load_model, module_hash
from recogniser.judge import Judge, Reading

with known_noise_off():
    from diffusers import StableDiffusionPipeline


GRID = "collated_examples.png"


def draw_to_folder(config: GenerateConfig) -> Path:
    """Draw all that is asked for into the output folder; returns the grid's path.

    Raises UserError for an empty prompt, an unreadable prompts file or a GPU that is not there, ModelError for a model
    that cannot be had; nothing is written then.
    """
    requests = read_requests(config)
    device = choose_device(config.device)
    judge = Judge.load() if config.best_of > 1 or config.explain else None
    pipeline = load_model(config.model, config.revision).to(device)
    model = model_facts(config.model, pipeline)
    config.output.mkdir(parents=True, exist_ok=True)
    candidates = [request.candidate(number) for request in requests for number in range(config.best_of)]
    drawn = draw(pipeline, candidates, config)
    pictures, captions = [], []
    for request in requests:
        picture, chosen, reading = choose(list(itertools.islice(drawn, config.best_of)), judge, request.words,
                                          config.strokes)
        save_drawing(picture, config.output, request.stem, facts_of(request.candidate(chosen), config, model, reading))
        if config.svg:
            save_svg(picture, request.prompt, config.output / f"{request.stem}.svg")
        pictures.append(picture)
        captions.append(request.prompt)
        if reading:
            tqdm.write(f"{request.prompt}: {reading['explanation']}")
    grid = config.output / GRID
    save_image(captioned_grid(pictures, captions, config.columns), grid)
    return grid


def choose(pictures: Sequence[Image.Image], judge: Judge | None, words: str,
           strokes: int | None) -> tuple[Image.Image, int, dict[str, object]]:
    """The best of some candidates, which one it is, and what the judge reads in it; without a judge, the first."""
    if judge is None:
        return pictures[0], 0, {}
    readings = judge.read(pictures, [words] * len(pictures))
    chosen = judge.best(readings, strokes)
    return pictures[chosen], chosen, reading_facts(readings[chosen])


def reading_facts(reading: Reading) -> dict[str, object]:
    """What a picture's JSON says of a reading."""
    return {"explanation": reading.explain(), "well_formed": round(reading.well_formed, 4),
            "is_well_formed": reading.is_well_formed, "strokes": reading.strokes,
            "components": [str(component) for component in reading.components]}


def model_facts(name: str, pipeline: StableDiffusionPipeline) -> dict[str, str]:
    """Which model it is: its name, and SHA-256 of its two networks."""
    return {"name": name, "unet_sha256": module_hash(pipeline.unet), "vae_sha256": module_hash(pipeline.vae)}


def facts_of(request: ImageRequest, config: GenerateConfig, model: dict[str, str],
             reading: dict[str, object]) -> dict[str, object]:
    """What a picture's JSON says of how it was made; the reading only where there is one."""
    return {"words": request.words, "prompt": request.prompt, "seed": request.seed, "noise_seed": request.noise_seed,
            "strokes": config.strokes, "steps": config.steps, "guidance_scale": config.guidance_scale,
            "guided_fraction": config.guided_fraction, "best_of": config.best_of, "model": model,
            **({"reading": reading} if reading else {})}


def draw(pipeline: StableDiffusionPipeline, requests: Sequence[ImageRequest],
         config: GenerateConfig) -> Iterator[Image.Image]:
    """The pictures of the requests, in their order, drawn in batches under a progress bar."""
    batches = config.draw(pipeline, [request.prompt for request in requests], [request.noise_seed for request in requests])
    with tqdm(total=len(requests), desc="drawing", unit="picture") as bar:
        for pictures in batches:
            bar.update(len(pictures))
            yield from pictures


def save_drawing(picture: Image.Image, folder: Path, stem: str, facts: dict[str, object]) -> None:
    """Save a drawing as STEM.png and what is to be said of it as STEM.json. Raises OSError."""
    save_image(picture, folder / f"{stem}.png")
    write_text(folder / f"{stem}.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
