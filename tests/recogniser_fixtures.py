"""A small kanji set of four simple components, a random judge, and readings made by hand."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from recogniser.judge import Component, Reading
from recogniser.labels import Vocabulary
from recogniser.network import Recogniser, Shape, save_recogniser
from recogniser.senses import Sense

SMALL = Shape(widths=(8, 12, 16), depths=(0, 1, 1), embedding=16)
MEANINGS = {"口": "mouth", "十": "ten", "二": "two", "人": "person"}
STROKES = {"口": 3, "十": 2, "二": 2, "人": 2}
SIDE = 64


def draw_component(ink: ImageDraw.ImageDraw, element: str, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    middle, centre = (left + right) // 2, (top + bottom) // 2
    if element == "口":
        ink.rectangle(box, outline="black", width=2)
    elif element == "十":
        ink.line((left, centre, right, centre), fill="black", width=2)
        ink.line((middle, top, middle, bottom), fill="black", width=2)
    elif element == "二":
        ink.line((left + 3, top + 3, right - 3, top + 3), fill="black", width=2)
        ink.line((left, bottom - 3, right, bottom - 3), fill="black", width=2)
    else:
        ink.line((middle, top, left, bottom), fill="black", width=2)
        ink.line((middle, centre - 4, right, bottom), fill="black", width=2)


def glyph(components: dict[str, str]) -> Image.Image:
    """An image with a component in each of the slots given: whole, left, right, top, bottom."""
    boxes = {"whole": (8, 8, 56, 56), "left": (5, 8, 28, 56), "right": (35, 8, 59, 56), "top": (8, 5, 56, 28),
             "bottom": (8, 35, 56, 59)}
    image = Image.new("L", (SIDE, SIDE), "white")
    for slot, element in components.items():
        draw_component(ImageDraw.Draw(image), element, boxes[slot])
    return image


def save_kanji_set(folder: Path) -> Path:
    """36 characters of one or two components, a quarter held out, half of the others composed; pairs for prompts."""
    characters = [{"whole": element} for element in MEANINGS]
    characters += [{"left": first, "right": second} for first, second in product(MEANINGS, repeat=2)]
    characters += [{"top": first, "bottom": second} for first, second in product(MEANINGS, repeat=2)]
    lines: dict[str, list[dict]] = {"train": [], "test": []}
    for number, components in enumerate(characters):
        split = "test" if number % 4 == 1 and len(components) == 2 else "train"
        composed = len(components) == 2 and split == "train" and number % 2 == 0
        literal = "" if composed else next(iter(components.values())) if len(components) == 1 else chr(0x5000 + number)
        meaning = " ".join(MEANINGS[element] for element in components.values())
        described = [{"element": element, "original": element, "meaning": MEANINGS[element],
                      "position": "" if slot == "whole" else slot} for slot, element in components.items()]
        lines[split].append({
            "file_name": f"{number:05x}.png", "text": meaning, "captions": [f"{meaning} {number}"], "literal": literal,
            "strokes": sum(STROKES[element] for element in components.values()),
            "grade": 1 if split == "train" and not composed else None, "frequency": None, "components": described,
            "kind": "composed" if composed else "real"})
        (folder / split).mkdir(parents=True, exist_ok=True)
        glyph(components).save(folder / split / f"{number:05x}.png")
    for split, rows in lines.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / split / "metadata.jsonl").write_text(text, encoding="utf8")
    pairs = [{"text": f"{MEANINGS[a]} {MEANINGS[b]}", "captions": [f"{MEANINGS[a]} {MEANINGS[b]}"],
              "components": [{"element": a, "original": a, "meaning": MEANINGS[a], "position": "left"},
                             {"element": b, "original": b, "meaning": MEANINGS[b], "position": "right"}],
              "ids": f"⿰{a}{b}", "strokes": STROKES[a] + STROKES[b]} for a, b in product("口十", "二人")]
    (folder / "heldout_pairs.jsonl").write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs),
                                                encoding="utf8")
    return folder


def vocabulary() -> Vocabulary:
    return Vocabulary(tuple(MEANINGS), tuple((Sense(element, (name,)),) for element, name in MEANINGS.items()))


def save_judge(folder: Path, seed: int = 0, sharpness: float = 1.0) -> Path:
    """A judge of random weights whose thresholds let some glyphs pass; a sharp one tells them better apart."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Recogniser(SMALL, len(MEANINGS)).eval()
    network.well_formed[-1].weight.data *= sharpness
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    names = ("component_f1", "component_f1_any_slot", "stroke_error", "well_formed", "broken_refused",
             "called_a_copy_of_another")
    save_recogniser(folder, network, vocabulary(), {
        "thresholds": {"component": 0.2, "well_formed": 0.5, "copy": 0.99},
        "held_out": {"characters": 10, **dict.fromkeys(names, figure), "refused_by_kind": {"overlaid": figure}}})
    return folder


def reading(elements: str = "口十", well_formed: float = 0.9, strokes: float = 5.0, **more) -> Reading:
    """What a judge might read: the elements left and right."""
    components = tuple(Component(element, element, MEANINGS[element], slot, 0.9)
                  for element, slot in zip(elements, ("left", "right"), strict=False))
    return Reading(well_formed, well_formed >= 0.5, strokes, components, **more)
