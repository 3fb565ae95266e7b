"""An image as vector paths: its outline always, and where they can be found its strokes in drawing order."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from common.characters import shortened
from common.files import write_text
from generation.request import ImageRequest
from generation.strokes.finding import FoundStrokes, StrokeFinder
from generation.svg import save_svg


@functools.cache
def installed_finder() -> StrokeFinder:
    """What finds strokes with the installed KanjiVG's, read once. Raises NoStrokesError where that is not there."""
    return StrokeFinder()


@dataclass(frozen=True)
class StrokesFile:
    """The strokes of an image: their SVG, and what the image's JSON says of them.

    document: None where no strokes are found that draw the image again; met: how near they came then, in words.
    """

    document: str | None
    said: dict[str, Any]
    met: str = ""


def strokes_name(stem: str) -> str:
    """The name of the file of an image's strokes, by the stem of the image's own."""
    return f"{stem}.strokes.svg"


def find_strokes(image: Image.Image, request: ImageRequest, finder: StrokeFinder) -> StrokesFile:
    """What save_vectors writes of an image's strokes; nothing is written here."""
    found = finder.find(image, request.plan.forms if request.plan else ())
    if found is None:
        return StrokesFile(None, _said(None, None), "no ink that could be strokes")
    if not found.is_kept:
        return StrokesFile(None, _said(found, None), f"the nearest components meet {found.iou:.2f} of the ink with "
                                                     f"{found.added + found.absent} strokes amiss")
    document = found.tree.document(request.stem, request.title, image.width)
    return StrokesFile(document, _said(found, strokes_name(request.stem)))


def save_vectors(image: Image.Image, request: ImageRequest, folder: Path,
                 finder: StrokeFinder) -> tuple[dict[str, Any], str | None]:
    """Write STEM.svg, the outline, and STEM.strokes.svg where strokes are found that draw the image again.

    Returns what the image's JSON says of the strokes (`file` is null where they are not good enough), and what is to
    be said of it. An older STEM.strokes.svg, of another image, goes. Raises OSError.
    """
    save_svg(image, request.title, folder / f"{request.stem}.svg")
    strokes, path = find_strokes(image, request, finder), folder / strokes_name(request.stem)
    if strokes.document is None:
        path.unlink(missing_ok=True)
        return strokes.said, (f"{shortened(request.title)}: its strokes were not found ({strokes.met}); "
                              f"{request.stem}.svg has its outline alone")
    write_text(path, strokes.document)
    return strokes.said, None


def _said(found: FoundStrokes | None, file: str | None) -> dict[str, Any]:
    """What the JSON says: file, intersection over union of the ink, and which kanji's components were fitted."""
    if found is None:
        return {"stroke_paths": {"file": None, "iou": 0.0}}
    components = [{**one.groups[0].said, "position": one.slot, "of": one.source} for one in found.components]
    return {"stroke_paths": {"file": file, "iou": round(found.iou, 4), "count": len(found.tree.strokes),
                             "added": found.added, "absent": found.absent, "components": components}}
