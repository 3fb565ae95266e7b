"""The ways in which two components stand together: their slots, their IDS sign, how often and how near they stand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arrangement:
    """A way to put two components together."""

    name: str
    first: str  # KanjiVG's names of the two slots
    second: str
    ids: str  # ideographic description character
    fraction: float  # of the composed characters; as among the real kanji
    min_uses: int  # of the first element in train kanji: an enclosure used once or twice is a freak of one kanji
    gap: tuple[float, float]  # distance between the two, KanjiVG units: from about real kanji's 5 % to their 95 %
    max_misfit: float  # mean difference between a component's box and the room it gets, KanjiVG units

    def sequence(self, first: str, second: str) -> str:
        """Ideographic description sequence (Unicode, section 18.2) of two elements in its slots, such as ⿰氵馬."""
        sign = _OPEN_ENCLOSURES.get(first, self.ids) if self.first == "kamae" else self.ids
        return sign + first + second


# fmt: off
ARRANGEMENTS = (
    Arrangement("left-right", "left",  "right",  "⿰", fraction=0.65,  min_uses=1, gap=(4.7, 12.0), max_misfit=5.0),
    Arrangement("top-bottom", "top",   "bottom", "⿱", fraction=0.27,  min_uses=1, gap=(3.6, 11.0), max_misfit=5.0),
    Arrangement("tare",       "tare",  "tarec",  "⿸", fraction=0.035, min_uses=3, gap=(4.0, 11.0), max_misfit=6.0),
    Arrangement("nyo",        "nyo",   "nyoc",   "⿺", fraction=0.03,  min_uses=3, gap=(4.3, 10.5), max_misfit=6.0),
    Arrangement("kamae",      "kamae", "kamaec", "⿴", fraction=0.015, min_uses=3, gap=(4.6, 13.0), max_misfit=5.0),
)
# fmt: on
# The signs of enclosures that are open on one side.
_OPEN_ENCLOSURES = {"門": "⿵", "冂": "⿵", "几": "⿵", "鬥": "⿵", "匚": "⿷", "匸": "⿷"}
_OPEN_ENCLOSURES |= {"勹": "⿹", "气": "⿹", "弋": "⿹", "𢦏": "⿹", "凵": "⿶"}


def arrangement_of(one: str, other: str) -> Arrangement | None:
    """The arrangement that has these two slots, in whatever order; None where they do not go together."""
    return next((way for way in ARRANGEMENTS if {way.first, way.second} == {one, other}), None)
