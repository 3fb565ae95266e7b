"""Promises about the dataset folder: whole or not at all, and nothing of others is touched."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

import contents
import data_fixtures
import files
import imagefolder
import main
from errors import UserError

OPTIONS = {"size": 32, "workers": 1, "compose": 0}


@pytest.fixture(scope="module")
def source_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    return {
        "kanjidic": data_fixtures.write_kanjidic(folder / "kanjidic2.xml.gz", data_fixtures.FEW),
        "kanjivg": data_fixtures.write_kanjivg(folder / "svgs", data_fixtures.FEW),
    }


@pytest.fixture
def make(tmp_path, source_files, monkeypatch):
    """A function that makes the dataset in tmp_path/kanji and returns the folder."""
    monkeypatch.setattr(files.os, "sync", lambda: None)  # it waits for whatever else the machine writes

    def make(**options):
        settings = {"output": tmp_path / "kanji", **source_files, **OPTIONS, **options}
        main.main(main.Options(**settings))
        return settings["output"]

    return make


def only_the_dataset(tmp_path):
    return [path.name for path in tmp_path.iterdir()] == ["kanji"]


def test_a_second_run_does_nothing(make, capsys):
    folder = make()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    capsys.readouterr()
    make()
    assert "up to date" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_two_folders_of_the_same_sources_are_equal_byte_for_byte(make, tmp_path):
    first = data_fixtures.tree(make())
    assert first == data_fixtures.tree(make(output=tmp_path / "deep" / "other", workers=2))


def test_another_setting_is_refused_until_forced(make, tmp_path):
    before = data_fixtures.tree(make())
    with pytest.raises(UserError, match=r"size 32, now 48.*--force"):
        make(size=48)
    assert data_fixtures.tree(tmp_path / "kanji") == before
    make(size=48, force=True)
    assert imagefolder.read_manifest(tmp_path / "kanji")["options"]["size"] == 48
    assert only_the_dataset(tmp_path)


def test_other_sources_are_refused_until_forced(make, tmp_path, source_files):
    make()
    fewer = data_fixtures.write_kanjivg(tmp_path / "fewer", data_fixtures.FEW[:20])
    with pytest.raises(UserError, match="other sources"):
        make(kanjivg=fewer)


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def tear(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def retouch(path):
    Image.new("L", (32, 32), "white").save(path)


@pytest.mark.parametrize(("harm", "name", "checksums"), [
    *((harm, name, True) for harm in (remove, empty, tear) for name in ("train/*.png", "test/metadata.jsonl")),
    (remove, "train/*.png", False), (empty, "test/*.png", False)])
def test_what_is_missing_emptied_or_torn_is_named_and_made_anew(make, capsys, harm, name, checksums):
    """Also in a folder of the time before there were checksums, as far as that can tell."""
    folder = make()
    whole = data_fixtures.tree(folder)
    harmed = next(folder.glob(name))
    if not checksums:
        (folder / "checksums.jsonl").unlink()
    harm(harmed)
    make()
    assert f"{harmed.relative_to(folder)} missing or damaged; all is made anew" in capsys.readouterr().out
    assert data_fixtures.tree(folder) == whole


@pytest.mark.parametrize("checksums", [True, False])
def test_a_flipped_bit_is_found_by_verify_and_made_anew(make, capsys, checksums):
    folder = make()
    whole = data_fixtures.tree(folder)
    if not checksums:
        (folder / "checksums.jsonl").unlink()
    make(verify=True)
    assert "up to date" in capsys.readouterr().out
    flip_a_bit(next(folder.glob("train/*.png")))
    make(verify=True)
    assert data_fixtures.tree(folder) == whole


@pytest.mark.parametrize(("name", "harm"), [
    ("train/*.png", retouch), ("train/metadata.jsonl", lambda path: path.write_text('{"file_name": "mine.png"}\n'))])
def test_what_someone_changed_is_left_so_and_never_replaced(make, capsys, name, harm):
    folder = make()
    changed = next(folder.glob(name))
    harm(changed)
    before = data_fixtures.tree(folder)
    capsys.readouterr()
    make()
    said = capsys.readouterr().out
    assert f"{changed.relative_to(folder)} changed since it was made, and left so" in said and "up to date" in said
    for options in ({"force": True}, {"verify": True}, {"force": True, "size": 48}):
        with pytest.raises(UserError, match=f"someone has changed {changed.relative_to(folder)}"):
            make(**options)
    empty(next(folder.glob("test/*.png")))
    with pytest.raises(UserError, match="someone has changed"):
        make()
    assert (folder / changed).read_bytes() == before[str(changed.relative_to(folder))]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_holds_something_else_is_refused_and_kept(make, tmp_path, force):
    (tmp_path / "kanji").mkdir()
    (tmp_path / "kanji" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="something else"):
        make(force=force)
    assert data_fixtures.tree(tmp_path / "kanji") == {"thesis.txt": b"years of work"}
    assert only_the_dataset(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "train/notes.txt", "train/mine.png", "test/0ffff.png"])
@pytest.mark.parametrize("checksums", [True, False])
def test_a_dataset_to_which_someone_added_a_file_is_never_replaced(make, name, checksums):
    folder = make()
    if not checksums:
        (folder / "checksums.jsonl").unlink()
    (folder / name).write_text("mine")
    empty(next(folder.glob("test/*.png")))
    for options in ({"size": 48, "force": True}, {"force": True}, {}):
        with pytest.raises(UserError, match=rf"something else than a dataset of ours \({name}\)"):
            make(**options)
    assert (folder / name).read_text() == "mine"


def test_a_file_that_is_added_while_the_new_folder_is_made_is_kept(make, monkeypatch):
    folder, draw = make(), main.draw

    def add_and_draw(*arguments):
        (folder / "train" / "mine.png").write_text("mine")
        return draw(*arguments)

    monkeypatch.setattr(main, "draw", add_and_draw)
    with pytest.raises(UserError, match="train/mine"):
        make(size=48, force=True)
    assert (folder / "train" / "mine.png").read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_refused(make, tmp_path):
    (tmp_path / "kanji").write_text("a file")
    with pytest.raises(UserError, match="not a folder"):
        make(force=True)
    assert (tmp_path / "kanji").read_text() == "a file"


def test_an_empty_folder_is_taken(make, tmp_path):
    (tmp_path / "kanji").mkdir()
    assert (make() / "manifest.json").is_file()
    assert only_the_dataset(tmp_path)


def test_a_mount_point_is_refused_before_anything_is_drawn(make, tmp_path, monkeypatch):
    mounted, rename = tmp_path / "kanji", Path.rename
    mounted.mkdir()

    def refuse(path, target):
        if path == mounted:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(main, "draw", lambda *_: pytest.fail("it draws"))
    with pytest.raises(UserError, match=r"mount point.*--output .*kanji/kanji"):
        make()
    assert list(tmp_path.iterdir()) == [mounted] and not list(mounted.iterdir())


def test_a_link_to_a_folder_stays_a_link(make, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "kanji").symlink_to("real")
    make()
    assert (tmp_path / "kanji").is_symlink()
    assert (tmp_path / "real" / "manifest.json").is_file()


def test_a_damaged_manifest_is_not_taken_for_ours(make):
    folder = make()
    (folder / "manifest.json").write_text('{"format": 1')
    with pytest.raises(UserError, match="something else"):
        make(force=True)


# ---------------------------------------------------------------- ends in the middle


def killed(function, module, name, after):
    """Run a function in a process of its own that dies, as by SIGKILL, at a call of module.name."""
    if (child := os.fork()) == 0:
        left = [after]
        original = getattr(module, name)

        def dying(*arguments, **settings):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return original(*arguments, **settings)

        setattr(module, name, dying)
        try:
            function()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


MOMENTS = [
    (imagefolder, "json_line", 0),
    (imagefolder, "json_line", 17),
    (imagefolder, "write_held_out_pairs", 0),
    (imagefolder, "write_manifest", 0),
    (files, "_to_disk", 0),
    (Path, "rename", 0),
    (files, "sync", 9),  # the parent's, after the rename; before it six files and three folders
]


@pytest.mark.parametrize(("module", "name", "after"), MOMENTS)
def test_killed_at_any_moment_the_next_run_ends_in_the_same_folder(make, tmp_path, module, name, after):
    whole = data_fixtures.tree(make())
    shutil.rmtree(tmp_path / "kanji")
    assert killed(make, module, name, after)
    assert not (tmp_path / "kanji").exists() or data_fixtures.tree(tmp_path / "kanji") == whole
    assert data_fixtures.tree(make()) == whole
    assert only_the_dataset(tmp_path)


@pytest.mark.parametrize("renames", [0, 1, 2, 3])  # to try whether the former one can be replaced, and to do it
def test_killed_while_replacing_the_former_dataset_is_not_lost(make, tmp_path, renames):
    former = data_fixtures.tree(make())
    assert killed(lambda: make(size=48, force=True), Path, "rename", renames)
    make()  # with the former settings: it is still there, or there again
    assert data_fixtures.tree(tmp_path / "kanji") == former
    assert only_the_dataset(tmp_path)


def test_a_full_disk_gives_one_message_and_leaves_nothing(make, tmp_path, monkeypatch):
    former = data_fixtures.tree(make())
    written = []

    def full(path, data):
        written.append(path)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.touch()

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"--output .*disk is full"):
        make(size=48, force=True)
    with pytest.raises(UserError, match="disk is full"):
        make(output=tmp_path / "new")
    assert data_fixtures.tree(tmp_path / "kanji") == former
    assert only_the_dataset(tmp_path)


def test_a_table_that_does_not_fit_leaves_nothing_either(make, tmp_path, monkeypatch):
    def full(folder, rows):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(imagefolder, "write_held_out_pairs", full)
    with pytest.raises(UserError, match="disk is full"):
        make()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_at_once_do_not_mix(make, tmp_path):
    building = tmp_path / ".kanji.building"
    building.mkdir()
    (building / "other run's").touch()
    lock = os.open(building, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another run"):
        make()
    assert [path.name for path in building.iterdir()] == ["other run's"]
    os.close(lock)
    make()
    assert only_the_dataset(tmp_path)


@pytest.mark.parametrize("other", [{"size": 48}, {}])
def test_what_another_run_makes_while_this_one_reads_is_never_replaced(make, tmp_path, monkeypatch, capsys, other):
    """Another run began and ended between this one's look at the folder and its drawing."""
    read, made = contents.read_contents, []

    def read_slowly(*arguments):
        if not made:
            made.append(True)
            make(**other)
        return read(*arguments)

    monkeypatch.setattr(contents, "read_contents", read_slowly)
    if other:
        with pytest.raises(UserError, match=r"size 48, now 32.*--force"):
            make()
    else:
        make()
        assert "another run has made it meanwhile" in capsys.readouterr().out
    assert imagefolder.read_manifest(tmp_path / "kanji")["options"]["size"] == other.get("size", 32)
    assert only_the_dataset(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(make, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--output"):
        make(output=tmp_path / "file" / "kanji")
    with pytest.raises(UserError, match="--output"):
        make(output=Path("/proc/kanji"))
