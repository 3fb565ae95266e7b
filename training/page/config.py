"""The settings of demo.py, and what a visitor may ask for on its page."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from common.characters import shortened
from common.errors import UserError
from generation.settings import GenerateConfig, SamplingSettings
from planner.plan import Plan

MAX_PROMPTS = 4  # characters that are asked for at once
MAX_LETTERS = 100  # of the words of each; the text encoders cut what is much longer
MAX_TYPED = 10 * MAX_PROMPTS * MAX_LETTERS  # letters of a field that are looked at
MAX_STROKES, MAX_CANDIDATES, MAX_SEED = 40, 16, 10**9


@dataclass(frozen=True, kw_only=True)
class DemoConfig(SamplingSettings):
    """Settings of demo.py: the model that is chosen at first, how it draws, and which others there are."""

    models: tuple[Path, ...] = ()
    """Folders to choose from beside `tiny` and the finished runs in runs/: run folders or pipeline folders."""


@dataclass(frozen=True)
class Wish:
    """What a visitor asks for: words of one character or, with commas between them, of several.

    Components that are spelled out, "⿰ boat 舟, water 水", are one character's, commas and all. model: as the page
    calls it; strokes: None leaves the model free; candidates: of each character; novel: a new character also for words
    that have a kanji.
    """

    prompts: tuple[str, ...]
    model: str
    strokes: int | None
    candidates: int
    seed: int
    novel: bool

    @classmethod
    def of(cls, words: object, model: object, strokes: object = None, candidates: object = 1, seed: object = 0,
           novel: object = False) -> Wish:
        """From the fields of the page, which may hold anything. Raises UserError naming the one to mend."""
        return cls(_prompts(words), str(model), None if strokes in (None, "", 0) else _whole("Strokes", strokes, 1,
                   MAX_STROKES), _whole("Candidates", candidates, 1, MAX_CANDIDATES),
                   _whole("Seed", seed, 0, MAX_SEED), bool(novel))

    def config(self, settings: DemoConfig, model: str) -> GenerateConfig:
        """The settings under which generate.py draws the same. `model`: its folder, or what else loads it."""
        shared = {field.name: getattr(settings, field.name) for field in fields(SamplingSettings)}
        revision = settings.revision if model == settings.model else None
        asked = {"model": model, "revision": revision, "seed": self.seed, "strokes": self.strokes,
                 "best_of": self.candidates, "novel": self.novel}
        return GenerateConfig(prompts=self.prompts, **{**shared, **asked})


def clean(text: object) -> str:
    """A visitor's text on one line, without what is no text: control characters and halves of surrogate pairs."""
    line = " ".join(str(text or "")[:MAX_TYPED].split())
    return "".join(letter for letter in line if letter.isprintable() and not "\ud800" <= letter <= "\udfff").strip()


def _prompts(words: object) -> tuple[str, ...]:
    text = str(words or "")[:MAX_TYPED]
    parts = [text] if Plan.spelled(clean(text)) else text.split(",")
    prompts = tuple(dict.fromkeys(filter(None, map(clean, parts))))
    if not prompts:
        raise UserError("Type a word or two first, as in: wind turbine")
    if len(prompts) > MAX_PROMPTS:
        raise UserError(f"{len(prompts)} characters at once, where {MAX_PROMPTS} is the most: commas separate them")
    for prompt in prompts:
        if len(prompt) > MAX_LETTERS:
            raise UserError(f"“{shortened(prompt)}” is too long: {MAX_LETTERS} letters at most for a character")
    return prompts


def _whole(name: str, value: object, least: int, most: int) -> int:
    try:
        number = float(value)  # what a number field sends, or a string
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (number.is_integer() and least <= number <= most):
        raise UserError(f"{name}: a whole number from {least} to {most:,}")
    return int(number)
