"""Promises about the command: what it makes, what it says, and how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import data_fixtures
from options import Options

SCRIPT = Path(__file__).resolve().parents[2] / "dataExtraction" / "main.py"


@pytest.fixture(scope="module")
def source_flags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    literals = [chr(int(name[:5], 16)) for name in data_fixtures.all_svgs() if "05e00" <= name[:5] < "06800"]
    kanjidic = data_fixtures.write_kanjidic(folder / "kanjidic2.xml.gz", literals)
    kanjivg = data_fixtures.write_kanjivg(folder / "svgs", [*literals, "あ"])
    return ["--kanjidic", str(kanjidic), "--kanjivg", str(kanjivg)]


def run(*arguments, **settings):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **settings)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, source_flags):
    folder = tmp_path_factory.mktemp("made") / "kanji"
    done = run(*source_flags, "--output", folder, "--compose", 150, "--size", 64)
    assert done.returncode == 0, done.stderr
    return folder


def rows(dataset, split):
    return [json.loads(line) for line in (dataset / split / "metadata.jsonl").read_text().splitlines()]


def test_every_row_has_its_picture_and_every_picture_its_row(dataset):
    for split in ("train", "test"):
        names = [row["file_name"] for row in rows(dataset, split)]
        assert len(names) == len(set(names)) > 0
        assert set(names) == {path.name for path in (dataset / split).glob("*.png")}
    with Image.open(dataset / "train" / rows(dataset, "train")[0]["file_name"]) as picture:
        assert (picture.mode, picture.size) == ("L", (64, 64))


def test_real_rows_say_all_that_is_known(dataset):
    row = {row["literal"]: row for row in rows(dataset, "train")}["明"]
    assert row == {
        "file_name": "0660e.png",
        "text": data_fixtures.word("明"),
        "captions": [data_fixtures.word("明")],
        "literal": "明",
        "strokes": 8,
        "grade": 1,
        "frequency": None,
        "radical": 85,
        "components": [
            {"element": "日", "original": "日", "meaning": "day", "position": "left"},
            {"element": "月", "original": "月", "meaning": "moon", "position": "right"},
        ],
        "kind": "real",
        "ids": "⿰日月",
    }


def test_composed_rows_are_trained_on_only(dataset):
    composed = [row for row in rows(dataset, "train") if row["kind"] == "composed"]
    assert len(composed) == 150
    for row in composed:
        assert (row["literal"], row["grade"], row["frequency"], row["radical"]) == ("", None, None, None)
        assert len(row["components"]) == 2
        assert row["text"] == " ".join(part["meaning"] for part in row["components"])
        assert row["ids"][1:] == "".join(part["element"] for part in row["components"])
    assert all(row["kind"] == "real" for row in rows(dataset, "test"))


def test_what_is_left_out_is_counted_with_its_reason(dataset):
    manifest = json.loads((dataset / "manifest.json").read_text())
    counts = manifest["counts"]
    assert manifest["rejected"]["not a kanji"] == ["あ"]
    assert counts["real"] == len([row for split in ("train", "test") for row in rows(dataset, split) if row["literal"]])
    assert counts["train"] + counts["test"] == counts["real"] + counts["composed"]
    assert [source["name"] for source in manifest["sources"]] == ["KANJIDIC2", "KanjiVG"]
    assert all(len(source["sha256"]) == 64 for source in manifest["sources"])


def test_the_card_names_columns_sources_and_licences(dataset):
    card = (dataset / "README.md").read_text()
    assert card.startswith("---\n")
    for words in ("Ulrich Apel", "CC BY-SA 3.0", "Electronic Dictionary Research", "CC BY-SA 4.0", "2026-01-01"):
        assert words in card
    assert all(f"| `{column}` |" in card for column in rows(dataset, "train")[0])


def test_held_out_pairs_have_captions_and_components(dataset):
    pairs = [json.loads(line) for line in (dataset / "heldout_pairs.jsonl").read_text().splitlines()]
    assert pairs
    trained = {row["text"] for row in rows(dataset, "train")}
    for pair in pairs:
        assert pair["text"] == pair["captions"][0]
        assert pair["text"] not in trained
        assert [set(part) for part in pair["components"]] == [{"element", "original", "meaning", "position"}] * 2


def test_datasets_loads_it_both_ways(dataset, tmp_path):
    import datasets

    loaded = datasets.load_dataset("imagefolder", data_dir=str(dataset), cache_dir=str(tmp_path / "a"))
    assert {split: len(loaded[split]) for split in loaded} == {s: len(rows(dataset, s)) for s in ("train", "test")}
    row = loaded["train"][0]
    assert row["image"].size == (64, 64)
    assert row["captions"][0] == row["text"]
    # The way of the stock text-to-image script, which takes all that is below its train_data_dir.
    files = {"train": str(dataset / "train" / "**")}
    stock = datasets.load_dataset("imagefolder", data_files=files, cache_dir=str(tmp_path / "b"))
    assert len(stock["train"]) == len(rows(dataset, "train"))
    assert {"image", "text"} <= set(stock["train"].column_names)


def test_the_preview_is_a_picture_and_makes_no_dataset(tmp_path, source_flags):
    done = run(*source_flags, "--preview", tmp_path / "sheet.png", "--output", tmp_path / "kanji", "--limit", 100)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000
        assert sheet.getextrema() == (0, 255)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_any_size_and_a_limit(tmp_path, source_flags):
    settings = ("--size", 200, "--limit", 10, "--compose", 0, "--stroke-width", 5)
    done = run(*source_flags, "--output", tmp_path / "kanji", *settings)
    assert done.returncode == 0, done.stderr
    pictures = list((tmp_path / "kanji").glob("*/*.png"))
    assert len(pictures) == 10
    assert Image.open(pictures[0]).size == (200, 200)


def test_a_set_made_before_there_was_least_common_is_still_up_to_date():
    assert "least_common" not in Options().manifest_options()
    assert Options(least_common=3).manifest_options() == Options().manifest_options() | {"least_common": 3}
    assert not {"evenness", "shapes"} & Options().manifest_options().keys()
    assert Options(evenness=1.0).manifest_options() == Options().manifest_options() | {"evenness": 1.0, "shapes": 1}


def test_the_same_command_mends_an_emptied_picture_and_none_deletes_what_is_not_its_own(
        dataset, source_flags, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "kanji")
    command = (*source_flags, "--output", copy, "--compose", 150, "--size", 64)
    emptied = next(copy.glob("train/*.png"))
    emptied.write_bytes(b"")
    mended = run(*command)
    assert mended.returncode == 0 and f"train/{emptied.name} missing or damaged" in mended.stdout, mended.stderr
    assert data_fixtures.tree(copy) == data_fixtures.tree(dataset)

    (copy / "train" / "holiday.png").write_bytes(emptied.read_bytes())
    for more in ((), ("--force",), ("--force", "--size", 32), ("--verify",)):
        assert "train/holiday.png" in refused(*command, *more)
    assert (copy / "train" / "holiday.png").read_bytes() == emptied.read_bytes()


def test_the_checksums_are_those_of_all_files(dataset):
    lines = [json.loads(line) for line in (dataset / "checksums.jsonl").read_text().splitlines()]
    assert {line["file"]: (line["bytes"], line["sha256"]) for line in lines} == {
        name: (len(data), hashlib.sha256(data).hexdigest())
        for name, data in data_fixtures.tree(dataset).items() if name != "checksums.jsonl"}


def test_no_torch_is_imported():
    code = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]);"
        "[__import__(path.stem) for path in pathlib.Path(sys.argv[1]).glob('*.py')];"
        "assert 'compose' in sys.modules;"
        "assert not {'torch', 'diffusers', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(SCRIPT.parent)], check=True, timeout=120)


def test_a_run_with_nothing_to_do_imports_nothing_heavy():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import main;"
        "assert not {'numpy', 'PIL', 'cairocffi', 'cairosvg', 'pooch', 'tqdm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(SCRIPT.parent)], check=True, timeout=120)


# ---------------------------------------------------------------- mistakes


def refused(*arguments, **settings):
    """The one message of a run that is refused: no traceback, exit status 2."""
    done = run(*arguments, **settings)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr


@pytest.mark.parametrize(
    ("flag", "value"),
    [("size", 0), ("size", 5000), ("stroke_width", 0), ("stroke_width", "nan"), ("compose", -1), ("least_common", -1),
     ("evenness", 1.5), ("evenness", "nan"), ("shapes", 0), ("shapes", 25), ("shapes", 2),
     ("workers", 0), ("limit", 0), ("output", "/")],
)  # fmt: skip
def test_a_value_out_of_range_names_flag_and_range(source_flags, tmp_path, flag, value):
    message = refused(*source_flags, "--output", tmp_path / "kanji", f"--{flag}", value)
    assert f"--{flag} {value}" in message
    assert not (tmp_path / "kanji").exists()


def test_bad_sources_are_named_and_leave_no_folder(tmp_path, source_flags):
    bad = tmp_path / "bad.xml.gz"
    bad.write_bytes(Path(source_flags[1]).read_bytes()[:-50])
    assert "bad.xml.gz" in refused("--kanjidic", bad, *source_flags[2:], "--output", tmp_path / "kanji")
    bad.write_text("<other/>")
    assert "not KANJIDIC2" in refused("--kanjidic", bad, *source_flags[2:], "--output", tmp_path / "kanji")
    assert "--kanjivg" in refused(*source_flags[:2], "--kanjivg", tmp_path, "--output", tmp_path / "kanji")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.xml.gz"]


def test_when_every_drawing_is_broken_the_message_says_how(tmp_path, source_flags):
    (tmp_path / "svgs").mkdir()
    (tmp_path / "svgs" / "0660e.svg").write_bytes(b"<svg")
    message = refused(*source_flags[:2], "--kanjivg", tmp_path / "svgs", "--output", tmp_path / "kanji")
    assert "no kanji has both" in message


def test_one_broken_drawing_is_reported_and_the_rest_made(tmp_path, source_flags):
    folder = data_fixtures.write_kanjivg(tmp_path / "svgs", "明時晴暗")
    (folder / "0660e.svg").write_bytes(data_fixtures.svg("明").replace(b' d="M', b' d="Mnan', 1))
    outside = data_fixtures.svg("時").replace(b"<g id", b"<g transform='x' id", 1)
    (folder / "06642.svg").write_bytes(outside)
    done = run(*source_flags[:2], "--kanjivg", folder, "--output", tmp_path / "kanji", "--compose", 0)
    assert done.returncode == 0, done.stderr
    assert "0660e.svg" in done.stdout
    assert "stroke 1" in done.stdout


def test_an_unknown_language_is_refused(source_flags):
    done = run(*source_flags, "--language", "de")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_preview_that_cannot_be_written_is_named(tmp_path, source_flags):
    few = (*source_flags, "--compose", 0, "--limit", 5)
    assert "--preview" in refused(*few, "--preview", "/proc/sheet.png")
    assert "--preview" in refused(*few, "--preview", "/dev/full")


# ---------------------------------------------------------------- stopped


def assert_ends_as_stopped(trap, tmp_path, source_flags):
    """Run the script after the lines of `trap`, which have it send itself a SIGINT."""
    program = trap + """
