"""A set that is not kanji: line icons that we draw, with their names in a text file beside each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

SIDE, SCALE = 128, 4  # px, and how much larger an icon is drawn than it is, for soft edges
Draw = Callable[[ImageDraw.ImageDraw, tuple[int, int, int, int], int], None]


def _circle(ink: ImageDraw.ImageDraw, box: tuple[int, int, int, int], pen: int) -> None:
    ink.ellipse(box, outline=0, width=pen)


def _square(ink: ImageDraw.ImageDraw, box: tuple[int, int, int, int], pen: int) -> None:
    ink.rounded_rectangle(box, radius=2 * pen, outline=0, width=pen)


def _triangle(ink: ImageDraw.ImageDraw, box: tuple[int, int, int, int], pen: int) -> None:
    left, top, right, bottom = box
    ink.line([(left, bottom), ((left + right) // 2, top), (right, bottom), (left, bottom)], 0, pen, joint="curve")


def _cross(ink: ImageDraw.ImageDraw, box: tuple[int, int, int, int], pen: int) -> None:
    left, top, right, bottom = box
    ink.line((left, top, right, bottom), 0, pen)
    ink.line((left, bottom, right, top), 0, pen)


SHAPES: dict[str, Draw] = {"circle": _circle, "square": _square, "triangle": _triangle, "cross": _cross}


def save_icons(folder: Path, pen: float = 9.0, inner: bool = True) -> Path:
    """Save the shapes, black on white, 128 px, lines of `pen` px, each alone in three sizes and, if `inner`, with each.

    The first line of moon.txt beside a moon.png is the icon's name; where it has tags, the second has these as well.
    """
    folder.mkdir(parents=True)
    for outer, draw in SHAPES.items():
        for size, margin in (("large", 12), ("middling", 28), ("small", 40)):
            _save(folder, f"{size} {outer}", [(draw, margin)], pen, ("icon", outer))
        for name, draw_inner in SHAPES.items() if inner else ():
            _save(folder, f"{name} in {outer}", [(draw, 12), (draw_inner, 44)], pen, ())
    return folder


def _save(folder: Path, name: str, marks: list[tuple[Draw, int]], pen: float, tags: tuple[str, ...]) -> None:
    image = Image.new("L", (SIDE * SCALE,) * 2, 255)
    for draw, margin in marks:
        near, far = margin * SCALE, (SIDE - margin) * SCALE
        draw(ImageDraw.Draw(image), (near, near, far, far), round(pen * SCALE))
    stem = name.replace(" ", "-")
    image.reduce(SCALE).save(folder / f"{stem}.png")
    captions = [name, ", ".join((name, *tags))] if tags else [name]
    (folder / f"{stem}.txt").write_text("\n".join(captions) + "\n", encoding="utf8")
