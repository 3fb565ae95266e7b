"""What the characters of a font are called: the names of their glyphs, and what is typed for each.

Glyph names: OpenType specification, table `post`, and Adobe's glyph list specification, section 2.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from fontTools.agl import UV2AGL

MAX_NAME = 63  # letters of a glyph's name
MAX_TYPED = 64  # letters that become one character: HarfBuzz compares no more glyphs (HB_MAX_CONTEXT_LENGTH)
_TYPED = "LNPSM"  # Unicode's classes of what has a key: letters, numbers, punctuation, signs, accents


def letter_name(letter: str) -> str:
    """The glyph's name of a letter: Adobe's, or its code point, as in uni6771."""
    return UV2AGL.get(ord(letter)) or (f"uni{ord(letter):04X}" if ord(letter) < 0x10000 else f"u{ord(letter):05X}")


def glyph_names(words: Sequence[str], taken: Iterable[str]) -> list[str]:
    """A glyph's name for each of some words, none twice and none of those taken: "Full Moon" is Full_Moon.

    Accents are left out, and what no name may have is its code point: 東京 is uni6771uni4EAC.
    """
    used, names = set(taken), []
    for one in words:
        plain = _plain_name(one)
        name, number = plain, 2
        while name in used:
            name, number = f"{plain[:MAX_NAME - 1 - len(str(number))]}.{number}", number + 1
        used.add(name)
        names.append(name)
    return names


def _plain_name(words: str) -> str:
    letters = [letter for letter in unicodedata.normalize("NFKD", words) if not unicodedata.combining(letter)]
    spelled = "".join(letter if letter.isascii() else letter_name(letter) if letter.isalnum() else " "
                      for letter in letters[:MAX_NAME])
    name = re.sub(r"[^A-Za-z0-9]+", "_", spelled).strip("_")[:MAX_NAME - 1] or "character"
    return name if name[0].isalpha() else f"_{name}"


def typed_words(words: Sequence[str]) -> list[str | None]:
    """What is typed for each of some words, in small letters: the words, and a number where they come again.

    None for words that no font can make one character of: too many letters, or letters that no key has.
    """
    typed, taken = [], {_typed(one) for one in words}
    seen: set[str] = set()
    for one in words:
        plain = _typed(one)
        own, number = plain, 2
        while own in seen or (own != plain and own in taken):
            own, number = f"{plain}{number}", number + 1
        seen.add(own)
        fits = 1 < len(own) <= MAX_TYPED and all(letter == " " or unicodedata.category(letter)[0] in _TYPED
                                                 for letter in own)
        typed.append(own if fits else None)
    return typed


def spellings(typed: str, words: str) -> list[str]:
    """The ways of writing that all show the character: as the words are given, small, capital, and with capitals."""
    number = typed[len(_typed(words)):]
    given = " ".join(unicodedata.normalize("NFC", words).split()) + number
    title = " ".join(word[:1].upper() + word[1:] for word in typed.split(" "))
    ways = dict.fromkeys([typed, given, title, typed.upper()])
    return [way for way in ways if len(way) <= MAX_TYPED]


def _typed(words: str) -> str:
    return " ".join(unicodedata.normalize("NFC", words).lower().split())
