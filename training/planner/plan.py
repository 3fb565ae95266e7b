"""A plan: which components a new character for some words is to have, where, and why."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dataset.captions import LAYOUTS, components_caption, spelled_components
from dataset.rows import SLOT_WORDS
from planner.components import ARRANGEMENTS

MAX_SPELLED = 3  # components of a plan that is spelled out
SLOTS_OF_LAYOUT = {LAYOUTS[slots[0]]: slots for slots in ARRANGEMENTS}
Source = Literal["kanji", "names", "network", "given"]


@dataclass(frozen=True)
class PlannedComponent:
    """A component of a plan: its meaning form (水, also where it is drawn 氵), what names it, its slot.

    name: as the captions of composed characters name it; slot: KanjiVG's position, "whole" for a plan of one;
    confidence: 0 to 1, that a reader would call it fitting.
    """

    form: str
    name: str
    slot: str
    confidence: float = 1.0

    def __str__(self) -> str:
        """As in "left 舟 boat"."""
        return f"{SLOT_WORDS.get(self.slot, self.slot)} {self.form} {self.name}".removeprefix("whole ").strip()


@dataclass(frozen=True)
class Plan:
    """A plan for `words`: its components in the order of their slots, first left, top, or what encloses.

    strokes: about how many it needs; source: an existing kanji of that meaning, names.jsonl, the network, or given by
    the user.
    """

    words: str
    components: tuple[PlannedComponent, ...]
    strokes: int
    source: Source

    @property
    def prompt(self) -> str:
        """What a model is given to draw: the components' names in the order of their slots.

        Of an existing kanji that is no two components in known slots, its meaning.
        """
        whole = len(self.components) != 2 or any(one.slot == "whole" for one in self.components)
        return self.words if self.source == "kanji" and whole else " ".join(one.name for one in self.components)

    def prompt_with(self, tokens: Container[str]) -> str:
        """What a model is given that has `tokens` of components: "⿰ boat 舟, water 水", as its captions name them.

        So it is for an existing kanji too, whose meaning says less. Of one component alone, which a caption in
        components seldom names, and of what has no name or no token, `prompt`, as any model is.
        """
        if len(self.components) < 2 or not all(one.name and one.form in tokens for one in self.components):
            return self.prompt
        layout = LAYOUTS.get(self.components[0].slot, "") if len(self.components) == 2 else ""
        return components_caption(((one.name, one.form) for one in self.components),
                                  layout if layout in tokens else "")

    @property
    def forms(self) -> frozenset[str]:
        """The meaning forms of the components."""
        return frozenset(one.form for one in self.components)

    def reason(self) -> str:
        """In words: "submarine: left 舟 boat + right 水 water"."""
        return f"{self.words}: {' + '.join(map(str, self.components))}"

    @classmethod
    def spelled(cls, text: str) -> Plan | None:
        """The plan that a text spells, "⿰ boat 舟, water 水", of one to three components; None of any other text."""
        layout, components, is_all = spelled_components(text)
        if not is_all or len(components) > MAX_SPELLED:
            return None
        slots = [*SLOTS_OF_LAYOUT.get(layout, ())] if len(components) == 2 else []
        slots += [""] * (len(components) - len(slots))
        return cls(text, tuple(PlannedComponent(form, name, slot) for (name, form), slot in zip(
            components, slots, strict=True)), 0, "given")

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Read back what `to_json` gave. Raises KeyError or TypeError where something is missing."""
        components = tuple(PlannedComponent(**one) for one in value["components"])
        return cls(value["words"], components, value["strokes"], value["source"])
