"""A folder of captioned pictures, read and checked whole before any model is loaded.

The format is Hugging Face's imagefolder: pictures with a `metadata.jsonl` (or `.csv`) beside them that has a
`file_name` column. Whatever is wrong with it is found here and listed at once. We read it ourselves rather than with
`datasets.load_dataset`, which needs 7 s for 10,000 files, drops a picture without a row in silence, keeps duplicates,
accepts empty captions and finds a broken picture only when it is read.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dataset.images import decoded
from dataset.rows import DatasetError, Row

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
LISTED_PROBLEMS = 20  # how many are printed of those found
Entries = list[tuple[str, dict[str, Any]]]  # an entry of the metadata and, before it, which one it is, in words


def read_dataset(folder: Path, split: str = "train", image_column: str = "file_name", caption_column: str | None = None,
                 progress: bool = True) -> list[Row]:
    """Read and check a dataset folder: `folder/<split>` where it exists, else `folder` itself.

    `caption_column` may hold one caption or a list of captions, each enough by itself; None takes `captions` where the
    set has that column, else `text`. Raises DatasetError with every problem found (the first LISTED_PROBLEMS in words):
    missing, broken and surplus pictures, duplicate rows, empty or missing captions, a torn line.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder. Make the kanji set with: python dataExtraction/main.py")
    root = folder / split if (folder / split).is_dir() else folder
    entries, problems = _read_metadata(root)
    image_column, caption_column = _existing_columns(root, entries, image_column, caption_column)
    rows: list[Row] = []
    seen: dict[str, str] = {}  # each file name's first entry, in words
    for where, entry in tqdm(entries, desc="checking pictures", unit="row", disable=not progress, leave=False):
        name = entry.get(image_column)
        if not isinstance(name, str) or not name:
            problems.append(f"{where}: no {image_column}")
        elif name in seen:
            problems.append(f"{where}: {name} has a row already, {seen[name]}")
        else:
            seen[name] = where
            row, found = _checked_row(root, entry, image_column, caption_column)
            rows.append(row)
            problems += [f"{where}: {name} {problem}" for problem in found]
    problems += [f"{name}: a picture without a row" for name in sorted(_picture_names(root) - seen.keys())]
    if problems:
        raise DatasetError(_problem_list(root, problems))
    if not rows:
        raise DatasetError(f"{root}: the metadata has no rows")
    return rows


def without_prompts(rows: Sequence[Row], path: Path) -> list[Row]:
    """The rows that have no caption, whatever its case, that is a `text` of a file of JSON lines.

    Raises DatasetError where the file cannot be read or leaves no row.
    """
    try:
        lines = path.read_text(encoding="utf8").splitlines()
        prompts = {json.loads(line)["text"].lower() for line in lines if line.strip()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"--held_out_prompts {path}: cannot be read as JSON lines with a text ({error!r})") from None
    others = [row for row in rows if prompts.isdisjoint(caption.lower() for caption in row.captions)]
    if not others:
        raise DatasetError(f"--held_out_prompts {path}: every row has one of its prompts as a caption; leave it out")
    return others


# --- the metadata ----------------------------------------------------------------------------------------------------

def _read_metadata(root: Path) -> tuple[Entries, list[str]]:
    """The entries of metadata.jsonl or metadata.csv, and what could not be read."""
    for path, read in ((root / "metadata.jsonl", _read_json_lines), (root / "metadata.csv", _read_csv)):
        if path.is_file():
            return read(path)
    raise DatasetError(f"{root}: no metadata.jsonl (or metadata.csv). It holds one row a picture: "
                       '{"file_name": "moon.png", "text": "moon"}')


def _read_json_lines(path: Path) -> tuple[Entries, list[str]]:
    entries, problems = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        where = f"{path.name} line {number}"
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            problems.append(f"{where}: not a whole JSON object (cut off?): {line[:60].decode('utf8', 'replace')}")
            continue
        if isinstance(entry, dict):
            entries.append((where, entry))
        else:
            problems.append(f"{where}: not a JSON object")
    return entries, problems


def _read_csv(path: Path) -> tuple[Entries, list[str]]:
    with path.open(encoding="utf8", newline="") as file:
        return [(f"{path.name} row {number}", {key: value or None for key, value in row.items() if key})
                for number, row in enumerate(csv.DictReader(file), 2)], []


def _existing_columns(root: Path, entries: Entries, image_column: str, caption_column: str | None) -> tuple[str, str]:
    """The two columns. Raises DatasetError where there is none of that name."""
    columns = sorted({key for _, entry in entries for key in entry})
    if caption_column is None:
        caption_column = "captions" if "captions" in columns else "text"
    for column, flag in ((image_column, "--image_column"), (caption_column, "--caption_column")):
        if column not in columns:
            raise DatasetError(f"{root}: no column {column!r}; there are: {', '.join(columns) or 'none'}. "
                               f"Name the right one with {flag}.")
    return image_column, caption_column


# --- one row ---------------------------------------------------------------------------------------------------------

def _checked_row(root: Path, entry: dict[str, Any], image_column: str, caption_column: str) -> tuple[Row, list[str]]:
    """An entry as a row, and what is wrong with it."""
    captions = _captions(entry.get(caption_column))
    problems = [] if captions else [f"has no caption in {caption_column}"]
    digest, problem = _check_picture(root, entry[image_column])
    if problem:
        problems.append(problem)
    metadata = {key: value for key, value in entry.items() if key not in (image_column, caption_column)}
    return Row(root / entry[image_column], digest, captions, metadata), problems


def _captions(value: Any) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())


def _check_picture(root: Path, name: str) -> tuple[str, str | None]:
    """The SHA-256 of a picture's bytes and what is wrong with it, if anything; every pixel is decoded."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        return "", "points outside the dataset folder"
    try:
        data = path.read_bytes()
    except OSError as error:
        return "", f"cannot be read ({error.strerror})"
    try:
        decoded(data)
    except Exception as error:  # Pillow raises anything from OSError to SyntaxError on a broken file
        return "", f"is no whole picture ({error})"
    return hashlib.sha256(data).hexdigest(), None


def _picture_names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES}


def _problem_list(root: Path, problems: Sequence[str]) -> str:
    shown = "".join(f"\n  {problem}" for problem in problems[:LISTED_PROBLEMS])
    more = f"\n  ... and {len(problems) - LISTED_PROBLEMS} more" if len(problems) > LISTED_PROBLEMS else ""
    return (f"{root}: {len(problems)} problem{'s' * (len(problems) > 1)} in the dataset:{shown}{more}\n"
            "Mend or remove these rows and pictures; the kanji set is made anew by: "
            "python dataExtraction/main.py")
