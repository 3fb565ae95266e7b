"""The judge: what it reads, what it says, what it chooses, and the real kanji that it compares with."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dataset.rows import DatasetError
from recogniser.judge import Judge, JudgeError
from recogniser.network import METADATA, WEIGHTS
from recogniser_fixtures import glyph, reading, save_judge, save_kanji_set


@pytest.fixture(scope="module")
def kanji(tmp_path_factory):
    return save_kanji_set(tmp_path_factory.mktemp("kanji") / "set")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="module")
def judge(folder, kanji):
    return Judge.load(folder, kanji)


def test_a_reading_says_what_stands_where_how_many_strokes_and_what_is_nearest():
    assert reading("口十", strokes=5.2, nearest="叶").explain() == (
        "left 口 mouth + right 十 ten, 5 strokes; nearest real kanji 叶")
    assert reading("", strokes=1.1).explain() == "no component that is known, 1 stroke"


def test_the_best_is_well_formed_before_all_and_then_near_the_budget():
    judge = Judge.__new__(Judge)
    broken = reading(well_formed=0.4, strokes=8)
    good = [reading(well_formed=0.95, strokes=12), reading(well_formed=0.9, strokes=8)]
    assert judge.best([broken, *good], strokes=8) == 2
    assert judge.best([broken, *good]) == 1
    assert judge.best([good[1], good[1]]) == 0
    with pytest.raises(ValueError, match="nothing to choose"):
        judge.best([])


def test_a_picture_is_read_alike_alone_or_beside_others_in_grey_or_colour(judge):
    images = [glyph({"left": "口", "right": "十"}), glyph({"whole": "人"})]
    together = judge.read(images)
    assert judge.read([]) == []
    for image, beside in zip(images, together, strict=True):
        for alone in judge.read([image]) + judge.read([image.convert("RGB")]):
            assert alone.well_formed == pytest.approx(beside.well_formed, abs=1e-4)
            assert [one.element for one in alone.components] == [one.element for one in beside.components]
    assert 0.0 <= together[0].well_formed <= 1.0 and together[0].strokes >= 0.0


def test_an_existing_character_is_its_own_nearest_and_a_copy(judge, kanji):
    row = json.loads((kanji / "test" / "metadata.jsonl").read_text(encoding="utf8").splitlines()[0])
    with Image.open(kanji / "test" / row["file_name"]) as image:
        read = judge.read([image])[0]
    assert read.nearest == row["literal"] and read.is_copy and read.similarity > 0.999
    assert read.picture_of_nearest == kanji / "test" / row["file_name"]


def test_composed_characters_are_none_of_the_existing_ones(judge, kanji):
    rows = [json.loads(line) for split in ("train", "test")
            for line in (kanji / split / "metadata.jsonl").read_text(encoding="utf8").splitlines()]
    assert len(judge.references.literals) == sum(row["kind"] == "real" for row in rows) < len(rows)


def test_the_existing_characters_are_read_once_and_kept_beside_the_dataset(folder, kanji, tmp_path, monkeypatch):
    copy = tmp_path / "kanji"
    shutil.copytree(kanji, copy)
    Judge.load(folder, copy)
    assert len(list(tmp_path.glob("kanji-references-*.safetensors"))) == 1
    monkeypatch.setattr("recogniser.nearest_kanji._embed", lambda *_: pytest.fail("they were read again"))
    assert Judge.load(folder, copy).references is not None


def test_a_changed_dataset_is_read_again(folder, kanji, tmp_path):
    copy = tmp_path / "kanji"
    shutil.copytree(kanji, copy)
    count = len(Judge.load(folder, copy).references.literals)
    metadata = copy / "test" / "metadata.jsonl"
    metadata.write_text("".join(metadata.read_text(encoding="utf8").splitlines(keepends=True)[1:]), encoding="utf8")
    assert len(Judge.load(folder, copy).references.literals) == count - 1


@pytest.mark.parametrize("overwritten", [lambda half: bytes(len(half)), lambda half: half[::-1]])
def test_kept_readings_that_were_half_overwritten_are_read_again(overwritten, folder, kanji, tmp_path):
    copy = tmp_path / "kanji"
    shutil.copytree(kanji, copy)
    whole = Judge.load(folder, copy).references.embeddings
    (kept,) = tmp_path.glob("kanji-references-*.safetensors")
    content = kept.read_bytes()
    half = len(content) - whole.nbytes // 2
    kept.write_bytes(content[:half] + overwritten(content[half:]))
    assert torch.equal(Judge.load(folder, copy).references.embeddings, whole)


def test_a_kanji_whose_picture_is_broken_is_named(folder, kanji, tmp_path):
    copy = tmp_path / "kanji"
    shutil.copytree(kanji, copy)
    picture = next((copy / "test").glob("*.png"))
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(DatasetError, match=rf"{picture.name}: is no whole picture .*main\.py"):
        Judge.load(folder, copy)


def test_rows_that_are_not_whole_are_no_references(folder, kanji, tmp_path):
    copy = tmp_path / "kanji"
    shutil.copytree(kanji, copy)
    count = len(Judge.load(folder, copy).references.literals)
    with (copy / "test" / "metadata.jsonl").open("a", encoding="utf8") as file:
        file.write('{"file_name": 5, "literal": "水"}\n{"file_name": "x.png", "literal": ["水"]}\n' + "[" * 100_000)
    assert len(Judge.load(folder, copy).references.literals) == count


@pytest.mark.parametrize(("name", "value"), [
    ("component", "0.45"), ("well_formed", "0.9"), ("copy", None), ("copy", float("nan")), ("component", 45),
    ("well_formed", True), ("component", 0)])
def test_a_threshold_that_is_no_number_in_its_range_is_refused(name, value, folder, tmp_path):
    copy = tmp_path / "judge"
    shutil.copytree(folder, copy)
    content = json.loads((copy / METADATA).read_text(encoding="utf8"))
    content["thresholds"][name] = value
    (copy / METADATA).write_text(json.dumps(content), encoding="utf8")
    if value == 0:
        assert Judge.load(copy, None).thresholds.component == 0
    else:
        with pytest.raises(JudgeError, match=f"recogniser.json: its threshold {name} is "):
            Judge.load(copy, None)


def test_weights_that_are_no_numbers_are_refused(folder, tmp_path):
    copy = tmp_path / "judge"
    shutil.copytree(folder, copy)
    tensors = load_file(copy / WEIGHTS)
    tensors["what"][0, 0] = float("nan")
    save_file(tensors, copy / WEIGHTS)
    with pytest.raises(JudgeError, match="no finite numbers"):
        Judge.load(copy, None)


def test_without_a_dataset_nothing_is_said_of_the_nearest_kanji(folder, tmp_path):
    read = Judge.load(folder, tmp_path / "none").read([glyph({"whole": "口"})])[0]
    assert read.nearest is None and "nearest" not in read.explain()


def test_a_missing_judge_says_how_to_get_one(tmp_path):
    with pytest.raises(JudgeError, match=r"git checkout training/recogniser_weights.*train_recogniser\.py"):
        Judge.load(tmp_path / "none")
