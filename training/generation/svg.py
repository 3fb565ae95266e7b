"""An image as vector paths: black on nothing, few nodes, to be opened in a vector editor and scaled.

    save_svg(image, "Full Moon", Path("full-moon-0.svg"))

The tracing is vtracer's (github.com/visioncortex/vtracer): splines around what is darker than middle grey, one path for
each piece of ink with its holes.
"""

from __future__ import annotations

import html
import io
import math
import re
from pathlib import Path

import vtracer
from PIL import Image, ImageFilter

from common.files import write_text

TRACED_SIDE = 512  # px that the longer side is enlarged to first: grey edges become curves, not stairs
BLUR = 2.0  # px of those, the radius of a Gaussian that takes the ripples of the autoencoder out of the edges
INK = 128  # grey levels below this are ink
TRACER = {"colormode": "binary", "mode": "spline", "path_precision": 2,
          "filter_speckle": 4,  # px across, of the smallest piece of ink that is kept
          "corner_threshold": 60,  # degrees
          "length_threshold": 10.0,  # px; longer segments than its default of 4, so fewer nodes
          "splice_threshold": 60}  # degrees
_PATH = re.compile(r'<path d="([^"]*)"[^>]*transform="translate\(([-\d.]+),([-\d.]+)\)"')
_NUMBER = re.compile(r"-?[\d.]+(?:e-?\d+)?")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def save_svg(image: Image.Image, words: str, path: Path) -> None:
    """Write an image as an SVG whose title is the prompt; the file is whole or as it was before. Raises OSError."""
    write_text(path, to_svg(image, words))


def to_svg(image: Image.Image, words: str) -> str:
    """An image of any size and mode, black on white, as an SVG document.

    Its units are the image's pixels: the viewBox is "0 0 WIDTH HEIGHT". Without ink there are no paths.
    """
    width, height = image.size
    paths = "".join(f'<path d="{outline}"/>\n' for outline in outlines(image))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}">\n<title>{as_xml_text(words)}</title>\n{paths}</svg>\n')


def as_xml_text(words: str) -> str:
    """Any words as text of an XML document; what it may not have is left out."""
    return html.escape(_NOT_XML.sub("", words), quote=False)


def outlines(image: Image.Image) -> list[str]:
    """The path data (SVG 2, section 9.3: absolute M, C and Z) of each piece of ink, in px of the image."""
    scale = max(1, math.ceil(TRACED_SIDE / max(image.size)))
    large = image.convert("L").resize([side * scale for side in image.size], Image.Resampling.LANCZOS)
    ink = large.filter(ImageFilter.GaussianBlur(BLUR)).point(lambda level: 0 if level < INK else 255)
    data = io.BytesIO()
    ink.save(data, format="PNG")
    traced = vtracer.convert_raw_image_to_svg(data.getvalue(), img_format="png", **TRACER)
    return [_moved(outline.strip(), (float(left), float(top)), scale) for outline, left, top in _PATH.findall(traced)]


def _moved(outline: str, offset: tuple[float, float], scale: int) -> str:
    """Path data moved by its offset and made smaller: all its numbers are coordinates, x and y in turn."""
    count = 0

    def moved_number(number: re.Match) -> str:
        nonlocal count
        value = (float(number[0]) + offset[count % 2]) / scale
        count += 1
        return f"{value:.2f}".rstrip("0").rstrip(".")

    return _NUMBER.sub(moved_number, outline)
