"""What the pages tell a visitor to run, runs: every command of every page is at least parsed by what it names."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import PIL.Image
import pytest

from dataset.captioned_folder import DatasetError, read_dataset
from readme_fixtures import PAGES, ROOT, blocks, commands
from trainer.presets import PRESETS, parse_train_config

README_WORDS = 1100  # at most; what is for those who stay has pages of its own


def parsed_by(script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command parse its arguments, and do nothing else."""
    if script.startswith("training/"):
        command = importlib.import_module(Path(script).stem)
        monkeypatch.setattr(command, "run", lambda work, when_stopped: 0, raising=False)
        if Path(script).stem == "train_text_to_image":
            arguments = [*arguments, "--dry_run"]
        try:
            assert command.main(arguments) == 0
        except SystemExit as leaving:  # --help
            assert not leaving.code
    else:
        done = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
        for flag in (argument.split("=")[0] for argument in arguments if argument.startswith("--")):
            assert flag in done.stdout, flag


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: value[:80])
def test_every_command_of_every_page_is_one_that_can_be_given(
        page: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = shlex.split(line)
    if words[:2] == ["git", "clone"]:
        clone = [str(tmp_path / "clone") if word == "kanji" else word for word in words[:words.index("&&")]]
        clone = [f"file://{ROOT}" if word == "REPOSITORY" else word for word in clone]
        if (ROOT / ".git").exists():
            subprocess.run(clone, check=True, capture_output=True)
            assert (tmp_path / "clone/launch_training.sh").is_file()
    elif words[0] == "./launch_training.sh":
        preset = words[1:2] if words[1:2] and not words[1].startswith("-") else ["tiny"]
        assert preset[0] in PRESETS
        parse_train_config(["--preset", *preset, *words[1 + len(words[1:2]):]], description=None)
    elif words[0].endswith("python"):
        assert (ROOT / words[1]).is_file(), words[1]
        parsed_by(words[1], words[2:], monkeypatch)
    elif words[0] == "torchrun" or words[:2] == ["accelerate", "launch"]:
        parse_train_config(words[words.index("training/train_text_to_image.py") + 1:], description=None)
    else:
        assert words[0] in ("./tests/run.sh", "pip", "accelerate") or (ROOT / words[0]).is_file(), words[0]


def test_there_are_commands_on_the_pages() -> None:
    assert len(commands()) > 25
    assert {"README.md", "training/README.md", "training/scoring/README.md"} <= {page for page, _ in commands()}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target
    for path in re.findall(r"(?:training|dataExtraction|tests)/[\w/]+\.(?:py|sh|md|txt)", text):
        assert (ROOT / path).is_file(), path


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf8").split()) <= README_WORDS


def test_the_example_of_a_font_makes_a_set_that_can_be_trained_on(tmp_path: Path) -> None:
    script = next(block for language, block in blocks("training/README.md") if language == "python")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    rows = read_dataset(tmp_path / "my_letters", progress=False)
    assert len(rows) == 62
    assert {"capital letter R", "small letter g", "seven"} <= {row.captions[0] for row in rows}


def test_pictures_in_parquet_files_become_a_set_that_can_be_trained_on(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Image, Value

    file = BytesIO()
    PIL.Image.new("L", (8, 8)).save(file, "PNG")
    (tmp_path / "data").mkdir()
    Dataset.from_dict({"image": [{"bytes": file.getvalue(), "path": None}] * 2, "text": ["moon", "tree"]},
                      Features(image=Image(), text=Value("string"))).to_parquet(tmp_path / "data/train-00000.parquet")
    with pytest.raises(DatasetError, match="Your own pictures"):
        read_dataset(tmp_path, progress=False)
    script = next(block for _, block in blocks("training/README.md") if "load_dataset" in block)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True,
                   env={**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"})
    assert [row.captions for row in read_dataset(tmp_path / "my_set", progress=False)] == [("moon",), ("tree",)]
