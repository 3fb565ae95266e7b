"""A run says before it begins what it will write, and refuses a disk that has too little room for it."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from common import checkpoints
from models.families import family_of
from models.pipelines import load_pipeline
from trainer import disk_space
from trainer.config import TrainConfig
from trainer.disk_space import DiskSpaceError, Need, check_room, checkpoint_bytes, results_of
from training_fixtures import run_main, small_config

Usage = namedtuple("Usage", "total used free")


def config_of(bench: Path, output: Path, **changes) -> TrainConfig:
    return small_config(bench / "base", bench / "data", output, **{"cache_dir": bench / "cache", **changes})


def with_free(size: float) -> Callable[[], None]:
    def lay() -> None:
        shutil.disk_usage = lambda _: Usage(1e15, 0, size)

    return lay


@pytest.mark.parametrize("changes", [{}, {"use_ema": False}, {"optimizer": "muon"}, {"lora_rank": 3}],
                         ids=["plain", "no average", "Muon", "LoRA"])
def test_a_checkpoint_has_the_size_that_is_told_before(changes: dict, bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", max_train_steps=1, **changes)
    pipeline = load_pipeline(str(bench / "base"))
    expected = checkpoint_bytes(config, pipeline.unet, family_of(pipeline))
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 0, ended.output
    written = sum(path.stat().st_size for path in (tmp_path / "run/checkpoint-000001").glob("*.safetensors"))
    assert expected <= written < expected + 100_000  # the tensors' names, and AdamW's step of each


@pytest.mark.parametrize(("limit", "there", "step", "added"), [
    (2, 0, 0, 3), (2, 2, 20, 1), (None, 0, 0, 10), (None, 2, 20, 8), (20, 0, 0, 10), (1, 1, 95, 1)])
def test_as_many_checkpoints_are_reckoned_with_as_lie_there_at_once(
        limit: int | None, there: int, step: int, added: int, bench: Path, tmp_path: Path) -> None:
    """One more than are kept: an older one goes when the new one is whole."""
    config = config_of(bench, tmp_path, max_train_steps=100, checkpointing_steps=10, checkpoints_total_limit=limit)
    for number in range(there):
        (tmp_path / checkpoints.checkpoint_name(number + 1)).mkdir()
    pipeline = load_pipeline(str(bench / "base"))
    family = family_of(pipeline)
    (found, result) = results_of(config, pipeline, family, step)
    assert found.size == added * checkpoint_bytes(config, pipeline.unet, family)
    assert found.what.startswith(f"{added} checkpoint")
    assert result.size > 0


def test_what_will_be_written_and_what_is_free_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: Usage(1e15, 0, 100e9))
    run, cache = tmp_path / "run", tmp_path / "cache"
    needs = [Need(cache, "encoded pictures and captions", 18e9), Need(run, "3 checkpoints", 41.4e9)]
    assert check_room(needs) == (f"18.0 GB for encoded pictures and captions, 41.4 GB for 3 checkpoints; 100.0 "
                                 f"GB are free in {cache} and {run}")
    assert check_room([Need(cache, "encoded pictures and captions", 0.0)]) == (
        f"nothing to be written; 100.0 GB are free in {cache}")
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: Usage(1e15, 0, 59e9))
    with pytest.raises(DiskSpaceError, match=r"59\.4 GB are needed.*--checkpoints_total_limit"):
        check_room(needs)  # either alone would fit


def test_a_disk_that_is_too_small_is_refused_before_anything_is_encoded(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "run", cache_dir=tmp_path / "cache")
    ended = run_main(config, tmp_path / "log", with_free(1e5))
    assert ended.status == 1
    assert "the disk has too little room" in ended.output and "Traceback" not in ended.output
    assert not list((tmp_path / "cache").glob("*/records.bin"))
    assert not (tmp_path / "run/metrics.jsonl").exists()
    ended = run_main(config, tmp_path / "log", with_free(1e9))
    assert ended.status == 0, ended.output
    assert json.loads((tmp_path / "run/finished.json").read_text())
