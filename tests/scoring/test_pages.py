"""Pages: what a template is given is escaped, and images lie in the page itself."""

from __future__ import annotations

import base64
import io

import jinja2
import pytest
from PIL import Image

from scoring import pages


def rendered(folder, text, **values):
    """What a template of the test's own becomes."""
    (folder / "page.html").write_text(text, encoding="utf8")
    return pages.environment(folder).get_template("page.html").render(**values)


def test_values_are_escaped_and_japanese_is_marked(tmp_path):
    assert rendered(tmp_path, "<p>{{ words }}</p><p>{{ words|marked }}</p>", words="亻 <b>&") == (
        '<p>亻 &lt;b&gt;&amp;</p><p><span lang="ja">亻</span> &lt;b&gt;&amp;</p>')


def test_a_value_that_is_missing_is_no_empty_place(tmp_path):
    with pytest.raises(jinja2.UndefinedError, match="words"):
        rendered(tmp_path, "<p>{{ words }}</p>")


@pytest.mark.parametrize(("side", "greys", "size", "levels"), [
    (None, 256, (40, 30), 256), (16, 256, (16, 16), 256), (None, 16, (40, 30), 16), (8, 2, (8, 8), 2)])
def test_a_data_url_is_a_png_of_so_many_greys(side, greys, size, levels):
    ramp = Image.linear_gradient("L").resize((40, 30))
    kind, data = pages.data_url(ramp, side, greys).split(",")
    found = Image.open(io.BytesIO(base64.b64decode(data))).convert("L")
    assert kind == "data:image/png;base64" and found.size == size
    assert len(set(found.get_flattened_data())) <= levels
    if side is None:
        errors = [abs(one - other) for one, other in
                  zip(found.get_flattened_data(), ramp.get_flattened_data(), strict=True)]
        assert max(errors) <= 255 / (greys - 1) / 2 + 1
