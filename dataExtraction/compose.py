"""Real components in their own slots -> new characters that know their parts.

A component stands exactly as it does in one real kanji; beside it stands one from the matching slot of another. Two
sources fit where each component fills the room that the other's own companion filled, and the strokes keep the
distance that real kanji keep. Only kanji of the train split lend components.
"""

import hashlib
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from captions import composed_captions, concepts_of
from copies import Shapes
from kanjidic import Kanji
from kanjivg import Component, Glyph, walk
from paths import Stroke, sample

MOST_STROKES = 18  # of a composed character; 98 % of the Jouyou have as many or fewer, and readers find more too complex
HELD_OUT_SHARE = 0.05  # of the real kanji, and of the pairs of components


@dataclass(frozen=True)
class Kind:
    """A way to put two components together."""

    name: str
    first: str  # KanjiVG's names of the two slots
    second: str
    ids: str  # ideographic description character
    share: float  # of the composed characters; as among the real kanji
    least_uses: int  # of the first element in train kanji: an enclosure used once or twice is a freak of one kanji
    clearance: tuple[float, float]  # least and greatest distance between the two, KanjiVG units; real kanji's 5 and 95 %
    misfit: float  # greatest mean difference between a component's box and the room it gets, KanjiVG units


KINDS = (
    Kind("left-right", "left", "right", "⿰", 0.65, 1, (4.7, 12.0), 5.0),
    Kind("top-bottom", "top", "bottom", "⿱", 0.27, 1, (3.6, 11.0), 5.0),
    Kind("tare", "tare", "tarec", "⿸", 0.035, 3, (4.0, 11.0), 6.0),
    Kind("nyo", "nyo", "nyoc", "⿺", 0.03, 3, (4.3, 10.5), 6.0),
    Kind("kamae", "kamae", "kamaec", "⿴", 0.015, 3, (4.6, 13.0), 5.0),
)
_KAMAE_IDS = {"門": "⿵", "冂": "⿵", "几": "⿵", "鬥": "⿵", "匚": "⿷", "匸": "⿷", "勹": "⿹", "气": "⿹", "弋": "⿹", "凵": "⿶"}


@dataclass(frozen=True)
class Part:
    """A component as it stands in its slot of one real kanji."""

    source: str  # the kanji
    element: str
    original: str
    names: tuple[str, ...]
    strokes: tuple[Stroke, ...]
    points: np.ndarray = field(compare=False, repr=False)  # (n, 2), along the strokes; KanjiVG units
    box: tuple[float, float, float, float]  # left, top, right, bottom; KanjiVG units
    room: tuple[float, float, float, float]  # the box of its companion in the source


@dataclass(frozen=True)
class Composed:
    """A new character."""

    kind: Kind
    parts: tuple[Part, Part]
    captions: tuple[str, ...]

    @property
    def name(self) -> str:
        """Unique and stable: the kind's slots and the code points of the two elements, such as left_06c34_right_099ac."""
        return f"c_{self.kind.first}_" + "_".join(f"{ord(part.element):05x}" for part in self.parts)

    @property
    def strokes(self) -> tuple[Stroke, ...]:
        """All strokes, the first slot's first."""
        return self.parts[0].strokes + self.parts[1].strokes

    @property
    def ids(self) -> str:
        """Ideographic description sequence of the two elements, such as ⿰氵馬."""
        return description(self.kind, self.parts[0].element, self.parts[1].element)


def description(kind: Kind, first: str, second: str) -> str:
    """Ideographic description sequence (Unicode, section 18.2) of two elements."""
    return _KAMAE_IDS.get(first, kind.ids) + first + second if kind.first == "kamae" else kind.ids + first + second