import os, runpy, sys

del sys.argv[0]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    command = [*source_flags, "--output", tmp_path / "kanji", "--size", 256, "--compose", 0, "--workers", 2]
    ended = subprocess.run([sys.executable, "-c", program, str(SCRIPT), *map(str, command)], capture_output=True,
                           timeout=300)
    assert ended.returncode == 130, ended.stderr.decode()
    assert b"stopped" in ended.stderr and b"Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_signal_within_a_locks_own_code_ends_as_any_other(tmp_path, source_flags):
    trap = """
import concurrent.futures, os, signal

waiting = concurrent.futures.Future.result

def result(future, timeout=None):
    release = future._condition._release_save

    def release_and_stop():
        state = release()
        os.kill(os.getpid(), signal.SIGINT)
        return state

    future._condition._release_save = release_and_stop
    return waiting(future, timeout)

concurrent.futures.Future.result = result
"""
    assert_ends_as_stopped(trap, tmp_path, source_flags)


def test_a_signal_while_the_progress_bar_is_written_ends_as_any_other(tmp_path, source_flags):
    trap = """
import io, os, signal, sys

class Writing(io.RawIOBase):
    stopped = False

    def writable(self):
        return True

    def write(self, data):
        if b"drawing" in bytes(data) and not Writing.stopped:
            Writing.stopped = True
            os.kill(os.getpid(), signal.SIGINT)
        return os.write(2, data)

sys.stderr = io.TextIOWrapper(io.BufferedWriter(Writing()), write_through=True)
"""
    assert_ends_as_stopped(trap, tmp_path, source_flags)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_stopped_while_drawing_it_leaves_no_process_and_the_next_run_is_whole(tmp_path, source_flags, number, status):
    command = [*source_flags, "--output", tmp_path / "kanji", "--size", 256, "--compose", 0, "--workers", 2, "--limit",
               250]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0
    )
    seen = b""
    while b"drawing:" not in seen:
        seen += os.read(process.stderr.fileno(), 4096) or pytest.fail("it ended by itself")
    process.send_signal(number)
    # The pipe ends when the last process that holds it has: the workers too.
    rest = process.communicate(timeout=300)[1]
    assert process.returncode == status, (seen + rest).decode()
    if number != signal.SIGKILL:
        assert b"Traceback" not in seen + rest
        assert b"stopped" in rest
        assert list(tmp_path.iterdir()) == []
    assert run(*command).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["kanji"]
