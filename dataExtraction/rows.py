"""Kanji, composed and named characters -> the rows of the dataset."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from arrangements import ARRANGEMENTS
from captions import names_of
from compose import ComposedCharacter
from compose_plans import NamedCharacter
from held_out import is_held_out
from kanjidic import Kanji, Language
from kanjivg_reader import Component, Glyph, is_kanji
from svg_paths import Stroke

_MAX_SLUG = 40  # letters of a word in its picture's file name


@dataclass(frozen=True)
class Row:
    """One row and the strokes of its picture."""

    split: str  # train or test
    metadata: dict[str, Any]  # the columns, as they stand in metadata.jsonl
    strokes: tuple[Stroke, ...]


def usable_kanji(
    kanji: dict[str, Kanji], glyphs: dict[str, Glyph], limit: int | None = None
) -> tuple[list[str], dict[str, str]]:
    """The kanji that have both meaning and drawing, in order of code point; and why each other character is left out.

    `kanji` are all of KANJIDIC2, `glyphs` all of KanjiVG; the reasons are those for the characters of either. With a
    `limit` only so many are kept, the most used in newspapers first.
    """
    rejected = {}
    for literal in glyphs:
        if not is_kanji(literal):
            rejected[literal] = "not a kanji"
        elif literal not in kanji:
            rejected[literal] = "not in KANJIDIC2"
        elif not kanji[literal].meanings:
            rejected[literal] = "no meaning in this language"
    for literal in kanji:
        if literal not in glyphs:
            rejected[literal] = "no drawing in KanjiVG"
    usable = sorted(literal for literal in glyphs if literal not in rejected)
    if limit is not None:
        by_use = sorted(usable, key=lambda literal: (kanji[literal].frequency or 9999, literal))
        rejected |= dict.fromkeys(by_use[limit:], "beyond --limit")
        usable = sorted(by_use[:limit])
    return usable, rejected


def real_row(entry: Kanji, glyph: Glyph, kanji: dict[str, Kanji], language: Language) -> Row:
    """The row of a real kanji; `kanji`, all of KANJIDIC2, gives its components their meanings in `language`."""
    named = [named for slot in glyph.slots for named in _named_components(slot)]
    if not named:
        named = [(Component(entry.literal, entry.literal, "", ()), "")]
    metadata = {
        "file_name": f"{entry.code}.png",
        "text": entry.meanings[0],
        "captions": list(entry.meanings),
        "literal": entry.literal,
        "strokes": len(glyph.strokes),
        "grade": entry.grade,
        "frequency": entry.frequency,
        "radical": entry.radical,
        "components": [_described(component, position, kanji, language) for component, position in named],
        "kind": "real",
        "ids": _description_sequence(glyph),
    }
    return Row("test" if is_held_out(entry.literal) else "train", metadata, glyph.strokes)


def composed_row(character: ComposedCharacter) -> Row:
    """The row of a composed character."""
    metadata = {
        "file_name": f"{character.name}.png",
        "text": character.captions[0],
        "captions": list(character.captions),
        "literal": "",
        "strokes": len(character.strokes),
        "grade": None,
        "frequency": None,
        "radical": None,
        "components": _composed_components(character),
        "kind": "composed",
        "ids": character.ids,
    }
    return Row("train", metadata, character.strokes)


def named_row(named: NamedCharacter) -> Row:
    """The row of a character composed for a word: that of a composed one, and which word."""
    row = composed_row(named.character)
    ours = {"file_name": f"{_named_stem(named.word)}.png", "kind": "named", "word": named.word}
    return replace(row, metadata=row.metadata | ours)


def without_word(row: Row) -> Row:
    """The row of another character in a dataset that has named ones: every row of a table has the same columns."""
    return replace(row, metadata=row.metadata | {"word": ""})


def _named_stem(word: str) -> str:
    """A file name for a word: unique and stable, such as n_washing-machine_0c5c9a4e2f0b."""
    slug = re.sub("[^a-z0-9]+", "-", word.lower())[:_MAX_SLUG].strip("-")
    return "_".join(filter(None, ("n", slug, hashlib.sha256(word.encode()).hexdigest()[:12])))


def held_out_pair_row(character: ComposedCharacter) -> dict[str, Any]:
    """A pair that is never composed, as a row of heldout_pairs.jsonl."""
    return {
        "text": character.captions[0],
        "captions": list(character.captions),
        "components": _composed_components(character),
        "ids": character.ids,
        "strokes": len(character.strokes),
    }


def _composed_components(character: ComposedCharacter) -> list[dict[str, str]]:
    """The two components of a composed character, in the form of the column `components`."""
    positions = (character.arrangement.first, character.arrangement.second)
    return [
        {"element": placed.element, "original": placed.original, "meaning": placed.names[0], "position": position}
        for placed, position in zip(character.components, positions, strict=True)
    ]


def _described(component: Component, position: str, kanji: dict[str, Kanji], language: Language) -> dict[str, str]:
    """A component of a real kanji, in the form of the column `components`."""
    names = names_of(component, kanji, language) or ("",)
    return {
        "element": component.element,
        "original": component.original,
        "meaning": names[0],
        "position": position,
    }


def _named_components(slot: Component, outer: str = "") -> Iterator[tuple[Component, str]]:
    """The slot itself, or, where KanjiVG gives it no name, the named groups within, as right/top and so on."""
    position = f"{outer}/{slot.position}".strip("/")
    if slot.element:
        yield slot, position
    else:
        for child in slot.children:
            yield from _named_components(child, position)


def _description_sequence(glyph: Glyph) -> str:
    """Ideographic description sequence of a kanji that is two named components, else ""."""
    by_position = {slot.position: slot.element for slot in glyph.slots}
    for arrangement in ARRANGEMENTS:
        if len(glyph.slots) == 2 and set(by_position) == {arrangement.first, arrangement.second}:
            first, second = by_position[arrangement.first], by_position[arrangement.second]
            return arrangement.sequence(first, second) if len(first) == len(second) == 1 else ""
    return ""
