"""Whatever stands in the metadata, a set is read as it is meant, or what is wrong is said; nothing is half read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from common.paths import TRAINING_DIR
from dataset.captioned_folder import DatasetError, read_dataset
from dataset.metadata import MAX_DEPTH
from dataset.rows import Row, dataset_hash
from dataset.sampling_weights import row_weights
from plan_fixtures import batch_plan

NAMES = ("a.png", "b.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, whose metadata a test writes."""
    folder = tmp_path_factory.mktemp("set")
    for name in NAMES:
        Image.new("L", (8, 8), "white").save(folder / name)
    return folder


def read_lines(folder: Path, *lines: str | bytes) -> list[Row]:
    for path in folder.glob("metadata.*"):
        path.unlink()
    whole = [line.encode() if isinstance(line, str) else line for line in lines]
    (folder / "metadata.jsonl").write_bytes(b"\n".join(whole))
    return read_dataset(folder, progress=False)


def read_csv(folder: Path, content: str | bytes) -> list[Row]:
    for path in folder.glob("metadata.*"):
        path.unlink()
    (folder / "metadata.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return read_dataset(folder, progress=False)


def problem(read: Any, folder: Path, *content: str | bytes) -> str:
    with pytest.raises(DatasetError) as caught:
        read(folder, *content)
    return str(caught.value)


def lines(first: dict[str, Any]) -> list[str]:
    """Metadata of both pictures, of which the first has these columns too."""
    return [json.dumps({"file_name": "a.png", "text": "moon", **first}), '{"file_name": "b.png", "text": "tree"}']


# --- rows ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("column", "value"), [
    *(("strokes", value) for value in (-5, 0, True, 1e30, 1_000_000_000, 2.5, float("nan"), "many", [4])),
    *(("grade", value) for value in (0, 10**30, "9" * 30, {})), ("frequency", "often"),
    *(("components", value) for value in (5, "氵", [5], [{"meaning": "water"}], [{"element": 3}], {"element": "氵"},
                                          [{"element": "氵", "meaning": 5}])),
    ("literal", ["水"]), ("word", {})])
def test_a_value_that_a_column_cannot_have_is_said(column: str, value: object, folder: Path) -> None:
    message = problem(read_lines, folder, *lines({column: value}))
    assert f"metadata.jsonl line 1: a.png has {column} " in message and "1 problem in" in message


@pytest.mark.parametrize(("value", "strokes"), [(4, 4), (4.0, 4), ("4", 4), ("4.0", 4), (None, None)])
def test_a_stroke_count_is_understood_as_tables_write_it(value: object, strokes: int | None, folder: Path) -> None:
    assert read_lines(folder, *lines({"strokes": value}))[0].strokes == strokes


@pytest.mark.parametrize("value", [5, ["moon", 5], [["moon"]], {"en": "moon"}])
def test_a_caption_that_is_no_text_is_said(value: object, folder: Path) -> None:
    assert "a.png has something else than text in text" in problem(read_lines, folder, *lines({"text": value}))


@pytest.mark.parametrize("name", ["a\0.png", "\ud800.png", "x" * 5000 + ".png", "loop.png", "pipe.png"])
def test_a_name_that_no_file_has_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    message = problem(read_lines, tmp_path, json.dumps({"file_name": name, "text": "moon"}))
    assert "cannot be read (" in message or "lone surrogate" in message


@pytest.mark.parametrize("name", ["./a.png", ".//a.png", "b.png/../a.png"])
def test_another_way_to_write_a_name_is_no_other_picture(name: str, folder: Path) -> None:
    again = json.dumps({"file_name": name, "text": "sun"})
    assert f"{name} has a row already, metadata.jsonl line 1" in problem(read_lines, folder, *lines({}), again)
    rows = read_lines(folder, *lines({"file_name": "./a.png"}))
    assert [row.path for row in rows] == [folder / name for name in NAMES]


@pytest.mark.parametrize(("line", "said"), [
    (b"\xff{", "is not UTF-8"), ('{"file_name": "a.png", "text": "\u00e9"}'.encode("cp1252"), "is not UTF-8"),
    ('{"file_name": "a.png", "text": "\\ud800"}', "has half a character"), ("[" * 100_000, "is nested too deep"),
    ('{"a": ' * 100_000, "is nested too deep"), ('{"strokes": ' + "9" * 5000, "not a whole JSON object"),
    (json.dumps({"x": [[]] * 3}).replace("[]", "[" * MAX_DEPTH + "]" * MAX_DEPTH), "is nested too deep")])
def test_a_line_that_cannot_be_kept_is_said(line: str | bytes, said: str, folder: Path) -> None:
    assert f"line 3: {said}" in problem(read_lines, folder, *lines({}), line)
    assert f"line 1: {said}" in problem(read_lines, folder, line)


