"""Nothing is left of a run that was refused before it began, and its lock holds for as long as it is there."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import train_text_to_image
from trainer import disk_space, memory, run_lock
from trainer.config import TrainConfig
from trainer.run_folder import RunFolder
from trainer.run_lock import BusyFolderError, RunLock
from training_fixtures import forked, run_main, run_processes, small_config


def config_of(bench: Path, output: Path, **changes) -> TrainConfig:
    return small_config(bench / "base", bench / "data", output, **{
        "cache_dir": output.parents[1] / "cache", "max_train_steps": 1, **changes})


def too_little_memory() -> None:
    memory.available = lambda *_: 1e3


def too_little_room() -> None:
    disk_space.shutil.disk_usage = lambda _: shutil._ntuple_diskusage(1e3, 0, 1e3)


REFUSED: dict[str, tuple[dict, Callable[[], None], str]] = {
    "a range beyond the base's": (
        {"timestep_bias_strategy": "range", "timestep_bias_begin": 1000, "timestep_bias_end": 2000}, lambda: None,
        "--timestep_bias_begin 1000"),
    "no set": ({"train_data_dir": Path("nowhere")}, lambda: None, "nowhere"),
    "no base": ({"pretrained_model_name_or_path": "./nowhere"}, lambda: None, "nowhere"),
    "too little memory": ({}, too_little_memory, "too little memory"),
    "too little room": ({}, too_little_room, "too little room"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_run_that_is_refused_leaves_nothing(name: str, bench: Path, tmp_path: Path) -> None:
    changes, before, said = REFUSED[name]
    ended = run_main(config_of(bench, tmp_path / "runs/new", **changes), tmp_path / "log", before)
    assert ended.status in (1, 2) and said in ended.output and "error: " in ended.output, ended.output
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_value_out_of_its_range_makes_no_folder(tmp_path: Path) -> None:
    ended = forked(lambda: train_text_to_image.main(["--output_dir", str(tmp_path / "runs/new"), "--resolution", "7"]),
                   tmp_path / "log")
    assert ended.status == 2 and "train_text_to_image.py: error: --resolution 7: must be at least 8" in ended.output
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_folder_that_was_there_stays_as_it_was(bench: Path, tmp_path: Path) -> None:
    (tmp_path / "runs/empty").mkdir(parents=True)
    config = config_of(bench, tmp_path / "runs/empty", train_data_dir=tmp_path / "nowhere")
    assert run_main(config, tmp_path / "log").status == 1
    assert not list((tmp_path / "runs/empty").iterdir())

    (tmp_path / "runs/killed").mkdir()
    (tmp_path / "runs/killed/.lock").write_text("17\n")
    config = config_of(bench, tmp_path / "runs/killed", train_data_dir=tmp_path / "nowhere")
    assert run_main(config, tmp_path / "log").status == 1
    assert [path.name for path in (tmp_path / "runs/killed").iterdir()] == [".lock"]


def test_of_several_processes_that_are_refused_nothing_is_left(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "runs/new")
    ended = run_processes([config, config], tmp_path / "logs", before=lambda _: too_little_memory(), timeout_s=240)
    assert [one.status for one in ended] == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_a_folder_that_cannot_be_made_ends_all_processes_and_is_said_once(bench: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = config_of(bench, tmp_path / "file/run", cache_dir=tmp_path / "cache")
    first, second = run_processes([config, config], tmp_path / "logs", timeout_s=240)
    assert [first.status, second.status] == [1, 1]
    assert "error: " in first.output and "Not a directory" in first.output
    assert "Traceback" not in first.output + second.output and "error" not in second.output


def test_what_a_run_wrote_stays_and_so_does_its_lock(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs/one")
    (tmp_path / "runs/one/config.json").write_text("{}")
    folder.close()
    assert sorted(path.name for path in (tmp_path / "runs/one").iterdir()) == [".lock", "config.json"]


def test_of_folders_made_for_a_run_one_that_has_other_content_by_then_stays(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "runs/one")
    (tmp_path / "runs/cache").mkdir()
    lock.release()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["cache"]


@pytest.mark.parametrize("moment", ["open", "flock"])
def test_a_lock_that_goes_while_another_run_takes_it_is_not_held_by_two(
        moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run is refused, and removes file and folder, just before the second opens or locks the file."""
    first = RunLock(tmp_path / "run")
    owner, name = {"open": (Path, "open"), "flock": (fcntl, "flock")}[moment]
    function, trapped = getattr(owner, name), []

    def with_the_first_gone(*arguments: object, **named: object) -> object:
        if not trapped:
            trapped.append(True)
            first.release()
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, with_the_first_gone)
    second = RunLock(tmp_path / "run")
    assert trapped
    with pytest.raises(BusyFolderError, match="another run is at work there"):
        RunLock(tmp_path / "run")
    second.release()
    assert not (tmp_path / "run").exists()


def test_a_lock_that_is_always_gone_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock.os.path, "samestat", lambda *_: False)
    with pytest.raises(BusyFolderError, match="cannot be locked"):
        RunLock(tmp_path / "run")
