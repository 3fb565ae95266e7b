"""A contact sheet: pictures with their captions, to look at before training."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from errors import UserError
from files import replacing
from render import InkError, Pen, draw
from rows import Row

_COLUMNS, _LINES = 10, 6  # of pictures; as many real kanji as composed characters
_CELL, _GLYPH, _MARGIN = 132, 96, 6  # px
_FONT = 11  # px


def choose(rows: list[Row]) -> list[Row]:
    """Evenly spaced rows, as many of each kind that there is."""
    groups = [[row for row in rows if row.metadata["kind"] == kind] for kind in ("real", "composed", "named")]
    groups = [group for group in groups if group]
    chosen = []
    for group in groups:
        count = min(len(group), _COLUMNS * _LINES // len(groups))
        chosen += [group[i * len(group) // count] for i in range(count)]
    return chosen


def _plain(text: str) -> str:
    """The text without accents, which the font that Pillow brings along does not have."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def draw_sheet(path: Path, rows: list[Row], stroke_width: float) -> int:
    """Draw a contact sheet as PNG and return the number of pictures on it.

    Raises UserError where the file cannot be written.
    """
    chosen = choose(rows)
    lines = -(-len(chosen) // _COLUMNS)
    sheet = Image.new("L", (_COLUMNS * _CELL, lines * _CELL), 255)
    for index, row in enumerate(chosen):
        _draw_cell(sheet, index % _COLUMNS * _CELL, index // _COLUMNS * _CELL, row, stroke_width)
    try:
        with replacing(path) as temporary:
            sheet.save(temporary, "PNG")
    except OSError as error:
        raise UserError(f"--preview {path}: cannot be written ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"--preview {path}: {error}") from None
    return len(chosen)


def _draw_cell(sheet: Image.Image, x: int, y: int, row: Row, stroke_width: float) -> None:
    """A picture and its caption, with the cell's corner at (x, y); nothing where the picture is refused."""
    try:
        picture = draw(row.strokes, Pen(_GLYPH, stroke_width))
    except InkError:
        return
    sheet.paste(picture, (x + (_CELL - _GLYPH) // 2, y + _MARGIN))
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    text = _plain(row.metadata["text"])
    while canvas.textlength(text, font) > _CELL - 4:
        text = text.removesuffix("…")[:-1] + "…"
    canvas.text((x + _CELL // 2, y + _GLYPH + _MARGIN + 2), text, 0, font, anchor="ma")
