"""Whatever is wrong with a dataset folder is found before a model is loaded, and listed at once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dataset.captioned_folder import LISTED_PROBLEMS, DatasetError, read_dataset, without_prompts
from dataset.rows import dataset_hash
from training_fixtures import save_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_dataset(tmp_path / "data", count=8)


def read(folder: Path, **columns) -> list:
    return read_dataset(folder, progress=False, **columns)


def rewrite(data: Path, change) -> None:
    path = data / "train/metadata.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    change(entries)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def problems(folder: Path, **columns) -> str:
    with pytest.raises(DatasetError) as caught:
        read(folder, **columns)
    return str(caught.value)


def test_rows_carry_their_captions_and_metadata(data: Path) -> None:
    rows = read(data)
    assert [row.path.name for row in rows] == [f"{number:05x}.png" for number in range(8)]
    assert rows[1].captions == ("water",)
    assert rows[0].captions == ("moon", "moon eat")
    assert (rows[0].strokes, rows[0].is_frequent, rows[0].is_composed) == (1, True, False)
    assert (rows[1].strokes, rows[1].is_frequent, rows[1].is_composed) == (2, False, True)


@pytest.mark.parametrize(("kind", "is_own_sample", "is_negative"), [
    ("sampled", True, False), ("negative", True, True), ("real", False, False), ("composed", False, False),
    ("drawn", True, False), ("rejected", True, True),  # as sets said before
    (None, False, False), (["sampled"], False, False)])
def test_a_row_says_whether_it_is_a_models_own_sample_and_a_negative_one(
        kind: object, is_own_sample: bool, is_negative: bool, data: Path) -> None:
    rewrite(data, lambda entries: [entry.update(kind=kind) for entry in entries])
    assert {(row.is_own_sample, row.is_negative) for row in read(data)} == {(is_own_sample, is_negative)}


@pytest.mark.parametrize(("kind", "is_composed"), [("composed", True), ("named", True), ("real", False), (None, False)])
def test_a_character_composed_for_a_word_is_a_composed_one(kind: str | None, is_composed: bool, data: Path) -> None:
    components = [{"element": "舟", "meaning": "boat"}, {"element": "氵", "original": "水", "meaning": "water"}]
    rewrite(data, lambda entries: [entry.update(kind=kind, components=components) for entry in entries])
    row = read(data)[0]
    assert row.is_composed is is_composed
    assert row.component_names == (("boat", "water") if is_composed else ())


def test_a_set_of_the_kinds_of_before_keeps_its_metadata_and_so_its_hash(data: Path) -> None:
    rewrite(data, lambda entries: [entry.update(kind=kind) for entry, kind in zip(entries, ["drawn", "rejected"] * 4,
                                                                                  strict=True)])
    rows = read(data)
    assert [row.metadata["kind"] for row in rows] == ["drawn", "rejected"] * 4
    named_as_today = [replace(row, metadata={**row.metadata, "kind": row.kind}) for row in rows]
    assert dataset_hash(rows) != dataset_hash(named_as_today)
    assert [row.is_negative for row in named_as_today] == [row.is_negative for row in rows]


def test_everything_that_is_wrong_is_listed_at_once(data: Path) -> None:
    train = data / "train"
    (train / "00001.png").unlink()
    (train / "00002.png").write_bytes((train / "00002.png").read_bytes()[:60])
    (train / "00003.png").write_bytes(b"")
    shutil.copy(train / "00004.png", train / "surplus.png")
    (train / "note.txt").write_text("not a picture")

    def change(entries: list[dict]) -> None:
        entries[4]["captions"] = ["", "  "]
        del entries[5]["captions"]
        entries[6]["file_name"] = "../escape.png"
        entries.append(dict(entries[0]))
        entries.append({"captions": ["nameless"]})

    rewrite(data, change)
    with (train / "metadata.jsonl").open("a") as file:
        file.write('[1, 2]\n{"file_name": "00007.png", "capt')
    message = problems(data)
    for text in ("00001.png cannot be read (No such file or directory)", "00002.png is no whole picture",
                 "00003.png is no whole picture", "00004.png has no caption in captions",
                 "00005.png has no caption in captions", "escape.png points outside the dataset folder",
                 "line 9: 00000.png has a row already, metadata.jsonl line 1", "line 10: no file_name",
                 "line 11: not a JSON object", "line 12: not a whole JSON object (cut off?)",
                 "surplus.png: a picture without a row"):
        assert text in message
    assert "12 problems" in message  # those above, and the picture whose row points outside
    assert "note.txt" not in message


def test_a_long_list_is_cut_and_counted(tmp_path: Path) -> None:
    data = save_dataset(tmp_path / "data", count=LISTED_PROBLEMS + 5)
    for path in (data / "train").glob("*.png"):
        path.unlink()
    assert f"{LISTED_PROBLEMS + 5} problems" in problems(data)
    assert "and 5 more" in problems(data)


def test_a_column_that_is_not_there_is_said_with_those_that_are(data: Path) -> None:
    message = problems(data, caption_column="caption")
    assert "no column 'caption'" in message
    assert "captions, file_name, grade, kind, strokes, text" in message
    assert "--caption_column" in message
    assert "--image_column" in problems(data, image_column="image")


def test_the_columns_may_be_chosen(data: Path) -> None:
    assert all(row.captions == (row.metadata["captions"][0],) for row in read(data, caption_column="text"))
    rewrite(data, lambda entries: [entry.update(image=entry.pop("file_name")) for entry in entries])
    assert len(read(data, image_column="image")) == 8


def test_folders_without_metadata_rows_or_existence_are_refused(tmp_path: Path) -> None:
    assert "no such folder" in problems(tmp_path / "none")
    assert "dataExtraction/main.py" in problems(tmp_path / "none")
    assert "no metadata.jsonl" in problems(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("")
    assert "no column 'file_name'" in problems(tmp_path)


def test_blank_lines_are_no_fault(data: Path) -> None:
    path = data / "train/metadata.jsonl"
    path.write_text("\n" + path.read_text().replace("\n", "\n\n"))
    assert len(read(data)) == 8


def test_a_csv_and_jpegs_and_a_flat_folder_will_do(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPEG"):
        Image.new("RGB", (40, 40), (250, 20, 30)).save(tmp_path / name, format="JPEG")
    (tmp_path / "metadata.csv").write_text("file_name,text,strokes,grade\na.jpg,a cat,3,\nb.JPEG,\"a dog, big\",,2\n")
    rows = read(tmp_path)
    assert [row.captions for row in rows] == [("a cat",), ("a dog, big",)]
    assert [row.strokes for row in rows] == [3, None]
    assert [row.is_frequent for row in rows] == [False, True]


def test_the_other_split_is_not_touched(data: Path) -> None:
    (data / "test").mkdir()
    (data / "test/broken.png").write_bytes(b"")
    assert len(read(data)) == 8


def test_the_hash_follows_pictures_captions_metadata_and_order(data: Path) -> None:
    first = dataset_hash(read(data))
    assert dataset_hash(read(data)) == first
    assert dataset_hash(read(data)[::-1]) != first
    rewrite(data, lambda entries: entries[0].update(strokes=30))
    assert dataset_hash(read(data)) != first
    rewrite(data, lambda entries: entries[0].update(strokes=1))
    assert dataset_hash(read(data)) == first
    Image.new("L", (32, 32), 3).save(data / "train/00000.png")
    assert dataset_hash(read(data)) != first


def test_rows_that_have_a_prompt_of_the_score_among_their_captions_are_left_out(data: Path, tmp_path: Path) -> None:
    rows, prompts = read(data), tmp_path / "heldout_pairs.jsonl"
    prompts.write_text('{"text": "Moon eat", "components": []}\n\n{"text": "wat"}\n', encoding="utf8")
    others = without_prompts(rows, prompts)
    assert [row for row in rows if row not in others] == [row for row in rows if "moon eat" in row.captions] != []
    for text in ("moon eat", '{"captions": []}', '["text"]', '{"text": 1}'):
        prompts.write_text(text)
        with pytest.raises(DatasetError, match=r"held_out_prompts .*heldout_pairs\.jsonl"):
            without_prompts(rows, prompts)
    prompts.write_text("".join(json.dumps({"text": row.captions[0]}) + "\n" for row in rows))
    with pytest.raises(DatasetError, match="every row"):
        without_prompts(rows, prompts)
    with pytest.raises(DatasetError, match="No such file"):
        without_prompts(rows, tmp_path / "none")
