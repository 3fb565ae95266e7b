"""One row of a captioned folder, and what rows say of components and of their names."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.characters import is_character
from common.errors import UserError
from dataset.captions import LAYOUT_NAMES, LAYOUTS, components_caption, with_components

COMPOSED_KINDS = ("composed", "named")  # named: composed for a word, which is a caption of it too
SAMPLED, NEGATIVE = "sampled", "negative"  # the kinds of a model's own samples: to learn from, and negative ones
# Where a component stands, in words, by KanjiVG's position; of others the position says it.
SLOT_WORDS = {
    "whole": "whole", "tare": "hanging", "tarec": "under it", "nyo": "sweeping", "nyoc": "above it",
    "kamae": "around", "kamaec": "inside",
}  # fmt: skip
UNSAID_LAYOUT = 4  # of so many rows one says nothing of its layout, so that it can be left out of a prompt as well
EXACT_FLOATS = 2**53  # below it a float says a whole number exactly
EARLIER_KINDS = {"drawn": SAMPLED, "rejected": NEGATIVE}  # older sets'; their metadata are hashed as they are


class DatasetError(UserError):
    """A dataset folder that cannot be trained on; the message lists what is wrong and what to do."""


@dataclass(frozen=True)
class Row:
    """One captioned picture: its file and digest, its captions (at least one) and what else its metadata says."""

    path: Path
    sha256: str
    captions: tuple[str, ...]
    metadata: dict[str, Any]

    @property
    def strokes(self) -> int | None:
        """The stroke count, where the set has one (a set of anything else has none)."""
        return whole_number(self.metadata.get("strokes"))

    @property
    def kind(self) -> str | None:
        """`real`, one of COMPOSED_KINDS, SAMPLED or NEGATIVE, where the set says it; older sets' by today's names."""
        kind = self.metadata.get("kind")
        return EARLIER_KINDS.get(kind, kind) if isinstance(kind, str) else None

    @property
    def is_composed(self) -> bool:
        """Whether it was composed of the components of real characters."""
        return self.kind in COMPOSED_KINDS

    @property
    def is_own_sample(self) -> bool:
        """Whether a model drew it itself: a sample to learn from, or a negative one."""
        return self.kind in (SAMPLED, NEGATIVE)

    @property
    def is_negative(self) -> bool:
        """Whether it is a negative sample: one of a model's own that a recogniser refused."""
        return self.kind == NEGATIVE

    @property
    def is_frequent(self) -> bool:
        """Whether it is a frequent kanji: in KANJIDIC2's grades or its 2,501 most frequent."""
        return self.grade is not None or self.metadata.get("frequency") is not None

    @property
    def grade(self) -> int | None:
        """KANJIDIC2's grade, where the set has one: 1 to 6 are the years of primary school."""
        return whole_number(self.metadata.get("grade"))

    @property
    def forms(self) -> frozenset[str]:
        """The meaning forms of its components (the 水 of 氵), where the set knows them."""
        return frozenset(form_of(component) for component in self.metadata.get("components") or ())

    @property
    def component_names(self) -> tuple[str, ...]:
        """What the components of a composed character mean, each by itself; none of any other row."""
        components = self.metadata.get("components") or () if self.is_composed else ()
        return tuple(component["meaning"] for component in components if component.get("meaning"))

    @property
    def named_components(self) -> tuple[tuple[str, str], ...]:
        """Names and meaning forms of its components in their order, for captions in components.

        None where one of them has no name or a form that is no character by itself, and none of a model's own
        sample, which shows what it was asked for at best.
        """
        components = () if self.is_own_sample else self.metadata.get("components") or ()
        found = tuple(((component.get("meaning") or "").strip(), form_of(component)) for component in components)
        return found if all(name and is_character(form) for name, form in found) else ()

    @property
    def layout(self) -> str:
        """How its two components stand, one of LAYOUTS; "" of another number of them, or where they stand otherwise."""
        components = self.metadata.get("components") or ()
        return LAYOUTS.get(components[0].get("position") or "", "") if len(components) == 2 else ""

    @property
    def component_captions(self) -> tuple[str, ...]:
        """Its captions in components: by these alone, then behind each caption in words; none where they lack names.

        Of a composed character the first alone: its words are the components' names, and nothing else. Three of four
        rows, by a hash, say the layout too.
        """
        if not self.named_components:
            return ()
        says_layout = int(self.sha256[:8], 16) % UNSAID_LAYOUT > 0
        components = components_caption(self.named_components, self.layout if says_layout else "")
        words = () if self.kind == "composed" else self.captions
        return (components, *(with_components(caption, components) for caption in words))


def whole_number(value: Any) -> int | None:
    """A value of the metadata that is a whole number; a CSV has it as text, and some tables as 5.0."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}(\.0*)?", value.strip()):
        value = float(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_FLOATS:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def form_of(component: Mapping[str, str]) -> str:
    """The meaning form of a component of the metadata."""
    return component.get("original") or component["element"]


def component_names(rows: Iterable[Row]) -> dict[str, str]:
    """What captions in components are written with, in code point order, each with its commonest name there.

    That is the meaning forms and, where there are any, the layouts.
    """
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        named = row.named_components
        for name, form in [*named, *([(LAYOUT_NAMES[row.layout], row.layout)] if named and row.layout else [])]:
            counts.setdefault(form, Counter())[name] += 1
    return {form: counts[form].most_common(1)[0][0] for form in sorted(counts)}


def homonyms(rows: Iterable[Row]) -> dict[str, frozenset[str]]:
    """The meaning forms of the components of each name: a "ward" is 区 as well as 區."""
    forms: dict[str, set[str]] = {}
    for row in rows:
        for component in row.metadata.get("components") or ():
            if name := component.get("meaning"):
                forms.setdefault(name, set()).add(form_of(component))
    return {name: frozenset(alike) for name, alike in forms.items()}


def forms_alike(component: Mapping[str, str], forms_by_name: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The meaning form of a component and those of its homonyms, as `homonyms` gives them."""
    return forms_by_name.get(component.get("meaning"), frozenset()) | {form_of(component)}


def dataset_hash(rows: Sequence[Row]) -> str:
    """SHA-256 over pictures, captions and metadata in order: two sets with the same hash train the same model."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.sha256, row.captions, row.metadata], sort_keys=True, default=str).encode())
    return digest.hexdigest()
