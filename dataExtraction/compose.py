"""Real components in their own slots -> new characters that know their parts.

A component stands exactly as it does in one real kanji; beside it stands one from the matching slot of another, where
the two fit (parts.py). Only kanji of the train split lend components.
"""

import hashlib
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from captions import composed_captions, concepts_of
from copies import Shapes
from kanjidic import Kanji
from kanjivg import Component, Glyph, walk
from parts import KINDS, Kind, Part, best_fit, box_of, description, points_of
from paths import Stroke

MAX_STROKES = 18  # of a composed character; 98 % of the Jouyou have as many or fewer
HELD_OUT_SHARE = 0.05  # of the real kanji, and of the pairs of components
_MAX_MISSES = 2000  # draws in a row that give nothing new: the components of a kind are used up


@dataclass(frozen=True)
class Composed:
    """A new character."""

    kind: Kind
    parts: tuple[Part, Part]
    captions: tuple[str, ...]

    @property
    def name(self) -> str:
        """Unique and stable: the first slot and the code points of the two elements, such as c_left_06c35_099ac."""
        return f"c_{self.kind.first}_" + "_".join(f"{ord(part.element):05x}" for part in self.parts)

    @property
    def strokes(self) -> tuple[Stroke, ...]:
        """All strokes, the first slot's first."""
        return self.parts[0].strokes + self.parts[1].strokes

    @property
    def ids(self) -> str:
        """Ideographic description sequence of the two elements, such as ⿰氵馬."""
        return description(self.kind, self.parts[0].element, self.parts[1].element)


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
        self.pools: dict[str, tuple[Pool, Pool]] = {kind.name: (defaultdict(list), defaultdict(list)) for kind in KINDS}
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
        """Put the two components of a kanji into the pools of their slots, if it is two components and no more."""
        if len(glyph.slots) != 2 or sum(len(slot.strokes) for slot in glyph.slots) != len(glyph.strokes):
            return
        by_position = {slot.position: slot for slot in glyph.slots}
        for kind in KINDS:
            if set(by_position) != {kind.first, kind.second}:
                continue
            slots = (by_position[kind.first], by_position[kind.second])
            strokes = [tuple(glyph.strokes[i] for i in slot.strokes) for slot in slots]
            points = [points_of(part) for part in strokes]
            boxes = [box_of(part) for part in points]
            for i, (pool, slot) in enumerate(zip(self.pools[kind.name], slots, strict=True)):
                if names := self._names(slot):
                    key = slot.element, slot.original
                    pool[key].append(Part(glyph.literal, *key, names, strokes[i], points[i], boxes[i], boxes[1 - i]))

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
        """How common a component is: its weight in the half of the draws that leans to common ones.

        Uses in train kanji, times 4 for a component that is itself a kanji of the newspapers or of primary school,
        times 2 for another of the Jouyou: words and shapes are to meet.
        """
        entry = self.kanji.get(parts[0].original) or self.kanji.get(parts[0].element)
        if entry is None or entry.grade is None:
            return float(len(parts))
        return len(parts) * (4.0 if entry.grade <= 6 or (entry.frequency or 9999) <= 1000 else 2.0)

    def compose(
        self, count: int, seed: int, progress: Callable[[int], None] = lambda done: None, least_common: float = 0.0
    ) -> list[Composed]:
        """Draw new characters, no two with the same elements in the same slots.

        Args:
            count: how many; fewer come back only where the sources have too few components.
            seed: same sources and same seed, same characters.
            progress: told the number of characters that each step added.
            least_common: components whose commonness in their slot is below it are left out.
        """
        characters: list[Composed] = []
        for kind in reversed(KINDS):  # left-right comes last: what the rarer kinds cannot give, it does
            wanted = count - len(characters) if kind is KINDS[0] else round(count * kind.share)
            draw = random.Random(f"{seed} {kind.name}")
            for character in itertools.islice(self._draw_kind(kind, draw, least_common), wanted):
                characters.append(character)
                progress(1)
        return characters

    def _draw_kind(self, kind: Kind, draw: random.Random, least_common: float) -> Iterator[Composed]:
        pools = self.pools[kind.name]
        keys = [sorted(key for key, parts in pool.items() if self.commonness(parts) >= least_common) for pool in pools]
        if not all(keys):
            return
        weights = [
            list(itertools.accumulate(self.commonness(pool[key]) for key in names))
            for pool, names in zip(pools, keys, strict=True)
        ]
        tried: set[tuple[str, str]] = set()
        missed = 0
        while missed < _MAX_MISSES:
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
        if parts is None or len(parts[0].strokes + parts[1].strokes) > MAX_STROKES:
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
    orders = ((a, b), (b, a))
    return [(x.original, y.original) for x, y in orders if (x.position, y.position) == (kind.first, kind.second)]
