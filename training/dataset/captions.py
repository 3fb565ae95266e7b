"""How a caption names a number of strokes, in training and in prompts alike."""

from __future__ import annotations

import re


def with_stroke_tag(caption: str, strokes: int) -> str:
    """The caption with the stroke budget as training and generate.py write it: "water, 4 strokes"."""
    return f"{caption}, {strokes} stroke{'s' * (strokes != 1)}"


def words_alone(prompt: str) -> str:
    """The words of a prompt that names a number of strokes at its end; nothing of one that names none."""
    named = re.fullmatch(r"(.*), \d+ strokes?", prompt, flags=re.DOTALL)
    return named[1] if named else ""