def _share_of_hash(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def is_held_out(literal: str) -> bool:
    """True for the 5 % of kanji that make the test split: a hash of the code point, so that data added moves none."""
    return _share_of_hash(f"kanji {ord(literal):05x}") < HELD_OUT_SHARE


def is_held_out_pair(first: str, second: str) -> bool:
    """True for the 5 % of pairs of meaning forms that are never composed, in whatever order or slots.

    The evaluation takes its two-concept prompts from these: a hash of the two, so that a pair stays what it is.
    """
    return _share_of_hash("pair " + " ".join(sorted((first, second)))) < HELD_OUT_SHARE


# Every occurrence of a component in one slot, by (element, meaning form): 月 as moon and 月 as flesh are two.
Pool = dict[tuple[str, str], list[Part]]


class Composer:
    """Knows every component in its slots, and which pairs are taken."""

    def __init__(self, glyphs: dict[str, Glyph], kanji: dict[str, Kanji], usable: Iterable[str], language: str) -> None:
        """Collect the parts.

        Args:
            glyphs: all drawings of KanjiVG: no pair of components that any of them has is composed.
            kanji: all of KANJIDIC2, for names and for what is common.
            usable: the kanji that are in the dataset; those of the train split lend their components.
            language: of the captions.
        """
        self.kanji = kanji
        self.language = language
        self.taken: set[tuple[str, str, str]] = set()
        self.held_out_kanji: set[frozenset[str]] = set()
        self.pools: dict[str, tuple[Pool, Pool]] = {
            kind.name: (defaultdict(list), defaultdict(list)) for kind in KINDS
        }
        self.shapes = Shapes(glyph.strokes for glyph in glyphs.values())
        for glyph in glyphs.values():
            self._take_pairs(glyph)
        for literal in usable:
            if not is_held_out(literal):
                self._take_parts(glyphs[literal])
        for kind in KINDS:
            firsts = self.pools[kind.name][0]
            for key in [key for key, parts in firsts.items() if len(parts) < kind.least_uses]:
                del firsts[key]

    def _take_pairs(self, glyph: Glyph) -> None:
        """Note every two components that stand side by side in a kanji, or in a component within it."""
        held_out = is_held_out(glyph.literal)
        groups = [glyph.slots, *(part.children for slot in glyph.slots for part in walk(slot))]
        for group in groups:
            for a, b in itertools.combinations(group, 2):
                self.taken.update((kind.name, x, y) for kind in KINDS for x, y in _in_slots(kind, a, b))
                if held_out:
                    self.held_out_kanji.add(frozenset((a.original, b.original)))

    def _take_parts(self, glyph: Glyph) -> None:
        if len(glyph.slots) != 2 or sum(len(slot.strokes) for slot in glyph.slots) != len(glyph.strokes):
            return
        for kind in KINDS:
            by_position = {slot.position: slot for slot in glyph.slots}
            if set(by_position) != {kind.first, kind.second}:
                continue
            slots = (by_position[kind.first], by_position[kind.second])
            points = [points_of(glyph.strokes[i] for i in slot.strokes) for slot in slots]
            boxes = [box_of(part) for part in points]
            for index, (pool, slot) in enumerate(zip(self.pools[kind.name], slots, strict=True)):
                if names := self._names(slot):
                    strokes = tuple(glyph.strokes[i] for i in slot.strokes)
                    part = Part(
                        glyph.literal, slot.element, slot.original, names, strokes, points[index], boxes[index], boxes[1 - index]
                    )
                    pool[slot.element, slot.original].append(part)

    def _names(self, slot: Component) -> tuple[str, ...]:
        if len(slot.element) != 1 or len(slot.original) != 1 or slot.partial or len(slot.strokes) < 2:
            return ()
        return concepts_of(slot, self.kanji, self.language)

    def is_new(self, kind: Kind, first: str, second: str) -> bool:
        """True if no kanji of KanjiVG has these two meaning forms in these slots, nor a held-out one anywhere."""
        return (
            first != second
            and (kind.name, first, second) not in self.taken
            and frozenset((first, second)) not in self.held_out_kanji
        )

    def commonness(self, parts: list[Part]) -> float:
        """Weight of a component in the half of the draws that leans to common ones.

        Uses in train kanji, times 4 for a component that is itself a kanji of the newspapers or of primary school,
        times 2 for another of the Jouyou: words and shapes are to meet.
        """
        entry = self.kanji.get(parts[0].original) or self.kanji.get(parts[0].element)
        if entry is None or entry.grade is None:
            return float(len(parts))
        return len(parts) * (4.0 if entry.grade <= 6 or (entry.frequency or 9999) <= 1000 else 2.0)

    def compose(self, count: int, seed: int, progress: Callable[[int], None] = lambda done: None) -> list[Composed]:
        """Draw new characters, no two with the same elements in the same slots.

        Args:
            count: how many; fewer come back only where the sources have too few components.
            seed: same sources and same seed, same characters.
            progress: told the number of characters that each step added.
        """
        characters: list[Composed] = []
        for kind in reversed(KINDS):  # left-right comes last: what the rarer kinds cannot give, it does
            wanted = count - len(characters) if kind is KINDS[0] else round(count * kind.share)
            draw = random.Random(f"{seed} {kind.name}")
            for character in itertools.islice(self._draw_kind(kind, draw), wanted):
                characters.append(character)
                progress(1)
        return characters

    def _draw_kind(self, kind: Kind, draw: random.Random) -> Iterator[Composed]:
        pools = self.pools[kind.name]
        keys = [sorted(pool) for pool in pools]
        if not all(keys):
            return
        weights = [
            list(itertools.accumulate(self.commonness(pool[key]) for key in names))
            for pool, names in zip(pools, keys, strict=True)
        ]
        tried: set[tuple[str, str]] = set()
        missed = 0
        while missed < _MOST_MISSES:
            first, second = (
                pool[draw.choices(names, cum_weights=lean if draw.random() < 0.5 else None)[0]]
                for pool, names, lean in zip(pools, keys, weights, strict=True)
            )
            missed += 1
            elements = first[0].element, second[0].element
            if elements in tried or is_held_out_pair(first[0].original, second[0].original):
                continue
            tried.add(elements)
            if character := self._put_together(kind, first, second, draw):
                missed = 0
                yield character

    def _put_together(self, kind: Kind, first: list[Part], second: list[Part], draw: random.Random) -> Composed | None:
        """The character of two components, or None where it exists or they do not fit."""
        if not self.is_new(kind, first[0].original, second[0].original):
            return None
        parts = best_fit(kind, first, second)
        if parts is None or len(parts[0].strokes + parts[1].strokes) > MOST_STROKES:
            return None
        if self.shapes.has(parts[0].strokes + parts[1].strokes):
            return None
        return Composed(kind, parts, composed_captions(parts[0].names, parts[1].names, self.language, draw))

    def held_out_pairs(self, count: int, seed: int, composed: list[Composed]) -> list[Composed]:
        """Pairs of common components that fit but are kept out of the dataset, for two-concept prompts.

        A pair whose two names are also those of a composed character (two forms may share a name) is left out.
        """
        names_used = {frozenset((c.parts[0].names[0], c.parts[1].names[0])) for c in composed}
        found: list[Composed] = []
        for kind in KINDS[:2]:
            pools = self.pools[kind.name]
            firsts = [parts for _, parts in sorted(pools[0].items()) if len(parts) >= 3]
            seconds = [parts for _, parts in sorted(pools[1].items()) if self.commonness(parts) >= 3]
            pairs = [
                (a, b)
                for a, b in itertools.product(firsts, seconds)
                if is_held_out_pair(a[0].original, b[0].original)
                and frozenset((a[0].names[0], b[0].names[0])) not in names_used
            ]
            draw = random.Random(f"{seed} held-out pairs {kind.name}")
            draw.shuffle(pairs)
            fitting = filter(None, (self._put_together(kind, a, b, draw) for a, b in pairs))
            found += itertools.islice(fitting, round(count * kind.share / (KINDS[0].share + KINDS[1].share)))
        return found


def _in_slots(kind: Kind, a: Component, b: Component) -> list[tuple[str, str]]:
    """The meaning forms of two neighbours as (first, second) of a kind, if they stand so or it is not said how."""
    if not (a.position and b.position):
        return [(a.original, b.original), (b.original, a.original)]
    return [(x.original, y.original) for x, y in ((a, b), (b, a)) if (x.position, y.position) == (kind.first, kind.second)]


def points_of(strokes: Iterable[Stroke]) -> np.ndarray:
    """Points along some strokes: (n, 2), KanjiVG units."""
    return np.array([point for stroke in strokes for point in sample(stroke)])


def box_of(points: np.ndarray) -> tuple[float, float, float, float]:
    """The box around points: left, top, right, bottom."""
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


_MOST_MISSES = 2000  # draws in a row that give nothing new: the components of a kind are used up
_MOST_SOURCES = 32  # of a component that are weighed; evenly spaced over all it has
_MOST_TRIES = 6  # pairs of sources, the best fitting first, whose distance is measured


def _spread(parts: list[Part]) -> list[Part]:
    return parts if len(parts) <= _MOST_SOURCES else [parts[i * len(parts) // _MOST_SOURCES] for i in range(_MOST_SOURCES)]


def best_fit(kind: Kind, first: list[Part], second: list[Part]) -> tuple[Part, Part] | None:
    """The two sources in which two components fit each other best, or None where they fit in none."""
    first, second = _spread(first), _spread(second)
    boxes_a, rooms_a = (np.array([getattr(part, name) for part in first]) for name in ("box", "room"))
    boxes_b, rooms_b = (np.array([getattr(part, name) for part in second]) for name in ("box", "room"))
    misfit = (
        np.abs(boxes_a[:, None] - rooms_b[None]).mean(axis=-1) + np.abs(boxes_b[None] - rooms_a[:, None]).mean(axis=-1)
    ) / 2
    for index in np.argsort(misfit, axis=None, kind="stable")[:_MOST_TRIES]:
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
