"""A contact sheet: pictures with their captions, to look at before training."""

import unicodedata
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from errors import UserError
from records import Record
from render import InkError, Pen, draw

_COLUMNS, _ROWS = 10, 6  # the upper half real kanji, the lower composed characters
_CELL, _GLYPH, _MARGIN = 132, 96, 6  # px
_FONT = 11  # px


def choose(records: list[Record]) -> list[Record]:
    """Evenly spaced records, half of them composed where there are any."""
    groups = [[record for record in records if record.row["kind"] == kind] for kind in ("real", "composed")]
    groups = [group for group in groups if group]
    chosen = []
    for group in groups:
        room = min(len(group), _COLUMNS * _ROWS // len(groups))
        chosen += [group[i * len(group) // room] for i in range(room)]
    return chosen


def _plain(text: str) -> str:
    """The text without accents, which the font that Pillow brings along does not have."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def draw_sheet(path: Path, records: list[Record], stroke_width: float) -> int:
    """Draw a contact sheet as PNG and return the number of pictures on it.

    Raises:
        UserError: the file cannot be written.
    """
    chosen = choose(records)
    rows = -(-len(chosen) // _COLUMNS)
    sheet = Image.new("L", (_COLUMNS * _CELL, rows * _CELL), 255)
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for index, record in enumerate(chosen):
        x, y = index % _COLUMNS * _CELL, index // _COLUMNS * _CELL
        try:
            picture = draw(record.strokes, Pen(_GLYPH, stroke_width))
        except InkError:
            continue
        sheet.paste(picture, (x + (_CELL - _GLYPH) // 2, y + _MARGIN))
        text = _plain(record.row["text"])
        while canvas.textlength(text, font) > _CELL - 4:
            text = text.removesuffix("…")[:-1] + "…"
        canvas.text((x + _CELL // 2, y + _GLYPH + _MARGIN + 2), text, 0, font, anchor="ma")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, "PNG")
    except OSError as error:
        raise UserError(f"--preview {path}: cannot be written ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"--preview {path}: {error}") from None
    return len(chosen)
