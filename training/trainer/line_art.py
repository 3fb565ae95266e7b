"""Line art drawn by us, beside glyphs: pens from 1 to 8 px, filled shapes, dots and curves, in black on white.

Glyphs are drawn with one pen, and an autoencoder that saw nothing else draws other pens hollow. A picture is a function
of a seed and an index, so nothing is kept on disk and no two need be the same. Some widths and some shapes are never
trained on: what an autoencoder makes of those is measured.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageDraw

from common.seeds import Purpose, generator
from models.tiny import RESOLUTION

SCALE = 4  # how much larger pictures are drawn than they are: edges are as soft as a glyph's, widths go by quarters
_SIDE = RESOLUTION * SCALE
_BLACK, _WHITE = 0, 255
_MAX_MARKS = 8
_MIXED_PENS_FRACTION = 0.25  # of the pictures have a pen of its own for each mark
_WHITE_FRACTION = 0.15  # of the marks after the first are cut out of what is below
_CURVE_STEPS = 24

Point = tuple[float, float]
# Draws one mark in a colour with a pen, px of the large picture, all else by chance.
Mark = Callable[[ImageDraw.ImageDraw, random.Random, int, int], None]


def _polyline(ink: ImageDraw.ImageDraw, rng: random.Random, colour: int, pen: int) -> None:
    _stroke(ink, [_anywhere(rng) for _ in range(rng.randint(2, 5))], colour, pen)


def _curve(ink: ImageDraw.ImageDraw, rng: random.Random, colour: int, pen: int) -> None:
    """A cubic Bézier curve."""
    a, b, c, d = (np.array(_anywhere(rng)) for _ in range(4))
    times = np.linspace(0.0, 1.0, _CURVE_STEPS)[:, None]
    rest = 1.0 - times
    points = rest**3 * a + 3.0 * rest**2 * times * b + 3.0 * rest * times**2 * c + times**3 * d
    _stroke(ink, [(float(x), float(y)) for x, y in points], colour, pen)


def _outline(ink: ImageDraw.ImageDraw, rng: random.Random, colour: int, pen: int) -> None:
    """The edge of a polygon."""
    corners = _polygon(rng)
    _stroke(ink, [*corners, *corners[:2]], colour, pen)


def _ring(ink: ImageDraw.ImageDraw, rng: random.Random, colour: int, pen: int) -> None:
    """The edge of an ellipse, or an arc of it."""
    begin, whole = rng.uniform(0.0, 360.0), rng.random() < 0.5
    ink.arc(_box(rng), begin, begin + (360.0 if whole else rng.uniform(60.0, 300.0)), fill=colour, width=pen)


def _filled_polygon(ink: ImageDraw.ImageDraw, rng: random.Random, colour: int, _pen: int) -> None:
    ink.polygon(_polygon(rng), fill=colour)


def _filled_ellipse(ink: ImageDraw.ImageDraw, rng: random.Random, colour: int, _pen: int) -> None:
    ink.ellipse(_box(rng), fill=colour)


def _dots(ink: ImageDraw.ImageDraw, rng: random.Random, colour: int, pen: int) -> None:
    for _ in range(rng.randint(1, 6)):
        _dot(ink, _anywhere(rng), colour, pen * rng.uniform(1.0, 3.0))


def _spiral(ink: ImageDraw.ImageDraw, rng: random.Random, colour: int, pen: int) -> None:
    """An Archimedean spiral of two or three turns, with paper between them."""
    (x, y), turns, phase = _anywhere(rng), rng.uniform(2.0, 3.0), rng.uniform(0.0, math.tau)
    growth = max(0.04 * _SIDE, 2.0 * pen) / math.tau
    angles = np.linspace(0.0, turns * math.tau, 4 * _CURVE_STEPS)
    points = [(x + growth * a * math.cos(a + phase), y + growth * a * math.sin(a + phase)) for a in angles.tolist()]
    _stroke(ink, points, colour, pen)


def _star(ink: ImageDraw.ImageDraw, rng: random.Random, colour: int, _pen: int) -> None:
    """A filled star of four to eight rays."""
    ink.polygon(_around(_anywhere(rng), 2 * rng.randint(4, 8), rng.uniform(0.0, math.tau),
                        [rng.uniform(0.12, 0.35) * _SIDE, rng.uniform(0.04, 0.1) * _SIDE]), fill=colour)


def _hatching(ink: ImageDraw.ImageDraw, rng: random.Random, colour: int, pen: int) -> None:
    """Three to six parallel lines, as far from each other as they are wide or twice that."""
    (x, y), angle, length = _anywhere(rng), rng.uniform(0.0, math.pi), rng.uniform(0.2, 0.5) * _SIDE
    across, along, pitch = -math.sin(angle), math.cos(angle), pen * rng.uniform(2.0, 3.0)
    for line in range(rng.randint(3, 6)):
        begin = (x + line * pitch * across, y + line * pitch * along)
        _stroke(ink, [begin, (begin[0] + length * along, begin[1] - length * across)], colour, pen)


LINES: tuple[Mark, ...] = (_polyline, _curve, _outline, _ring)
SOLIDS: tuple[Mark, ...] = (_filled_polygon, _filled_ellipse, _dots)
UNSEEN_MARKS: tuple[Mark, ...] = (_spiral, _star, _hatching)  # never trained on
UNSEEN_WIDTHS = (2.5, 6.0)  # px, never trained on, nor what is within a quarter of them
WIDTHS = tuple(width for width in (n / SCALE for n in range(SCALE, 8 * SCALE + 1))
               if all(abs(width - unseen) > 0.25 for unseen in UNSEEN_WIDTHS))  # px


def training_picture(seed: int, index: int) -> np.ndarray:
    """A picture to train on: uint8 (128, 128), 0 ink to 255 paper."""
    return _picture(generator(seed, index, Purpose.LINE_ART).initial_seed(), LINES * 2 + SOLIDS, WIDTHS)


def held_out_pictures(count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Groups of pictures that are never trained on, always the same, each by its name: uint8 (count, 128, 128).

    Lines of each width, solid shapes, and the widths and shapes that no picture to train on has.
    """
    groups = {f"lines of {width} px": (LINES, (float(width),)) for width in range(1, 9)}
    groups["solid shapes and dots"] = SOLIDS, WIDTHS
    groups["widths never seen"] = LINES, UNSEEN_WIDTHS
    groups["shapes never seen"] = UNSEEN_MARKS, WIDTHS
    for number, (name, (marks, widths)) in enumerate(groups.items()):
        seeds = (generator(number, index, Purpose.HELD_OUT_LINE_ART).initial_seed() for index in range(count))
        yield name, np.stack([_picture(seed, marks, widths) for seed in seeds])


