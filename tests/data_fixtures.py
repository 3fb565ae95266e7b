"""Small sources for the tests of dataExtraction: a KANJIDIC2 of our own making, and strokes from the real KanjiVG."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

import sources
from kanjivg_reader import parse_svg
from render import Pen, draw

WORDS = {"水": "water", "馬": "horse", "木": "tree", "火": "fire", "人": "person", "月": "moon", "山": "mountain"}
WORDS |= {"口": "mouth", "心": "heart", "手": "hand", "日": "day", "土": "soil", "女": "woman", "目": "eye"}
FEW = "一二三人口女子山川木水火日月目心手土王玉生石竹米糸耳花草虫見言貝赤足車金雨青音海池明林森休体"

SEAHORSE = (("水", "water", "left"), ("馬", "horse", "right"))  # of no kanji, and they fit


def word(literal: str) -> str:
    """An English-looking word for any kanji: WORDS', or four letters made from its code point."""
    code = ord(literal)
    syllables = ("bdfgklmnprstvz"[code // 14**i % 14] + "aeiou"[code // 5**i % 5] for i in range(4))
    return WORDS.get(literal) or "".join(syllables)


def character(literal: str, extra: str = "", meanings: Iterable[str] | None = None, misc: str = "") -> str:
    """One <character> of KANJIDIC2."""
    english = "".join(f"<meaning>{text}</meaning>" for text in ([word(literal)] if meanings is None else meanings))
    return (
        f"<character><literal>{literal}</literal>"
        f'<radical><rad_value rad_type="classical">85</rad_value></radical>'
        f"<misc>{misc or '<grade>1</grade><stroke_count>4</stroke_count>'}</misc>"
        f'<reading_meaning><rmgroup><reading r_type="ja_on">スイ</reading><reading r_type="ja_kun">みず</reading>'
        f'{english}<meaning m_lang="fr">{word(literal)} en français</meaning>{extra}</rmgroup></reading_meaning>'
        "</character>"
    )


def kanjidic_xml(characters: Iterable[str]) -> str:
    """A whole kanjidic2.xml of some <character> elements."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE kanjidic2 [\n<!ELEMENT kanjidic2 (header,character*)>\n]>\n'
        "<kanjidic2><header><file_version>4</file_version><database_version>2026-001</database_version>"
        "<date_of_creation>2026-01-01</date_of_creation></header>\n" + "\n".join(characters) + "\n</kanjidic2>\n"
    )


def write_kanjidic(path: Path, literals: Iterable[str]) -> Path:
    """Write a KANJIDIC2 of some kanji, gzip if the name ends so."""
    data = kanjidic_xml(map(character, literals)).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


@functools.cache
def all_svgs() -> dict[str, bytes]:
    """Every main file of the installed KanjiVG, by name."""
    return dict(sources.find_kanjivg(None)[0])


def svg(literal: str) -> bytes:
    """KanjiVG's file of one character."""
    return all_svgs()[f"{ord(literal):05x}.svg"]


def kanji_image(literal: str, size: int = 128) -> Image.Image:
    """A kanji as the dataset has it."""
    return draw(parse_svg(f"{ord(literal):05x}.svg", svg(literal)).strokes, Pen(size))


def write_kanjivg(folder: Path, literals: Iterable[str]) -> Path:
    """Write the KanjiVG files of some kanji into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for literal in literals:
        (folder / f"{ord(literal):05x}.svg").write_bytes(svg(literal))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def plan(word: object, components: Iterable[tuple[str, str, str]] = SEAHORSE, **more: object) -> dict[str, Any]:
    """A plan for a word, as a file of plans has it; `components` are form, name and slot."""
    keys = ("form", "name", "slot")
    return {"word": word, "components": [dict(zip(keys, one, strict=True)) for one in components], **more}


def parts(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The components of a row of the dataset, as `plan` takes them."""
    return [(part["original"], part["meaning"], part["position"]) for part in row["components"]]


def write_plans(path: Path, plans: Iterable[dict[str, Any]]) -> Path:
    """Write a file of plans."""
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in plans), encoding="utf-8")
    return path


def table(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
