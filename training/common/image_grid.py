"""Images with their captions under them, as one image: sample grids, contact sheets, collated examples."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GRID = "collated_examples.png"  # the file of what a command drew, all in one image
MARGIN = 10  # px around each image
CAPTION_LINES = 2  # lines of text under an image; a longer caption ends in an ellipsis
FONT_SIZE = 13  # px
NO_CHARACTER = "\uffff"  # which no font has, and for which all show the same box


def captioned_grid(images: Sequence[Image.Image], captions: Sequence[str],
                   columns: int | None = None) -> Image.Image:
    """Lay images of one size out in rows, each with its caption, on white. Mode L where all are grey, else RGB.

    Of a caption that is shown which Pillow's own font has: "boat, water" of "boat 舟, water 水", "Cafe" of "Café".
    `columns` None makes the grid about square. Raises ValueError where there is no image, or not a caption for each.
    """
    if not images or len(images) != len(captions):
        raise ValueError(f"{len(images)} images and {len(captions)} captions do not make a grid")
    columns = columns or min(8, math.ceil(math.sqrt(len(images))))
    width, height = images[0].size
    font = ImageFont.load_default(FONT_SIZE)
    line_height = FONT_SIZE + 4
    cell = (width + 2 * MARGIN, height + 2 * MARGIN + CAPTION_LINES * line_height)
    rows = math.ceil(len(images) / columns)
    mode = "L" if all(image.mode == "L" for image in images) else "RGB"
    sheet = Image.new(mode, (columns * cell[0], rows * cell[1]), "white")
    ink = ImageDraw.Draw(sheet)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = index % columns * cell[0], index // columns * cell[1]
        sheet.paste(image.convert(mode), (left + MARGIN, top + MARGIN))
        for number, line in enumerate(_wrap(caption, font, cell[0] - MARGIN)):
            middle = (left + cell[0] / 2, top + height + MARGIN + 4 + number * line_height)
            ink.text(middle, line, fill="black", font=font, anchor="ma")
    return sheet


def _wrap(caption: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Break what the font can show of a caption into at most CAPTION_LINES lines of at most `width` pixels."""
    box = bytes(font.getmask(NO_CHARACTER))
    apart = unicodedata.normalize("NFKD", caption)  # an e and its accent
    shown = "".join(letter for letter in apart if letter.isspace() or bytes(font.getmask(letter)) != box)
    caption = re.sub(r"\s+(?=,|$)", "", shown).strip()
    letters = max(4, int(width / max(1.0, font.getlength("n"))))
    return textwrap.wrap(caption, letters, max_lines=CAPTION_LINES, placeholder="…") or [""]
