"""Meanings -> captions: of real kanji, and of characters composed of two components."""

import random

from kanjidic import Kanji
from kanjivg import Component

# Ways to name two concepts at once: {a} is the first slot's (left, top, enclosure), {b} the second's.
_FORMS = {
    "en": ("{a} {b}", "{a} and {b}", "{b} of {a}", "{a}, {b}"),
    "fr": ("{a} {b}", "{a} et {b}", "{b} et {a}", "{a}, {b}"),
    "es": ("{a} {b}", "{a} y {b}", "{b} y {a}", "{a}, {b}"),
    "pt": ("{a} {b}", "{a} e {b}", "{b} e {a}", "{a}, {b}"),
}
_FORM_WEIGHTS = (4, 3, 2, 2)
_SECOND_MEANING = 0.2  # share of the composed captions in which a word is the second meaning, where there is one
_MOST_CAPTIONS = 3
_WORD_LENGTH = 18  # characters of a concept in a composed caption; longer ones are descriptions, not names
_NOT_CONCEPTS = ("counter for", "sign of", "unit of", "number ", "kind of", "type of", "variant", "same as")


def meaning_of(component: Component, kanji: dict[str, Kanji]) -> str | None:
    """The main meaning of a component, through its meaning form (氵 -> 水 -> "water"), or None."""
    for literal in (component.original, component.element):
        if literal in kanji and kanji[literal].meanings:
            return kanji[literal].meanings[0]
    return None


def concepts_of(component: Component, kanji: dict[str, Kanji]) -> tuple[str, ...]:
    """One or two short names for a component, the main one first; () where it has no meaning that is a name."""
    for literal in (component.original, component.element):
        if literal in kanji:
            meanings = kanji[literal].meanings[:3]
            return tuple(meaning for meaning in meanings if is_concept(meaning))[:2]
    return ()


def is_concept(meaning: str) -> bool:
    """True for a meaning that can be one half of a composed caption, such as "water" or "old man"."""
    return (
        len(meaning) <= _WORD_LENGTH
        and len(meaning.split()) <= 2
        and not meaning.startswith(_NOT_CONCEPTS)
        and not any(letter.isdigit() or letter in ",;/." for letter in meaning)
    )


def composed_captions(
    first: tuple[str, ...], second: tuple[str, ...], language: str, draw: random.Random
) -> tuple[str, ...]:
    """Up to three captions for a composed character; the first is always the plain "{first} {second}".

    Args:
        first, second: the names of the two components, from concepts_of.
        language: of the names; one of kanjidic.LANGUAGES.
        draw: decides which forms and which names are used.
    """
    forms = _FORMS[language]
    captions = [forms[0].format(a=first[0], b=second[0])]
    for form in draw.choices(forms, _FORM_WEIGHTS, k=_MOST_CAPTIONS - 1):
        a, b = (names[1] if len(names) > 1 and draw.random() < _SECOND_MEANING else names[0] for names in (first, second))
        captions.append(form.format(a=a, b=b))
    return tuple(dict.fromkeys(captions))
