"""From scores of components to ranked plans: which two, in which slots, so that they fit the words and each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.components import ARRANGEMENTS, Components
from planner.plan import Plan, PlannedComponent, Source

CANDIDATES = 12  # components, the best by score, that pairs are made of
FIT_WEIGHT = 0.05  # of the log-probability that the two stand in their slots, beside the sum of their scores
ALIKE_WEIGHT = 0.5  # taken for each 1 of the likeness of two names beyond ALIKE: sword and blade say one thing
ALIKE = 0.5
MIN_SLOT_PROBABILITY = 1e-3  # of a slot in which no kanji has the component
DEFAULT_STROKES = 6  # of a component whose strokes are not known in its slot


@dataclass(frozen=True)
class Arrangement:
    """Two components by index in the order of their slots, and how usual that is (log-probability)."""

    first: int
    second: int
    slots: tuple[str, str]
    fit: float


def best_arrangement(components: Components, one: int, other: int) -> Arrangement:
    """The most usual way in which two components stand together, each in the slots that it has in real kanji."""
    return max((Arrangement(first, second, slots, _log_probability(components, first, slots[0])
                            + _log_probability(components, second, slots[1]))
                for slots in ARRANGEMENTS for first, second in ((one, other), (other, one))),
               key=lambda arrangement: arrangement.fit)


def ranked_pairs(components: Components, scores: Sequence[float],
                 likeness: Sequence[Sequence[float]] | None = None) -> Iterator[tuple[float, Arrangement]]:
    """Pairs of the best components that are no existing kanji's, the best first, each with its worth.

    scores: one a component; likeness: (N, N), of the components' names, cosines.
    """
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[:CANDIDATES]
    found = []
    for one, other in itertools.combinations(best, 2):
        if components.exists(one, other):
            continue
        arrangement = best_arrangement(components, one, other)
        worth = scores[one] + scores[other] + FIT_WEIGHT * arrangement.fit
        if likeness is not None:
            worth -= ALIKE_WEIGHT * max(0.0, likeness[one][other] - ALIKE)
        found.append((worth, arrangement))
    yield from sorted(found, key=lambda pair: -pair[0])


def plan_of(words: str, components: Components, arrangement: Arrangement, confidences: Sequence[float],
            source: Source) -> Plan:
    """The plan of two arranged components; `confidences` are of all components, 0 to 1."""
    both = tuple(PlannedComponent(components.forms[index], components.names[index][0], slot,
                                  round(confidences[index], 4))
                 for index, slot in zip((arrangement.first, arrangement.second), arrangement.slots, strict=True))
    strokes = sum(strokes_in(components, index, slot)
                  for index, slot in zip((arrangement.first, arrangement.second), arrangement.slots, strict=True))
    return Plan(words, both, strokes, source)


def strokes_in(components: Components, index: int, slot: str) -> int:
    """The strokes of a component in a slot, or in the slot that it mostly stands in."""
    known = components.strokes[index]
    if slot in known:
        return known[slot]
    usual = max(components.slots[index], key=components.slots[index].get, default="")
    return known.get(usual) or min(known.values(), default=DEFAULT_STROKES)


def _log_probability(components: Components, index: int, slot: str) -> float:
    return math.log(max(components.slot_probability(index, slot), MIN_SLOT_PROBABILITY))
