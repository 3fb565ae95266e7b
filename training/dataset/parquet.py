"""A table in a parquet file as rows of plain values: text, numbers, truth values, lists, objects and None."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import first_line
from dataset.rows import DatasetError

if TYPE_CHECKING:
    from pyarrow import DataType

WAY_OUT = ('Pictures are read from files alone; "Your own pictures" in training/README.md has the lines that save '
           "those of parquet files")


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a parquet file, each by column; what JSON has no value for, such as a date, as text.

    Raises DatasetError where it cannot be read, has two columns of one name, or a column of bytes.
    """
    from pyarrow import ArrowException  # takes a moment, and few sets need it
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            _refuse_columns(path, {field.name: field.type for field in file.schema_arrow}, file.schema_arrow.names)
            rows = file.read(use_threads=False).to_pylist()
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as parquet ({first_line(error)})") from None
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _refuse_columns(path: Path, types: dict[str, DataType], names: list[str]) -> None:
    for name, kind in types.items():
        if names.count(name) > 1:
            raise DatasetError(f"{path}: two columns are called {name}")
        if _has_bytes(kind):
            raise DatasetError(f"{path}: its column {name!r} holds bytes. {WAY_OUT}. Leave out any other such column.")


def _has_bytes(kind: DataType) -> bool:
    """Whether values of a column are bytes or have bytes in them, as the pictures that `datasets` exports have."""
    from pyarrow import types

    if any(is_it(kind) for is_it in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary,
                                     types.is_binary_view)):
        return True
    return any(_has_bytes(kind.field(number).type) for number in range(kind.num_fields))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inside) for name, inside in value.items()}
    if isinstance(value, (list, tuple)):  # a map is a list of pairs
        return [_plain(inside) for inside in value]
    return value if isinstance(value, (str, int, float)) or value is None else str(value)
