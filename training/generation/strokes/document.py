"""Strokes as an SVG document that looks as KanjiVG's do: numbered paths in groups that name the components.

Format: https://kanjivg.tagaini.net/svg-format.html. In a browser the strokes are drawn one after another, once; every
other program shows them all.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import cairosvg
import numpy as np
from PIL import Image

from generation.strokes.kanjivg import STROKE_WIDTH, UNITS, Group
from generation.svg import as_xml_text

SPEED = 150.0  # units a second that the pen draws
LIFTED = 0.15  # seconds between two strokes
# Dashes as long as a stroke that move into sight; the gap is longer, or the round end of the one before would be seen
_STYLE = """@media (prefers-reduced-motion: no-preference) {
path { animation: draw 1s linear backwards }
}
@keyframes draw {
from { stroke-dasharray: 1 1.2; stroke-dashoffset: 1.1 }
to { stroke-dasharray: 1 1.2; stroke-dashoffset: 0 }
}"""


@dataclass(frozen=True)
class StrokeTree:
    """A character's strokes in drawing order, control points (3n + 1, 2) in units, and the groups that hold them."""

    strokes: tuple[np.ndarray, ...]
    groups: tuple[Group, ...]

    def document(self, name: str, words: str, side: int) -> str:
        """The SVG of them, `side` px square; name: of its ids, as KanjiVG has a code point there; words: its title."""
        body = _Body(self.strokes, f"kvg:{name}")
        body.write(Group({}, self.groups))
        return (f'<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" '
                f'xmlns:kvg="http://kanjivg.tagaini.net" width="{side}" height="{side}" '
                f'viewBox="0 0 {UNITS} {UNITS}">\n<title>{as_xml_text(words)}</title>\n<style>{_STYLE}</style>\n'
                f'<g id={quoteattr(f"kvg:StrokePaths_{name}")} fill="none" stroke="#000000" '
                f'stroke-width="{STROKE_WIDTH:g}" stroke-linecap="round" stroke-linejoin="round">\n'
                + "\n".join(body.lines) + "\n</g>\n</svg>\n")

    def drawn(self, side: int) -> np.ndarray:
        """Them drawn with KanjiVG's pen: (side, side), 0 to 255, black on white."""
        png = cairosvg.svg2png(self.document("drawn", "", side).encode(), background_color="white")
        return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


class _Body:
    """The lines of the groups and paths; strokes are numbered as they are drawn, groups as they are met."""

    def __init__(self, strokes: Sequence[np.ndarray], name: str) -> None:
        self.lines: list[str] = []
        self._strokes, self._name, self._groups = strokes, name, 0
        self._begins = np.cumsum([0.0, *[length(stroke) / SPEED + LIFTED for stroke in strokes]])

    def write(self, group: Group, depth: int = 0) -> None:
        """A group, what is in it, and its end."""
        indent, suffix = "\t" * depth, f"-g{self._groups}" if self._groups else ""
        said = "".join(f" kvg:{name}={quoteattr(value)}" for name, value in group.said.items())
        self.lines.append(f"{indent}<g id={quoteattr(self._name + suffix)}{said}>")
        self._groups += 1
        for child in group.children:
            if isinstance(child, Group):
                self.write(child, depth + 1)
            else:
                self._stroke(child, f"{indent}\t")
        self.lines.append(f"{indent}</g>")

    def _stroke(self, index: int, indent: str) -> None:
        seconds = length(self._strokes[index]) / SPEED
        self.lines.append(f'{indent}<path id={quoteattr(f"{self._name}-s{index + 1}")} '
                          f'd="{path_data(self._strokes[index])}" pathLength="1" '
                          f'style="animation-duration:{seconds:.2f}s;animation-delay:{self._begins[index]:.2f}s"/>')


def length(stroke: np.ndarray) -> float:
    """About how long a stroke is, in units: a little more than it is."""
    return float(np.linalg.norm(np.diff(stroke, axis=0), axis=1).sum())


def path_data(stroke: np.ndarray) -> str:
    """A stroke as the `d` attribute of a path, in absolute commands."""
    points = [f"{x:.2f},{y:.2f}" for x, y in stroke]
    return f"M{points[0]}C{' '.join(points[1:])}"
