"""What a run reports to wandb, through accelerate's trackers, and what is said where it cannot."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import accelerate.tracking
import pytest
from accelerate.tracking import GeneralTracker, WandBTracker
from accelerate.utils import LoggerType

from trainer import trackers
from trainer.config import TrainConfig
from training_fixtures import metrics, run_main, small_config

NOTES = Path("notes.jsonl")  # where the recorder of a forked trainer writes, in its working folder


class Recorder(GeneralTracker):
    """Stands where accelerate finds wandb's tracker, is called as that one, and writes down what it is given."""

    name = "wandb"
    requires_logging_directory = False

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self.note("init", run_name, **options)

    def note(self, what: str, *arguments: Any, **named: Any) -> None:
        with NOTES.open("a") as file:
            file.write(json.dumps([what, *arguments, named], default=str) + "\n")

    def start(self) -> None:
        self.note("start")

    @property
    def tracker(self) -> None:
        return None

    def store_init_configuration(self, values: dict) -> None:
        self.note("store_init_configuration", values)

    def log(self, values: dict, step: int | None = None, **named: Any) -> None:
        self.note("log", values, step=step)

    def log_images(self, values: dict, step: int | None = None, **named: Any) -> None:
        self.note("log_images", {name: [image.size for image in images] for name, images in values.items()}, step=step)

    def finish(self) -> None:
        self.note("finish")


class NotLoggedIn(Recorder):
    def start(self) -> None:
        raise RuntimeError("No API key configured.\nUse `wandb login` to log in.")


class Broken(Recorder):
    def log(self, values: dict, step: int | None = None, **named: Any) -> None:
        raise RuntimeError("the service is gone")


def standing_in(tracker: type[GeneralTracker], folder: Path) -> Any:
    """A trap: this tracker is found in place of wandb's, and the trainer works in `folder`."""
    def lay() -> None:
        os.chdir(folder)
        accelerate.tracking._available_trackers.append(LoggerType.WANDB)
        accelerate.tracking.LOGGER_TYPE_TO_CLASS["wandb"] = tracker
        trackers.is_wandb_available = lambda: True
    return lay


def config_of(bench: Path, folder: Path, **changes: Any) -> TrainConfig:
    config = small_config(bench / "base", bench / "data", folder / "my run", max_train_steps=2, report_to="wandb",
                          num_inference_steps=1)
    return replace(config, **changes)


def notes(folder: Path) -> list[list]:
    return [json.loads(line) for line in (folder / NOTES).read_text().splitlines()]


def test_the_recorder_has_nothing_that_accelerates_tracker_lacks() -> None:
    assert {name for name in vars(Recorder) if not name.startswith("__")} - set(vars(WandBTracker)) <= {
        "note", "_abc_impl"}


def test_metrics_and_grids_go_to_the_tracker_and_a_resumed_run_to_the_same_one(bench: Path, tmp_path: Path) -> None:
    lay = standing_in(Recorder, tmp_path)
    ended = run_main(config_of(bench, tmp_path, lr_scheduler="constant"), tmp_path / "log", lay)
    assert ended.status == 0, ended.output
    (_, project, options), start, (_, settings, _), *logged, finish = notes(tmp_path)
    assert (project, options["name"], options["resume"]) == ("text2image-fine-tune", "my run", "allow")
    assert start[0] == "start" and finish[0] == "finish" and settings["learning_rate"] == 1e-3
    assert str(tmp_path) not in json.dumps(settings)
    values = [{**one[1], **one[2]} for one in logged if one[0] == "log"]
    assert values == metrics(tmp_path / "my run")
    assert [one[2]["step"] for one in logged if one[0] == "log_images"] == [2]
    assert not (tmp_path / "my run/tensorboard").exists()
    more = config_of(bench, tmp_path, lr_scheduler="constant", max_train_steps=3, report_to="all")
    ended = run_main(more, tmp_path / "log", lay)
    assert ended.status == 0, ended.output
    assert [one[2]["id"] for one in notes(tmp_path) if one[0] == "init"] == [options["id"]] * 2
    assert [one[2]["step"] for one in notes(tmp_path) if one[0] == "log"] == [1, 2, 3]
    assert (tmp_path / "my run/tensorboard").exists()


def test_without_wandb_nothing_is_read_and_the_command_that_installs_it_named(
        bench: Path, tmp_path: Path) -> None:
    def lay() -> None:
        trackers.is_wandb_available = lambda: False

    ended = run_main(config_of(bench, tmp_path, train_data_dir=tmp_path / "none"), tmp_path / "log", lay)
    assert ended.status == 1
    assert "wandb is not installed. Install it with `pip install wandb`" in ended.output
    assert "Traceback" not in ended.output and not (tmp_path / "cache").exists()


def test_a_tracker_that_cannot_start_ends_the_run_before_anything_is_encoded(bench: Path, tmp_path: Path) -> None:
    ended = run_main(config_of(bench, tmp_path), tmp_path / "log", standing_in(NotLoggedIn, tmp_path))
    assert ended.status == 1
    assert "wandb cannot be started (No API key configured). Log in with `wandb login`" in ended.output
    assert "Traceback" not in ended.output and not (tmp_path / "cache").exists()


def test_a_tracker_that_breaks_is_said_once_and_the_run_goes_on(bench: Path, tmp_path: Path) -> None:
    ended = run_main(config_of(bench, tmp_path), tmp_path / "log", standing_in(Broken, tmp_path))
    assert ended.status == 0, ended.output
    assert ended.output.count("wandb: nothing more is reported to it (the service is gone)") == 1
    assert len(metrics(tmp_path / "my run")) == 2


def test_wandb_itself_takes_a_run_offline(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    ended = run_main(config_of(bench, tmp_path), tmp_path / "log")
    assert ended.status == 0, ended.output
    (record,) = (tmp_path / "my run/wandb").glob("offline-run-*/*.wandb")
    assert b"images_per_s" in record.read_bytes() and b"media/images/samples" in record.read_bytes()
