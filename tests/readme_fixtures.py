"""What the project's pages hold: fenced blocks and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "dataExtraction/README.md", "training/README.md", "training/scoring/README.md",
         "training/tiny/README.md", "training/tiny/EXPERIMENTS.md", "training/recogniser_weights/README.md")


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page, each with its language ("" for commands)."""
    text = (ROOT / page).read_text(encoding="utf8")
    yield from re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """Every command line of every page, with the page; lines that end in a backslash are joined."""
    found = []
    for page in PAGES:
        for language, block in blocks(page):
            if not language:
                lines = re.sub(r"\\\n\s*", "", block).splitlines()
                found += [(page, line.split(" # ")[0].strip()) for line in lines if re.match(r"[.\w/]+ ", line)]
                found += [(page, line.strip()) for line in lines if re.fullmatch(r"\./[\w./]+", line.strip())]
    return found
