"""Several processes learn what one would, whether they share a disk or not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from trainer.config import TrainConfig
from trainer.resume import _with_current_names
from training_fixtures import (
    Ended,
    command_line,
    metrics,
    run_main,
    run_processes,
    same_tensors,
    save_base,
    save_dataset,
    small_config,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    save_base(folder / "base")
    save_dataset(folder / "data")
    return folder


def config_of(bench: Path, output: Path, **changes) -> TrainConfig:
    return small_config(bench / "base", bench / "data", output, **{
        "cache_dir": bench / "cache", "max_train_steps": 4, "lr_scheduler": "constant", **changes})


def both(config: TrainConfig, folder: Path) -> list[Ended]:
    """Two processes under the same settings, which must both end well."""
    ended = run_processes([config, config], folder)
    assert [one.status for one in ended] == [0, 0], ended[0].output + ended[1].output
    return ended


def assert_same_learning(one: Path, two: Path) -> None:
    """Losses and weights that agree but for the order of sums."""
    assert [line["step"] for line in metrics(two)] == [1, 2, 3, 4]  # one writer
    assert [line["loss"] for line in metrics(two)] == pytest.approx([line["loss"] for line in metrics(one)], rel=1e-4)
    for name in ("unet", "ema"):
        weights = [load_file(run / f"checkpoint-000004/{name}.safetensors") for run in (one, two)]
        assert all((weight - weights[1][key]).abs().max() < 2e-4 for key, weight in weights[0].items())


@pytest.mark.parametrize(("batch", "accumulation"), [(4, 1), (2, 2)])
def test_two_processes_make_the_updates_that_one_makes(batch: int, accumulation: int, bench: Path,
                                                       tmp_path: Path) -> None:
    """Of the same samples under the same flags: more GPUs shorten a run, and learn the same."""
    size = {"train_batch_size": batch, "gradient_accumulation_steps": accumulation}
    assert run_main(config_of(bench, tmp_path / "one", **size), tmp_path / "log").status == 0
    both(config_of(bench, tmp_path / "two", **size), tmp_path / "logs")
    assert_same_learning(tmp_path / "one", tmp_path / "two")


def test_a_run_that_one_process_began_is_ended_by_two(bench: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        assert run_main(config_of(bench, tmp_path / folder, max_train_steps=2), tmp_path / "log").status == 0
    assert run_main(config_of(bench, tmp_path / "one"), tmp_path / "log").status == 0
    (ended, _) = both(config_of(bench, tmp_path / "two"), tmp_path / "logs")
    assert "resuming from" in ended.output
    assert_same_learning(tmp_path / "one", tmp_path / "two")


def test_a_checkpoint_of_when_each_process_had_batches_of_its_own_tells_its_samples(bench: Path) -> None:
    old = {"processes": 2, "settings": {"train_batch_size": 4, "gradient_accumulation_steps": 3}}
    assert _with_current_names(old)["samples_per_update"] == 24


def test_two_processes_resume_to_the_same_bits(bench: Path, tmp_path: Path) -> None:
    both(config_of(bench, tmp_path / "whole"), tmp_path / "logs")
    for steps in (2, 4):
        both(config_of(bench, tmp_path / "half", max_train_steps=steps), tmp_path / "logs")
    assert same_tensors(tmp_path / "half/checkpoint-000004", tmp_path / "whole/checkpoint-000004")


@pytest.mark.slow
def test_accelerates_launcher_starts_them_with_one_writer_and_one_cache(bench: Path, tmp_path: Path) -> None:
    assert run_main(config_of(bench, tmp_path / "one", cache_dir=tmp_path / "cache 1"), tmp_path / "log").status == 0
    config = config_of(bench, tmp_path / "two", cache_dir=tmp_path / "cache 2")
    ended = launch(config)
    assert ended.returncode == 0, ended.stderr
    assert_same_learning(tmp_path / "one", tmp_path / "two")
    sizes = [[path.stat().st_size for path in sorted((tmp_path / name).glob("*/records.bin"))]
             for name in ("cache 1", "cache 2")]
    assert sizes[0] == sizes[1]
    again = launch(replace(config, logging_steps=2))
    assert again.returncode == 0
    assert "is complete" in again.stdout


def launch(config: TrainConfig) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
               "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
               ROOT / "training/train_text_to_image.py", *command_line(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