def _picture(seed: int, marks: tuple[Mark, ...], widths: tuple[float, ...]) -> np.ndarray:
    """Some of the marks over one another, with some of the pens."""
    rng = random.Random(seed)
    image = Image.new("L", (_SIDE, _SIDE), _WHITE)
    ink = ImageDraw.Draw(image)
    one_pen = None if rng.random() < _MIXED_PENS_FRACTION else rng.choice(widths)
    for number in range(rng.randint(1, _MAX_MARKS)):
        colour = _WHITE if number and rng.random() < _WHITE_FRACTION else _BLACK
        pen = one_pen or rng.choice(widths)
        rng.choice(marks)(ink, rng, colour, round(pen * SCALE))
    return np.array(image.reduce(SCALE))  # a copy, which may be written to


def _stroke(ink: ImageDraw.ImageDraw, points: list[Point], colour: int, pen: int) -> None:
    """A line through points, round at its joints and ends."""
    ink.line(points, fill=colour, width=pen, joint="curve")
    for end in (points[0], points[-1]):
        _dot(ink, end, colour, pen)


def _dot(ink: ImageDraw.ImageDraw, middle: Point, colour: int, width: float) -> None:
    (x, y), radius = middle, width / 2.0
    ink.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _anywhere(rng: random.Random) -> Point:
    return rng.uniform(0.0, _SIDE), rng.uniform(0.0, _SIDE)


def _box(rng: random.Random) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a shape from an eighth to two thirds of the picture."""
    (x, y), width, height = _anywhere(rng), *(rng.uniform(0.06, 0.33) * _SIDE for _ in range(2))
    return x - width, y - height, x + width, y + height


def _polygon(rng: random.Random) -> list[Point]:
    """Three to six corners about a middle, at any distance from it."""
    corners = rng.randint(3, 6)
    return _around(_anywhere(rng), corners, rng.uniform(0.0, math.tau),
                   [rng.uniform(0.08, 0.4) * _SIDE for _ in range(corners)])


def _around(middle: Point, corners: int, phase: float, radii: list[float]) -> list[Point]:
    """Corners at even angles about a middle, their distances from it by turns."""
    angles = (phase + math.tau * corner / corners for corner in range(corners))
    return [(middle[0] + radii[corner % len(radii)] * math.cos(angle),
             middle[1] + radii[corner % len(radii)] * math.sin(angle)) for corner, angle in enumerate(angles)]
