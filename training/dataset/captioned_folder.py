"""A folder of captioned pictures, read and checked whole before any model is loaded.

The format is Hugging Face's imagefolder: pictures with a `metadata.jsonl` (or `.csv`, `.parquet`) beside them that has
a `file_name` column; or pictures with a text file beside each, see caption_files. Whatever is wrong with it is found
here and listed at once. We read it ourselves rather than with `datasets.load_dataset`, which needs 7 s for 10,000
files, drops a picture without a row in silence, keeps duplicates, accepts empty captions and finds a broken picture
only when it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dataset.caption_files import METADATA, captions_kind, read_caption_files
from dataset.columns import column_problems
from dataset.folder_files import check_picture, file_of, picture_names, shown
from dataset.metadata import Entries, read_json_lines, read_metadata
from dataset.rows import DatasetError, Row

LISTED_PROBLEMS = 20  # how many are printed of those found


def read_dataset(folder: Path, split: str = "train", image_column: str = "file_name", caption_column: str | None = None,
                 progress: bool = True, captions_from: str | None = None) -> list[Row]:
    """Read and check a dataset folder: `folder/<split>` where it exists, else `folder` itself.

    `caption_column` may hold one caption or a list of captions, each enough by itself; None takes `captions` where the
    set has that column, else `text`. `captions_from`: `metadata`, `txt` or `caption`, for a folder that has several.
    Raises DatasetError with every problem found (the first LISTED_PROBLEMS in words): missing, broken and surplus
    pictures, duplicate rows, empty or missing captions, values that a column cannot have, a torn line.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder. Make the kanji set with: python dataExtraction/main.py")
    root = folder / split if (folder / split).is_dir() else folder
    kind = captions_kind(root, captions_from)
    if kind == METADATA:
        rows, problems = _read_rows(root, image_column, caption_column, progress)
    elif caption_column is None:
        rows, problems = read_caption_files(root, kind, progress)
    else:
        raise DatasetError(f"--caption_column {caption_column}: {root} has its captions in .{kind} files, which have "
                           "no columns; leave it out")
    if problems:
        raise DatasetError(_problem_list(root, problems, kind))
    if not rows:
        raise DatasetError(f"{root}: the metadata has no rows")
    return rows


def _read_rows(root: Path, image_column: str, caption_column: str | None,
               progress: bool) -> tuple[list[Row], list[str]]:
    """The rows of a folder with metadata, and all that is wrong with it. Raises DatasetError where it has none."""
    entries, problems = read_metadata(root)
    if problems and not entries:
        return [], problems
    image_column, caption_column = _existing_columns(root, entries, image_column, caption_column)
    rows: list[Row] = []
    seen: dict[str, str] = {}  # each file's first entry, in words
    for where, entry in tqdm(entries, desc="checking pictures", unit="row", disable=not progress, leave=False):
        name = entry.get(image_column)
        if not isinstance(name, str) or not name:
            problems.append(f"{where}: no {image_column}")
        elif (file := file_of(root, name)) in seen:
            problems.append(f"{where}: {shown(name)} has a row already, {seen[file]}")
        else:
            seen[file] = where
            row, found = _checked_row(root, entry, image_column, caption_column)
            rows.append(row)
            problems += [f"{where}: {shown(name)} {problem}" for problem in found]
    problems += [f"{shown(name)}: a picture without a row" for name in picture_names(root)
                 if file_of(root, name) not in seen]
    return rows, problems


def without_prompts(rows: Sequence[Row], path: Path) -> list[Row]:
    """The rows that have no caption, whatever its case, that is a `text` of a file of JSON lines.

    Raises DatasetError where the file cannot be read or leaves no row.
    """
    try:
        entries, problems = read_json_lines(path)
        prompts = {entry["text"].lower() for _, entry in entries}
    except (OSError, KeyError, AttributeError) as error:
        raise DatasetError(f"--held_out_prompts {path}: cannot be read as JSON lines with a text ({error!r})") from None
    if problems:
        raise DatasetError(f"--held_out_prompts {path}: {problems[0]}")
    others = [row for row in rows if prompts.isdisjoint(caption.lower() for caption in row.captions)]
    if not others:
        raise DatasetError(f"--held_out_prompts {path}: every row has one of its prompts as a caption; leave it out")
    return others


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
    captions, problems = _captions(entry.get(caption_column), caption_column)
    metadata = {key: value for key, value in entry.items() if key not in (image_column, caption_column)}
    problems += column_problems(metadata)
    digest, problem = check_picture(root, entry[image_column])
    if problem:
        problems.append(problem)
    return Row(root / entry[image_column], digest, captions, metadata), problems


def _captions(value: Any, column: str) -> tuple[tuple[str, ...], list[str]]:
    """The captions of a column, without blank ones, and what is wrong with them."""
    values = value if isinstance(value, list) else [value]
    captions = tuple(text.strip() for text in values if isinstance(text, str) and text.strip())
    if any(not isinstance(text, str | None) for text in values):
        return captions, [f"has something else than text in {column}"]
    return captions, [] if captions else [f"has no caption in {column}"]


def _problem_list(root: Path, problems: Sequence[str], kind: str) -> str:
    count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
    listed = "".join(f"\n  {problem}" for problem in problems[:LISTED_PROBLEMS])
    more = f"\n  ... and {len(problems) - LISTED_PROBLEMS} more" if len(problems) > LISTED_PROBLEMS else ""
    way_out = ("Mend or remove these rows and pictures; of the kanji set, what is damaged is made anew by: "
               "python dataExtraction/main.py --verify" if kind == METADATA else
               "Mend these pictures and captions, or take them out of the folder")
    return f"{root}: {count} in the dataset:{listed}{more}\n{way_out}"
