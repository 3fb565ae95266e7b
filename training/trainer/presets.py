"""The presets: what differs between the bases, and between what GPUs hold."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from common.command_line import parse, refuse
from models.hub import is_available
from trainer.config import TrainConfig


def _preset(base: TrainConfig, train_batch_size: int, **settings: Any) -> TrainConfig:
    """A base with its update, `base.train_batch_size` samples, in batches that a device holds: it learns the same."""
    return replace(base, train_batch_size=train_batch_size,
                   gradient_accumulation_steps=base.train_batch_size // train_batch_size, **settings)


# `tiny` has zero terminal SNR, where min-SNR would give the noisiest steps, that decide what is drawn and where, no
# weight at all; its sampling weights and bias are those that its own weights were trained with.
TINY = TrainConfig(
    pretrained_model_name_or_path="tiny", resolution=128, train_batch_size=64, cache_budget=4.0, max_train_steps=250,
    learning_rate=1e-6, snr_gamma=None, guidance_scale=3.0, checkpointing_steps=125, validation_steps=125,
    frequent_kanji_weight=6.0, timestep_bias_strategy="later")
NANO = TrainConfig(
    pretrained_model_name_or_path="bguisard/stable-diffusion-nano-2-1", revision="main", resolution=128,
    train_batch_size=64, cache_budget=1.0, max_train_steps=10_000, learning_rate=5e-5, snr_gamma=5.0,
    guidance_scale=5.0, checkpointing_steps=1_000, validation_steps=1_000)
SD14 = replace(
    NANO, pretrained_model_name_or_path="CompVis/stable-diffusion-v1-4", resolution=512, train_batch_size=32,
    revision="133a221b8aa7292a167afc5127cb63fb5005638b",  # the one with safetensors
    learning_rate=2e-5)
# Those without an ending are for 24 GB. A weight in training takes 16 bytes (fp32 weight, gradient, two moments), 4 for
# its average and 2 for its bf16 copy, so 19 GB for either UNet; a frozen one under a LoRA takes 2. A sample takes about
# 0.1 GB at 128 px and 1.5 GB at 512 px, a third of that with recomputing.
_TABLE = {
    "tiny":         _preset(TINY, train_batch_size=64),
    "sd-nano":      _preset(NANO, train_batch_size=32),
    "sd-nano-8gb":  _preset(NANO, train_batch_size=32, lora_rank=16, learning_rate=2e-4),
    "sd-nano-80gb": _preset(NANO, train_batch_size=64, cache_budget=4.0),
    "sd14":         _preset(SD14, train_batch_size=4,  gradient_checkpointing=True),
    "sd14-8gb":     _preset(SD14, train_batch_size=2,  lora_rank=16, learning_rate=1e-4, gradient_checkpointing=True),
    "sd14-80gb":    _preset(SD14, train_batch_size=16, cache_budget=4.0),
}  # fmt: skip
PRESETS = {name: replace(config, output_dir=Path("runs") / name) for name, config in _TABLE.items()}
PROGRAM = "train_text_to_image.py [--preset NAME]"  # as the help text calls it


def parse_train_config(arguments: Sequence[str] | None, description: str | None) -> TrainConfig:
    """The trainer's settings: those of `--preset` (tiny by default), with the flags over them.

    Prints what is wrong and exits with status 2 on a flag, a value or a preset that does not exist.
    """
    name, rest = _take_preset(sys.argv[1:] if arguments is None else arguments)
    if name not in PRESETS:
        refuse(f"--preset {name}: no such preset; there are: {', '.join(PRESETS)}. Any other base is named by "
               "--pretrained_model_name_or_path FOLDER_OR_HUB_ID.", PROGRAM)
    return parse(TrainConfig, rest, description, default=PRESETS[name], program=PROGRAM)


def _take_preset(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Split `--preset NAME` or `--preset=NAME` off."""
    rest, name = list(arguments), "tiny"
    for index, argument in enumerate(rest):
        if argument == "--preset":
            if index + 1 == len(rest):
                refuse(f"--preset needs a name: {', '.join(PRESETS)}", PROGRAM)
            name = rest[index + 1]
            del rest[index:index + 2]
            break
        if argument.startswith("--preset="):
            name = argument.removeprefix("--preset=")
            del rest[index]
            break
    return name, rest


def choose_preset() -> tuple[str, str]:
    """The best preset that can run here, and why."""
    if not torch.cuda.is_available():
        return "tiny", "no CUDA GPU was found, and the embedded base trains on a CPU"
    nano = PRESETS["sd-nano"]
    available, why = is_available(nano.pretrained_model_name_or_path, nano.revision)
    if available:
        return "sd-nano", f"there is a CUDA GPU ({torch.cuda.get_device_name()}), and of its weights: {why}"
    return "tiny", f"there is a CUDA GPU, but not the weights of sd-nano: {why}"
