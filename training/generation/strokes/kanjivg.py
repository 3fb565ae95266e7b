"""KanjiVG's strokes as the installed package has them: centre lines and the groups that they stand in.

Format: https://kanjivg.tagaini.net/svg-format.html. A file's root group is the character, the groups below it are its
components, whose attributes (element, position and so on) are kept. Attributes are matched by local name, since the
files say two namespaces.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from lxml import etree

from common.errors import UserError

PACKAGE = "kanjivg"
UNITS = 109  # KanjiVG draws in a square of 109 by 109 units, with strokes 3 units wide
STROKE_WIDTH = 3.0  # units
KEPT = ("element", "original", "position", "variant", "partial", "part", "number")  # what is kept of a group
_TOKEN = re.compile(r"[MmCcSs]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_NUMBERS = {"M": 2, "C": 6, "S": 4}
_SAFELY = {"resolve_entities": False, "no_network": True, "load_dtd": False, "remove_comments": True}


class NoStrokesError(UserError):
    """KanjiVG is not there, or cannot be read."""


@dataclass(frozen=True)
class Group:
    """A component: what KanjiVG says of it, and in drawing order its strokes (their indices) and the groups in it."""

    said: dict[str, str]
    children: tuple[Group | int, ...]

    @cached_property
    def strokes(self) -> tuple[int, ...]:
        """The indices of all strokes in it."""
        return tuple(index for child in self.children
                     for index in (child.strokes if isinstance(child, Group) else (child,)))

    def renumbered(self, numbers: dict[int, int]) -> Group:
        """The same with other indices; a stroke that has none is left out, and a group that has none left."""
        children = [child.renumbered(numbers) if isinstance(child, Group) else numbers.get(child)
                    for child in self.children]
        return Group(self.said, tuple(child for child in children
                                      if (child.strokes if isinstance(child, Group) else child is not None)))


@dataclass(frozen=True)
class Kanji:
    """A character: its strokes, each the control points (3n + 1, 2) of n cubic curves that join, and their tree."""

    literal: str
    strokes: tuple[np.ndarray, ...]
    root: Group


def read_kanji(folder: Path | None = None) -> Iterator[Kanji]:
    """All kanji of KanjiVG, variants left out, from the installed package or a folder of its files.

    A file that is no drawing is passed over. Raises NoStrokesError where there is none.
    """
    paths = sorted((folder or _installed()).glob("?????.svg"))
    kanji = [one for path in paths if _is_kanji(int(path.stem, 16)) and (one := _kanji(path))]
    if not kanji:
        raise NoStrokesError(f"{folder or PACKAGE}: holds no file of KanjiVG; install it again: pip install "
                             "--force-reinstall kanjivg")
    return iter(kanji)


def _installed() -> Path:
    try:
        return Path(str(importlib.metadata.distribution(PACKAGE).locate_file("kanji")))
    except importlib.metadata.PackageNotFoundError:
        raise NoStrokesError("strokes are found with KanjiVG's, and its package is not installed; it is in "
                             "requirements.txt: pip install -r requirements.txt") from None


def _is_kanji(code: int) -> bool:
    return 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or code >= 0x20000


def _kanji(path: Path) -> Kanji | None:
    try:
        root = etree.fromstring(path.read_bytes(), etree.XMLParser(**_SAFELY))
        drawn = next(group for group in root.iter("{*}g") if (group.get("id") or "").startswith("kvg:StrokePaths"))
        strokes: list[np.ndarray] = []
        group = _group(next(drawn.iterchildren("{*}g")), strokes)
    except (OSError, etree.XMLSyntaxError, StopIteration, ValueError):
        return None
    return Kanji(chr(int(path.stem, 16)), tuple(strokes), group) if strokes else None


def _group(node: etree._Element, strokes: list[np.ndarray]) -> Group:
    """The tree below one <g>; its strokes are put at the end of `strokes`."""
    children: list[Group | int] = []
    for child in node.iterchildren(etree.Element):
        if child.tag.endswith("}g"):
            children.append(_group(child, strokes))
        elif child.tag.endswith("}path"):
            children.append(len(strokes))
            strokes.append(control_points(child.get("d", "")))
    said = {name.rpartition("}")[2]: value for name, value in node.attrib.items()}
    return Group({name: said[name] for name in KEPT if name in said}, tuple(children))


def control_points(data: str) -> np.ndarray:
    """The control points (3n + 1, 2) of path data of M, C and S, absolute or relative. Raises ValueError for others."""
    points: list[tuple[float, float]] = []
    letter, index, tokens = "", 0, _TOKEN.findall(data)
    while index < len(tokens):
        if tokens[index].isalpha():
            letter, index = tokens[index], index + 1
        count = _NUMBERS.get(letter.upper(), 0)
        numbers = [float(token) for token in tokens[index:index + count]]
        if not count or len(numbers) < count or (letter.upper() == "M") != (not points):
            raise ValueError(f"path data: {data[:40]}")
        index += count
        left, top = points[-1] if points and letter.islower() else (0.0, 0.0)
        new = [(left + x, top + y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
        if letter in "Ss":
            (x, y), (before_x, before_y) = points[-1], points[-2] if len(points) > 1 else points[-1]
            new.insert(0, (2 * x - before_x, 2 * y - before_y))
        points += new
    if len(points) < 4:
        raise ValueError("path draws nothing")
    return np.array(points)
