"""A picture's file as the VAE takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def load_image(path: Path, resolution: int, channels: int) -> np.ndarray:
    """A picture as an array: float32 (channels, resolution, resolution) in [-1, 1]; 1 channel is grey, 3 are RGB.

    The whole picture is kept: it is resized (Lanczos) to fit and padded to the square with white, never cropped and
    never flipped, since either changes what a glyph says. Transparency is laid on white.
    """
    with Image.open(path) as file:
        image = _on_white(file).convert("L" if channels == 1 else "RGB")
    if image.size != (resolution, resolution):
        image = _fitted(image, resolution)
    pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1.0
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """The whole image in the middle of a white square."""
    scale = side / max(image.size)
    size = tuple(max(1, round(length * scale)) for length in image.size)
    square = Image.new(image.mode, (side, side), "white")
    square.paste(image.resize(size, Image.Resampling.LANCZOS), tuple((side - length) // 2 for length in size))
    return square
