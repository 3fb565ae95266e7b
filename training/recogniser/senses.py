"""What a component can mean: 月 is the moon, and also how 肉, meat, is written. Which is said first is for the words.

The senses come from the rows that a recogniser is trained on: the meaning forms and meanings that a component has in
them, and all the meanings of the character that is the meaning form.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MIN_SENSE_USES = 2  # a further sense that is seen fewer times is an oddity of the source


@dataclass(frozen=True)
class Sense:
    """One sense of a component: its meaning form (氵 has 水) and what that means, the commonest first."""

    original: str
    meanings: tuple[str, ...]

    @property
    def meaning(self) -> str:
        """The commonest meaning, "" where none is known."""
        return self.meanings[0] if self.meanings else ""


def collect_senses(components: Iterable[Mapping[str, Any]],
                   captions: Mapping[str, Sequence[str]]) -> dict[str, tuple[Sense, ...]]:
    """The senses of each element among components of the metadata, the commonest first.

    captions: of the real characters, by literal; those of a meaning form are further meanings of it.
    """
    uses: dict[str, Counter[tuple[str, str]]] = {}
    for component in components:
        element = component["element"]
        pair = (component.get("original") or element, component.get("meaning") or "")
        uses.setdefault(element, Counter())[pair] += 1
    return {element: _senses(counts, captions) for element, counts in uses.items()}


def asked_first(senses: Sequence[Sense], words: str) -> list[Sense]:
    """The senses with those that the words name before the others, in the words' order, each by the meaning named.

    A meaning is named where all its words stand in a row: "moon" in "Full Moon". Without words nothing is moved.
    """
    text = f" {_plain(words)} "
    named, others = [], []
    for sense in senses:
        found = [meaning for meaning in sense.meanings if f" {_plain(meaning)} " in text]
        if found:
            meaning = max(found, key=len)
            others_of_it = tuple(other for other in sense.meanings if other != meaning)
            named.append((text.index(f" {_plain(meaning)} "), Sense(sense.original, (meaning, *others_of_it))))
        else:
            others.append(sense)
    return [sense for _, sense in sorted(named, key=lambda one: one[0])] + others


def _senses(counts: Counter[tuple[str, str]], captions: Mapping[str, Sequence[str]]) -> tuple[Sense, ...]:
    totals: Counter[str] = Counter()
    meanings: dict[str, list[str]] = {}
    for (original, meaning), count in counts.most_common():
        totals[original] += count
        meanings.setdefault(original, []).append(meaning)
    first = next(iter(meanings))
    return tuple(Sense(original, tuple(filter(None, dict.fromkeys([*found, *captions.get(original, ())]))))
                 for original, found in meanings.items() if original == first or totals[original] >= MIN_SENSE_USES)


def _plain(text: str) -> str:
    """Lower case, words alone, one space between two."""
    return " ".join(re.findall(r"[\w'-]+", text.lower()))
