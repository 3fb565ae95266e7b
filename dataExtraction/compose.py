"""Real components in their own slots -> new characters whose components are known.

A component stands exactly as it does in one real kanji; beside it stands one from the matching slot of another, where
the two fit (fitting.py). Only kanji of the train split lend components.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from arrangements import ARRANGEMENTS, Arrangement
from captions import composed_captions, concepts_of
from duplicates import ExistingGlyphs
from fitting import PlacedComponent, best_fit, box_of, points_of
from held_out import is_held_out, is_held_out_pair
from kanjidic import Kanji, Language
from kanjivg_reader import Component, Glyph, walk
from svg_paths import Stroke

MAX_STROKES = 18  # of a composed character; 98 % of the Jouyou have as many or fewer
_MAX_MISSES = 2000  # samples in a row that give nothing new: the components of an arrangement are used up
_PAIR_ARRANGEMENTS = ARRANGEMENTS[:2]  # of the held-out pairs; enclosures are too few to spare any
_MIN_PAIR_USES = 3  # of a held-out pair's first component, in train kanji
_MIN_PAIR_COMMONNESS = 3.0  # of its second


@dataclass(frozen=True)
class ComposedCharacter:
    """A new character."""

    arrangement: Arrangement
    components: tuple[PlacedComponent, PlacedComponent]
    captions: tuple[str, ...]
    number: int = 1  # among the characters of these two elements in these slots

    @property
    def name(self) -> str:
        """Unique and stable: the first slot and the code points of the two elements, such as c_left_06c35_099ac.

        The second of the same two elements is c_left_06c35_099ac_2.
        """
        codes = "_".join(f"{ord(component.element):05x}" for component in self.components)
        return f"c_{self.arrangement.first}_{codes}" + (f"_{self.number}" if self.number > 1 else "")

    @property
    def strokes(self) -> tuple[Stroke, ...]:
        """All strokes, the first slot's first."""
        return self.components[0].strokes + self.components[1].strokes

    @property
    def ids(self) -> str:
        """Ideographic description sequence of the two elements, such as ⿰氵馬."""
        return self.arrangement.sequence(*(component.element for component in self.components))


# Every occurrence of a component in one slot, by (element, meaning form): 月 as moon and 月 as flesh are two.
Pool = dict[tuple[str, str], list[PlacedComponent]]


