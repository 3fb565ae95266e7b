"""What the project's pages share: templates that escape what they are given, and images that a page carries in itself.

A template lies in templates/ with its HTML and CSS; a page's own module only prepares what the template is given.
"""

from __future__ import annotations

import base64
import functools
import io
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

TEMPLATES = Path(__file__).with_name("templates")
_JAPANESE = re.compile("[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")


def render(template_name: str, **values: object) -> str:
    """A page from templates/TEMPLATE_NAME, which escapes all values that are not marked as HTML.

    Raises jinja2.UndefinedError where the template names a value that it was not given.
    """
    return environment().get_template(template_name).render(values)


@functools.cache
def environment(folder: Path = TEMPLATES) -> Environment:
    """A folder of templates, and the filter that they have: `marked`."""
    found = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    found.filters["marked"] = marked
    return found


def marked(text: str) -> Markup:
    """Text for a page: escaped, with what is Japanese marked as such, so that a browser takes a Japanese font."""
    return Markup(_JAPANESE.sub(lambda found: f'<span lang="ja">{found[0]}</span>', str(escape(text))))


def data_url(image: Image.Image, side: int | None = None, greys: int = 256) -> str:
    """A grey PNG as a data URL: of `side` px, or as it is, with so many levels of grey (2 to 256)."""
    small = image.convert("L")
    if side is not None:
        small = small.resize((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    if greys == 256:
        small.save(data, format="PNG")
    else:
        levels = small.point(lambda value: round(value * (greys - 1) / 255)).convert("P")
        levels.putpalette([level * 255 // (greys - 1) for level in range(greys) for _ in range(3)])
        levels.save(data, format="PNG", bits=(greys - 1).bit_length())
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
