"""Plans -> characters: the two components that a plan asks for, as they stand in real kanji, and nothing else.

They stand in the slots of the plan where they fit each other there (fitting.py), else in any other two slots where
they fit. What is a kanji already is not composed.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from arrangements import ARRANGEMENTS, Arrangement, arrangement_of
from compose import MAX_STROKES, ComposedCharacter, Composer, Pool
from fitting import PlacedComponent, best_fit
from held_out import is_held_out_pair
from kanjivg_reader import Glyph, walk
from plans import Plan, PlanFile, PlannedComponent

NOT_TWO = "not two components"
SAME_TWICE = "the same component twice"
EXISTS = "the components of an existing kanji"
LOOKS_LIKE_ONE = "looks like an existing kanji"
NOT_IN_SLOT = "a component that KanjiVG does not have in that slot"
NO_FIT = "the components do not fit"
TOO_MANY_STROKES = f"more than {MAX_STROKES} strokes"
NO_ARRANGEMENT = "slots that do not go together, and no others fit"
HELD_OUT_PAIR = "a held-out pair of components"
HELD_OUT_KANJI = "the components of a held-out kanji"
HELD_OUT_CAPTION = "a caption that is held out"

_OWN_SHAPE = 2  # a form's own shape counts so many times: KanjiVG has a few others under a form, such as 士 under 土

_Attempt = tuple[Arrangement, PlannedComponent, PlannedComponent]  # the second two in slot order


@dataclass(frozen=True)
class NamedCharacter:
    """A new character for a word."""

    word: str
    character: ComposedCharacter  # its captions: the word, and the names of the components in slot order
    as_planned: bool  # whether each component stands in the slot that the plan names


class PlanComposer:
    """Knows every component in its slots by its meaning form, in whatever shapes it has there."""

    def __init__(self, composer: Composer) -> None:
        """Take the components of a composer: those of train kanji."""
        self._composer = composer
        self._shapes = {name: tuple(map(_by_form, pools)) for name, pools in composer.pools.items()}

    def compose(self, plan: Plan) -> NamedCharacter | str:
        """The character of a plan or, as text, the reason why there is none."""
        if len(plan.components) != 2:
            return NOT_TWO
        forms = {component.form for component in plan.components}
        if len(forms) == 1:
            return SAME_TWICE
        planned, others = _attempts(plan)
        reason = NO_ARRANGEMENT
        if planned:
            outcome = self._put_together(planned)
            if not isinstance(outcome, str):
                return _named(plan, planned, outcome, True)
            if outcome in (EXISTS, LOOKS_LIKE_ONE):
                return outcome
            reason = outcome
        for attempt in others:
            outcome = self._put_together(attempt)
            if not isinstance(outcome, str):
                return _named(plan, attempt, outcome, False)
        return reason

    def _put_together(self, attempt: _Attempt) -> tuple[PlacedComponent, PlacedComponent] | str:
        """The two components in an arrangement, in their commonest shapes that fit, or the reason why none do."""
        arrangement, first, second = attempt
        if (arrangement.name, first.form, second.form) in self._composer.existing_pairs:
            return EXISTS
        firsts, seconds = self._shapes[arrangement.name]
        if first.form not in firsts or second.form not in seconds:
            return NOT_IN_SLOT
        reason = NO_FIT
        for components in _fitting(arrangement, firsts[first.form], seconds[second.form]):
            strokes = components[0].strokes + components[1].strokes
            if self._composer.existing_glyphs.has(strokes):
                return LOOKS_LIKE_ONE
            if len(strokes) <= MAX_STROKES:
                return components
            reason = TOO_MANY_STROKES
        return reason

    def forms(self, arrangement: Arrangement) -> tuple[Collection[str], Collection[str]]:
        """The meaning forms that stand in the first slot of an arrangement, and in its second."""
        firsts, seconds = self._shapes[arrangement.name]
        return firsts.keys(), seconds.keys()

    def fits(self, arrangement: Arrangement, first: str, second: str) -> bool:
        """Whether two of `forms` fit each other there in some shapes, be it a new character or not."""
        firsts, seconds = self._shapes[arrangement.name]
        return any(len(a.strokes) + len(b.strokes) <= MAX_STROKES
                   for a, b in _fitting(arrangement, firsts[first], seconds[second]))

    def held_out_reason(self, plan: Plan) -> str | None:
        """Why the components of a plan may not be trained on together, or None where they may."""
        if len(plan.components) != 2:
            return None
        first, second = (component.form for component in plan.components)
        if frozenset((first, second)) in self._composer.held_out_kanji_pairs:
            return HELD_OUT_KANJI
        return HELD_OUT_PAIR if is_held_out_pair(first, second) else None


@dataclass(frozen=True)
class HeldOutCaptions:
    """What no caption of a named character may be: prompts that models are tested with."""

    captions: frozenset[str]  # of held-out kanji and of held-out pairs; casefolded
    names: frozenset[frozenset[str]]  # of the two components of each held-out pair, for "boat water" is "water boat"

    @classmethod
    def of(cls, kanji_captions: Iterable[str], pairs: Collection[dict]) -> HeldOutCaptions:
        """Those of the captions of held-out kanji and of the rows of heldout_pairs.jsonl."""
        captions = [*kanji_captions, *(caption for pair in pairs for caption in pair["captions"])]
        names = (frozenset(part["meaning"].casefold() for part in pair["components"]) for pair in pairs)
        return cls(frozenset(caption.casefold() for caption in captions), frozenset(names))

    def has(self, character: ComposedCharacter) -> bool:
        """Whether any caption of a character is held out."""
        names = frozenset(component.names[0].casefold() for component in character.components)
        return names in self.names or any(caption.casefold() in self.captions for caption in character.captions)


def check_forms(file: PlanFile, glyphs: Iterable[Glyph]) -> None:
    """Raises UserError where a plan asks for a form that is in no character of KanjiVG; it names file and line."""
    known: set[str] = set()
    for glyph in glyphs:
        known.add(glyph.literal)
        known.update(inner.original for slot in glyph.slots for inner in walk(slot))
    for plan in file.plans:
        for component in plan.components:
            if component.form not in known:
                raise file.error(plan.line, f"the form {component.form!r} is in no character of KanjiVG")


def _by_form(pool: Pool) -> dict[str, list[list[PlacedComponent]]]:
    """For each meaning form, every occurrence of each of its shapes: of 水 those of 氵 and those of 水."""
    shapes = defaultdict(list)
    for (_, form), uses in sorted(pool.items()):
        shapes[form].append(uses)
    return shapes


def _fitting(
    arrangement: Arrangement, firsts: list[list[PlacedComponent]], seconds: list[list[PlacedComponent]]
) -> Iterator[tuple[PlacedComponent, PlacedComponent]]:
    """Two components, given in all their shapes, as they fit each other: in their commonest shapes first."""
    shapes = itertools.product(firsts, seconds)
    for a, b in sorted(shapes, key=lambda pair: _use(pair[0]) * _use(pair[1]), reverse=True):
        if components := best_fit(arrangement, a, b):
            yield components


def _use(uses: list[PlacedComponent]) -> int:
    """How usual a shape is for its form."""
    return len(uses) * (_OWN_SHAPE if uses[0].element == uses[0].original else 1)


def _attempts(plan: Plan) -> tuple[_Attempt | None, list[_Attempt]]:
    """The arrangement that the slots of a plan name, None where they name none; and all others, the commonest first."""
    first, second = plan.components
    named = arrangement_of(first.slot, second.slot)
    if named and first.slot == named.second:
        first, second = second, first
    planned = (named, first, second) if named else None
    ways = [named, *ARRANGEMENTS] if named else ARRANGEMENTS
    attempts = [(way, a, b) for way in dict.fromkeys(ways) for a, b in ((first, second), (second, first))]
    return planned, [attempt for attempt in attempts if attempt != planned]


def _named(
    plan: Plan, attempt: _Attempt, components: tuple[PlacedComponent, PlacedComponent], as_planned: bool
) -> NamedCharacter:
    """The character that goes by the word and the names of the plan."""
    arrangement, *planned = attempt
    called = tuple(replace(placed, names=(asked.name,)) for placed, asked in zip(components, planned, strict=True))
    captions = tuple(dict.fromkeys((plan.word, " ".join(asked.name for asked in planned))))
    return NamedCharacter(plan.word, ComposedCharacter(arrangement, called, captions), as_planned)
