"""A folder of captioned pictures, read and checked whole before any model is loaded.

The format is Hugging Face's imagefolder: pictures with a `metadata.jsonl` (or `.csv`) beside them that has a
`file_name` column. Whatever is wrong with it is found here and listed at once. We read it ourselves rather than with
`datasets.load_dataset`, which needs 7 s for 10,000 files, drops a picture without a row in silence, keeps duplicates,
accepts empty captions and finds a broken picture only when it is read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from common.errors import UserError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
LISTED_PROBLEMS = 20  # how many are printed of those found


class DatasetError(UserError):
    """A dataset folder that cannot be trained on; the message lists what is wrong and what to do."""


@dataclass(frozen=True)
class Row:
    """One captioned picture: its file and digest, its captions (at least one) and what else its metadata says."""

    path: Path
    sha256: str
    captions: tuple[str, ...]
    metadata: dict[str, Any]

    @property
    def strokes(self) -> int | None:
        """The stroke count, where the set has one (a set of anything else has none)."""
        return self._whole_number("strokes")

    @property
    def is_composed(self) -> bool:
        """Whether it was composed of the components of real characters."""
        return self.metadata.get("kind") == "composed"

    @property
    def is_own(self) -> bool:
        """Whether it is a drawing of a model's own, one to learn from or one to be led away from."""
        return self.metadata.get("kind") in ("drawn", "rejected")

    @property
    def is_rejected(self) -> bool:
        """Whether it is a drawing to be led away from: one of a model's own that a recogniser refused."""
        return self.metadata.get("kind") == "rejected"

    @property
    def is_common(self) -> bool:
        """Whether it is a character of everyday use: in KANJIDIC2's grades or its 2,501 most frequent."""
        return self.grade is not None or self.metadata.get("frequency") is not None

    @property
    def grade(self) -> int | None:
        """KANJIDIC2's grade, where the set has one: 1 to 6 are the years of primary school."""
        return self._whole_number("grade")

    @property
    def forms(self) -> frozenset[str]:
        """The meaning forms of its components (the 水 of 氵), where the set knows them."""
        return frozenset(form_of(part) for part in self.metadata.get("components") or ())

    @property
    def part_names(self) -> tuple[str, ...]:
        """What the components of a composed character mean, each by itself; none of any other row."""
        components = self.metadata.get("components") or () if self.is_composed else ()
        return tuple(component["meaning"] for component in components if component.get("meaning"))

    def _whole_number(self, name: str) -> int | None:
        """A value of the metadata that is a whole number; a CSV has it as text."""
        value = self.metadata.get(name)
        if isinstance(value, str):
            return int(value) if value.isdecimal() else None
        return value if isinstance(value, int) else None


def form_of(component: Mapping[str, str]) -> str:
    """The meaning form of a component of the metadata."""
    return component.get("original") or component["element"]


def homonyms(rows: Iterable[Row]) -> dict[str, frozenset[str]]:
    """The meaning forms of the components of each name: a "ward" is 区 as well as 區."""
    named: dict[str, set[str]] = {}
    for row in rows:
        for component in row.metadata.get("components") or ():
            if name := component.get("meaning"):
                named.setdefault(name, set()).add(form_of(component))
    return {name: frozenset(forms) for name, forms in named.items()}


def forms_alike(component: Mapping[str, str], named: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The meaning form of a component and those of its homonyms."""
    return named.get(component.get("meaning"), frozenset()) | {form_of(component)}


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
    columns = sorted({key for _, entry in entries for key in entry})
    image_column = _existing_column(root, image_column, columns, "--image_column")
    if caption_column is None:
        caption_column = "captions" if "captions" in columns else "text"
    caption_column = _existing_column(root, caption_column, columns, "--caption_column")

    rows, seen = [], {}
    for place, entry in tqdm(entries, desc="checking pictures", unit="row", disable=not progress, leave=False):
        name = entry.get(image_column)
        if not isinstance(name, str) or not name:
            problems.append(f"{place}: no {image_column}")
            continue
        if name in seen:
            problems.append(f"{place}: {name} has a row already, {seen[name]}")
            continue
        seen[name] = place
        captions = _captions(entry.get(caption_column))
        if not captions:
            problems.append(f"{place}: {name} has no caption in {caption_column}")
        digest, problem = _check_picture(root, name)
        if problem:
            problems.append(f"{place}: {name} {problem}")
        if captions and not problem:
            metadata = {key: value for key, value in entry.items() if key not in (image_column, caption_column)}
            rows.append(Row(root / name, digest, captions, metadata))
    problems += [f"{name}: a picture without a row" for name in sorted(_pictures(root) - seen.keys())]
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


def dataset_hash(rows: Sequence[Row]) -> str:
    """SHA-256 over pictures, captions and metadata in order: two sets with the same hash train the same model."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.sha256, row.captions, row.metadata], sort_keys=True, default=str).encode())
    return digest.hexdigest()


def load_picture(path: Path, resolution: int, channels: int) -> np.ndarray:
    """A picture as the VAE takes it: float32 (channels, resolution, resolution) in [-1, 1].

    The whole picture is kept: it is resized (Lanczos) to fit and padded to the square with white, never cropped and
    never flipped, since either changes what a glyph says. Transparency is laid on white.
    """
    with Image.open(path) as image:
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (resolution, resolution):
        scale = resolution / max(image.size)
        size = tuple(max(1, round(side * scale)) for side in image.size)
        square = Image.new(image.mode, (resolution, resolution), "white")
        square.paste(image.resize(size, Image.Resampling.LANCZOS), tuple((resolution - side) // 2 for side in size))
        image = square
    pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1.0
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _read_metadata(root: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """The rows of metadata.jsonl or metadata.csv, each with its place in words, and what could not be read."""
    jsonl, table = root / "metadata.jsonl", root / "metadata.csv"
    entries, problems = [], []
    if jsonl.is_file():
        for number, line in enumerate(jsonl.read_bytes().splitlines(), 1):
            place = f"{jsonl.name} line {number}"
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                problems.append(f"{place}: not a whole JSON object (cut off?): {line[:60].decode('utf8', 'replace')}")
                continue
            if isinstance(entry, dict):
                entries.append((place, entry))
            else:
                problems.append(f"{place}: not a JSON object")
    elif table.is_file():
        with table.open(encoding="utf8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                entry = {key: value or None for key, value in row.items() if key}
                entries.append((f"{table.name} row {number}", entry))
    else:
        raise DatasetError(f"{root}: no metadata.jsonl (or metadata.csv). It holds one row a picture: "
                           '{"file_name": "moon.png", "text": "moon"}')
    return entries, problems


def _existing_column(root: Path, column: str, columns: Sequence[str], flag: str) -> str:
    if column not in columns:
        raise DatasetError(f"{root}: no column {column!r}; there are: {', '.join(columns) or 'none'}. "
                           f"Name the right one with {flag}.")
    return column


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
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Exception as error:  # Pillow raises anything from OSError to SyntaxError on a broken file
        return "", f"is no whole picture ({error})"
    return hashlib.sha256(data).hexdigest(), None


def _pictures(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES}


def _problem_list(root: Path, problems: Sequence[str]) -> str:
    shown = "".join(f"\n  {problem}" for problem in problems[:LISTED_PROBLEMS])
    more = f"\n  ... and {len(problems) - LISTED_PROBLEMS} more" if len(problems) > LISTED_PROBLEMS else ""
    return (f"{root}: {len(problems)} problem{'s' * (len(problems) > 1)} in the dataset:{shown}{more}\n"
            "Mend or remove these rows and pictures; the kanji set is made anew by: "
            "python dataExtraction/main.py")
