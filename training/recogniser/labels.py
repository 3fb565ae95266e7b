"""What a recogniser is asked of a glyph: which component stands in which slot, and how many strokes there are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.files import write_text

# KanjiVG's positions that characters use often enough to be learned; "whole" is a character of one piece (position ""),
# "tarec" what a tare encloses, "right/top" the upper part of a right side that is no component itself.
SLOTS = (
    "whole", "left", "right", "top", "bottom", "tare", "tarec", "nyo", "nyoc", "kamae", "kamaec",
    "left/top", "left/bottom", "right/top", "right/bottom", "top/left", "top/right", "bottom/left", "bottom/right",
)  # fmt: skip
SLOT_WORDS = {
    "whole": "whole", "tare": "hanging", "tarec": "under it", "nyo": "sweeping", "nyoc": "above it",
    "kamae": "around", "kamaec": "inside",
}  # fmt: skip
NONE = 0  # the class "nothing stands in this slot"; component i of the vocabulary is class i + 1
MAX_STROKES = 34  # the strokes of the densest character that is told apart; more count as this many
MIN_USES = 2  # a component seen fewer times cannot be learned, unless it is also seen as a character of its own
TOGETHER = 2  # components that may share one slot


@dataclass(frozen=True)
class Vocabulary:
    """The components that a recogniser knows: each one's shape (KanjiVG's element), meaning form and meaning."""

    elements: tuple[str, ...]
    originals: tuple[str, ...]
    meanings: tuple[str, ...]

    @classmethod
    def of(cls, facts: Iterable[Mapping[str, Any]]) -> Vocabulary:
        """Collect the components of metadata rows that are seen often enough (MIN_USES), sorted by shape."""
        uses: Counter[str] = Counter()
        facts = list(facts)
        characters = {row.get("literal") for row in facts}
        senses: dict[str, Counter[tuple[str, str]]] = {}
        for row in facts:
            for component in row.get("components") or ():
                element = component.get("element")
                if element and slot_of(component) is not None:
                    uses[element] += 1
                    sense = (component.get("original") or element, component.get("meaning") or "")
                    senses.setdefault(element, Counter())[sense] += 1
        known = sorted(element for element, count in uses.items() if count >= MIN_USES or element in characters)
        common = [senses[element].most_common(1)[0][0] for element in known]
        return cls(tuple(known), tuple(original for original, _ in common), tuple(meaning for _, meaning in common))

    def __len__(self) -> int:
        """How many components there are."""
        return len(self.elements)

    def classes(self) -> dict[str, int]:
        """From a component's shape to its class (1 and up)."""
        return {element: index + 1 for index, element in enumerate(self.elements)}

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(asdict(self), ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read it back. Raises OSError or ValueError where the file is not there or not whole."""
        try:
            stored = json.loads(path.read_text(encoding="utf8"))
            return cls(*(tuple(stored[name]) for name in ("elements", "originals", "meanings")))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: no component vocabulary ({error!r} is missing)") from None


def slot_of(component: Mapping[str, Any]) -> str | None:
    """The slot that a component of the metadata stands in; None where it lies too deep to be asked for."""
    position = component.get("position") or "whole"
    return position if position in SLOTS else None


def true_components(components: Sequence[Mapping[str, Any]]) -> frozenset[tuple[str, str]]:
    """A row's components as (position, element), every one of them, also those that no recogniser knows."""
    return frozenset((component.get("position") or "whole", component["element"]) for component in components)


def slot_classes(components: Sequence[Mapping[str, Any]], literal: str | None,
                 classes: Mapping[str, int]) -> list[list[int]]:
    """The TOGETHER classes in each of SLOTS: NONE where nothing stands, -1 where an unknown component does.

    A single component fills both classes of its slot; of more than TOGETHER the first count. A character that is itself
    a component also gets itself as its "whole": so its shape is learned from its own picture.
    """
    found: list[list[int]] = [[] for _ in SLOTS]
    for component in components:
        slot = slot_of(component)
        if slot is not None:
            found[SLOTS.index(slot)].append(classes.get(component["element"], -1))
    whole = found[SLOTS.index("whole")]
    if not whole and literal in classes:
        whole.append(classes[literal])
    return [((inside or [NONE]) * TOGETHER)[:TOGETHER] for inside in found]
