"""Strokes -> an 8-bit grey PNG, black ink on white.

The fast way: the parsed curves, drawn with cairocffi (CairoSVG's own backend) on an 8-bit alpha surface. The slow
way, for comparison and for other programs: a clean SVG of the strokes alone, for CairoSVG.
"""

from __future__ import annotations

import io
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kanjivg_reader import UNITS
from svg_paths import Stroke, path_data

if TYPE_CHECKING:
    from PIL import Image

# The fraction of the picture that ink covers, for each KanjiVG unit of stroke width: real kanji have 0.003 to 0.075.
_MIN_INK, _MAX_INK = 0.001, 0.12
_MAX_FRACTION = 0.9  # whatever the stroke width
PNG_LEVEL = 4  # zlib's: half the time of 6 for 7 % more bytes; fixed, so that bytes depend on pixels alone


class InkError(ValueError):
    """A picture with too little or too much ink to be a character."""


@dataclass(frozen=True)
class Pen:
    """How strokes are drawn."""

    size: int = 128  # px, the side of the picture
    stroke_width: float = 3.0  # KanjiVG units, of 109 to the side


def clean_svg(strokes: Iterable[Stroke], pen: Pen) -> str:
    """An SVG document of the strokes alone, `pen.size` px wide and high."""
    paths = "".join(f'<path d="{path_data(stroke)}"/>' for stroke in strokes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{pen.size}" height="{pen.size}" viewBox="0 0 {UNITS} {UNITS}">'
        f'<g fill="none" stroke="#000" stroke-width="{pen.stroke_width:g}" stroke-linecap="round" '
        f'stroke-linejoin="round">{paths}</g></svg>'
    )


def draw(strokes: Iterable[Stroke], pen: Pen) -> Image.Image:
    """The picture of some strokes: a Pillow image of mode L, `pen.size` px square, 0 ink to 255 paper.

    Raises InkError where there is less ink than any character has, or more.
    """
    import cairocffi
    from PIL import Image, ImageChops

    surface = cairocffi.ImageSurface(cairocffi.FORMAT_A8, pen.size, pen.size)
    context = cairocffi.Context(surface)
    context.scale(pen.size / UNITS, pen.size / UNITS)
    context.set_line_width(pen.stroke_width)
    context.set_line_cap(cairocffi.LINE_CAP_ROUND)
    context.set_line_join(cairocffi.LINE_JOIN_ROUND)
    for start, *curves in strokes:
        context.move_to(*start)
        for curve in curves:
            context.curve_to(*curve)
        context.stroke()  # one by one, as CairoSVG does: where two cross, edges lie over one another
    surface.flush()
    ink = Image.frombuffer("L", (pen.size, pen.size), bytes(surface.get_data()), "raw", "L", surface.get_stride(), 1)
    covered = sum(map(operator.mul, range(256), ink.histogram())) / (255 * pen.size * pen.size)
    min_ink, max_ink = _MIN_INK * pen.stroke_width, min(_MAX_INK * pen.stroke_width, _MAX_FRACTION)
    if not min_ink <= covered <= max_ink:
        raise InkError(f"ink covers less than {min_ink:.1%} or more than {max_ink:.0%} of the picture")
    return ImageChops.invert(ink)


def png(strokes: Iterable[Stroke], pen: Pen) -> bytes:
    """The picture of some strokes as the bytes of a PNG file. Raises InkError as draw does."""
    data = io.BytesIO()
    draw(strokes, pen).save(data, "PNG", compress_level=PNG_LEVEL)
    return data.getvalue()
