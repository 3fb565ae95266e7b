"""Components as they stand in their slots, and which two fit each other.

Two sources fit where each component fills the room that the other's own companion filled, and where the strokes keep
the distance that real kanji keep.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from paths import Box, Stroke, sample


@dataclass(frozen=True)
class Kind:
    """A way to put two components together."""

    name: str
    first: str  # KanjiVG's names of the two slots
    second: str
    ids: str  # ideographic description character
    share: float  # of the composed characters; as among the real kanji
    least_uses: int  # of the first element in train kanji: an enclosure used once or twice is a freak of one kanji
    clearance: tuple[float, float]  # distance between the two, KanjiVG units: about real kanji's 5 and 95 %
    misfit: float  # greatest mean difference between a component's box and the room it gets, KanjiVG units


KINDS = (
    Kind("left-right", "left", "right", "⿰", 0.65, 1, (4.7, 12.0), 5.0),
    Kind("top-bottom", "top", "bottom", "⿱", 0.27, 1, (3.6, 11.0), 5.0),
    Kind("tare", "tare", "tarec", "⿸", 0.035, 3, (4.0, 11.0), 6.0),
    Kind("nyo", "nyo", "nyoc", "⿺", 0.03, 3, (4.3, 10.5), 6.0),
    Kind("kamae", "kamae", "kamaec", "⿴", 0.015, 3, (4.6, 13.0), 5.0),
)
# Enclosures that are open on one side.
_OPEN_KAMAE = {"門": "⿵", "冂": "⿵", "几": "⿵", "鬥": "⿵", "匚": "⿷", "匸": "⿷"}
_OPEN_KAMAE |= {"勹": "⿹", "气": "⿹", "弋": "⿹", "𢦏": "⿹", "凵": "⿶"}
_MAX_SOURCES = 32  # of a component that are weighed; evenly spaced over all it has
_MAX_TRIES = 6  # pairs of sources, the best fitting first, whose distance is measured


@dataclass(frozen=True)
class Part:
    """A component as it stands in its slot of one real kanji."""

    source: str  # the kanji
    element: str  # the shape, such as 氵
    original: str  # the form that carries the meaning, such as 水
    names: tuple[str, ...]  # one or two words for it, the main one first
    strokes: tuple[Stroke, ...]
    points: np.ndarray = field(compare=False, repr=False)  # (n, 2), along the strokes; KanjiVG units
    box: Box  # around the strokes
    room: Box  # the box of its companion in the source: where a companion is at home


def description(kind: Kind, first: str, second: str) -> str:
    """Ideographic description sequence (Unicode, section 18.2) of two elements."""
    sign = _OPEN_KAMAE.get(first, kind.ids) if kind.first == "kamae" else kind.ids
    return sign + first + second


def points_of(strokes: Iterable[Stroke]) -> np.ndarray:
    """Points along some strokes: (n, 2), KanjiVG units."""
    return np.array([point for stroke in strokes for point in sample(stroke)])


def box_of(points: np.ndarray) -> Box:
    """The box around points: left, top, right, bottom."""
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def _spread(parts: list[Part]) -> list[Part]:
    if len(parts) <= _MAX_SOURCES:
        return parts
    return [parts[i * len(parts) // _MAX_SOURCES] for i in range(_MAX_SOURCES)]


def best_fit(kind: Kind, first: list[Part], second: list[Part]) -> tuple[Part, Part] | None:
    """The two sources in which two components fit each other best.

    Args:
        kind: says how near the strokes may come and how far a box may differ from its room.
        first, second: every occurrence of the one component in its slot, and of the other.

    Returns:
        One part of each, or None where none of the best few pairs fits.
    """
    first, second = _spread(first), _spread(second)
    boxes_a, rooms_a = (np.array([getattr(part, name) for part in first]) for name in ("box", "room"))
    boxes_b, rooms_b = (np.array([getattr(part, name) for part in second]) for name in ("box", "room"))
    misfit = (
        np.abs(boxes_a[:, None] - rooms_b[None]).mean(axis=-1) + np.abs(boxes_b[None] - rooms_a[:, None]).mean(axis=-1)
    ) / 2
    for index in np.argsort(misfit, axis=None, kind="stable")[:_MAX_TRIES]:
        row, column = divmod(int(index), len(second))
        if misfit[row, column] > kind.misfit:
            return None
        a, b = first[row], second[column]
        if kind.clearance[0] <= distance(a.points, b.points) <= kind.clearance[1]:
            return a, b
    return None


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """The least distance between two sets of points, in their units: within half a unit that of the strokes."""
    across = np.subtract.outer(first[:, 0], second[:, 0])
    down = np.subtract.outer(first[:, 1], second[:, 1])
    across *= across
    down *= down
    across += down
    return float(across.min()) ** 0.5
