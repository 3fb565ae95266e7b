"""Promises about reading KANJIDIC2."""

from __future__ import annotations

import gzip

import pytest

import data_fixtures
from errors import UserError
from kanjidic import clean_meanings, read_kanjidic


def write(tmp_path, text, name="kanjidic2.xml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def read_one(tmp_path, **parts):
    path = write(tmp_path, data_fixtures.kanjidic_xml([data_fixtures.character("水", **parts)]))
    return read_kanjidic(path)["水"]


def test_a_character_has_its_meanings_readings_and_numbers(tmp_path):
    misc = "<grade>1</grade><stroke_count>4</stroke_count><freq>223</freq>"
    entry = read_one(tmp_path, misc=misc, meanings=["water", "Wednesday (day of week)"])
    assert entry.meanings == ("water", "Wednesday")
    assert (entry.on_readings, entry.kun_readings) == (("スイ",), ("みず",))
    assert (entry.strokes, entry.grade, entry.frequency, entry.radical, entry.code) == (4, 1, 223, 85, "06c34")


def test_the_first_stroke_count_is_taken_and_the_common_miscounts_are_not(tmp_path):
    misc = "<stroke_count>12</stroke_count><stroke_count>13</stroke_count><stroke_count>11</stroke_count>"
    assert read_one(tmp_path, misc=misc).strokes == 12


def test_grade_and_frequency_may_be_missing(tmp_path):
    entry = read_one(tmp_path, misc="<stroke_count>4</stroke_count>")
    assert entry.grade is None
    assert entry.frequency is None


def test_another_language_has_its_own_meanings(tmp_path):
    path = data_fixtures.write_kanjidic(tmp_path / "k.xml", "水火")
    assert read_kanjidic(path, "fr")["水"].meanings == ("water en français",)
    assert read_kanjidic(path, "es")["水"].meanings == ()


def test_plain_and_gzip_files_read_the_same_whatever_their_names(tmp_path):
    plain = data_fixtures.write_kanjidic(tmp_path / "k.xml", "水火木")
    packed = data_fixtures.write_kanjidic(tmp_path / "k.gz", "水火木").rename(tmp_path / "k.bin")
    assert read_kanjidic(plain) == read_kanjidic(packed)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (["field of crops", "(kokuji)"], ("field of crops",)),
        (["load (a vehicle)", "board"], ("load", "board")),
        (["(parallels of) latitude"], ("latitude",)),
        (["be(come) pregnant"], ("be pregnant",)),
        (["heart", "heart radical (no. 61)"], ("heart",)),
        (["rod radical (no. 2)"], ("rod",)),
        (["kettle lid radical (no. 8)"], ("kettle lid",)),
        (["two-stroke water radical or ice radical (no. 15)"], ("two-stroke water", "ice")),
        (["clothing radical (no. 145"], ("clothing",)),
        (["katakana mu radical (no. 28)"], ()),
        (["radical number 140"], ()),
        (["water", "water"], ("water",)),
        (["(phantom kanji)"], ()),
        (["Sino-", "China"], ("Sino-", "China")),
        (["radical"], ("radical",)),
        (["left-side radical"], ("left-side radical",)),
    ],
)
def test_glosses_are_cleaned(raw, clean):
    assert clean_meanings(raw) == clean


def refused(path):
    with pytest.raises(UserError) as error:
        read_kanjidic(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_cut_off_gzip_is_named_with_the_way_out(tmp_path):
    path = data_fixtures.write_kanjidic(tmp_path / "k.xml.gz", data_fixtures.FEW)
    path.write_bytes(path.read_bytes()[:-200])
    assert "--kanjidic" in refused(path)


def test_a_corrupt_gzip_is_named(tmp_path):
    path = data_fixtures.write_kanjidic(tmp_path / "k.xml.gz", data_fixtures.FEW)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    refused(path)


def test_malformed_xml_is_named(tmp_path):
    text = data_fixtures.kanjidic_xml([data_fixtures.character("水")])
    assert "not well-formed" in refused(write(tmp_path, text.replace("</misc>", "")))
    assert "not well-formed" in refused(write(tmp_path, text[: len(text) // 2]))
    assert "not well-formed" in refused(write(tmp_path, ""))


def test_xml_that_is_not_kanjidic2_is_named(tmp_path):
    assert "not KANJIDIC2" in refused(write(tmp_path, "<JMdict><entry/></JMdict>"))
    assert "without a single character" in refused(write(tmp_path, data_fixtures.kanjidic_xml([])))


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "none.xml")


def test_an_external_entity_is_refused_and_never_read(tmp_path):
    (tmp_path / "secret").write_text("secret words")
    text = data_fixtures.kanjidic_xml([data_fixtures.character("水", meanings=["&leak;"])])
    text = text.replace("<!ELEMENT", f'<!ENTITY leak SYSTEM "file://{tmp_path}/secret">\n<!ELEMENT', 1)
    message = refused(write(tmp_path, text))
    assert "entity" in message
    assert "secret words" not in message


def test_an_entity_bomb_is_refused_at_once(tmp_path):
    bomb = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    text = data_fixtures.kanjidic_xml([data_fixtures.character("水", meanings=["&a11;"])])
    assert "entity" in refused(write(tmp_path, text.replace("<!ELEMENT", f"{bomb}\n<!ELEMENT", 1)))


def test_a_number_that_is_none_names_the_kanji(tmp_path):
    text = data_fixtures.kanjidic_xml([data_fixtures.character("水", misc="<stroke_count>many</stroke_count>")])
    assert "kanji 水" in refused(write(tmp_path, text))
    assert "kanji 水" in refused(write(tmp_path, text.replace("<stroke_count>many</stroke_count>", "")))


def test_a_truncated_gzip_of_any_length_never_gives_a_traceback(tmp_path):
    whole = gzip.compress(data_fixtures.kanjidic_xml(map(data_fixtures.character, "水火")).encode(), mtime=0)
    for length in range(0, len(whole) - 1, 37):
        path = tmp_path / "cut.gz"
        path.write_bytes(whole[:length])
        refused(path)
