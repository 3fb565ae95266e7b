"""Promises about reading KanjiVG."""

from __future__ import annotations

import gzip
import re
import zipfile

import pytest

import data_fixtures
import sources
from errors import UserError
from kanjivg_reader import GlyphError, is_kanji, parse_svg, read_kanjivg, walk


def parse(literal):
    return parse_svg(f"{ord(literal):05x}.svg", data_fixtures.svg(literal))


def test_strokes_come_in_order_and_the_numbers_beside_them_do_not():
    glyph = parse("漢")
    assert glyph.literal == "漢"
    assert len(glyph.strokes) == 13
    assert glyph.strokes[0][0] == (20, 19.5)


def test_a_slot_has_shape_meaning_form_and_position():
    left, right = parse("漢").slots
    assert (left.element, left.original, left.position, left.strokes) == ("氵", "水", "left", (0, 1, 2))
    assert (right.element, right.position) == ("", "right")
    assert [part.element for part in walk(right) if part.element] == ["艹", "口", "夫", "大"]


def test_a_component_split_in_parts_is_one():
    outer = parse("図").slots[0]
    assert (outer.element, outer.position, outer.strokes) == ("囗", "kamae", (0, 1, 6))


def test_the_unnamed_content_of_an_enclosure_gets_its_slot():
    assert [(slot.element, slot.position) for slot in parse("国").slots] == [("囗", "kamae"), ("玉", "kamaec")]


def test_a_kanji_without_groups_has_no_slots():
    assert parse("一").slots == ()


def test_both_namespaces_and_the_doctype_are_understood():
    data = data_fixtures.svg("漢")
    assert b"<!DOCTYPE" in data
    bare = re.sub(rb"<!DOCTYPE.*?\]>", b"", data, flags=re.DOTALL)
    assert parse_svg("06f22.svg", bare) == parse("漢")


def refused(data, name="06f22.svg"):
    with pytest.raises(GlyphError) as error:
        parse_svg(name, data)
    return str(error.value)


def with_first_path(path):
    return re.sub(rb' d="[^"]*"', b' d="' + path + b'"', data_fixtures.svg("漢"), count=1)


def test_a_file_without_strokes_is_refused():
    assert refused(re.sub(rb"<path[^>]*/>", b"", data_fixtures.svg("漢"))) == "no strokes"
    assert refused(b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 109 109"/>') == "no group of stroke paths"


@pytest.mark.parametrize("path", [b"M2,NaNc1,1,2,2,3,3", b"garbage", b"M20,19.5c3.62,1.47", b"", b"M2,2c1,1,2,2,1e9,3"])
def test_nan_garbage_truncated_and_far_away_paths_are_refused_by_stroke(path):
    assert refused(with_first_path(path)).startswith("stroke 1: ")


def test_a_huge_view_box_is_refused():
    assert "viewBox" in refused(data_fixtures.svg("漢").replace(b'viewBox="0 0 109 109"', b'viewBox="0 0 1e9 1e9"'))


def test_malformed_and_oversized_files_and_entities_are_refused():
    data = data_fixtures.svg("漢")
    assert "not well-formed" in refused(data[:3000])
    assert "not well-formed" in refused(b"")
    assert "1 MB" in refused(data + b" " * (1 << 20))
    entity = b'<!ENTITY e SYSTEM "file:///etc/hostname">\n<!ATTLIST g'
    assert "entities" in refused(data.replace(b"<!ATTLIST g", entity, 1))


@pytest.mark.parametrize("name", ["kanji.svg", "0d800.svg", "fffffff.svg", ".svg"])
def test_a_name_that_is_no_code_point_is_refused(name):
    assert "code point" in refused(data_fixtures.svg("漢"), name)


def test_broken_files_are_listed_and_the_others_read():
    files = [("06f22.svg", data_fixtures.svg("漢")), ("04e00.svg", b"<svg/>"), ("06c34.svg", with_first_path(b"M1"))]
    glyphs, rejected = read_kanjivg(files)
    assert list(glyphs) == ["漢"]
    assert set(rejected) == {"04e00.svg", "06c34.svg"}


def test_only_ideographs_are_kanji():
    assert all(map(is_kanji, "漢㐂𠮟﨑"))
    assert not any(map(is_kanji, "あア、A1⺡⼀"))


# ---------------------------------------------------------------- the forms of a release


def release_xml(literals):
    """A release's one XML file, made of the groups of the SVG files."""
    body = ""
    for literal in literals:
        text = data_fixtures.svg(literal).decode()
        group = re.search(r'(<g id="kvg:[0-9a-f]{5}".*?)</g>\s*<g id="kvg:StrokeNumbers', text, re.DOTALL).group(1)
        body += f'<kanji id="kvg:kanji_{ord(literal):05x}">{group}</kanji>'
    return f'<?xml version="1.0"?><kanjivg xmlns:kvg="http://kanjivg.tagaini.net">{body}</kanjivg>'.encode()


def test_folder_zip_and_xml_give_the_same_glyphs(tmp_path):
    folder = data_fixtures.write_kanjivg(tmp_path / "svgs", "漢図国")
    with zipfile.ZipFile(tmp_path / "kanjivg-20260714-main.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"kanji/{path.name}")
    (tmp_path / "kanjivg.xml.gz").write_bytes(gzip.compress(release_xml("漢図国")))
    read = [
        read_kanjivg(sources.find_kanjivg(tmp_path / name)[0])
        for name in ("svgs", "kanjivg-20260714-main.zip", "kanjivg.xml.gz")
    ]
    assert read[0] == read[1] == read[2]
    assert sources.find_kanjivg(tmp_path / "kanjivg-20260714-main.zip")[1].date == "2026-07-14"


def test_variants_are_left_out(tmp_path):
    folder = data_fixtures.write_kanjivg(tmp_path, "漢")
    (folder / "06f22-Kaisho.svg").write_bytes(data_fixtures.svg("漢"))
    assert [name for name, _ in sources.find_kanjivg(folder)[0]] == ["06f22.svg"]
    assert all("-" not in name for name in data_fixtures.all_svgs())


def test_the_hash_tells_one_changed_byte_and_ignores_the_form(tmp_path):
    folder = data_fixtures.write_kanjivg(tmp_path / "a", "漢図")
    first = sources.find_kanjivg(folder)[1].sha256
    assert sources.find_kanjivg(data_fixtures.write_kanjivg(tmp_path / "b", "漢図"))[1].sha256 == first
    (folder / "06f22.svg").write_bytes(data_fixtures.svg("漢").replace(b"20,19.5", b"20,19.6"))
    assert sources.find_kanjivg(folder)[1].sha256 != first


def test_a_release_that_is_none_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_bytes(b"PK no zip")
    (tmp_path / "cut.xml.gz").write_bytes(gzip.compress(release_xml("漢図国"))[:-40])
    (tmp_path / "other.xml").write_bytes(b"<other/>")
    bomb = release_xml("漢").replace(b"<kanjivg ", b'<!DOCTYPE kanjivg [<!ENTITY e "x">]><kanjivg ', 1)
    (tmp_path / "entity.xml").write_bytes(bomb)
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("kanji/06f22.svg", data_fixtures.svg("漢"))
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-30])
    for name in ("empty", "text.zip", "cut.xml.gz", "other.xml", "entity.xml", "cut.zip", "none"):
        with pytest.raises(UserError, match=re.escape(name)):
            sources.find_kanjivg(tmp_path / name)
