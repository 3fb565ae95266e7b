"""Meanings -> captions: of real kanji, and of characters composed of two components."""

from __future__ import annotations

import random
import re
import unicodedata

from kanjidic import Kanji, Language
from kanjivg_reader import Component

# Ways to name two concepts at once: {a} is the first slot's (left, top, enclosure), {b} the second's.
_FORMS = {
    "en": ("{a} {b}", "{a} and {b}", "{b} of {a}", "{a}, {b}"),
    "fr": ("{a} {b}", "{a} et {b}", "{b} et {a}", "{a}, {b}"),
    "es": ("{a} {b}", "{a} y {b}", "{b} y {a}", "{a}, {b}"),
    "pt": ("{a} {b}", "{a} e {b}", "{b} e {a}", "{a}, {b}"),
}
_FORM_WEIGHTS = (4, 3, 2, 2)
_SECOND_MEANING_PROBABILITY = 0.2  # that a word of a composed caption is the second meaning, where there is one
_MAX_CAPTIONS = 3
_MAX_CONCEPT_LENGTH = 18  # characters of a concept in a composed caption; longer ones are descriptions, not names
_NOT_CONCEPTS = ("counter for", "sign of", "unit of", "number ", "kind of", "type of", "variant", "same as", "or ")
_NO_NAMES = {"this", "that", "what", "which", "why", "how", "and", "or", "also", "if", "not", "I", "me"}
_NO_NAMES |= {"at", "in", "by"}
_LEADING = re.compile(r"^(?:to|the|a|an) (?=\w)")


def names_of(component: Component, kanji: dict[str, Kanji], language: Language) -> tuple[str, ...]:
    """What a component means, the main name first; () where nobody gives it a meaning.

    The meanings of its meaning form (氵 -> 水 -> "water"). A classical radical that is no word of today's Japanese
    goes by the name that Unicode has for it: 禾 is "grain", which KANJIDIC2 calls "two-branch tree".
    """
    for literal in (component.original, component.element):
        entry = kanji.get(literal)
        names = list(entry.meanings) if entry else []
        if language == "en" and literal in _RADICALS and (entry is None or (entry.grade or 9) > 8):
            names = [_RADICALS[literal], *names]
        if names:
            return tuple(dict.fromkeys(names))
    return ()


def _radical_names() -> dict[str, str]:
    """Unicode's names of the 214 classical radicals (block Kangxi Radicals), by the kanji that each stands for."""
    radicals = [chr(code) for code in range(0x2F00, 0x2FD6)]
    names = [unicodedata.name(radical).removeprefix("KANGXI RADICAL ").lower() for radical in radicals]
    return dict(zip((unicodedata.normalize("NFKC", radical) for radical in radicals), names, strict=True))


_RADICALS = _radical_names()


def concepts_of(component: Component, kanji: dict[str, Kanji], language: Language) -> tuple[str, ...]:
    """One or two short names for a component, the main one first; () where it has no meaning that is a name."""
    names = (_LEADING.sub("", name) for name in names_of(component, kanji, language)[:3])
    return tuple(dict.fromkeys(name for name in names if is_concept(name)))[:2]


def is_concept(meaning: str) -> bool:
    """True for a meaning that can be one half of a composed caption, such as "water" or "old man"."""
    return (
        len(meaning) <= _MAX_CONCEPT_LENGTH
        and len(meaning.split()) <= 2
        and meaning not in _NO_NAMES
        and not meaning.startswith(_NOT_CONCEPTS)
        and meaning[0].isalpha()
        and meaning[-1].isalpha()
        and not any(letter.isdigit() or letter in ",;/." for letter in meaning)
    )


def composed_captions(
    first: tuple[str, ...], second: tuple[str, ...], language: Language, rng: random.Random
) -> tuple[str, ...]:
    """Up to three captions for a composed character; the first is always the plain "{first} {second}".

    `first` and `second` are the names of the two components, from concepts_of, in `language`. `rng` decides which
    forms and which names are used.
    """
    forms = _FORMS[language]
    captions = [forms[0].format(a=first[0], b=second[0])]
    for form in rng.choices(forms, _FORM_WEIGHTS, k=_MAX_CAPTIONS - 1):
        captions.append(form.format(a=_name(first, rng), b=_name(second, rng)))
    return tuple(dict.fromkeys(captions))


def _name(names: tuple[str, ...], rng: random.Random) -> str:
    return names[1] if len(names) > 1 and rng.random() < _SECOND_MEANING_PROBABILITY else names[0]
