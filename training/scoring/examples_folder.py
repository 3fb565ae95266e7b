"""The folder of a page of examples, which also holds what others put there: a page is in it whole, or will be.

All files of a page are written into `.making` first, and when they are whole a list of them, by which they are moved.
A run that is killed before leaves the page as it was; one that is killed while files move leaves the list, and the next
run moves the rest first.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.files import write_text
from common.locks import locked
from common.stop_signals import StopSignals

PAGE = "index.html"
ASIDE = ".making"  # in the folder, so that moving out of it is one step for each file
WHOLE = ".whole.json"  # in ASIDE: the stems of all its images, written last


@contextmanager
def making(folder: Path, signals: StopSignals) -> Iterator[Path]:
    """An empty folder to write a page into, to be given to `publish`; it goes where the block ends.

    A page that a killed run was moving is moved first. Raises BusyError where another run makes a page in the folder.
    """
    aside = folder / ASIDE
    with locked(aside):
        if (aside / WHOLE).is_file():
            _move(aside, signals)
        for left in aside.iterdir():
            left.unlink()
        try:
            yield aside
        finally:
            if not (aside / WHOLE).is_file():
                shutil.rmtree(aside)


def publish(aside: Path, stems: Collection[str], signals: StopSignals) -> None:
    """Move a page that is whole into its folder, and remove what an earlier page had beside the images of `stems`."""
    write_text(aside / WHOLE, json.dumps(sorted(stems)))
    _move(aside, signals)


def _move(aside: Path, signals: StopSignals) -> None:
    """Move a page's files, the page itself last; as often as it takes, for nothing is lost by doing it again."""
    with signals.deferred():
        stems = set(json.loads((aside / WHOLE).read_text(encoding="utf8")))
        files = [path for path in aside.iterdir() if path.name != WHOLE]
        for path in sorted(files, key=lambda path: path.name == PAGE):
            path.replace(aside.parent / path.name)
        remove_old(aside.parent, stems)
        (aside / WHOLE).unlink()


def remove_old(folder: Path, kept: Collection[str]) -> None:
    """Remove the images of an earlier page, which their JSONs say they are, except those of the stems kept."""
    for path in folder.glob("*.json"):
        try:
            provenance = json.loads(path.read_text(encoding="utf8"))
        except (OSError, ValueError):
            continue  # nothing of ours
        if path.stem not in kept and isinstance(provenance, dict) and provenance.get("page") == PAGE:
            path.with_name(f"{path.stem}.png").unlink(missing_ok=True)
            path.unlink()
