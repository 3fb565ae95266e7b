"""KANJIDIC2 XML -> entries of kanji: meanings, readings, strokes, grade, frequency, radical.

Format: the comments of the file's own DTD (http://www.edrdg.org/kanjidic/kanjd2index_legacy.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from lxml import etree

from errors import UserError
from xml_files import SAFELY, open_xml, readable, refuse_entities

Language = Literal["en", "fr", "es", "pt"]  # all that the file has meanings in


@dataclass(frozen=True)
class Kanji:
    """One character of KANJIDIC2."""

    literal: str
    meanings: tuple[str, ...]  # cleaned, the main one first; may be empty
    on_readings: tuple[str, ...]  # katakana
    kun_readings: tuple[str, ...]  # hiragana, okurigana after a dot
    strokes: int  # the accepted count; the others that the file lists are common miscounts
    grade: int | None  # 1-6 primary school, 8 secondary school (together the Jouyou), 9-10 names; None: none of these
    frequency: int | None  # rank in newspapers, 1 (most used) to 2501
    radical: int  # classical radical, 1-214

    @property
    def code(self) -> str:
        """The code point as KanjiVG names its files: five lower-case hexadecimal digits."""
        return f"{ord(self.literal):05x}"


def read_kanjidic(path: Path, language: Language = "en") -> dict[str, Kanji]:
    """Every character of a KANJIDIC2 file, by its literal, in the file's order.

    The file may be plain XML or gzip; the meanings are in `language`. Raises UserError where it is not readable, cut
    off, not XML, not KANJIDIC2, or has entity declarations.
    """
    with readable(path, "--kanjidic"), open_xml(path) as stream:
        kanji = {entry.literal: entry for entry in _entries(path, stream, language)}
    if not kanji:
        raise UserError(f"{path}: KANJIDIC2 without a single character. Fetch it again, or name another: --kanjidic")
    return kanji


def _entries(path: Path, stream: BinaryIO, language: Language) -> Iterator[Kanji]:
    """The characters of the file one by one; each node is dropped when read (25 MB of memory instead of 244)."""
    root = None
    for event, node in etree.iterparse(stream, events=("start", "end"), **SAFELY):
        if root is None:
            root = node
            if root.tag != "kanjidic2":
                raise UserError(f"{path}: not KANJIDIC2 (its root is <{root.tag}>). Name another: --kanjidic")
            refuse_entities(path, root.getroottree())
        if event == "end" and node.tag == "character":
            yield _entry(path, node, language)
            node.clear()
            while node.getprevious() is not None:
                del root[0]


def _entry(path: Path, node: etree._Element, language: Language) -> Kanji:
    """One <character>. Raises UserError where it is not as published."""
    literal = node.findtext("literal") or ""
    if len(literal) != 1:
        raise UserError(f"{path}: a <character> whose <literal> is {literal[:20]!r}, not one character")
    where = f"{path}: kanji {literal}"
    strokes = _number(where, node, "misc/stroke_count")
    radical = _number(where, node, "radical/rad_value[@rad_type='classical']")
    if strokes is None or radical is None:
        raise UserError(f"{where}: no stroke count or no classical radical; not KANJIDIC2 as published")
    meanings, on_readings, kun_readings = _words(node, language)
    return Kanji(
        literal=literal,
        meanings=clean_meanings(meanings),
        on_readings=tuple(on_readings),
        kun_readings=tuple(kun_readings),
        strokes=strokes,
        grade=_number(where, node, "misc/grade"),
        frequency=_number(where, node, "misc/freq"),
        radical=radical,
    )


def _number(where: str, node: etree._Element, tag: str) -> int | None:
    """The number in a tag, None without the tag. Raises UserError where it is no number."""
    text = node.findtext(tag)
    if text is None:
        return None
    if not re.fullmatch(r"\s*[0-9]{1,6}\s*", text):
        raise UserError(f"{where}: <{tag.rpartition('/')[2]}> is {text[:20]!r}, not a number")
    return int(text)


def _words(node: etree._Element, language: Language) -> tuple[list[str], list[str], list[str]]:
    """The meanings in a language, the on readings and the kun readings."""
    meanings, on_readings, kun_readings = [], [], []
    for item in node.iterfind("reading_meaning/rmgroup/*"):
        text = (item.text or "").strip()
        if item.tag == "meaning" and item.get("m_lang", "en") == language:
            meanings.append(text)
        elif item.tag == "reading" and item.get("r_type") == "ja_on":
            on_readings.append(text)
        elif item.tag == "reading" and item.get("r_type") == "ja_kun":
            kun_readings.append(text)
    return meanings, on_readings, kun_readings


# "rod radical (no. 2)", "clothing radical (no. 145", "left village radical - 2 stroke form (no. 170)"
_RADICAL_NAME = re.compile(r"(.+) radical\b.*\(n(?:o|umber)?\..*")
# "radical number 140", "radical 122", "variant of radical 125", "the radical on left side of the character"
_RADICAL_NUMBER = re.compile(r".*\bradical (?:number )?\d+.*|the radical on .*")
_KATAKANA_NAME = re.compile(r"katakana .*")  # "katakana mu": how the shape looks, not what it means
_PARENTHESES = re.compile(r"\s*\([^)]*\)?\s*")


def clean_meanings(meanings: list[str]) -> tuple[str, ...]:
    """Meanings fit to be captions: one sense each, no remarks, no repeats.

    Text in parentheses goes ("load (a vehicle)", "(kokuji)"). The nickname of a radical ("kettle lid radical
    (no. 8)") is kept, without its number, only where the character has no meaning of its own.
    """
    kept, nicknames = [], []
    for meaning in meanings:
        nickname = _RADICAL_NAME.fullmatch(meaning)
        if nickname:
            nicknames += [name.strip() for name in re.split(r" or | radical", nickname.group(1))]
        elif not _RADICAL_NUMBER.fullmatch(meaning):
            kept.append(" ".join(_PARENTHESES.sub(" ", meaning).split()).strip(" ,;"))
    kept = [meaning for meaning in kept if any(letter.isalnum() for letter in meaning)]
    nicknames = [name for name in nicknames if name and not _KATAKANA_NAME.fullmatch(name)]
    return tuple(dict.fromkeys(kept or nicknames))
