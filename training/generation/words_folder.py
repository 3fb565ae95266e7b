"""A folder that generate.py wrote, read back: its pictures and the words that each was drawn for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from common.errors import UserError, first_line
from common.image_grid import GRID
from dataset.images import decoded, file_bytes

MAX_JSON_BYTES = 1 << 20  # of what lies beside a picture; generate.py writes some 2 kB


@dataclass(frozen=True)
class WordsPicture:
    """A picture, the words that it was drawn for, and its seed."""

    path: Path
    words: str
    seed: int


def pictures_with_words(folder: Path) -> tuple[list[WordsPicture], list[str]]:
    """The pictures of a folder by words, seed and name; and why each other PNG is none of them, a line each.

    The grid of all pictures is passed over. Raises UserError where no picture has words, OSError where the folder
    cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Draw some pictures first: python training/generate.py rocket "
                        "--output pictures")
    pictures, left_out = [], []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png" and path.name != GRID):
        try:
            pictures.append(_with_words(path))
        except UserError as error:
            left_out.append(str(error))
    if not pictures:
        raise UserError("; ".join([f"{folder}: holds no picture with a JSON beside it that says its words, as "
                                   "generate.py writes them", *left_out[:3]]))
    return sorted(pictures, key=lambda one: (one.words.casefold(), one.seed, one.path.name)), left_out


def images_of(pictures: list[WordsPicture], left_out: list[str]) -> Iterator[tuple[WordsPicture, Image.Image]]:
    """Each picture with its image, grey or RGB; of one that cannot be read the reason is added to `left_out`."""
    for picture in pictures:
        try:
            image = decoded(file_bytes(picture.path))
        except Exception as error:  # of a broken file Pillow raises anything
            left_out.append(f"{picture.path}: no picture that can be read ({first_line(error)})")
        else:
            yield picture, image


def _with_words(path: Path) -> WordsPicture:
    """A picture by what the JSON beside it says. Raises UserError where that says no words."""
    said = _json_of(path.with_suffix(".json"), path)
    words, seed = said.get("words"), said.get("seed", 0)
    if not isinstance(words, str) or not words.strip():
        raise UserError(f"{path}: the JSON beside it says no words")
    return WordsPicture(path, words, seed if isinstance(seed, int) else 0)


def _json_of(path: Path, picture: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("too large")
        said = json.loads(file_bytes(path).decode())
    except FileNotFoundError:
        raise UserError(f"{picture}: no {path.name} beside it that says its words") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{picture}: {path.name} beside it cannot be read ({first_line(error)})") from None
    if not isinstance(said, dict):
        raise UserError(f"{picture}: {path.name} beside it is none of generate.py's")
    return said
