"""What the page shows of a drawn character, as HTML: the picture, its reason, its strokes, and files to keep.

The files are data URLs of the page itself: nothing is written on this machine, and nothing of it can be read.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from generation.best_of import Candidate
from generation.check import found_fraction, found_in_words
from generation.output import image_provenance, redraw_command, sample_json
from generation.svg import to_svg
from generation.vectors import StrokesFile, strokes_name
from page.plan_row import PlanRow
from page.studio import Drawn
from scoring.pages import environment

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Card:
    """A character with its reason. found: in words, "" without a plan; read: what is found instead where all is not.

    shown, png, svg, json: data URLs; command: what draws it again in a shell; stroke_svg: a data URL, "" where there
    are no strokes, which lacks_strokes says where they were looked for.
    """

    title: str
    stem: str
    parts: tuple[str, ...]
    found: str
    all_found: bool
    read: str
    strokes: int
    is_well_formed: bool
    nearest: str | None
    is_copy: bool
    is_best: bool
    shown: str
    png: str
    svg: str
    json: str
    command: str
    stroke_svg: str = ""
    lacks_strokes: bool = False

    @property
    def strokes_name(self) -> str:
        """The name of the file of its strokes."""
        return strokes_name(self.stem)

    @classmethod
    def of(cls, candidate: Candidate, drawn: Drawn, strokes: StrokesFile | None = None) -> Card:
        """One of the candidates that were drawn, with its strokes where they were looked for.

        Its files are what generate.py writes for it: with strokes what --svg writes, else what it writes without.
        """
        request, reading, plan = candidate.request, candidate.reading, candidate.request.plan
        is_best = candidate is drawn.best
        has_plan, fraction = plan is not None and bool(plan.components), found_fraction(plan, reading)
        svg = _data_url("image/svg+xml", to_svg(candidate.image, request.title).encode())
        png = _data_url("image/png", _png(candidate.image))
        provenance = image_provenance(candidate, drawn.config, drawn.config.best_of, drawn.provenance)
        document, said = (strokes.document, strokes.said) if strokes else (None, {})
        return cls(
            title=request.title, stem=request.stem if is_best else f"{request.stem}-candidate-{candidate.number + 1}",
            parts=tuple(map(str, plan.components)) if has_plan else (),
            found=found_in_words(plan, reading) if has_plan else "", all_found=fraction == 1.0,
            read=" + ".join(map(str, reading.components)) or "no component that is known",
            strokes=max(1, round(reading.strokes)), is_well_formed=reading.is_well_formed, nearest=reading.nearest,
            is_copy=reading.is_copy, is_best=is_best, shown=svg if drawn.is_line_art else png, png=png, svg=svg,
            json=_data_url("application/json", sample_json(provenance | said).encode()),
            command=redraw_command(request, drawn.config), lacks_strokes=strokes is not None and document is None,
            stroke_svg=_data_url("image/svg+xml", document.encode()) if document else "")


def cards_of(drawn: Drawn) -> list[Card]:
    """The best first, then the others in the order in which they were drawn."""
    return sorted((Card.of(candidate, drawn) for candidate in drawn.candidates), key=lambda card: not card.is_best)


def gallery(groups: Sequence[Sequence[Card]], is_looking: bool = False) -> str:
    """The cards of what was just drawn, a group for each of the words; an invitation where there is none.

    is_looking: the strokes of the best are being looked for.
    """
    return _render("gallery.html", groups=groups, is_looking=is_looking)


def history(cards: Sequence[Card]) -> str:
    """What was drawn in this visit, the latest first; nothing where nothing was."""
    return _render("history.html", cards=cards)


def notes(lines: Sequence[str], is_problem: bool = False) -> str:
    """What is to be said, a line each, for eyes and screen readers."""
    return _render("notes.html", lines=lines, is_problem=is_problem)


def plan_head(row: PlanRow) -> str:
    """What stands over the boxes of a plan: the words, and what the plan is."""
    return _render("plan_head.html", row=row)


def header() -> str:
    """What stands at the head of the page."""
    return _render("header.html")


def footer(has_references: bool) -> str:
    """Licences, acknowledgements, and how the nearest kanji can be had where there are none to compare with."""
    return _render("footer.html", has_references=has_references)


def _render(name: str, **values: object) -> str:
    return environment(TEMPLATES).get_template(name).render(values)


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, format="PNG")
    return data.getvalue()
