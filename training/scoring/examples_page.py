"""The page of examples: every prompt with what was drawn for it and what the recogniser reads in that.

It opens offline from its folder, needs no scripts, and shows the images that lie beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import write_text
from generation.best_of import Candidate
from generation.output import redraw_command
from generation.settings import SamplingSettings
from scoring import pages

TEMPLATE = "examples.html"


@dataclass(frozen=True)
class Shown:
    """An image on the page: the candidate that it is, the stem of its file.

    confirmed: whether the control judge, which chooses nothing, calls it well-formed.
    """

    candidate: Candidate
    stem: str
    confirmed: bool


@dataclass(frozen=True)
class Example:
    """A prompt with the one image drawn for it, and the recogniser's choice among several."""

    words: str
    first: Shown
    best: Shown


def write_page(path: Path, sections: Sequence[tuple[str, Sequence[Example]]], settings: SamplingSettings, best_of: int,
               model: dict[str, str]) -> None:
    """Write the page; it is whole or as it was before.

    sections: a heading, "" for none, and its examples; model: as in the images' JSONs.
    """
    examples = [example for _, of_section in sections for example in of_section]
    headed = [{"name": f"section-{number}", "heading": heading,
               "examples": [_card(example, settings, best_of) for example in of_section]}
              for number, (heading, of_section) in enumerate(sections, 1)]
    counts = [_well_formed("large images, none chosen", [example.first for example in examples]),
              _well_formed(f"small images, best of {best_of}", [example.best for example in examples])]
    write_text(path, pages.render(
        TEMPLATE, sections=headed, well_formed=counts, model=model, best_of=best_of, seed=settings.seed,
        steps=settings.steps, guidance_scale=settings.guidance_scale))


def _card(example: Example, settings: SamplingSettings, best_of: int) -> dict[str, Any]:
    number = example.best.candidate.number
    same = ", the large one again" if number == 0 else ""
    commands = [redraw_command(shown.candidate.request, settings) for shown in (example.first, example.best)]
    return {"words": example.words, "first": _figure(example.first, f"seed {settings.seed}"),
            "best": _figure(example.best, f"seed {settings.seed}, number {number + 1} of {best_of}{same}"),
            "commands": list(dict.fromkeys(commands))}


def _figure(shown: Shown, origin: str) -> dict[str, Any]:
    """What the page says of an image; `origin`: where in the run it comes from, in words."""
    candidate, reading = shown.candidate, shown.candidate.reading
    width, height = candidate.image.size
    return {"stem": shown.stem, "width": width, "height": height, "origin": origin,
            "components": [str(component) for component in reading.components],
            "strokes": max(1, round(reading.strokes)), "nearest": reading.nearest, "is_copy": reading.is_copy,
            "is_well_formed": reading.is_well_formed}


def _well_formed(name: str, shown: Sequence[Shown]) -> dict[str, Any]:
    """How many of some images each judge calls well-formed."""
    return {"name": name, "of": len(shown), "judge": sum(one.candidate.reading.is_well_formed for one in shown),
            "control": sum(one.confirmed for one in shown)}
