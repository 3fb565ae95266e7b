"""What the README says to run, runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from dataset.captioned_folder import read_dataset

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_a_font_makes_a_set_that_can_be_trained_on(tmp_path: Path) -> None:
    script = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf8"), re.DOTALL).group(1)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    rows = read_dataset(tmp_path / "my_letters", progress=False)
    assert len(rows) == 62
    assert {"capital letter R", "small letter g", "seven"} <= {row.captions[0] for row in rows}


def test_the_scripts_that_are_named_are_there() -> None:
    named = re.findall(r"(?:training|dataExtraction|tests)/[\w/]+\.(?:py|sh)", README.read_text(encoding="utf8"))
    assert len(named) > 8
    for path in named:
        assert (README.parent / path).is_file(), path
