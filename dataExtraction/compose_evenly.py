"""Many composed characters, their components shown as evenly as is asked for.

compose.py samples pairs of components and gives each pair once. Here the components take turns: next comes the one that
was shown least for its share, beside the one of its companions that was. A pair may come several times, in shapes from
other kanji that look unlike one another.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from arrangements import ARRANGEMENTS, Arrangement
from compose import ComposedCharacter, Composer, Pool
from held_out import is_held_out_pair
from unlike_fits import UnlikeFits, are_unlike, look_of


def compose_evenly(
    composer: Composer,
    count: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
    min_commonness: float = 0.0,
    evenness: float = 1.0,
    shapes: int = 1,
) -> list[ComposedCharacter]:
    """Compose `count` new characters, or all that there are where they are fewer.

    A component's share of the characters in its slot is its commonness to the power of 1 - `evenness`, which is 0 (by
    commonness alone) to 1 (each as often as any other); what has no companion left gives its turns to the others. At
    most `shapes` characters have the same two components in the same slots. Arrangements keep their fractions while
    they last. The same sources, seed and settings give the same characters, of which a smaller `count` gives the first.
    `progress` and `min_commonness` are those of Composer.compose.
    """
    streams = {
        way: _Turns(composer, way, seed, evenness, shapes, min_commonness).characters() for way in ARRANGEMENTS
    }
    given = dict.fromkeys(streams, 0)
    characters: list[ComposedCharacter] = []
    while streams and len(characters) < count:
        arrangement = min(streams, key=lambda way: (given[way] + 1) / way.fraction)
        character = next(streams[arrangement], None)
        if character is None:
            del streams[arrangement]
            continue
        given[arrangement] += 1
        characters.append(character)
        progress(1)
    return characters


class _Slot:
    """The components of one slot, and whose turn it is."""

    def __init__(self, composer: Composer, pool: Pool, evenness: float, min_commonness: float) -> None:
        self.uses = [uses for _, uses in sorted(pool.items()) if composer.commonness(uses) >= min_commonness]
        weights = np.array([composer.commonness(uses) ** (1.0 - evenness) for uses in self.uses])
        self._shares = weights / weights.sum()
        self._shown = np.zeros(len(weights))
        self.turns = np.zeros(len(weights))  # the component with the least comes next; one with infinity no more

    def show(self, index: int, rng: random.Random) -> None:
        """Put off a component's turn by its share, and by a little chance, so that turns do not repeat in one order."""
        self._shown[index] += 1
        self.turns[index] = (self._shown[index] + rng.random()) / self._shares[index]


class _Turns:
    """The components of one arrangement taking turns."""

    def __init__(
        self,
        composer: Composer,
        arrangement: Arrangement,
        seed: int,
        evenness: float,
        shapes: int,
        min_commonness: float,
    ) -> None:
        self._composer, self._arrangement, self._shapes = composer, arrangement, shapes
        self._rng = random.Random(f"{seed} {arrangement.name} evenly")
        self._slots = [_Slot(composer, pool, evenness, min_commonness) for pool in composer.pools[arrangement.name]]
        self._fits = UnlikeFits(arrangement, *(slot.uses for slot in self._slots))
        # How often each pair was shown, (first, second); infinite where it has no more characters.
        self._shown = np.where(self._fits.possible(), 0.0, np.inf)
        self._waiting: dict[tuple[int, int], list[ComposedCharacter]] = {}  # of a pair, the worst fit first
        self._looks: dict[str, list[np.ndarray]] = defaultdict(list)  # of what was composed of the same elements

    def characters(self) -> Iterator[ComposedCharacter]:
        """All characters that there are, each component in its turn."""
        for slot in self._slots:
            for index in range(len(slot.uses)):
                slot.show(index, self._rng)
        while pair := self._next_pair():
            if character := self._compose(pair):
                for slot, index in zip(self._slots, pair, strict=True):
                    slot.show(index, self._rng)
                yield character

    def _next_pair(self) -> tuple[int, int] | None:
        """The component whose turn it is in either slot, and its companion; None where no pair is left."""
        while True:
            mine = self._rng.randrange(2)
            own, others = self._slots[mine].turns, self._slots[1 - mine].turns
            if not self._shown.size or np.isinf(own.min()):
                return None
            component = int(own.argmin())
            shown = self._shown[component] if mine == 0 else self._shown[:, component]
            if np.isinf(shown.min()):
                own[component] = np.inf
                continue
            companion = int(np.where(shown == shown.min(), others, np.inf).argmin())  # new pairs come first
            return (component, companion) if mine == 0 else (companion, component)

    def _compose(self, pair: tuple[int, int]) -> ComposedCharacter | None:
        """The next character of a pair; None where it has no more."""
        waiting = self._waiting.pop(pair, None)
        if waiting is None:
            waiting = self._all_of(pair)[::-1]
        while waiting:
            character = waiting.pop()
            look = look_of(character.components)
            looks = self._looks[character.name]
            if looks and not are_unlike(np.array(looks), look).all():
                continue
            looks.append(look)
            self._shown[pair] += 1
            if waiting:
                self._waiting[pair] = waiting
            else:
                self._shown[pair] = np.inf
            return replace(character, number=len(looks))
        self._shown[pair] = np.inf
        return None

    def _all_of(self, pair: tuple[int, int]) -> list[ComposedCharacter]:
        """What a pair gives, the best fit first."""
        first, second = (slot.uses[index][0].original for slot, index in zip(self._slots, pair, strict=True))
        if is_held_out_pair(first, second) or not self._composer.is_new(self._arrangement, first, second):
            return []
        fits = self._fits.of(*pair)
        made = (self._composer.character(self._arrangement, components, self._rng) for components in fits)
        return list(itertools.islice(filter(None, made), self._shapes))