class Composer:
    """Knows every component in its slots, and which pairs of components exist."""

    def __init__(
        self, glyphs: dict[str, Glyph], kanji: dict[str, Kanji], usable: Iterable[str], language: Language
    ) -> None:
        """Collect the components.

        `glyphs` are all of KanjiVG: no pair of components that any of them has is composed. `kanji`, all of KANJIDIC2,
        say what components are called and how common they are. `usable` are the kanji of the dataset; those of the
        train split lend their components. The captions are in `language`.
        """
        self.kanji = kanji
        self.language = language
        self.existing_pairs: set[tuple[str, str, str]] = set()  # arrangement, first and second meaning form
        self.held_out_kanji_pairs: set[frozenset[str]] = set()  # meaning forms
        self.pools: dict[str, tuple[Pool, Pool]] = {  # by arrangement; of its first slot and its second
            arrangement.name: (defaultdict(list), defaultdict(list)) for arrangement in ARRANGEMENTS
        }
        self.existing_glyphs = ExistingGlyphs(glyph.strokes for glyph in glyphs.values())
        for glyph in glyphs.values():
            self._note_pairs(glyph)
        for literal in usable:
            if not is_held_out(literal):
                self._collect_components(glyphs[literal])
        for arrangement in ARRANGEMENTS:
            firsts = self.pools[arrangement.name][0]
            for key in [key for key, uses in firsts.items() if len(uses) < arrangement.min_uses]:
                del firsts[key]

    def _note_pairs(self, glyph: Glyph) -> None:
        """Note every two components that stand side by side in a kanji, or in a component within it."""
        held_out = is_held_out(glyph.literal)
        groups = [glyph.slots, *(inner.children for slot in glyph.slots for inner in walk(slot))]
        for group in groups:
            for a, b in itertools.combinations(group, 2):
                self.existing_pairs.update((arr.name, x, y) for arr in ARRANGEMENTS for x, y in _in_slots(arr, a, b))
                if held_out:
                    self.held_out_kanji_pairs.add(frozenset((a.original, b.original)))

    def _collect_components(self, glyph: Glyph) -> None:
        """Put the two components of a kanji into the pools of their slots, if it is two components and no more."""
        if len(glyph.slots) != 2 or sum(len(slot.strokes) for slot in glyph.slots) != len(glyph.strokes):
            return
        by_position = {slot.position: slot for slot in glyph.slots}
        for arrangement in ARRANGEMENTS:
            if set(by_position) != {arrangement.first, arrangement.second}:
                continue
            slots = (by_position[arrangement.first], by_position[arrangement.second])
            strokes = [tuple(glyph.strokes[i] for i in slot.strokes) for slot in slots]
            points = [points_of(slot_strokes) for slot_strokes in strokes]
            boxes = [box_of(slot_points) for slot_points in points]
            for i, (pool, slot) in enumerate(zip(self.pools[arrangement.name], slots, strict=True)):
                if names := self._names(slot):
                    key = slot.element, slot.original
                    placed = PlacedComponent(glyph.literal, *key, names, strokes[i], points[i], boxes[i], boxes[1 - i])
                    pool[key].append(placed)

    def _names(self, slot: Component) -> tuple[str, ...]:
        if len(slot.element) != 1 or len(slot.original) != 1 or slot.partial or len(slot.strokes) < 2:
            return ()
        return concepts_of(slot, self.kanji, self.language)

    def is_new(self, arrangement: Arrangement, first: str, second: str) -> bool:
        """True if no kanji of KanjiVG has these two meaning forms in these slots, nor a held-out one anywhere."""
        return (
            first != second
            and (arrangement.name, first, second) not in self.existing_pairs
            and frozenset((first, second)) not in self.held_out_kanji_pairs
        )

    def commonness(self, uses: list[PlacedComponent]) -> float:
        """How common a component is: its sampling weight, which counts in half of the samples.

        Uses in train kanji, times 4 for a component that is itself a kanji of the newspapers or of primary school,
        times 2 for another of the Jouyou: words and shapes are to meet.
        """
        entry = self.kanji.get(uses[0].original) or self.kanji.get(uses[0].element)
        if entry is None or entry.grade is None:
            return float(len(uses))
        return len(uses) * (4.0 if entry.grade <= 6 or (entry.frequency or 9999) <= 1000 else 2.0)

    def compose(
        self, count: int, seed: int, progress: Callable[[int], None] = lambda done: None, min_commonness: float = 0.0
    ) -> list[ComposedCharacter]:
        """Compose new characters, no two with the same elements in the same slots.

        Fewer than `count` come back only where the sources have too few components. The same sources and the same seed
        give the same characters. `progress` is told the number of characters that each step added. Components whose
        commonness in their slot is below `min_commonness` are left out.
        """
        characters: list[ComposedCharacter] = []
        for arrangement in reversed(ARRANGEMENTS):  # left-right comes last: what the rarer ones cannot give, it does
            is_last = arrangement is ARRANGEMENTS[0]
            wanted = count - len(characters) if is_last else round(count * arrangement.fraction)
            rng = random.Random(f"{seed} {arrangement.name}")
            for character in itertools.islice(self._sample(arrangement, rng, min_commonness), wanted):
                characters.append(character)
                progress(1)
        return characters

    def _sample(
        self, arrangement: Arrangement, rng: random.Random, min_commonness: float
    ) -> Iterator[ComposedCharacter]:
        """Characters of one arrangement, none twice, until it seldom gives a new one."""
        pools = self.pools[arrangement.name]
        keys = [sorted(key for key, uses in pool.items() if self.commonness(uses) >= min_commonness) for pool in pools]
        if not all(keys):
            return
        weights = [
            list(itertools.accumulate(self.commonness(pool[key]) for key in names))
            for pool, names in zip(pools, keys, strict=True)
        ]
        tried: set[tuple[str, str]] = set()
        misses = 0
        while misses < _MAX_MISSES:
            first, second = (
                pool[rng.choices(names, cum_weights=by_commonness if rng.random() < 0.5 else None)[0]]
                for pool, names, by_commonness in zip(pools, keys, weights, strict=True)
            )
            misses += 1
            elements = first[0].element, second[0].element
            if elements in tried or is_held_out_pair(first[0].original, second[0].original):
                continue
            tried.add(elements)
            if character := self._put_together(arrangement, first, second, rng):
                misses = 0
                yield character

    def _put_together(
        self,
        arrangement: Arrangement,
        first: list[PlacedComponent],
        second: list[PlacedComponent],
        rng: random.Random,
    ) -> ComposedCharacter | None:
        """The character of two components, or None where it exists or they do not fit."""
        if not self.is_new(arrangement, first[0].original, second[0].original):
            return None
        components = best_fit(arrangement, first, second)
        return self.character(arrangement, components, rng) if components else None

    def character(
        self, arrangement: Arrangement, components: tuple[PlacedComponent, PlacedComponent], rng: random.Random
    ) -> ComposedCharacter | None:
        """The character of two components that fit, or None where it is too complex or looks like an existing one."""
        strokes = components[0].strokes + components[1].strokes
        if len(strokes) > MAX_STROKES or self.existing_glyphs.has(strokes):
            return None
        captions = composed_captions(components[0].names, components[1].names, self.language, rng)
        return ComposedCharacter(arrangement, components, captions)

    def held_out_pairs(self, count: int, seed: int, composed: list[ComposedCharacter]) -> list[ComposedCharacter]:
        """Pairs of common components that fit but are kept out of the dataset, for two-concept prompts.

        A pair whose two names are also those of a composed character (two forms may share a name) is left out.
        """
        names_used = {frozenset(component.names[0] for component in c.components) for c in composed}
        total_fraction = sum(arrangement.fraction for arrangement in _PAIR_ARRANGEMENTS)
        found: list[ComposedCharacter] = []
        for arrangement in _PAIR_ARRANGEMENTS:
            pools = self.pools[arrangement.name]
            firsts = [uses for _, uses in sorted(pools[0].items()) if len(uses) >= _MIN_PAIR_USES]
            seconds = [uses for _, uses in sorted(pools[1].items()) if self.commonness(uses) >= _MIN_PAIR_COMMONNESS]
            pairs = [
                (a, b)
                for a, b in itertools.product(firsts, seconds)
                if is_held_out_pair(a[0].original, b[0].original)
                and frozenset((a[0].names[0], b[0].names[0])) not in names_used
            ]
            rng = random.Random(f"{seed} held-out pairs {arrangement.name}")
            rng.shuffle(pairs)
            fitting = filter(None, (self._put_together(arrangement, a, b, rng) for a, b in pairs))
            found += itertools.islice(fitting, round(count * arrangement.fraction / total_fraction))
        return found


def _in_slots(arrangement: Arrangement, a: Component, b: Component) -> list[tuple[str, str]]:
    """The meaning forms of two neighbours as (first, second), if they stand in its slots or it is not said how."""
    if not (a.position and b.position):
        return [(a.original, b.original), (b.original, a.original)]
    slots = (arrangement.first, arrangement.second)
    return [(x.original, y.original) for x, y in ((a, b), (b, a)) if (x.position, y.position) == slots]
