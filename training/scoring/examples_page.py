"""The page of examples: every prompt with its plan, what was drawn for it, and what the recogniser finds in that.

It opens offline from its folder, needs no scripts, and shows the images that lie beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import write_text
from generation.best_of import Candidate
from generation.check import found_fraction, found_in_words
from generation.output import redraw_command
from generation.settings import SamplingSettings
from recogniser.judge import Reading
from scoring import pages

TEMPLATE = "examples.html"


@dataclass(frozen=True)
class Shown:
    """An image on the page: the candidate that it is, the stem of its file.

    control: what the control judge, which chooses nothing, reads in it.
    """

    candidate: Candidate
    stem: str
    control: Reading


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
    counts = [row for name, shown in (("large images, none chosen", [example.first for example in examples]),
                                      (f"small images, best of {best_of}", [example.best for example in examples]))
              for row in _counts(name, shown)]
    write_text(path, pages.render(
        TEMPLATE, sections=headed, counts=counts, model=model, best_of=best_of, seed=settings.seed,
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
    candidate, reading, plan = shown.candidate, shown.candidate.reading, shown.candidate.request.plan
    width, height = candidate.image.size
    return {"stem": shown.stem, "width": width, "height": height, "origin": origin,
            "plan": [] if plan is None else [str(component) for component in plan.components],
            "found": "" if plan is None else found_in_words(plan, reading),
            "all_found": plan is not None and found_fraction(plan, reading) == 1.0,
            "components": [str(component) for component in reading.components],
            "strokes": max(1, round(reading.strokes)), "nearest": reading.nearest, "is_copy": reading.is_copy,
            "is_well_formed": reading.is_well_formed}


def _counts(name: str, shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """In how many of some images each judge finds all that was planned, where anything was, and good form."""
    planned = [one for one in shown if one.candidate.request.plan is not None]
    rows = [{"name": f"{name}: well-formed", "of": len(shown),
             "judge": sum(one.candidate.reading.is_well_formed for one in shown),
             "control": sum(one.control.is_well_formed for one in shown)}]
    if planned:
        rows.insert(0, {"name": f"{name}: every planned component found", "of": len(planned),
                        "judge": sum(_is_found(one, one.candidate.reading) for one in planned),
                        "control": sum(_is_found(one, one.control) for one in planned)})
    return rows


def _is_found(shown: Shown, reading: Reading) -> bool:
    return found_fraction(shown.candidate.request.plan, reading) == 1.0
