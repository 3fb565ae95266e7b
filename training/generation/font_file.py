"""From a folder of pictures with their words to a font's file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from common.errors import UserError
from common.files import replacing
from common.settings import require
from generation.font import MAX_CHARACTERS, FontCharacter, characters_of, font_of
from generation.words_folder import images_of, pictures_with_words

MAX_FAMILY = 31  # letters of a family's name that all programs show


@dataclass(frozen=True, kw_only=True)
class FontConfig:
    """Settings of make_font.py."""

    pictures: Annotated[Path, tyro.conf.Positional]
    """The folder that generate.py wrote: PNGs, each with its JSON."""
    output: Path = Path("mykanji.ttf")
    """The font to write; one that is there is replaced."""
    family: str = "My Kanji"
    """What programs call the font, 31 letters at most."""

    def __post_init__(self) -> None:
        """Refuse a name that no font can have. Raises ValueError naming the flag."""
        is_name = self.family.isprintable() and len(self.family.strip()) > 0 and len(self.family) <= MAX_FAMILY
        require(is_name, "family", self.family, f"a name of 1 to {MAX_FAMILY} letters")


def make_font(config: FontConfig) -> tuple[list[FontCharacter], list[str]]:
    """Write the font; returns its characters, and of each picture that is not in it why not.

    Raises UserError where there is no character to put into it or too many, or `output` cannot be a font's file,
    OSError where the disk refuses; the file is then as it was.
    """
    if config.output.is_dir() or config.output.suffix.lower() != ".ttf":
        raise UserError(f"--output {config.output}: must be a file that ends in .ttf")
    pictures, left_out = pictures_with_words(config.pictures)
    if len(pictures) > MAX_CHARACTERS:
        raise UserError(f"{config.pictures}: holds {len(pictures):,} pictures; a font can have {MAX_CHARACTERS:,}")
    images = tqdm(images_of(pictures, left_out), desc="tracing", unit="picture", total=len(pictures))
    with_ink = []
    for picture, image in images:
        if image.convert("L").getextrema()[0] < 128:
            with_ink.append((picture.words, image))
        else:
            left_out.append(f"{picture.path}: has no ink")
    if not with_ink:
        raise UserError("; ".join([f"{config.pictures}: holds no picture that can be a character", *left_out[:3]]))
    characters = characters_of(with_ink)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(config.output) as temporary:
        font_of(characters, config.family.strip()).save(temporary)
    return characters, left_out
