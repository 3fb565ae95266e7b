"""Which texts are characters by themselves, as kanji are, and no letters of a word."""

from __future__ import annotations

import unicodedata

UNCASED = ("Lo", "So")  # Unicode's categories of ideographs, kana and radicals; letters with a case are Lu and Ll


def is_character(text: str) -> bool:
    """Whether a text is one character that stands for itself: 舟, but neither "a", which words have, nor "7"."""
    return len(text) == 1 and unicodedata.category(text) in UNCASED
