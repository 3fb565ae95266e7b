"""From scores of components to ranked plans: which two, in which slots, so that they fit the words and each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from planner.components import ARRANGEMENTS, Components
from planner.plan import Plan, PlannedComponent, Source

CANDIDATES = 12  # components, the best by score, that pairs are made of
FIT_WEIGHT = 0.3  # of the log-probability that the two stand in their slots, beside the sum of the network's scores
UNFIT = 2.0  # taken from it where they have no room for each other: half of these are drawn, of others nine in ten
ALIKE_WEIGHT = 0.5  # taken for each 1 of the likeness of two names beyond ALIKE: sword and blade say one thing
ALIKE = 0.5
# Of components that are known to fit, in their order: above all that the network says. What fits the words is known
# then, so that what fits the other component counts less than beside the network's scores; for want of room, UNFIT
# times the weight, another is taken for the second, but hardly for the first.
RANK_SCORES = (20.0, 18.0, 17.0, 16.0, 15.0)
FITTING_FIT_WEIGHT, FITTING_UNFIT = 0.1, 25.0
MIN_SLOT_PROBABILITY = 1e-3  # of a slot in which no kanji has the component
DEFAULT_STROKES = 6  # of a component whose strokes are not known in its slot


@dataclass(frozen=True)
class Arrangement:
    """Two components by index in the order of their slots, and how usual that is.

    fit: a log-probability, less UNFIT where they have no room for each other.
    """

    first: int
    second: int
    slots: tuple[str, str]
    fit: float


def best_arrangement(components: Components, one: int, other: int, unfit: float = UNFIT) -> Arrangement:
    """The most usual way in which two components stand together, each in the slots that it has in real kanji.

    `unfit` is taken from the log-probability of a way in which they have no room for each other.
    """
    return max((Arrangement(first, second, slots, _log_probability(components, first, slots[0])
                            + _log_probability(components, second, slots[1])
                            - (0.0 if components.fit(first, second, slots) else unfit))
                for slots in ARRANGEMENTS for first, second in ((one, other), (other, one))),
               key=lambda arrangement: arrangement.fit)


class PairTable:
    """What two components are worth together, beside the sum of their scores; -inf for what is not to be planned.

    Not planned are the pairs of existing kanji and two of one name. What is worth less: two that seldom stand in slots
    that go together or have no room for each other, two whose names say one thing, and pairs that too many words would
    have (`penalties`).
    """

    def __init__(self, components: Components, likeness: torch.Tensor, penalties: Mapping[str, float],
                 fit_weight: float = FIT_WEIGHT, unfit: float = UNFIT) -> None:
        """likeness: cosines of the components' first names, (N, N); penalties: by two forms in code point order.

        fit_weight: of how usual it is that two stand so; unfit: see best_arrangement.
        """
        count = len(components.forms)
        fit = torch.full((count, count), -math.inf)
        for slots in ARRANGEMENTS:
            first, second = (torch.tensor([_log_probability(components, index, slot) for index in range(count)])
                             for slot in slots)
            both = first[:, None] + second - unfit * (1.0 - _room(components, slots))
            fit = torch.maximum(fit, torch.maximum(both, both.T))
        self.unfit = unfit
        self.components, self.worth = components, fit_weight * fit - ALIKE_WEIGHT * (likeness - ALIKE).clamp_min(0.0)
        index = {form: number for number, form in enumerate(components.forms)}
        for pair, penalty in [*penalties.items(), *((pair, math.inf) for pair in components.unplanned_pairs)]:
            if pair[0] in index and pair[1] in index:
                self.add((index[pair[0]], index[pair[1]]), -penalty)
        named: dict[str, list[int]] = {}
        for number, names in enumerate(components.names):
            named.setdefault(names[0], []).append(number)
        for alike in named.values():
            for pair in itertools.combinations_with_replacement(alike, 2):
                self.add(pair, -math.inf)

    def add(self, pair: tuple[int, int], worth: float) -> None:
        """Make a pair worth so much more."""
        for place in {pair, pair[::-1]}:
            self.worth[place] += worth

    def best(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The pairs of the best components of scores (B, N), the best first: worths and indices, (B, P) and (B, P, 2).

        P is the number of pairs of CANDIDATES components; pairs that are not to be planned come last, worth -inf.
        """
        values, indices = scores.topk(min(CANDIDATES, scores.shape[1]), dim=1)
        first, second = torch.triu_indices(values.shape[1], values.shape[1], 1)
        pairs = torch.stack([indices[:, first], indices[:, second]], dim=-1)
        worth = values[:, first] + values[:, second] + self.worth[pairs[..., 0], pairs[..., 1]]
        worth, order = worth.sort(dim=1, descending=True, stable=True)
        return worth, pairs.gather(1, order[..., None].expand_as(pairs))

    def ranked(self, scores: torch.Tensor) -> Iterator[Arrangement]:
        """The pairs that are to be planned for scores (N,), the best first, each arranged."""
        worth, pairs = self.best(scores[None])
        return self._arranged(worth[0], pairs[0].tolist())

    def ranked_of_fitting(self, forms: Iterable[str], scores: torch.Tensor | None = None) -> Iterator[Arrangement]:
        """The pairs of components that are known to fit, given the best first, the best of them first.

        With `scores` (N,) those come after them that other components make.
        """
        scores = torch.full((len(self.components.forms),), -math.inf) if scores is None else scores.clone()
        for index, score in self.components.by_rank(forms, RANK_SCORES):
            scores[index] = score
        return self.ranked(scores)

    def ranked_of_halves(self, scores: torch.Tensor) -> Iterator[Arrangement]:
        """The pairs of which one is to fit one half of some words and the other the other, the best first.

        scores: of the halves of each way to part them, (ways, 2, N).
        """
        worth = (scores[:, 0, :, None] + scores[:, 1, None, :] + self.worth).amax(dim=0)
        worth = torch.maximum(worth, worth.T).masked_fill(torch.ones_like(worth).tril().bool(), -math.inf).flatten()
        worth, order = worth.topk(min(CANDIDATES * (CANDIDATES - 1) // 2, len(worth)))
        return self._arranged(worth, [divmod(place, scores.shape[-1]) for place in order.tolist()])

    def _arranged(self, worth: torch.Tensor, pairs: Iterable[Sequence[int]]) -> Iterator[Arrangement]:
        """The pairs that are to be planned, each arranged when it is asked for."""
        for value, pair in zip(worth.tolist(), pairs, strict=True):
            if value > -math.inf:
                yield best_arrangement(self.components, *pair, self.unfit)


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


def _room(components: Components, slots: tuple[str, str]) -> torch.Tensor:
    """Which first (rows) and second components have room for each other in two slots: 1 or 0, (N, N)."""
    room = torch.zeros(len(components.forms), len(components.forms))
    for form, seconds in components.fits.get(slots[0], {}).items():
        room[components.index(form), [components.index(second) for second in seconds]] = 1.0
    return room


def _log_probability(components: Components, index: int, slot: str) -> float:
    return math.log(max(components.slot_probability(index, slot), MIN_SLOT_PROBABILITY))
