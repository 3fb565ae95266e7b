"""Before it begins a run says what it will do and take; what the device has no room for is refused with a way out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from models.families import FAMILIES
from trainer import memory
from trainer.memory import MemoryTooSmallError, check_memory, estimate
from trainer.outlook import duration
from trainer.presets import PRESETS
from training_fixtures import run_main, small_config

GPU, GIB = torch.device("cuda", 0), 2**30
FAMILY = FAMILIES[-1]


@pytest.fixture(scope="module")
def nano() -> UNet2DConditionModel:
    """SD-nano's UNet without memory for its weights."""
    with torch.device("meta"):
        return UNet2DConditionModel(block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=1024,
                                    attention_head_dim=(5, 10, 20, 20), use_linear_projection=True)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A GPU of which so many GiB are free."""
    def of(free_gib: float) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free_gib * GIB), int(free_gib * GIB)))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")

    return of


@pytest.mark.parametrize(("preset", "free_gib"), [(name, 7.4 if name.endswith("-8gb") else
                                                   79.0 if name.endswith("-80gb") else 23.3)
                                                  for name in PRESETS if name != "tiny"])
def test_every_preset_fits_its_card_by_the_estimate(preset: str, free_gib: float, gpu: Callable[[float], None],
                                                    nano: UNet2DConditionModel) -> None:
    gpu(free_gib)
    config = replace(PRESETS[preset], mixed_precision="bf16")
    said = check_memory(config, nano, FAMILY, config.resolution // 8, 1, GPU)
    assert "which may be too little" not in said and re.match(r"an estimate of [\d.]+ GB: ", said), said


def test_a_trained_weight_takes_22_bytes_and_a_frozen_one_2(nano: UNet2DConditionModel) -> None:
    weights, config = sum(one.numel() for one in nano.parameters()), replace(PRESETS["sd-nano"], mixed_precision="bf16")

    def bytes_a_weight(**changes: object) -> float:
        return estimate(replace(config, **changes), nano, FAMILY, 16, 1, GPU).weights / weights

    assert bytes_a_weight() == 22.0
    assert bytes_a_weight(use_ema=False) == 18.0
    assert bytes_a_weight(mixed_precision="no") == bytes_a_weight(mixed_precision="no", half_weights=True) == 20.0
    assert bytes_a_weight(half_weights=True) == 24.0
    assert 18.0 < bytes_a_weight(optimizer="muon") < 19.0
    assert 2.0 < bytes_a_weight(lora_rank=16) < 2.2


def test_processes_hold_smaller_batches(nano: UNet2DConditionModel) -> None:
    sizes = [estimate(PRESETS["sd-nano-80gb"], nano, FAMILY, 16, processes, GPU).batch_size for processes in (1, 4)]
    assert sizes == [64, 16]


@pytest.mark.parametrize(("preset", "free_gib", "flags"), [
    ("sd-nano-80gb", 24.0, "--train_batch_size 16 --gradient_accumulation_steps 4, which learns the same"),
    ("sd-nano", 19.0, "--cache_budget 0 --train_batch_size 8 --gradient_accumulation_steps 8, which learns the same"),
    ("sd-nano", 7.0, "--lora_rank 16."),
    ("sd14-80gb", 23.3, "--cache_budget 0 --train_batch_size 2 --gradient_accumulation_steps 16, which learns"),
    ("sd14", 1.0, "No flag makes it fit")])
def test_what_does_not_fit_is_refused_with_flags_with_which_it_fits(
        preset: str, free_gib: float, flags: str, gpu: Callable[[float], None], nano: UNet2DConditionModel) -> None:
    gpu(free_gib)
    config = replace(PRESETS[preset], mixed_precision="bf16")
    with pytest.raises(MemoryTooSmallError) as refused:
        check_memory(config, nano, FAMILY, config.resolution // 8, 1, GPU)
    assert f"{free_gib * GIB / 1e9:.1f} GB are free" in str(refused.value)
    assert flags in str(refused.value), refused.value
    if flags.startswith("--"):
        pairs = re.findall(r"--(\w+) (\d+)", flags)
        other = replace(config, **{name: float(value) if name == "cache_budget" else int(value)
                                   for name, value in pairs})
        assert "too little" not in check_memory(other, nano, FAMILY, config.resolution // 8, 1, GPU)


@pytest.mark.parametrize(("free_gib", "flags"), [
    (20.5, "Add --no_half_weights --train_batch_size"),
    (7.0, "Add --lora_rank 16 --no_half_weights.")])
def test_what_the_cast_weights_take_is_given_up_first(free_gib: float, flags: str, gpu: Callable[[float], None],
                                                      nano: UNet2DConditionModel) -> None:
    gpu(free_gib)
    config = replace(PRESETS["sd-nano"], mixed_precision="bf16", half_weights=True)
    assert flags in next(memory.ways_out(config, nano, FAMILY, 16, 1, GPU, free_gib * GIB)) + "."


def test_what_is_uncertain_is_said_and_tried(gpu: Callable[[float], None], nano: UNet2DConditionModel) -> None:
    config = replace(PRESETS["sd-nano"], mixed_precision="bf16")
    needed = estimate(config, nano, FAMILY, 16, 1, GPU)
    gpu((needed.total - 0.1 * needed.batch_size * needed.sample) / GIB)
    said = check_memory(config, nano, FAMILY, 16, 1, GPU)
    assert "may be too little. Add --" in said


def test_a_cpu_is_held_against_the_weights_alone(monkeypatch: pytest.MonkeyPatch, nano: UNet2DConditionModel) -> None:
    config = replace(PRESETS["sd-nano"], mixed_precision="no")
    monkeypatch.setattr(memory, "available", lambda *_: None)
    assert "are free" not in check_memory(config, nano, FAMILY, 16, 1, torch.device("cpu"))
    monkeypatch.setattr(memory, "available", lambda *_: 18e9)
    assert "18.0 GB are free" in check_memory(config, nano, FAMILY, 16, 1, torch.device("cpu"))
    monkeypatch.setattr(memory, "available", lambda *_: 8e9)
    with pytest.raises(MemoryTooSmallError, match=r"this machine .*--lora_rank 16"):
        check_memory(config, nano, FAMILY, 16, 1, torch.device("cpu"))


def test_one_screen_says_what_will_happen_and_after_20_steps_how_long(bench: Path, tmp_path: Path) -> None:
    config = small_config(bench / "base", bench / "data", tmp_path / "run", cache_dir=bench / "cache",
                          max_train_steps=21, logging_steps=10, train_batch_size=1, gradient_accumulation_steps=2)
    ended = run_main(config, tmp_path / "log")
    assert ended.status == 0, ended.output
    for line in (r"device:  CPU, 1 thread\(s\), fp32, 1 process",
                 r"memory:  an estimate of [\d.]+ GB: .*; [\d.]+ GB are free",
                 r"disk:    .*checkpoint.*the pipeline; [\d.]+ GB are free in ", r"rows:    12, of 32 px",
                 r"update:  2 samples: 1 process x 2 batches of 1",
                 r"steps:   21 of 21, some 3\.5 passes over the rows, training the whole UNet"):
        assert re.search(rf"^{line}", ended.output, re.MULTILINE), line
    said = re.findall(r"step (\d+) of 21: about .* to go", ended.output)
    assert said == ["20"], "once"


@pytest.mark.parametrize(("seconds", "said"), [
    (0.2, "0 s"), (42, "42 s"), (125, "2 min 5 s"), (6000, "1 h 40 min"), (7200, "2 h"), (273_600, "3 d 4 h")])
def test_times_are_said_in_the_units_that_matter(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_gpu_that_is_too_small_is_refused_before_anything_is_encoded(bench: Path, tmp_path: Path) -> None:
    def lay() -> None:
        memory.available = lambda *_: 1e5

    config = small_config(bench / "base", bench / "data", tmp_path / "run", cache_dir=tmp_path / "cache")
    ended = run_main(config, tmp_path / "log", lay)
    assert ended.status == 1 and "has too little memory" in ended.output and "Traceback" not in ended.output
    assert not list((tmp_path / "cache").glob("*/records.bin"))
