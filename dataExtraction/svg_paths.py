"""SVG path data of strokes, read into absolute cubic Bézier curves.

Format: SVG 1.1, section 8.3 (https://www.w3.org/TR/SVG11/paths.html). KanjiVG uses M, m, C, c, S and s; lines are
taken too, as straight curves, because files of other drawers have them.
"""

from __future__ import annotations

import itertools
import math
import re

# A stroke: its start (x, y), then one (x1, y1, x2, y2, x, y) for each curve; KanjiVG units, y down.
Stroke = tuple[tuple[float, ...], ...]
# left, top, right, bottom
Box = tuple[float, float, float, float]

_TOKEN = re.compile(r"[MmCcSsLlHhVv]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_NUMBERS = {"M": 2, "C": 6, "S": 4, "L": 2, "H": 1, "V": 1}


class PathError(ValueError):
    """Path data that is no stroke; the message says why, in a few words."""


def _commands(data: str) -> list[tuple[str, list[float]]]:
    """Every command with its own numbers, repeated commands spelled out: "c" and twelve numbers are two of six."""
    rest = _TOKEN.sub("", data).replace(",", " ").split()
    if rest:
        raise PathError(f"unreadable path data: {rest[0][:12]!r}")
    tokens = _TOKEN.findall(data)
    commands = []
    letter, index = "", 0
    while index < len(tokens):
        if tokens[index].isalpha():
            letter, index = tokens[index], index + 1
        if not letter:
            raise PathError("path does not begin with a command")
        end = index + _NUMBERS[letter.upper()]
        try:
            commands.append((letter, [float(token) for token in tokens[index:end]]))
        except ValueError:
            raise PathError("path data is cut off") from None
        index, letter = end, {"M": "L", "m": "l"}.get(letter, letter)  # further pairs after a move are lines
    if index > len(tokens):
        raise PathError("path data is cut off")
    return commands


def parse_path(data: str) -> Stroke:
    """The stroke in a `d` attribute, in absolute cubic curves, rounded to 1/1000 unit.

    The data are a single move, then at least one curve or line. Raises PathError where nothing is drawn, a command is
    unknown, numbers are missing at the end (a truncated file) or one is not finite.
    """
    curves: list[tuple[float, ...]] = []
    x = y = 0.0
    reflected: tuple[float, float] | None = None  # the first control point of a smooth curve that may follow
    for letter, numbers in _commands(data):
        command = letter.upper()
        if (command == "M") != (not curves):
            raise PathError("path does not begin with its one move")
        if letter != command:
            numbers = _absolute(numbers, command, x, y)
        curve = tuple(numbers) if command in "MC" else _curve(command, numbers, x, y, reflected or (x, y))
        curves.append(curve)
        x, y = curve[-2:]
        reflected = (2 * x - curve[2], 2 * y - curve[3]) if command in "CS" else None
    if len(curves) < 2:
        raise PathError("path draws nothing")
    if not all(map(math.isfinite, itertools.chain.from_iterable(curves))):
        raise PathError("path has a number that is not finite")
    return tuple([tuple([round(number, 3) for number in curve]) for curve in curves])


def _absolute(numbers: list[float], command: str, x: float, y: float) -> list[float]:
    if command in "HV":
        return [numbers[0] + (x if command == "H" else y)]
    return [number + (y if index % 2 else x) for index, number in enumerate(numbers)]


def _curve(command: str, numbers: list[float], x: float, y: float, reflected: tuple[float, float]) -> tuple[float, ...]:
    """A smooth curve or a line from (x, y) as a cubic curve."""
    if command == "S":
        return (*reflected, *numbers)
    end_x = x if command == "V" else numbers[0]
    end_y = y if command == "H" else numbers[-1]
    return (x, y, end_x, end_y, end_x, end_y)


def sample(stroke: Stroke, steps: int = 8) -> list[tuple[float, float]]:
    """Points along a stroke: its start and `steps` points on each curve, evenly spaced in the curve's parameter."""
    x, y = stroke[0]
    points = [(x, y)]
    for x1, y1, x2, y2, x3, y3 in stroke[1:]:
        for step in range(1, steps + 1):
            t = step / steps
            s = 1 - t
            a, b, c, d = s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t
            points.append((a * x + b * x1 + c * x2 + d * x3, a * y + b * y1 + c * y2 + d * y3))
        x, y = x3, y3
    return points


def path_data(stroke: Stroke) -> str:
    """A stroke as the `d` attribute of an SVG path, in absolute commands."""
    start, *curves = stroke
    return f"M{start[0]:g},{start[1]:g}" + "".join("C" + ",".join(f"{number:g}" for number in c) for c in curves)
