"""Captions in .txt or .caption files beside the pictures are read; whatever is wrong with them is listed at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from dataset.captioned_folder import DatasetError, read_dataset
from dataset.rows import dataset_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, the last one in a folder of its own, each with a .txt file beside it."""
    add(tmp_path, "moon.png", "a moon\n")
    add(tmp_path, "big tree.jpg", "a tree\n\n  an old tree  \r\n")
    add(tmp_path, "10_water/v1.5 water.PNG", "water")
    return tmp_path


def add(folder: Path, name: str, caption: str | bytes | None, suffix: str = ".txt") -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    Image.new("L", (8, 8), len(name)).save(folder / name)
    if caption is not None:
        data = caption.encode() if isinstance(caption, str) else caption
        (folder / name).with_suffix(suffix).write_bytes(data)


def captions(folder: Path, **options: str) -> dict[str, tuple[str, ...]]:
    rows = read_dataset(folder, progress=False, **options)
    return {row.path.relative_to(folder).as_posix(): row.captions for row in rows}


def problem(folder: Path, **options: str) -> str:
    with pytest.raises(DatasetError) as caught:
        captions(folder, **options)
    return str(caught.value)


def rename(folder: Path, before: str, after: str) -> None:
    for path in list(folder.rglob(f"*{before}")):
        path.rename(path.with_suffix(after))


@pytest.mark.parametrize("suffix", [".txt", ".caption", ".TXT"])
def test_each_line_beside_a_picture_is_a_caption_and_folders_in_the_folder_are_read(suffix: str, folder: Path) -> None:
    rename(folder, ".txt", suffix)
    assert captions(folder) == {"10_water/v1.5 water.PNG": ("water",), "big tree.jpg": ("a tree", "an old tree"),
                                "moon.png": ("a moon",)}


def test_a_byte_order_mark_is_no_part_of_a_caption(folder: Path) -> None:
    before = dataset_hash(read_dataset(folder, progress=False))
    (folder / "moon.txt").write_bytes(b"\xef\xbb\xbfa moon\r\n")
    assert captions(folder)["moon.png"] == ("a moon",)
    assert dataset_hash(read_dataset(folder, progress=False)) == before
    (folder / "moon.txt").write_text("a full moon")
    assert dataset_hash(read_dataset(folder, progress=False)) != before


def test_a_train_folder_is_preferred_and_the_other_split_left_alone(folder: Path) -> None:
    (folder / "train").mkdir()
    add(folder, "train/sun.png", "the sun")
    assert captions(folder) == {"train/sun.png": ("the sun",)}


def test_everything_that_is_wrong_is_listed_at_once(folder: Path) -> None:
    add(folder, "bare.png", None)
    add(folder, "blank.png", " \n\t\n")
    add(folder, "latin.png", "Stra\xdfe".encode("latin1"))
    add(folder, "wide.png", "moon".encode("utf-16"))
    add(folder, "zeros.png", "moon".encode("utf-16-le"))
    add(folder, "torn.png", "torn")
    (folder / "torn.png").write_bytes(b"\x89PNG")
    (folder / "sun.txt").write_text("no picture")
    (folder / "twice.TXT").write_text("one")
    add(folder, "twice.png", "another")
    (folder / "link.txt").symlink_to(folder.parent / "elsewhere")
    os.mkfifo(folder / "10_water/pipe.txt")
    message = problem(folder)
    for text in ("bare.png: a picture without a caption; its file would be bare.txt", "blank.txt: has no caption in it",
                 "latin.txt: is not UTF-8", "wide.txt: is UTF-16. Save it as UTF-8.", "zeros.txt: is not text",
                 "torn.png: is no whole picture", "sun.txt: a caption without a picture",
                 "twice.txt: a second file of this name and kind", "link.txt: points outside the dataset folder",
                 "10_water/pipe.txt: cannot be read (No plain file)", "Mend these pictures and captions"):
        assert text in message
    assert "metadata" not in message and "moon.txt" not in message
    assert "12 problems" in message  # those above, and the two files' that no picture has


def test_a_set_with_several_kinds_of_captions_is_asked_about_and_a_flag_decides(folder: Path) -> None:
    (folder / "metadata.csv").write_text('file_name,text\nmoon.png,a\n"big tree.jpg",b\n10_water/v1.5 water.PNG,c\n')
    (folder / "moon.caption").write_text("one alone")
    message = problem(folder)
    assert "metadata.jsonl (or .csv, .parquet) and .txt files beside pictures and .caption files beside" in message
    assert "--captions_from metadata or --captions_from txt or --captions_from caption" in message
    assert captions(folder, captions_from="metadata")["moon.png"] == ("a",)
    assert captions(folder, captions_from="txt")["moon.png"] == ("a moon",)
    assert "without a caption" in problem(folder, captions_from="caption")


def test_a_kind_that_is_asked_for_and_not_there_is_said(folder: Path) -> None:
    assert "has no .caption files beside pictures; it has .txt files" in problem(folder, captions_from="caption")
    assert "has no metadata.jsonl" in problem(folder, captions_from="metadata")


def test_a_note_beside_a_set_with_metadata_is_no_caption(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text("".join(
        f'{{"file_name": "{name}", "text": "{name}"}}\n' for name in captions(folder)))
    for path in folder.rglob("*.txt"):
        path.unlink()
    (folder / "licence.txt").write_text("free")
    assert captions(folder)["moon.png"] == ("moon.png",)


def test_a_column_of_caption_files_is_refused(folder: Path) -> None:
    assert "--caption_column text" in problem(folder, caption_column="text")


def test_pictures_alone_and_parquet_files_are_told_what_is_missing(folder: Path) -> None:
    for path in folder.rglob("*.txt"):
        path.unlink()
    assert "no moon.txt or moon.caption beside a moon.png" in problem(folder)
    (folder / "train.parquet").write_bytes(b"PAR1")
    assert "train.parquet is not read. Pictures are read from files alone" in problem(folder)