def test_a_byte_order_mark_is_no_part_of_the_first_line(folder: Path) -> None:
    first, second = lines({})
    assert len(read_lines(folder, b"\xef\xbb\xbf" + first.encode(), second)) == 2
    assert "is UTF-16" in problem(read_lines, folder, first.encode("utf-16"))


def test_the_trainer_says_it_and_ends(tmp_path: Path) -> None:
    row = json.dumps({"file_name": "a\0.png", "text": "a", "strokes": -5})
    (tmp_path / "metadata.jsonl").write_text("[" * 100_000 + f"\n{row}\n")
    command = [sys.executable, str(TRAINING_DIR / "train_text_to_image.py"), "--preset", "tiny", "--train_data_dir",
               str(tmp_path), "--output_dir", str(tmp_path / "run"), "--device", "cpu"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "3 problems in the dataset" in ended.stderr


# --- CSV -------------------------------------------------------------------------------------------------------------

def test_a_caption_with_commas_must_be_quoted(folder: Path) -> None:
    message = problem(read_csv, folder, "file_name,text\na.png,a cat, a dog, big\nb.png,tree\n")
    assert "metadata.csv row 2: 4 values for 2 columns" in message and "double quotes" in message
    assert read_csv(folder, 'file_name,text\na.png,"a cat, big"\nb.png,tree\n')[0].captions == ("a cat, big",)
    assert "row 3: 1 values for 2 columns" in problem(read_csv, folder, "file_name,text\na.png,cat\nb.png")


@pytest.mark.parametrize("content", ['file_name,text\na.png,"a cat\nb.png,tree\n', 'file_name,text\na.png,"a" cat\n',
                                     f"file_name,text\na.png,{'x' * 131_073}\nb.png,tree\n"])
def test_a_quote_without_its_other_and_an_endless_field_are_said(content: str, folder: Path) -> None:
    assert "is no CSV (" in problem(read_csv, folder, content)


def test_two_columns_of_one_name_are_said(folder: Path) -> None:
    content = "file_name,text,text\na.png,cat,dog\nb.png,tree,wood\n"
    assert "two columns are called text" in problem(read_csv, folder, content)


def test_commas_at_the_end_and_an_unnamed_index_are_no_fault(folder: Path) -> None:
    rows = read_csv(folder, ",file_name,text\n0,a.png,caf\u00e9,,\n1,b.png,tree\n\n")
    assert [row.captions for row in rows] == [("caf\u00e9",), ("tree",)]
    assert rows[0].metadata == {}


def test_a_csv_is_utf8_with_or_without_a_mark_and_others_are_named(folder: Path) -> None:
    content = "file_name,text\na.png,caf\u00e9\nb.png,tree\n"
    assert read_csv(folder, content.encode("utf-8-sig"))[0].captions == ("caf\u00e9",)
    assert "metadata.csv line 2: is not UTF-8. Save it as UTF-8" in problem(read_csv, folder, content.encode("cp1252"))
    assert "is UTF-16. Save it as UTF-8" in problem(read_csv, folder, content.encode("utf-16"))


# --- parquet ---------------------------------------------------------------------------------------------------------

def read_columns(folder: Path, columns: dict[str, Any]) -> list[Row]:
    return read_arrow(folder, pyarrow.table(columns))


def read_arrow(folder: Path, table: pyarrow.Table) -> list[Row]:
    for path in folder.glob("metadata.*"):
        path.unlink()
    parquet.write_table(table, folder / "metadata.parquet")
    return read_dataset(folder, progress=False)


def test_a_parquet_file_is_read_as_json_lines_with_the_same_values_are(folder: Path) -> None:
    columns = {"file_name": [*NAMES], "captions": [["moon", "month"], ["tree"]], "strokes": [4, None],
               "components": [[{"element": "氵", "original": "水"}], None], "share": [0.5, None],
               "is_new": [True, False]}
    expected = read_lines(folder, *(json.dumps({name: values[row] for name, values in columns.items()})
                                    for row in range(2)))
    assert read_columns(folder, columns) == expected
    assert expected[0].captions == ("moon", "month") and expected[0].strokes == 4


def test_values_that_json_has_not_are_text_and_can_be_hashed(folder: Path) -> None:
    rows = read_columns(folder, {"file_name": [*NAMES], "text": ["moon", "tree"], "day": [date(2026, 1, 2), None],
                                 "strokes": [Decimal(4), Decimal(5)]})
    assert rows[0].metadata == {"day": "2026-01-02", "strokes": "4"} and rows[0].strokes == 4
    assert len(dataset_hash(rows)) == 64


def test_what_is_wrong_with_a_parquet_file_is_said_with_its_row(folder: Path) -> None:
    message = problem(read_columns, folder, {"file_name": ["a.png", "c.png"], "text": ["", "tree"], "strokes": [-1, 4]})
    for text in ("metadata.parquet row 1: a.png has no caption in text", "metadata.parquet row 1: a.png has strokes -1",
                 "metadata.parquet row 2: c.png cannot be read", "b.png: a picture without a row"):
        assert text in message
    assert "no column 'text'" in problem(read_columns, folder, {"file_name": [*NAMES], "caption": ["moon", "tree"]})
    deep: Any = "deep"
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert "metadata.parquet row 2: is nested too deep" in problem(
        read_columns, folder, {"file_name": [*NAMES], "text": ["moon", "tree"], "deep": [None, deep]})


def test_a_parquet_file_that_cannot_be_read_and_two_columns_of_one_name_are_said(folder: Path) -> None:
    table = pyarrow.table([[*NAMES], ["moon", "tree"], ["moon", "tree"]], names=["file_name", "text", "text"])
    assert "two columns are called text" in problem(read_arrow, folder, table)
    for content in (b"", b"PAR1", (folder / "metadata.parquet").read_bytes()[:-20]):
        (folder / "metadata.parquet").write_bytes(content)
        with pytest.raises(DatasetError, match=r"metadata\.parquet: cannot be read as parquet \("):
            read_dataset(folder, progress=False)
    (folder / "metadata.parquet").unlink()


@pytest.mark.parametrize("column", [[b"1", b"2"], [{"bytes": b"1", "path": "a.png"}, None], [[b"1"], []]])
def test_pictures_within_a_parquet_file_are_refused_with_the_way_out(column: list, folder: Path) -> None:
    message = problem(read_columns, folder, {"image": column, "text": ["moon", "tree"]})
    assert "its column 'image' holds bytes" in message and '"Your own pictures" in training/README.md' in message


# --- anything --------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(), max_size=8)  # lone surrogates and NUL among them
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(["1", "-1", "1e9", "real"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3), max_leaves=6)
COMPONENTS = st.lists(VALUES | st.fixed_dictionaries({"element": TEXT | VALUES}, optional={
    "original": TEXT, "meaning": TEXT | VALUES, "position": TEXT | VALUES}), max_size=3)
COLUMNS = {
    "file_name": st.sampled_from([*NAMES, "./a.png", "../a.png"]) | VALUES, "text": TEXT | VALUES,
    "captions": st.lists(TEXT, max_size=3) | VALUES, "strokes": st.integers(0, 40) | VALUES,
    "grade": st.integers(-1, 11) | VALUES, "frequency": st.integers(1, 3000) | VALUES,
    "kind": st.sampled_from(["real", "composed", "named", "negative", "drawn"]) | VALUES,
    "components": COMPONENTS | VALUES, "literal": TEXT | VALUES, "word": VALUES}
ENTRIES = st.fixed_dictionaries({}, optional=COLUMNS) | VALUES
FUZZ = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def use(rows: list[Row]) -> None:
    """All that a run asks of rows before it begins."""
    dataset_hash(rows)
    assert row_weights(rows, 0.5, 3.0, 0.5).isfinite().all()
    plan = batch_plan(rows, size=4, tag_fraction=0.5, single_component_fraction=0.5)
    plan.required_captions(2)
    for row in rows:
        "".join([*row.captions, *row.component_names, *row.forms]).encode()


def takes_or_refuses(read: Any, folder: Path, *content: str | bytes) -> None:
    try:
        rows = read(folder, *content)
    except DatasetError as error:
        assert str(error)
        return
    use(rows)


@FUZZ
@given(first=ENTRIES, second=st.fixed_dictionaries({name: COLUMNS[name] for name in ("strokes", "kind", "components")}))
def test_any_rows_are_taken_or_refused(folder: Path, first: Any, second: dict[str, Any]) -> None:
    whole = {"file_name": "b.png", "text": "tree", "captions": ["tree"]}
    takes_or_refuses(read_lines, folder, json.dumps(first), json.dumps({**whole, **second}))
    if isinstance(first, dict):
        takes_or_refuses(read_lines, folder, json.dumps({**first, **whole, "file_name": "a.png"}), json.dumps(whole))


@FUZZ
@given(junk=st.binary(max_size=30) | st.text(max_size=30).map(lambda text: text.encode("utf8", "surrogatepass")))
def test_any_bytes_are_taken_or_refused(folder: Path, junk: bytes) -> None:
    takes_or_refuses(read_lines, folder, *lines({}), junk)
    takes_or_refuses(read_csv, folder, b"file_name,text\na.png,moon\nb.png,tree\n" + junk)
    takes_or_refuses(read_csv, folder, junk + b"file_name,text\na.png,moon\nb.png,tree\n")
