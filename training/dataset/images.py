"""A picture's file as the VAE takes it."""

from __future__ import annotations

import errno
import hashlib
import io
import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dataset.rows import DatasetError, Row

WHITE_16 = 65535  # of a picture with 16 bits a pixel


def load_image(row: Row, resolution: int, channels: int) -> np.ndarray:
    """A row's picture as an array: float32 (channels, resolution, resolution) in [-1, 1]; 1 channel is grey, 3 are RGB.

    The whole picture is kept: it is resized (Lanczos) to fit and padded to the square with white, never cropped and
    never flipped, since either changes what a glyph says. Raises DatasetError where the file is no more what it was.
    """
    image = open_image(row).convert("L" if channels == 1 else "RGB")
    if image.size != (resolution, resolution):
        image = _fitted(image, resolution)
    pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1.0
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def open_image(row: Row) -> Image.Image:
    """A row's picture as `decoded` gives it, of the very bytes that the row's SHA-256 is of.

    Raises DatasetError where the file has others by now, and OSError where it cannot be read.
    """
    data = file_bytes(row.path)
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise DatasetError(f"{row.path}: the picture has changed since the dataset was checked; the same command "
                           "checks it anew")
    return decoded(data)


def file_bytes(path: Path) -> bytes:
    """The bytes of a picture's file. Raises OSError, also where it is no plain file: of a pipe's end one may wait long.

    Raises ValueError for a name that no file can have.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "No plain file", str(path))
    return path.read_bytes()


def decoded(data: bytes) -> Image.Image:
    """The picture of a file's bytes, grey or RGB, 8 bits: upright as its EXIF data say, transparency laid on white.

    16 bits a pixel are rounded to 8. Raises ValueError where its greys have no known white; of a broken file Pillow
    raises anything from OSError to SyntaxError.
    """
    with Image.open(io.BytesIO(data)) as file:
        image = ImageOps.exif_transpose(file)
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if image.mode in ("L", "1") else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits with 8, where Pillow would make all white that is above 255."""
    greys = np.asarray(image)
    if image.mode == "F" or greys.min() < 0 or greys.max() > WHITE_16:
        raise ValueError("its greys are no numbers of 8 or 16 bits")
    greys = np.where(greys == image.info.get("transparency", -1), WHITE_16, greys)
    return Image.fromarray(np.rint(greys * (255.0 / WHITE_16)).astype(np.uint8))


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """The whole image in the middle of a white square."""
    scale = side / max(image.size)
    size = tuple(max(1, round(length * scale)) for length in image.size)
    square = Image.new(image.mode, (side, side), "white")
    square.paste(image.resize(size, Image.Resampling.LANCZOS), tuple((side - length) // 2 for length in size))
    return square
