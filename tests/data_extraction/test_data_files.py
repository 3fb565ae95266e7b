"""Promises about what is written: whole or as before, and with the mode that the umask gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import data_fixtures
import files
import main
from options import Options


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request):
    """The umask of the test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_file_is_replaced_with_folders_made_and_nothing_left_beside_it(tmp_path):
    path = tmp_path / "deep" / "file"
    for text in ("first", "second"):
        with files.replacing(path) as temporary:
            temporary.write_text(text)
        assert path.read_text() == text
    assert data_fixtures.tree(tmp_path) == {"deep/file": b"second"}


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert data_fixtures.tree(tmp_path) == {"file": b"before"}


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("before")
    (tmp_path / "link").symlink_to("real")
    with files.replacing(tmp_path / "link") as temporary:
        temporary.write_text("after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "after"


def test_a_device_is_written_and_never_replaced():
    with files.replacing(Path(os.devnull)) as temporary:
        temporary.write_text("text")
    assert not Path(os.devnull).is_file()


def test_the_umask_decides_the_mode_of_a_file(tmp_path, umask):
    (tmp_path / "private").touch(mode=0o600)
    for name in ("new", "private"):
        with files.replacing(tmp_path / name) as temporary:
            temporary.write_text("text")
        assert mode(tmp_path / name) == 0o666 & ~umask


def test_the_umask_decides_the_mode_of_all_that_a_run_writes(tmp_path, umask, monkeypatch):
    monkeypatch.setattr(files.os, "sync", lambda: None)  # it waits for whatever else the machine writes
    kanjidic = data_fixtures.write_kanjidic(tmp_path / "k.xml.gz", data_fixtures.FEW)
    kanjivg = data_fixtures.write_kanjivg(tmp_path / "svgs", data_fixtures.FEW)
    output = tmp_path / "made" / "kanji"
    main.main(Options(output, kanjidic, kanjivg, size=32, compose=0, workers=1))
    main.main(Options(output, kanjidic, kanjivg, compose=0, workers=1, preview=tmp_path / "made" / "sheet.png"))
    written = list((tmp_path / "made").rglob("*"))
    assert output / "train" / "metadata.jsonl" in written and tmp_path / "made" / "sheet.png" in written
    for path in written:
        assert mode(path) == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_a_folder_that_another_process_builds_is_refused(tmp_path):
    with files.appearing(tmp_path / "set") as building:
        (building / "file").touch()
        with pytest.raises(files.BusyError), files.appearing(tmp_path / "set"):
            pass
        files.clear_leftovers(tmp_path / "set")
    assert data_fixtures.tree(tmp_path) == {"set/file": b""}
