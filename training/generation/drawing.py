"""From the settings of generate.py to a folder of images, each with a JSON that says how it was made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from common.characters import shortened
from common.device import choose_device
from common.files import save_image
from common.image_grid import GRID, captioned_grid
from common.quiet import known_noise_off
from generation.best_of import Candidate, choose, draw_candidates
from generation.check import explain, reason
from generation.output import image_provenance, model_provenance, save_sample
from generation.planning import find_planner, plan_requests
from generation.request import ImageRequest, read_requests
from generation.settings import GenerateConfig
from generation.vectors import installed_finder, save_vectors
from models.pipelines import load_model
from recogniser.judge import Judge

with known_noise_off():
    from diffusers import StableDiffusionPipeline


def draw_to_folder(config: GenerateConfig) -> Path:
    """Draw all that is asked for into the output folder; returns the grid's path.

    Says of each image what was planned and, where a judge reads it, what was found. Raises UserError for an empty
    prompt, an unreadable prompts file or a GPU that is not there, ModelError for a model and PlannerError for a planner
    or a component that cannot be had, NoStrokesError for a KanjiVG that is not there; nothing is written then.
    """
    requests = read_requests(config)
    device = choose_device(config.device)
    judge = Judge.load() if config.best_of > 1 or config.explain else None
    pipeline = load_model(config.model, config.revision).to(device)
    requests = plan_requests(requests, find_planner(config, pipeline), config)
    say_unknown_words(requests, pipeline)
    model = model_provenance(config.model, pipeline)
    finder = installed_finder() if config.svg else None
    config.output.mkdir(parents=True, exist_ok=True)
    images = []
    for request, candidates in zip(requests, draw_candidates(pipeline, requests, config, config.best_of), strict=True):
        chosen = choose(candidates, judge)
        strokes, lack = save_vectors(chosen.image, chosen.request, config.output, finder) if finder else ({}, None)
        save_sample(chosen.image, config.output, request.stem,
                    image_provenance(chosen, config, config.best_of, model) | strokes)
        for said in filter(None, (_in_words(chosen), lack)):
            tqdm.write(said)
        images.append(chosen.image)
    grid = config.output / GRID
    save_image(captioned_grid(images, [request.title for request in requests], config.columns), grid)
    return grid


def say_unknown_words(requests: Sequence[ImageRequest], pipeline: StableDiffusionPipeline,
                      say: Callable[[str], object] = print) -> None:
    """Say of which words the model's text encoder knows none, as it may be of emoji: to it they are all the same."""
    for words in dict.fromkeys(request.drawn_words for request in requests):
        if set(pipeline.tokenizer.tokenize(words)) <= {pipeline.tokenizer.unk_token}:
            say(f"{shortened(words)}: the model's text encoder knows nothing of this; what is drawn has nothing to "
                "do with it. Use English words")


def _in_words(chosen: Candidate) -> str | None:
    """What is said of an image: its plan, and what was read where it was."""
    if chosen.reading:
        return explain(chosen.request, chosen.reading)
    return None if chosen.request.plan is None else reason(chosen.request.plan)
