"""How a caption names components and a number of strokes, in training and in prompts alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# How two components stand, by KanjiVG's position of the first: Unicode's ideographic description characters, and what
# a text encoder may take them to mean.
LAYOUTS = {"left": "⿰", "top": "⿱", "tare": "⿸", "nyo": "⿺", "kamae": "⿴"}
LAYOUT_NAMES = {"⿰": "left right", "⿱": "above below", "⿸": "hanging", "⿺": "sweeping", "⿴": "around inside"}


def components_caption(components: Iterable[tuple[str, str]], layout: str = "") -> str:
    """Names and meaning forms of components, in the order of their slots, for a model that has tokens of them.

    As in "boat 舟, water 水" or, with one of LAYOUTS in front, "⿰ boat 舟, water 水": without it what stands where is
    said by the order alone, as in captions of names.
    """
    return f"{layout} ".lstrip() + ", ".join(f"{name} {form}" for name, form in components)


def spelled_components(text: str) -> tuple[str, list[tuple[str, str]], bool]:
    """The layout, the components and whether there is nothing else, of a text as components_caption writes it.

    "⿰ boat 舟, water 水" gives ("⿰", [("boat", "舟"), ("water", "水")], True); a text of other words no components.
    """
    text = text.strip()
    layout = text[0] if text[:1] in LAYOUT_NAMES else ""
    parts = [part.strip() for part in text.removeprefix(layout).split(",")]
    found = [re.fullmatch(r"(.*[A-Za-z].*) (\w)", part) for part in parts]
    components = [(one[1], one[2]) for one in found if one and unicodedata.category(one[2]) == "Lo"]
    return layout, components, len(components) == len(parts)


def with_components(caption: str, components: str) -> str:
    """A caption in words with that of components behind it: "submarine, boat 舟, water 水"."""
    return f"{caption}, {components}"


def with_stroke_tag(caption: str, strokes: int) -> str:
    """The caption with the stroke budget as training and generate.py write it: "water, 4 strokes"."""
    return f"{caption}, {strokes} stroke{'s' * (strokes != 1)}"


def words_alone(prompt: str) -> str:
    """The words of a prompt that names a number of strokes at its end; nothing of one that names none."""
    named = re.fullmatch(r"(.*), \d+ strokes?", prompt, flags=re.DOTALL)
    return named[1] if named else ""
