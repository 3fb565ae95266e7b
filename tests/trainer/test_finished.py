"""A finished run is complete as long as what it was made of and what it made are still the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from common.settings import as_flags
from trainer import export
from trainer.config import TrainConfig
from trainer.finished import input_digests, is_finished
from trainer.presets import parse_train_config
from training_fixtures import Ended, before, run_main, save_base, save_dataset, small_config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, a set and a finished run of two updates."""
    folder = tmp_path_factory.mktemp("finished")
    save_base(folder / "base")
    save_dataset(folder / "data")
    ended = again(folder)
    assert ended.status == 0, ended.output
    return folder


@pytest.fixture
def finished(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt. Paths are relative, so that a copy is the same run."""
    return shutil.copytree(made, tmp_path / "copy")


def config() -> TrainConfig:
    return small_config(Path("base"), Path("data"), Path("run"), max_train_steps=2, num_inference_steps=1)


def again(folder: Path) -> Ended:
    """The same command again, in the folder."""
    return run_main(config(), folder / "log", before=lambda: os.chdir(folder))


def rewritten(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_is_as_it_was_is_complete_and_not_written_again(finished: Path) -> None:
    (finished / "run/pipeline/README.md").write_text("# My own words\n")
    ended = again(finished)
    assert ended.status == 0
    assert "run is complete" in ended.output
    assert (finished / "run/pipeline/README.md").read_text() == "# My own words\n", "a card may be edited"


def test_measuring_what_the_base_draws_well_does_not_change_the_run(finished: Path) -> None:
    (finished / "base/drawn_components.json").write_text("{}")
    ended = again(finished)
    assert ended.status == 0
    assert "run is complete" in ended.output


@pytest.mark.parametrize("spoil", [
    lambda folder: rewritten(folder / "data/train/metadata.jsonl", '"moon"', '"sun"'),
    lambda folder: shutil.copy(folder / "data/train/00001.png", folder / "data/train/00002.png"),
    lambda folder: (folder / "data/train/metadata.jsonl").write_text("".join(
        (folder / "data/train/metadata.jsonl").read_text().splitlines(keepends=True)[:-1])),
    lambda folder: save_base(folder / "base", kind="sd2"),
], ids=["other captions", "another picture", "a row less", "another base"])
def test_a_run_of_what_has_changed_since_is_not_complete_and_says_so(
        spoil: Callable[[Path], object], finished: Path) -> None:
    spoil(finished)
    ended = again(finished)
    assert ended.status == 1, ended.output
    assert "holds something else than when it was trained" in ended.output
    assert "is complete" not in ended.output
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("spoil", [
    lambda pipeline: [path.unlink() for path in pipeline.rglob("*.safetensors")],
    lambda pipeline: [path.write_bytes(b"") for path in pipeline.glob("unet/*.safetensors")],
    lambda pipeline: shutil.rmtree(pipeline / "vae"), shutil.rmtree,
    lambda pipeline: (pipeline / "scheduler/scheduler_config.json").write_text("{}"),
], ids=["no weights", "emptied weights", "no autoencoder", "no pipeline", "another scheduler"])
def test_a_spoilt_pipeline_is_named_and_written_again_from_the_last_checkpoint(
        spoil: Callable[[Path], object], finished: Path) -> None:
    pipeline = finished / "run/pipeline"
    held = {path: path.read_bytes() for path in pipeline.rglob("*") if path.is_file()}
    spoil(pipeline)
    ended = again(finished)
    assert ended.status == 0, ended.output
    assert "run is not complete: run/pipeline" in ended.output
    assert "resuming from" in ended.output
    assert {path: path.read_bytes() for path in pipeline.rglob("*") if path.is_file()} == held


def test_a_set_that_changes_while_it_is_trained_on_is_not_what_was_learned(made: Path, tmp_path: Path) -> None:
    for name in ("base", "data"):
        shutil.copytree(made / name, tmp_path / name)

    def lay() -> None:
        os.chdir(tmp_path)
        before(export, "save_pipeline", 1, lambda: rewritten(Path("data/train/metadata.jsonl"), '"moon"', '"sun"'))()

    assert run_main(config(), tmp_path / "log", lay).status == 0
    assert again(tmp_path).status == 1


@pytest.mark.parametrize("content", ["[]", "null", "{", "[" * 100_000], ids=["list", "null", "cut", "deep"])
def test_a_damaged_mark_is_none(content: str, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    settings = parse_train_config(as_flags(config()), description=None)
    assert is_finished(Path("run"), settings)
    Path("run/finished.json").write_text(content)
    assert not is_finished(Path("run"), settings)


def test_a_run_with_a_damaged_mark_is_finished_again(finished: Path) -> None:
    (finished / "run/finished.json").write_text("{")
    ended = again(finished)
    assert ended.status == 0, ended.output
    assert json.loads((finished / "run/finished.json").read_text())["max_train_steps"] == 2


def test_a_dataset_that_was_removed_since_is_not_missed(finished: Path) -> None:
    shutil.rmtree(finished / "data")
    assert "run is complete" in again(finished).output


@pytest.mark.parametrize("name", ["moon.txt", "moon.caption", "metadata.csv", "moon.png"])
def test_captions_beside_the_pictures_are_among_what_a_run_reads(name: str, tmp_path: Path) -> None:
    settings = replace(TrainConfig(), train_data_dir=tmp_path)
    (tmp_path / name).write_text("moon")
    first = input_digests(settings)["train_data_dir"]
    (tmp_path / name).write_text("sun")
    assert input_digests(settings)["train_data_dir"] != first
