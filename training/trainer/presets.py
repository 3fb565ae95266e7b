"""The presets: what differs between the bases, and between what GPUs hold."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from common.command_line import parse, refuse
from models.hub import is_available
from trainer.config import TrainConfig


def parse_train_config(arguments: Sequence[str] | None, description: str | None) -> TrainConfig:
    """The trainer's settings: those of `--preset` (tiny by default), with the flags over them.

    Prints what is wrong and exits with status 2 on a flag, a value or a preset that does not exist.
    """
    name, rest = _take_preset(sys.argv[1:] if arguments is None else arguments)
    if name not in PRESETS:
        refuse(f"--preset {name}: no such preset; there are: {', '.join(PRESETS)}. Any other base is named by "
                "--pretrained_model_name_or_path FOLDER_OR_HUB_ID.")
    program = "train_text_to_image.py [--preset NAME]"
    return parse(TrainConfig, rest, description, default=PRESETS[name], program=program)


def _take_preset(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Split `--preset NAME` or `--preset=NAME` off."""
    rest, name = list(arguments), "tiny"
    for place, argument in enumerate(rest):
        if argument == "--preset":
            if place + 1 == len(rest):
                refuse(f"--preset needs a name: {', '.join(PRESETS)}")
            name = rest[place + 1]
            del rest[place:place + 2]
            break
        if argument.startswith("--preset="):
            name = argument.removeprefix("--preset=")
            del rest[place]
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


SD14_COMMIT = "133a221b8aa7292a167afc5127cb63fb5005638b"  # of CompVis/stable-diffusion-v1-4, the one with safetensors
# What differs between the bases. `tiny` has zero terminal SNR, where min-SNR would give the noisiest steps, that decide
# what is drawn and where, no weight at all; its lean and bias are those that its weights were trained with. The rows of
# one base (those without an ending are for 24 GB) differ in what a GPU holds: batch times accumulation is the same, so
# what is learned is too (but for the LoRA of 8 GB). A weight in training takes 16 bytes (fp32 weight, gradient, two
# moments), 4 for its average and 2 for its bf16 copy, so 19 GB for either UNet; a frozen one under a LoRA takes 2. A
# picture takes about 0.1 GB at 128 px and 1.5 GB at 512 px, a third of that with recomputing.
_COLUMNS = (
    "pretrained_model_name_or_path", "revision", "resolution", "train_batch_size", "gradient_accumulation_steps",
    "gradient_checkpointing", "lora_rank", "cache_budget", "max_train_steps", "learning_rate", "snr_gamma",
    "guidance_scale", "checkpointing_steps", "frequent_kanji_weight", "timestep_bias_strategy")
_NANO, _SD14 = "bguisard/stable-diffusion-nano-2-1", "CompVis/stable-diffusion-v1-4"
_TABLE = {
    # name           base    revision      px bat. acc recompute rank cache   steps  rate gamma guid.  every lean  bias
    "tiny":         ("tiny", None,        128, 64,  1, False, None, 4.0,    250, 1e-6,   None, 3.0, 125, 6.0, "later"),
    "sd-nano":      (_NANO,  "main",      128, 32,  2, False, None, 1.0, 10_000, 5e-5, 5.0,  5.0, 1_000, 3.0, "none"),
    "sd-nano-8gb":  (_NANO,  "main",      128, 32,  2, False, 16,   1.0, 10_000, 2e-4, 5.0,  5.0, 1_000, 3.0, "none"),
    "sd-nano-80gb": (_NANO,  "main",      128, 64,  1, False, None, 4.0, 10_000, 5e-5, 5.0,  5.0, 1_000, 3.0, "none"),
    "sd14":         (_SD14,  SD14_COMMIT, 512,  4,  8, True,  None, 1.0, 10_000, 2e-5, 5.0,  5.0, 1_000, 3.0, "none"),
    "sd14-8gb":     (_SD14,  SD14_COMMIT, 512,  2, 16, True,  16,   1.0, 10_000, 1e-4, 5.0,  5.0, 1_000, 3.0, "none"),
    "sd14-80gb":    (_SD14,  SD14_COMMIT, 512, 16,  2, False, None, 4.0, 10_000, 2e-5, 5.0,  5.0, 1_000, 3.0, "none"),
}  # fmt: skip
PRESETS: dict[str, TrainConfig] = {
    name: TrainConfig(output_dir=Path("runs") / name, **settings, validation_steps=settings["checkpointing_steps"])
    for name, row in _TABLE.items() for settings in [dict(zip(_COLUMNS, row, strict=True))]
}
