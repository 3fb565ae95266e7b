"""Texts: which are characters by themselves, as kanji are, and words as a message has them."""

from __future__ import annotations

import unicodedata

SHOWN_LETTERS = 60  # of words in a message
UNCASED = ("Lo", "So")  # Unicode's categories of ideographs, kana and radicals; letters with a case are Lu and Ll


def is_character(text: str) -> bool:
    """Whether a text is one character that stands for itself: 舟, but neither "a", which words have, nor "7"."""
    return len(text) == 1 and unicodedata.category(text) in UNCASED


def shortened(words: str) -> str:
    """Words as a message has them: on one line, and no more of them than fit there."""
    line = " ".join(words.split())
    return line if len(line) <= SHOWN_LETTERS else f"{line[:SHOWN_LETTERS - 1]}…"
