"""The metadata of a captioned folder, `metadata.jsonl`, `.csv` or `.parquet`, as entries, and what is wrong with them.

The first two are UTF-8, with or without a byte-order mark.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from dataset.folder_files import without_byte_order_mark
from dataset.parquet import WAY_OUT, read_table
from dataset.rows import DatasetError

Entries = list[tuple[str, dict[str, Any]]]  # an entry and, before it, which one it is, in words
NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
MAX_DEPTH = 20  # of lists and objects in one another
SHOWN = 60  # characters of a line that cannot be read


def metadata_file(root: Path) -> Path | None:
    """The first of NAMES that a folder has; None where it has none of them."""
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def read_metadata(root: Path) -> tuple[Entries, list[str]]:
    """The entries of a folder's metadata file, and what could not be read. Raises DatasetError where it has none."""
    path = metadata_file(root)
    if path is None:
        parquet = next((file.name for file in sorted(root.rglob("*.parquet"))), None)
        if parquet is not None:
            raise DatasetError(f"{root}: no {', '.join(NAMES)}, and {parquet} is not read. {WAY_OUT}.")
        raise DatasetError(f"{root}: no {', '.join(NAMES)}, and no moon.txt or moon.caption beside a moon.png. The "
                           'first holds one row a picture: {"file_name": "moon.png", "text": "moon"}')
    readers = {".jsonl": read_json_lines, ".csv": _read_csv, ".parquet": _read_parquet}
    return readers[path.suffix](path)


def read_json_lines(path: Path) -> tuple[Entries, list[str]]:
    """The entries of a file of JSON objects, one a line, and what could not be read. Raises DatasetError, OSError."""
    entries, problems = [], []
    for number, line in enumerate(_bytes(path).splitlines(), 1):
        where = f"{path.name} line {number}"
        if not line.strip():
            continue
        try:
            entry = json.loads(line.decode("utf8"))
        except UnicodeDecodeError:
            problems.append(f"{where}: is not UTF-8: {_shown(line)}")
        except ValueError:
            problems.append(f"{where}: not a whole JSON object (cut off?): {_shown(line)}")
        except RecursionError:
            problems.append(f"{where}: is nested too deep: {_shown(line)}")
        else:
            problem = _unusable(entry) if isinstance(entry, dict) else "not a JSON object"
            if problem:
                problems.append(f"{where}: {problem}: {_shown(line)}")
            else:
                entries.append((where, entry))
    return entries, problems


def _read_csv(path: Path) -> tuple[Entries, list[str]]:
    try:
        text = _bytes(path).decode("utf8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path} line {line}: is not UTF-8. Save it as UTF-8 (Excel: CSV UTF-8).") from None
    entries, problems = [], []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(reader, [])
        doubled = sorted({name for name in columns if name and columns.count(name) > 1})
        problems += [f"{path.name}: two columns are called {name}" for name in doubled]
        for number, values in enumerate(filter(None, reader), 2):
            where = f"{path.name} row {number}"
            if len(values) < len(columns) or any(values[len(columns):]):
                problems.append(f"{where}: {len(values)} values for {len(columns)} columns; a caption with a comma "
                                f"stands in double quotes: {','.join(values)[:SHOWN]}")
            else:
                entry = {name: value or None for name, value in zip(columns, values, strict=False) if name}
                entries.append((where, entry))
    except csv.Error as error:
        problems.append(f"{path.name} line {reader.line_num}: is no CSV ({error})")
    return entries, problems


def _read_parquet(path: Path) -> tuple[Entries, list[str]]:
    entries = [(f"{path.name} row {number}", entry) for number, entry in enumerate(read_table(path), 1)]
    problems = {where: problem for where, entry in entries if (problem := _unusable(entry))}
    return ([(where, entry) for where, entry in entries if where not in problems],
            [f"{where}: {problem}" for where, problem in problems.items()])


def _bytes(path: Path) -> bytes:
    """The file without a byte-order mark. Raises DatasetError where that says UTF-16."""
    try:
        return without_byte_order_mark(path.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def _unusable(entry: dict[str, Any]) -> str | None:
    """Why an entry cannot be kept, hashed or written again, if so."""
    values: list[tuple[Any, int]] = [(entry, 1)]
    while values:
        value, depth = values.pop()
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return "has half a character (a lone surrogate)"
        elif isinstance(value, (dict, list)):
            if depth > MAX_DEPTH:
                return "is nested too deep"
            inside = [*value, *value.values()] if isinstance(value, dict) else value
            values += [(one, depth + 1) for one in inside]
    return None


def _shown(line: bytes) -> str:
    return line[:SHOWN].decode("utf8", "replace")
