"""What the columns that training understands may hold, and what is wrong with them in an entry of the metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.rows import whole_number

# Largest values. Strokes: the densest characters in Unicode have some 80, and a set of words may have more.
WHOLE_NUMBERS = {"strokes": 1000, "grade": 100, "frequency": 1_000_000}
TEXTS = ("literal", "word")
COMPONENT_TEXTS = ("original", "meaning", "position")  # beside `element`, which it must have
SHOWN = 40  # characters of a value


def column_problems(entry: Mapping[str, Any]) -> list[str]:
    """What is wrong with each column, in words; one that is missing or null is right."""
    problems = []
    for name, largest in WHOLE_NUMBERS.items():
        value = entry.get(name)
        number = whole_number(value)
        if value is not None and (number is None or not 1 <= number <= largest):
            problems.append(f"has {name} {_shown(value)}, where a whole number from 1 to {largest} can stand")
    problems += [f"has {name} {_shown(entry[name])}, where text can stand" for name in TEXTS
                 if not isinstance(entry.get(name), str | None)]
    components = entry.get("components")
    if components is not None and not (isinstance(components, list) and all(map(_is_component, components))):
        problems.append(f"has components {_shown(components)}, where a list can stand of objects such as "
                        '{"element": "氵", "original": "水", "meaning": "water", "position": "left"}')
    return problems


def _is_component(value: Any) -> bool:
    return (isinstance(value, dict) and isinstance(value.get("element"), str) and bool(value["element"])
            and all(isinstance(value.get(name), str | None) for name in COMPONENT_TEXTS))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
