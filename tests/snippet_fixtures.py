"""The snippets of a model card, run as they stand by a Python that knows nothing of this project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

_RUNNER = """
import pathlib, sys
assert not any(pathlib.Path(place, "trainer").exists() for place in sys.path), sys.path
for name in sys.argv[1:]:
    exec(compile(pathlib.Path(name).read_text(encoding="utf8"), name, "exec"), {"__name__": "__main__"})
    pathlib.Path("image.png").replace(name + ".png")
"""


def python_blocks(card: str) -> list[str]:
    """The Python snippets of a card, in order."""
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def shell_blocks(card: str) -> list[str]:
    """The blocks of commands of a card, in order."""
    return re.findall(r"```\n(python .*?)```", card, re.DOTALL)


def images_of(snippets: Mapping[str, str], folder: Path) -> dict[str, np.ndarray]:
    """Run snippets, name -> code, in `folder`, in one isolated process without the hub: the image.png of each."""
    for name, code in snippets.items():
        (folder / name).write_text(code, encoding="utf8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([sys.executable, "-I", "-c", _RUNNER, *snippets], cwd=folder, check=True, timeout=600,
                   env={**environment, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""})
    return {name: np.asarray(Image.open(folder / f"{name}.png")) for name in snippets}
