"""A step is a function of (seed, step): a run that was killed and resumed equals one that never was, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.config import TrainConfig
from trainer.loop import TrainingRun
from training_fixtures import metrics, run_main, same_tensors, small_config

STEPS, KILLS = 12, (5, 8, 11)
VARIANTS = {
    "plain": {"use_ema": False},
    "ema": {},
    "lora": {"lora_rank": 2},
    "muon": {"optimizer": "muon"},
    "half weights": {"mixed_precision": "bf16", "half_weights": True, "train_batch_size": 2,
                     "gradient_accumulation_steps": 2},
    "bf16, noise offset, constant rate": {"mixed_precision": "bf16", "noise_offset": 0.1, "lr_scheduler": "constant"},
}


def config_of(bench: Path, output: Path, **changes) -> TrainConfig:
    return small_config(bench / "base", bench / "data", output, **{
        "max_train_steps": STEPS, "checkpointing_steps": 3, "cache_dir": bench / "cache", "train_batch_size": 3,
        **changes})


def recording_rows(log: Path, kill_in: int | None = None) -> Callable[[], None]:
    """Note which rows each update learns from; SIGKILL in the middle of update `kill_in`."""
    def lay() -> None:
        train_step = TrainingRun.train_step

        def step(self: TrainingRun, batches: list) -> object:
            with log.open("a") as file:
                file.write(json.dumps([self.step, self.parts.plan[self.step].rows.tolist()]) + "\n")
            if self.step + 1 == kill_in:
                os.kill(os.getpid(), signal.SIGKILL)
            return train_step(self, batches)

        TrainingRun.train_step = step

    return lay


def rows_of(log: Path) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for line in log.read_text().splitlines():
        step, drawn = json.loads(line)
        assert rows.setdefault(step, drawn) == drawn, "a repeated step learns from the same rows"
    return rows


def run_whole(config: TrainConfig, log: Path) -> None:
    ended = run_main(config, log.with_suffix(".txt"), recording_rows(log))
    assert ended.status == 0, ended.output


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in metrics(run)]


@pytest.mark.parametrize("changes", [
    pytest.param(changes, id=name, marks=[pytest.mark.variant] * (name == "plain"))
    for name, changes in VARIANTS.items()])
def test_a_run_killed_three_times_equals_one_never_interrupted(changes: dict, bench: Path, tmp_path: Path) -> None:
    whole = config_of(bench, tmp_path / "whole", **changes)
    killed = config_of(bench, tmp_path / "killed", **changes)
    run_whole(whole, tmp_path / "whole.rows")
    for step in KILLS:
        ended = run_main(killed, tmp_path / "killed.txt", recording_rows(tmp_path / "killed.rows", kill_in=step))
        assert ended.status == -signal.SIGKILL, ended.output
    run_whole(killed, tmp_path / "killed.rows")

    assert rows_of(tmp_path / "killed.rows") == rows_of(tmp_path / "whole.rows")
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert [line["step"] for line in metrics(tmp_path / "killed")] == list(range(1, STEPS + 1))
    names = ["unet", "optimizer", *(["ema"] if killed.use_ema else [])]
    names += ["muon"] if killed.optimizer == "muon" else []
    last = f"checkpoint-{STEPS:06d}"
    assert same_tensors(tmp_path / "killed" / last, tmp_path / "whole" / last, names)


def test_the_comparison_can_fail(bench: Path, tmp_path: Path) -> None:
    """The negative control: another seed, and moments that are lost at resume, do not give the same bits."""
    for name, seed in (("one", 0), ("other", 1)):
        run_whole(config_of(bench, tmp_path / name, seed=seed, max_train_steps=6), tmp_path / f"{name}.rows")
    assert rows_of(tmp_path / "one.rows") != rows_of(tmp_path / "other.rows")
    assert losses(tmp_path / "one") != losses(tmp_path / "other")
    for name in ("unet", "optimizer", "ema"):
        assert not same_tensors(tmp_path / "one/checkpoint-000006", tmp_path / "other/checkpoint-000006", [name])

    def lay_forgetful() -> None:
        from common import checkpoints
        checkpoints.load_optimizer_tensors = lambda optimizer, tensors: None

    config = config_of(bench, tmp_path / "one", seed=0, max_train_steps=6)
    shutil.rmtree(tmp_path / "one/checkpoint-000006")
    shutil.copytree(tmp_path / "one", tmp_path / "forgetful")
    (tmp_path / "forgetful/finished.json").unlink()
    forgetful = replace(config, output_dir=tmp_path / "forgetful")
    assert run_main(forgetful, tmp_path / "forgetful.txt", lay_forgetful).status == 0
    whole = tmp_path / "whole6"
    run_whole(config_of(bench, whole, seed=0, max_train_steps=6), tmp_path / "whole6.rows")
    assert not same_tensors(tmp_path / "forgetful/checkpoint-000006", whole / "checkpoint-000006", ["unet"])


def test_a_longer_run_goes_on_as_if_it_had_been_asked_for_at_once(bench: Path, tmp_path: Path) -> None:
    constant = {"lr_scheduler": "constant_with_warmup"}
    run_whole(config_of(bench, tmp_path / "raised", max_train_steps=5, **constant), tmp_path / "raised.rows")
    cooled = {**constant, "lr_cooldown_steps": 3}
    run_whole(config_of(bench, tmp_path / "raised", max_train_steps=9, **cooled), tmp_path / "raised.rows")
    run_whole(config_of(bench, tmp_path / "whole", max_train_steps=9, **cooled), tmp_path / "whole.rows")
    assert same_tensors(tmp_path / "raised/checkpoint-000009", tmp_path / "whole/checkpoint-000009")
    assert rows_of(tmp_path / "raised.rows") == rows_of(tmp_path / "whole.rows")


def test_a_longer_run_under_a_falling_rate_is_refused_with_the_reason(bench: Path, tmp_path: Path) -> None:
    run_whole(config_of(bench, tmp_path / "run", max_train_steps=5), tmp_path / "rows")
    ended = run_main(config_of(bench, tmp_path / "run", max_train_steps=9), tmp_path / "log")
    assert ended.status == 1
    assert "--max_train_steps was 5, is 9" in ended.output
    assert "cosine" in ended.output
    ended = run_main(config_of(bench, tmp_path / "run", max_train_steps=4), tmp_path / "log")
    assert ended.status == 1
    assert "has 5 updates already" in ended.output


def test_a_lost_cache_costs_time_only(bench: Path, tmp_path: Path) -> None:
    config = config_of(bench, tmp_path / "whole", cache_dir=tmp_path / "cache", max_train_steps=8)
    run_whole(config, tmp_path / "whole.rows")
    broken = replace(config, output_dir=tmp_path / "broken")
    assert run_main(broken, tmp_path / "log", recording_rows(tmp_path / "rows", kill_in=7)).status == -signal.SIGKILL
    shutil.rmtree(tmp_path / "cache")
    run_whole(broken, tmp_path / "rows")
    assert same_tensors(tmp_path / "broken/checkpoint-000008", tmp_path / "whole/checkpoint-000008")
