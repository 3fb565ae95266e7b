"""What a run will take of its device's memory: an estimate by arithmetic, held against what is there beforehand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from common.errors import UserError
from common.quiet import known_noise_off
from dataset.shard import Shard
from models.families import Family
from trainer.config import TrainConfig
from trainer.disk_space import GB, parameters_of, trained_and_moments

with known_noise_off():
    from diffusers import UNet2DConditionModel

# In half precision, a sample, a latent position and a channel of the UNet's first level. What autograd keeps of
# SD-nano's UNet was counted without a GPU: 760 at 128 px, 723 at 256 px; the rest is for what comes and goes.
ACTIVATION_BYTES = 1_200
RECOMPUTED = 1 / 3  # what of the activations stays under --gradient_checkpointing
CUDA_ITSELF = 0.5e9  # bytes: its context and its libraries' work space
SURE = 0.6  # of the activations' estimate, what is kept for certain: where that has room, a run is tried
LORA_RANK = 16  # what is proposed where a whole UNet has no room


class MemoryTooSmallError(UserError):
    """A device with too little memory for the run; the message says how much is needed for what, and the way out."""


@dataclass(frozen=True)
class MemoryEstimate:
    """What a process is expected to take of its device, in bytes."""

    weights: float
    """The UNet's, with gradients, the optimizer's moments, the average and the copy that is computed with."""
    sample: float
    """Activations of one sample of a batch."""
    batch_size: int
    """Samples that the device holds at once."""
    tables: float
    """Encoded pictures and captions, at most."""
    overhead: float
    """CUDA's own."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.fixed + self.batch_size * self.sample

    @property
    def fixed(self) -> float:
        """What does not depend on the batch."""
        return self.weights + self.tables + self.overhead

    def most_samples(self, available: float) -> int:
        """How many samples at once fit into `available` bytes by the estimate; 0 or less where none does."""
        return int((available - self.fixed) // self.sample)

    def __str__(self) -> str:
        """In words: an estimate of 23.7 GB: 19.0 GB for weights in training, ..."""
        parts = {"weights in training": self.weights, "tables of encoded data at most": self.tables,
                 f"{self.batch_size} sample{'s' * (self.batch_size > 1)}": self.batch_size * self.sample,
                 "CUDA itself": self.overhead}
        named = ", ".join(f"{size / GB:.1f} GB for {what}" for what, size in parts.items() if size)
        return f"an estimate of {self.total / GB:.1f} GB: {named}"


def estimate(config: TrainConfig, unet: UNet2DConditionModel, family: Family, latent_side: int, processes: int,
             device: torch.device) -> MemoryEstimate:
    """What one of the processes will take, of a UNet as it is before training, on latents of `latent_side` squared.

    A trained weight takes 4 bytes, as much for its gradient, 4 for each moment, 4 for its average and, in half
    precision, 2 for the copy that is computed with, and 2 for its gradient where that copy is kept; under a LoRA a
    frozen one takes what it is computed in.
    """
    half = config.mixed_precision != "no"
    computed_in = torch.float16.itemsize if half else torch.float32.itemsize
    kept = 4 * (config.use_ema + 2) + (computed_in * (1 + config.half_weights) if half else 0)  # beside the moments
    trained, moments = trained_and_moments(config, unet, family)
    frozen = 0 if config.lora_rank is None else parameters_of(unet)
    sample = ACTIVATION_BYTES * latent_side**2 * unet.config.block_out_channels[0] * (1 if half else 2)
    on_gpu = device.type == "cuda"
    return MemoryEstimate(
        weights=trained * kept + 4 * moments + frozen * computed_in,
        sample=sample * (RECOMPUTED if config.gradient_checkpointing else 1.0),
        batch_size=Shard.of(config.train_batch_size, config.gradient_accumulation_steps, processes).batch_size,
        tables=config.cache_budget * GB if on_gpu else 0.0,
        overhead=CUDA_ITSELF if on_gpu else 0.0,
    )


def available(device: torch.device, unet: UNet2DConditionModel) -> float | None:
    """Bytes of the device's memory that a run may take, on a CPU with what the UNet has; None where that is unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = sum(1024.0 * int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (OSError, ValueError, KeyError):
        return None
    return free + torch.float32.itemsize * parameters_of(unet)


def check_memory(config: TrainConfig, unet: UNet2DConditionModel, family: Family, latent_side: int, processes: int,
                 device: torch.device) -> str:
    """What will be needed and what is there, in words, with the way out where it may be too little.

    Raises MemoryTooSmallError where it is by far: beyond SURE on a GPU, and by the weights alone on a CPU, whose
    activations nobody has counted.
    """
    needed = estimate(config, unet, family, latent_side, processes, device)
    there = available(device, unet)
    if there is None:
        return str(needed)
    words = f"{needed}; {there / GB:.1f} GB are free"
    activations = needed.batch_size * needed.sample
    if there >= (needed.total if device.type == "cuda" else needed.weights):
        return words
    ways = next(ways_out(config, unet, family, latent_side, processes, device, there),
                "No flag makes it fit: lower --resolution, or use a device with more memory")
    if needed.fixed + (SURE * activations if device.type == "cuda" else 0.0) > there:
        raise MemoryTooSmallError(f"{_named(device)} has too little memory. The run needs {words}. {ways}.")
    return f"{words}, which may be too little. {ways}"


def ways_out(config: TrainConfig, unet: UNet2DConditionModel, family: Family, latent_side: int, processes: int,
             device: torch.device, there: float) -> Iterator[str]:
    """Flags with which the run is expected to fit into `there` bytes, those first that change least of it."""
    smaller: list[dict[str, object]] = [{}]
    if config.half_weights:
        smaller.append({"half_weights": False})
    if device.type == "cuda" and config.cache_budget:
        smaller += [{**one, "cache_budget": 0.0} for one in smaller]
    smaller += [{**one, "gradient_checkpointing": True} for one in smaller if not config.gradient_checkpointing]
    if config.lora_rank is None:
        smaller += [{**one, "optimizer": "adamw", "lora_rank": LORA_RANK, "half_weights": False} for one in smaller]
    update = config.train_batch_size * config.gradient_accumulation_steps
    for changes in smaller:
        other = replace(config, **changes)
        most = estimate(other, unet, family, latent_side, processes, device).most_samples(there)
        fitting = [size for size in range(1, min(most, config.train_batch_size) + 1) if update % size == 0]
        if not fitting:
            continue
        flags = [_flag(name, value) for name, value in changes.items() if value != getattr(config, name)]
        learns = "" if "lora_rank" in changes else ", which learns the same"
        if fitting[-1] < config.train_batch_size:
            flags.append(f"--train_batch_size {fitting[-1]} --gradient_accumulation_steps {update // fitting[-1]}")
        yield f"Add {' '.join(flags)}{learns}"


def _flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no_{name}"
    return f"--{name} {value:g}" if isinstance(value, float | int) else f"--{name} {value}"


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"this machine ({os.uname().nodename})"
