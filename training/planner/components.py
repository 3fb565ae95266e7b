"""What the planner knows of components, from the rows of the kanji set: names, slots, strokes, pairs that exist."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np

from common.errors import first_line
from common.files import write_text
from dataset.captioned_folder import DatasetError
from dataset.captions import LAYOUT_NAMES
from dataset.rows import Row, component_names, form_of

# A component is planned if a reader knows it: as a kanji of everyday use that stands in real kanji here and there, or
# as a radical that kanji are classified by, of more than two strokes.
MIN_CHARACTERS = 40  # of the set, composed ones included, that show it: rarer ones are hardly drawn
MIN_KANJI = 3  # real train kanji that a kanji of everyday use stands in
MAX_GRADE, MAX_FREQUENCY = 8, 2000  # KANJIDIC2's grade (8: taught in secondary school) and rank in newspapers
MIN_RADICAL_KANJI = 6  # real train kanji that a radical stands in
MIN_CLASSIFIED, MIN_CLASSIFIED_FRACTION = 4, 0.3  # of these, those that are classified by it
MIN_RADICAL_STROKES = 3
# Arrangements of two slots, the first named first; and how often real kanji have them, which breaks ties.
ARRANGEMENTS = (("left", "right"), ("top", "bottom"), ("tare", "tarec"), ("nyo", "nyoc"), ("kamae", "kamaec"))
RARE = 2  # places that a rare kanji stands back among those of a meaning: "cloth" is 布, its second, not 帛, its first
SMOOTHING = 0.5  # uses that are added to each slot's count


@dataclass(frozen=True)
class Components:
    """Components by index: meaning forms, their names (the first is that of captions), uses and strokes, and slots.

    planned: how many of them, the first, new characters are planned with; the others are components of existing kanji
    and of words that name them, "water dragon". slots: for each form, how often real kanji have it in each slot;
    strokes: in each slot, 0 where unknown; existing_pairs: two meaning forms that make up an existing kanji, in code
    point order; alike_pairs: further ones, called or drawn like one of these; meanings: of real train kanji, each with
    the kanji that a reader would think of; kanji: these, each with its meaning forms in their order, behind its layout
    where it is one of LAYOUTS, and its strokes, 0 where unknown; fits: by first slot and first form, the planned forms
    whose strokes have room in the second slot.
    """

    planned: int
    forms: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    uses: tuple[int, ...]
    slots: tuple[Mapping[str, int], ...]
    strokes: tuple[Mapping[str, int], ...]
    existing_pairs: frozenset[str]
    alike_pairs: frozenset[str]
    meanings: Mapping[str, str]
    kanji: Mapping[str, tuple[str, int]]
    fits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def only_planned(self) -> Components:
        """Those that new characters are planned with, under the same indices."""
        count = self.planned
        return replace(self, forms=self.forms[:count], names=self.names[:count], uses=self.uses[:count],
                       slots=self.slots[:count], strokes=self.strokes[:count])

    def index(self, form: str) -> int | None:
        """The index of a meaning form; None of one that is not known."""
        return self._indices.get(form)

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {form: index for index, form in enumerate(self.forms)}

    def by_rank(self, forms: Iterable[str], values: Iterable[float]) -> Iterator[tuple[int, float]]:
        """The index of each of some forms, with the value of its rank; forms that are not known are left out."""
        for form, value in zip(forms, values, strict=False):
            if (index := self.index(form)) is not None:
                yield index, value

    def name(self, form: str) -> str:
        """What captions call a meaning form; "" of one that has no name."""
        index = self.index(form)
        return "" if index is None else self.names[index][0]

    def exists(self, first: int, second: int) -> bool:
        """Whether the two make up an existing kanji, in whatever arrangement."""
        return "".join(sorted(self.forms[first] + self.forms[second])) in self.existing_pairs

    def fit(self, first: int, second: int, slots: tuple[str, str]) -> bool:
        """Whether the strokes of two leave one another room in these slots."""
        return self.forms[second] in self.fits.get(slots[0], {}).get(self.forms[first], "")

    @property
    def unplanned_pairs(self) -> frozenset[str]:
        """Pairs that the network never plans, in code point order: what exists, and what is called or drawn like it."""
        return self.existing_pairs | self.alike_pairs

    def slot_probability(self, index: int, slot: str) -> float:
        """How likely a component is to stand in a slot, smoothed; 0 where no kanji has it there."""
        counts = self.slots[index]
        if not counts.get(slot):
            return 0.0
        return (counts[slot] + SMOOTHING) / (sum(counts.values()) + SMOOTHING * 2 * len(ARRANGEMENTS))

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        content = {**asdict(self), "existing_pairs": sorted(self.existing_pairs),
                   "alike_pairs": sorted(self.alike_pairs)}
        write_text(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")

    @classmethod
    def load(cls, path: Path) -> Components:
        """Read it back. Raises OSError or ValueError where the file is not there or not whole."""
        try:
            stored = json.loads(path.read_text(encoding="utf8"))
            return cls(int(stored["planned"]), tuple(stored["forms"]), tuple(map(tuple, stored["names"])),
                       tuple(stored["uses"]), tuple(stored["slots"]), tuple(stored["strokes"]),
                       frozenset(stored["existing_pairs"]), frozenset(stored["alike_pairs"]), stored["meanings"],
                       {kanji: (str(made_of), int(strokes))
                        for kanji, (made_of, strokes) in stored["kanji"].items()}, stored["fits"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: no table of components ({error!r})") from None


def read_fits(path: Path) -> dict[str, dict[str, str]]:
    """What dataExtraction/main.py --fits wrote: by first slot and first form, all forms that fit it in the second slot.

    Raises DatasetError where it cannot be read.
    """
    fits: dict[str, dict[str, str]] = defaultdict(dict)
    try:
        for line in path.read_text(encoding="utf8").splitlines():
            said = json.loads(line)
            fits[said["slots"][0]][said["first"]] = said["second"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DatasetError(f"--fits {path}: cannot be read ({first_line(error)}). It is made by: python "
                           f"dataExtraction/main.py --fits {path}") from None
    return fits


def collect_components(rows: Sequence[Row], held_out: Sequence[Row], min_characters: int = MIN_CHARACTERS,
                       fits: Mapping[str, Mapping[str, str]] = MappingProxyType({})) -> Components:
    """All components that captions name, those that a reader knows and `min_characters` train rows show first.

    The first are planned with. The held-out kanji give nothing but their pairs, which are not to be planned. `fits` are
    those of read_fits.
    """
    real = [row for row in rows if not row.is_composed]
    uses = Counter(form for row in real for form in row.forms)
    shown = Counter(form for row in rows for form in row.forms)
    names, named = _names(rows, real), component_names(rows)
    known = _known_to_readers(real, uses)
    planned = [form for form, _ in uses.most_common()
               if form in known and shown[form] >= min_characters and names.get(form)]
    others = sorted(named.keys() - set(planned) - LAYOUT_NAMES.keys(), key=lambda form: (-shown[form], form))
    forms = planned + others
    names |= {form: tuple(dict.fromkeys((named[form], *names[form]))) for form in others}
    slots: dict[str, Counter[str]] = defaultdict(Counter)
    for row in real:
        for component in row.metadata.get("components") or ():
            slots[form_of(component)][component.get("position") or "whole"] += 1
    strokes = component_strokes(rows)
    named_alike = {form: frozenset(other for other in planned if names[other][0] == names[form][0])
                   for form in planned}
    existing = existing_pairs([*real, *held_out], {})
    meanings = kanji_of_meanings(real)
    kanji = {row.metadata["literal"]: (made_of(row, planned), row.strokes or 0) for row in meanings.values()}
    return Components(
        len(planned), tuple(forms), tuple(names[form] for form in forms), tuple(uses[form] for form in forms),
        tuple(dict(slots[form]) for form in forms),
        tuple({slot: strokes[form, slot] for slot in slots[form] if (form, slot) in strokes} for form in forms),
        existing, existing_pairs([*real, *held_out], named_alike) - existing,
        {meaning: row.metadata["literal"] for meaning, row in meanings.items()}, kanji,
        {slot: {form: "".join(second for second in planned if second in by_first[form])
                for form in planned if form in by_first} for slot, by_first in fits.items()})


def _known_to_readers(real: Sequence[Row], uses: Mapping[str, int]) -> frozenset[str]:
    """The meaning forms that mean something to a reader; see MIN_CHARACTERS."""
    kanji = {row.metadata.get("literal"): row for row in real}
    everyday = {form for form, row in kanji.items() if uses[form] >= MIN_KANJI and (
        (row.metadata.get("grade") or math.inf) <= MAX_GRADE
        or (row.metadata.get("frequency") or math.inf) <= MAX_FREQUENCY)}
    radicals: dict[str, Counter[int]] = defaultdict(Counter)
    for row in real:
        for form in row.forms - {row.metadata.get("literal")}:
            radicals[form][row.metadata.get("radical")] += 1
    classifying = set()
    for form, counted in radicals.items():
        own = kanji[form].metadata.get("radical") if form in kanji else counted.most_common(1)[0][0]
        strokes = kanji[form].strokes if form in kanji else MIN_RADICAL_STROKES
        if (uses[form] >= MIN_RADICAL_KANJI and (strokes or 0) >= MIN_RADICAL_STROKES
                and counted[own] >= max(MIN_CLASSIFIED, MIN_CLASSIFIED_FRACTION * sum(counted.values()))):
            classifying.add(form)
    return frozenset(everyday | classifying)


def kanji_of_meanings(real: Iterable[Row]) -> dict[str, Row]:
    """Of each meaning, lower case, the kanji that a reader would think of.

    It is the one that means this first and foremost, and of several the most frequent: "fire" is 火, not 放.
    """
    found: dict[str, tuple[tuple[int, float], Row]] = {}
    for row in real:
        for rank, caption in enumerate(row.captions, 0 if row.is_frequent else RARE):
            order, best = (rank, row.metadata.get("frequency") or math.inf), found.get(caption.lower())
            if row.forms and row.metadata.get("literal") and (best is None or order < best[0]):
                found[caption.lower()] = order, row
    return {meaning: row for meaning, (_, row) in found.items()}


def made_of(row: Row, known: Container[str]) -> str:
    """The meaning forms of a kanji in their order, behind their layout: 冷 is "⿰氷令".

    A kanji that is itself one of the `known` components is its own: 馬, not 灬. "" of one of which a component has no
    name or no character of its own.
    """
    literal, forms = row.metadata["literal"], "".join(form for _, form in row.named_components)
    return literal if literal in known else forms and row.layout + forms


def existing_pairs(real: Iterable[Row], named_alike: Mapping[str, Set[str]]) -> frozenset[str]:
    """Pairs of forms of which a plan would give an existing kanji, each in code point order, joined.

    They are the two meaning forms of each real kanji that has two, and what is drawn like one of them or goes by its
    name (`named_alike`, by form): 月 beside 昜 is 腸, though 月 means meat there, and "bird" asks for 隹 as well as 鳥.
    """
    found = set()
    for row in real:
        components = row.metadata.get("components") or ()
        if len(components) == 2 and len(row.forms) == 2:
            first, second = ({one["element"], form_of(one)} | named_alike.get(form_of(one), frozenset())
                             for one in components)
            found |= {"".join(sorted(one + other)) for one in first for other in second if one != other}
    return frozenset(found)


def component_strokes(rows: Sequence[Row]) -> dict[tuple[str, str], int]:
    """The strokes of each form in each slot, by least squares over the characters of two components."""
    pairs = [(row, [(form_of(one), one.get("position") or "whole") for one in row.metadata["components"]])
             for row in rows if row.strokes and len(row.metadata.get("components") or ()) == 2]
    places = {place: number for number, place in enumerate(dict.fromkeys(one for _, both in pairs for one in both))}
    if not places:
        return {}
    sums, counts = np.zeros(len(places)), np.zeros(len(places))
    first = np.array([places[both[0]] for _, both in pairs])
    second = np.array([places[both[1]] for _, both in pairs])
    totals = np.array([row.strokes for row, _ in pairs], dtype=np.float64)
    found = np.full(len(places), totals.mean() / 2)
    for _ in range(60):  # Gauss and Seidel's iteration, damped: the matrix is sparse and its diagonal leads
        sums[:], counts[:] = 0.0, 0.0
        np.add.at(sums, first, totals - found[second])
        np.add.at(sums, second, totals - found[first])
        np.add.at(counts, first, 1.0)
        np.add.at(counts, second, 1.0)
        found = 0.5 * found + 0.5 * sums / counts
    return {place: max(1, round(float(found[number]))) for place, number in places.items()}


def _names(rows: Sequence[Row], real: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Of each form the name that captions have for it, then its other meanings."""
    named: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for component in row.metadata.get("components") or ():
            if component.get("meaning"):
                named[form_of(component)][component["meaning"]] += 1
    meanings = {row.metadata.get("literal"): row.captions for row in real}
    return {form: tuple(dict.fromkeys([name for name, _ in counts.most_common()] + list(meanings.get(form, ()))))
            for form, counts in named.items()}
