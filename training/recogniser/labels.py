"""What a recogniser is asked of a glyph: which component stands in which slot, and how many strokes there are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import write_text
from dataset.rows import Row
from recogniser.senses import Sense, collect_senses

# KanjiVG's positions that characters use often enough to be learned; "whole" is a character of one piece (position ""),
# "tarec" what a tare encloses, "right/top" the upper half of a right side that is no component itself.
SLOTS = (
    "whole", "left", "right", "top", "bottom", "tare", "tarec", "nyo", "nyoc", "kamae", "kamaec",
    "left/top", "left/bottom", "right/top", "right/bottom", "top/left", "top/right", "bottom/left", "bottom/right",
)  # fmt: skip
NONE = 0  # the class "nothing stands in this slot"; component i of the vocabulary is class i + 1
MAX_STROKES = 34  # the strokes of the densest character that is told apart; more count as this many
MIN_USES = 2  # a component seen fewer times cannot be learned, unless it is also seen as a character of its own
TOGETHER = 2  # components that may share one slot


@dataclass(frozen=True)
class Vocabulary:
    """The components that a recogniser knows: each one's shape (KanjiVG's element) and its senses, commonest first."""

    elements: tuple[str, ...]
    senses: tuple[tuple[Sense, ...], ...]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Vocabulary:
        """Collect the components of rows that are seen often enough (MIN_USES), sorted by shape."""
        rows = list(rows)
        used = [component for row in rows for component in row.metadata.get("components") or ()
                if component.get("element") and slot_of(component) is not None]
        uses = Counter(component["element"] for component in used)
        captions = {row.metadata.get("literal"): row.captions for row in rows if not row.is_composed}
        known = sorted(element for element, count in uses.items() if count >= MIN_USES or element in captions)
        senses = collect_senses(used, captions)
        return cls(tuple(known), tuple(senses[element] for element in known))

    def __len__(self) -> int:
        """How many components there are."""
        return len(self.elements)

    @property
    def originals(self) -> tuple[str, ...]:
        """The meaning form of each component in its commonest sense."""
        return tuple(senses[0].original for senses in self.senses)

    @property
    def meanings(self) -> tuple[str, ...]:
        """The commonest meaning of each component."""
        return tuple(senses[0].meaning for senses in self.senses)

    def classes(self) -> dict[str, int]:
        """From a component's shape to its class (1 and up)."""
        return {element: index + 1 for index, element in enumerate(self.elements)}

    def save(self, path: Path) -> None:
        """Write it as JSON: the elements, and for each its senses as [meaning form, meaning, meaning, ...]."""
        senses = [[[sense.original, *sense.meanings] for sense in senses] for senses in self.senses]
        lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in senses)
        elements = json.dumps(self.elements, ensure_ascii=False)
        write_text(path, f'{{"elements": {elements},\n"senses": [\n{lines}\n]}}\n')

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read it back; older labels have one sense of each element, as `originals` and `meanings`.

        Raises OSError or ValueError where the file is not there or not whole.
        """
        try:
            stored = json.loads(path.read_text(encoding="utf8"))
            if "senses" not in stored:
                stored["senses"] = [[[original, meaning]] for original, meaning
                                    in zip(stored["originals"], stored["meanings"], strict=True)]
            senses = tuple(tuple(Sense(original, tuple(filter(None, meanings))) for original, *meanings in one)
                           for one in stored["senses"])
            if len(stored["elements"]) != len(senses) or not all(senses):
                raise ValueError(f"{path}: its elements and its senses do not fit together")
            return cls(tuple(stored["elements"]), senses)
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
    a component also gets itself as its "whole": so its shape is learned from its own image.
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
