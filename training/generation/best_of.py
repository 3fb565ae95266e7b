"""Several candidates of an image, of which a judge keeps the best; the first is the image that is drawn without it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image
from tqdm import tqdm

from common.quiet import known_noise_off
from generation.check import found_fraction
from generation.request import ImageRequest
from generation.sampling import draw
from generation.settings import SamplingSettings
from models.component_tokens import component_tokens
from recogniser.judge import Judge, Reading

with known_noise_off():
    from diffusers import StableDiffusionPipeline


@dataclass(frozen=True)
class Candidate:
    """One image drawn for a request: what draws it again, which candidate it is (0 is the first), and its reading."""

    request: ImageRequest
    number: int
    image: Image.Image
    reading: Reading | None = None


def draw_candidates(pipeline: StableDiffusionPipeline, requests: Sequence[ImageRequest], settings: SamplingSettings,
                    best_of: int = 1, on_step: Callable[[], None] = lambda: None) -> Iterator[list[Candidate]]:
    """For each request its `best_of` candidates, drawn in batches under a progress bar.

    `on_step` is called after each denoising step of a batch. Plans are handed over in components where the pipeline's
    tokenizer has tokens of them.
    """
    tokens = component_tokens(pipeline.tokenizer)
    requests = [replace(request, tokens=tokens) for request in requests]
    candidates = [request.candidate(number) for request in requests for number in range(best_of)]
    batches = draw(pipeline, settings, [candidate.prompt for candidate in candidates],
                   [candidate.noise_seed for candidate in candidates], on_step=on_step)
    with tqdm(total=len(candidates), desc="drawing", unit="image") as bar:
        images = _counted(batches, bar)
        for request in requests:
            yield [Candidate(request.candidate(number), number, image)
                   for number, image in enumerate(itertools.islice(images, best_of))]


def read_candidates(candidates: Sequence[Candidate], judge: Judge) -> list[Candidate]:
    """The candidates of one request with what the judge reads in them."""
    readings = judge.read([candidate.image for candidate in candidates],
                          [candidate.request.drawn_words for candidate in candidates])
    return [replace(candidate, reading=reading)
            for candidate, reading in zip(candidates, readings, strict=True)]


def choose(candidates: Sequence[Candidate], judge: Judge | None) -> Candidate:
    """The best of the candidates of one request, with its reading; without a judge the first, unread."""
    return candidates[0] if judge is None else best_candidate(read_candidates(candidates, judge), judge)


def best_candidate(read: Sequence[Candidate], judge: Judge) -> Candidate:
    """Of one request's candidates that were read, those in which most of what was planned is found; of these the best.

    Of the well-formed ones a near copy of an existing kanji is kept only where no other is as good, or where such a
    kanji is planned. Where no number of strokes is asked for, those of the best plan come before those of other plans:
    what fits the words best is worth more than a little more form. The rest is the judge's choice.
    """
    request = read[0].request
    kept = _most(read, lambda candidate: found_fraction(candidate.request.plan, candidate.reading))
    kept = _most(kept, lambda candidate: candidate.reading.is_well_formed)
    if request.plan is None or request.plan.source != "kanji":
        kept = _novel(kept, request.strokes)
    if request.strokes is None:
        plans = [request.plan, *request.other_plans]
        kept = _most(kept, lambda candidate: -plans.index(candidate.request.plan))
    return kept[judge.best([candidate.reading for candidate in kept], request.strokes)]


def _novel(candidates: Sequence[Candidate], strokes: int | None) -> Sequence[Candidate]:
    """Those that are no near copy of an existing kanji; all where none of these is as near to the number of strokes."""
    novel = [candidate for candidate in candidates if not candidate.reading.is_copy]
    if not novel or (strokes is not None and _stroke_error(novel, strokes) > _stroke_error(candidates, strokes)):
        return candidates
    return novel


def _stroke_error(candidates: Sequence[Candidate], strokes: int) -> float:
    """By how many strokes the nearest of the candidates misses a number."""
    return min(abs(candidate.reading.strokes - strokes) for candidate in candidates)


def _most(candidates: Sequence[Candidate], worth: Callable[[Candidate], float]) -> list[Candidate]:
    values = list(map(worth, candidates))
    return [candidate for candidate, value in zip(candidates, values, strict=True) if value == max(values)]


def _counted(batches: Iterator[list[Image.Image]], bar: tqdm) -> Iterator[Image.Image]:
    for images in batches:
        bar.update(len(images))
        yield from images
