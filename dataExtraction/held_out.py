"""What is held out: kanji that are never trained on, and pairs of components that are never composed.

Both are chosen by a hash of what they are, so that adding data never moves anything from one side to the other.
"""

from __future__ import annotations

import hashlib

HELD_OUT_FRACTION = 0.05  # of the real kanji, and of the pairs of components


def is_held_out(literal: str) -> bool:
    """True for the 5 % of kanji that make the test split: a hash of the code point."""
    return _hash_fraction(f"kanji {ord(literal):05x}") < HELD_OUT_FRACTION


def is_held_out_pair(first: str, second: str) -> bool:
    """True for the 5 % of pairs of meaning forms that are never composed, in whatever order or slots.

    The evaluation takes its two-concept prompts from these.
    """
    return _hash_fraction("pair " + " ".join(sorted((first, second)))) < HELD_OUT_FRACTION


def _hash_fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
