"""Kanji and composed characters -> the rows of the dataset."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from captions import names_of
from compose import KINDS, Composed, description, is_held_out
from kanjidic import Kanji
from kanjivg import Component, Glyph, is_kanji
from paths import Stroke


@dataclass(frozen=True)
class Record:
    """One row and the strokes of its picture."""

    split: str  # train or test
    row: dict[str, Any]
    strokes: tuple[Stroke, ...]


def usable_kanji(
    kanji: dict[str, Kanji], glyphs: dict[str, Glyph], limit: int | None = None
) -> tuple[list[str], dict[str, str]]:
    """The kanji that have both meaning and drawing.

    Args:
        kanji: all of KANJIDIC2.
        glyphs: all of KanjiVG.
        limit: only so many, the most used in newspapers first.

    Returns:
        The kanji in order of code point; and the reason for each character of either source that is left out.
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


def real_record(entry: Kanji, glyph: Glyph, kanji: dict[str, Kanji], language: str) -> Record:
    """The row of a real kanji; `kanji`, all of KANJIDIC2, gives its components their meanings."""
    named = [named for slot in glyph.slots for named in _named(slot)]
    components = [_component(part, position, kanji, language) for part, position in named]
    if not components:
        whole = Component(entry.literal, entry.literal, "", ())
        components = [_component(whole, "", kanji, language)]
    row = {
        "file_name": f"{entry.code}.png",
        "text": entry.meanings[0],
        "captions": list(entry.meanings),
        "literal": entry.literal,
        "strokes": len(glyph.strokes),
        "grade": entry.grade,
        "frequency": entry.frequency,
        "radical": entry.radical,
        "components": components,
        "kind": "real",
        "ids": _ids(glyph),
    }
    return Record("test" if is_held_out(entry.literal) else "train", row, glyph.strokes)


def composed_record(character: Composed) -> Record:
    """The row of a composed character."""
    row = {
        "file_name": f"{character.name}.png",
        "text": character.captions[0],
        "captions": list(character.captions),
        "literal": "",
        "strokes": len(character.strokes),
        "grade": None,
        "frequency": None,
        "radical": None,
        "components": composed_components(character),
        "kind": "composed",
        "ids": character.ids,
    }
    return Record("train", row, character.strokes)


def held_out_pair(character: Composed) -> dict[str, Any]:
    """A pair that is never composed, as a row of heldout_pairs.jsonl."""
    return {
        "text": character.captions[0],
        "captions": list(character.captions),
        "components": composed_components(character),
        "ids": character.ids,
        "strokes": len(character.strokes),
    }


def composed_components(character: Composed) -> list[dict[str, str]]:
    """The two components of a composed character, in the form of the column `components`."""
    return [
        {"element": part.element, "original": part.original, "meaning": part.names[0], "position": position}
        for part, position in zip(character.parts, (character.kind.first, character.kind.second), strict=True)
    ]


def _component(part: Component, position: str, kanji: dict[str, Kanji], language: str) -> dict[str, str]:
    names = names_of(part, kanji, language) or ("",)
    return {"element": part.element, "original": part.original, "meaning": names[0], "position": position}


def _named(slot: Component, outer: str = "") -> Iterable[tuple[Component, str]]:
    """The slot itself, or, where KanjiVG gives it no name, the named groups within, as right/top and so on."""
    position = f"{outer}/{slot.position}".strip("/")
    if slot.element:
        yield slot, position
    else:
        for child in slot.children:
            yield from _named(child, position)


def _ids(glyph: Glyph) -> str:
    """Ideographic description sequence of a kanji that is two named components, else ""."""
    by_position = {slot.position: slot.element for slot in glyph.slots}
    for kind in KINDS:
        if len(glyph.slots) == 2 and set(by_position) == {kind.first, kind.second}:
            first, second = by_position[kind.first], by_position[kind.second]
            return description(kind, first, second) if len(first) == len(second) == 1 else ""
    return ""
