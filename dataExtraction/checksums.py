"""What a dataset folder held when it was made, file by file, and what has become of that."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from errors import UserError

CHECKSUMS = "checksums.jsonl"  # a line a file: its path in the folder, its bytes, and their SHA-256
_SHOWN = 3  # files that a message names


@dataclass(frozen=True)
class Recorded:
    """A file as it was made; size and SHA-256 are None in a folder of the time before there were checksums."""

    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Differences:
    """What is not as it was made, by path in the folder.

    foreign: we did not put it there; damaged: it is gone, empty or cannot be read; changed: it can be read but is
    another, as a picture that someone has retouched.
    """

    foreign: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


def write_checksums(folder: Path) -> None:
    """Write checksums.jsonl of all files that are in a folder. Raises OSError."""
    lines = []
    for name, entry in sorted(_files(folder)):
        line = {"file": name, "bytes": entry.stat().st_size, "sha256": _sha256(folder / name)}
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def differences(folder: Path, legacy: Iterable[str], thorough: bool) -> Differences:
    """How a dataset folder differs from what it was when it was made; by sizes, and if `thorough` by SHA-256.

    legacy: the files of a folder that has no checksums. Raises OSError, and UserError where a file cannot be read.
    """
    recorded, found = _recorded(folder) or {name: Recorded() for name in legacy}, Differences()
    present = dict(_files(folder))
    found.foreign.extend(sorted(name for name, entry in present.items()
                                if name != CHECKSUMS and not (name in recorded and entry.is_file())))
    for name, made in recorded.items():
        if name in found.foreign:
            continue
        if name not in present or _is_emptied(present[name], made):
            found.damaged.append(name)
        elif not _is_same(folder / name, present[name], made, thorough):
            (found.changed if _is_readable(folder / name) else found.damaged).append(name)
    return found


def in_words(names: list[str]) -> str:
    """The first of some files, for a message, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _files(folder: Path) -> Iterator[tuple[str, os.DirEntry]]:
    """All that is in a folder and in its folders train and test, by the path there."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in ("train", "test") and entry.is_dir():
                with os.scandir(entry.path) as inside:
                    yield from ((f"{entry.name}/{file.name}", file) for file in inside)
            else:
                yield entry.name, entry


def _recorded(folder: Path) -> dict[str, Recorded] | None:
    """The files of checksums.jsonl; None where there is none that can be read."""
    try:
        lines = map(json.loads, (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines())
        return {line["file"]: Recorded(line["bytes"], line["sha256"]) for line in lines} or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_emptied(entry: os.DirEntry, made: Recorded) -> bool:
    """Whether a file that had bytes has none; of old folders only a table of pairs may have been made empty."""
    may_be_empty = entry.name == "heldout_pairs.jsonl" if made.size is None else made.size == 0
    return not may_be_empty and entry.stat().st_size == 0


def _is_same(path: Path, entry: os.DirEntry, made: Recorded, thorough: bool) -> bool:
    if made.size is None:
        return not thorough or _is_readable(path)
    return entry.stat().st_size == made.size and (not thorough or _sha256(path) == made.sha256)


def _is_readable(path: Path) -> bool:
    """Whether a picture decodes, with the checksums that PNG has, and any other file is text."""
    if path.suffix != ".png":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            return path.suffix != ".jsonl" or all(map(json.loads, lines))
        except ValueError:
            return False
    from PIL import Image  # here, for a run with nothing to do loads nothing heavy

    try:
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:  # verify() leaves it unfit for decoding
            image.load()
    except Exception:  # Pillow raises anything from OSError to SyntaxError on a broken file
        return False
    return True


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Move it away, and it is made anew") from None
