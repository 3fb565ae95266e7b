"""Both sources, paired and composed -> all that a dataset is to hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compose import Composer
from errors import UserError
from kanjidic import Kanji, read_kanjidic
from kanjivg_reader import Glyph, read_kanjivg
from options import Options
from progress import progress_bar
from rows import Row, composed_row, held_out_pair_row, real_row, usable_kanji

MAX_HELD_OUT_PAIRS = 2000  # rows of heldout_pairs.jsonl


@dataclass
class Contents:
    """What is to be drawn, what is held out, and what is left out."""

    rows: list[Row]
    held_out_pairs: list[dict[str, Any]] = field(default_factory=list)  # rows of heldout_pairs.jsonl
    rejected: dict[str, str] = field(default_factory=dict)  # character or file name -> reason


def read_contents(kanjidic_file: Path, kanjivg_files: list[tuple[str, bytes]], options: Options) -> Contents:
    """Read both sources, pair them, and compose new characters.

    Raises UserError where a source cannot be read, or nothing usable is in them.
    """
    kanji = read_kanjidic(kanjidic_file, options.language)
    glyphs, broken = read_kanjivg(kanjivg_files)
    usable, rejected = usable_kanji(kanji, glyphs, options.limit)
    rejected |= broken
    if not usable:
        raise UserError("no kanji has both a meaning and a drawing: " + some_reasons(rejected))
    rows = [real_row(kanji[literal], glyphs[literal], kanji, options.language) for literal in usable]
    contents = Contents(rows, rejected=rejected)
    if options.compose:
        _compose(contents, glyphs, kanji, usable, options)
    return contents


def _compose(
    contents: Contents, glyphs: dict[str, Glyph], kanji: dict[str, Kanji], usable: list[str], options: Options
) -> None:
    """Add the composed characters and the held-out pairs."""
    composer = Composer(glyphs, kanji, usable, options.language)
    with progress_bar(desc="composing", unit="character", total=options.compose) as bar:
        composed = composer.compose(options.compose, options.seed, bar.update, options.least_common)
    contents.rows += map(composed_row, composed)
    pairs = composer.held_out_pairs(MAX_HELD_OUT_PAIRS, options.seed, composed)
    contents.held_out_pairs += map(held_out_pair_row, pairs)


def some_reasons(rejected: dict[str, str]) -> str:
    """The first three reasons, for a message."""
    return "; ".join(f"{name}: {reason}" for name, reason in list(rejected.items())[:3])
