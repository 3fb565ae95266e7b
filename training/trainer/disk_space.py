"""What a run will write, held against the room that there is before it begins, and not days later."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from common import checkpoints
from common.errors import UserError
from common.quiet import known_noise_off
from models.families import Family
from models.parts import PARTS
from trainer.config import TrainConfig

with known_noise_off():
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

GB = 1e9


class DiskSpaceError(UserError):
    """A disk with too little room for the run; the message says how much is needed for what, and the ways out."""


@dataclass(frozen=True)
class Need:
    """What a run will add to a folder."""

    folder: Path
    what: str
    size: float
    """Bytes."""

    def __str__(self) -> str:
        """In words: 13.8 GB for 3 checkpoints."""
        return f"{self.size / GB:.1f} GB for {self.what}"


def results_of(config: TrainConfig, pipeline: StableDiffusionPipeline, family: Family, step: int) -> list[Need]:
    """What a run that goes on from `step` will write into its folder: checkpoints, and the pipeline in fp16.

    An older checkpoint is removed when the next one is whole, and an older pipeline likewise: both are there for a
    while.
    """
    there = len(checkpoints.listing(config.output_dir))
    to_come = -(-config.max_train_steps // config.checkpointing_steps) - step // config.checkpointing_steps
    most = there + to_come if config.checkpoints_total_limit is None else config.checkpoints_total_limit + 1
    added = max(0, min(there + to_come, most) - there)
    parameters = sum(parameters_of(getattr(pipeline, part)) for part in PARTS)
    return [
        Need(config.output_dir, f"{added} checkpoint{'s' * (added > 1)}", added * checkpoint_bytes(
            config, pipeline.unet, family)),
        Need(config.output_dir, "the pipeline", parameters * torch.float16.itemsize),
    ]


def checkpoint_bytes(config: TrainConfig, unet: UNet2DConditionModel, family: Family) -> int:
    """The size of one checkpoint of a UNet as it is before training: weights, the optimizer's moments, the average."""
    trained, moments = trained_and_moments(config, unet, family)
    return torch.float32.itemsize * (trained * (2 if config.use_ema else 1) + moments)


def trained_and_moments(config: TrainConfig, unet: UNet2DConditionModel, family: Family) -> tuple[int, int]:
    """How many weights a run trains, and how many moments its optimizer keeps of them."""
    if config.lora_rank is not None:
        trained = _lora_parameters(unet, family.lora_targets, config.lora_rank)
        return trained, 2 * trained
    moments = sum(weight.numel() * (1 if config.optimizer == "muon" and family.is_matrix(name, weight) else 2)
                  for name, weight in unet.named_parameters())
    return parameters_of(unet), moments


def check_room(needs: Sequence[Need]) -> str:
    """What will be written and what room there is, in words.

    Raises DiskSpaceError where a disk has not enough of it.
    """
    disks: dict[int, list[Need]] = {}
    for need in needs:
        disks.setdefault(_existing(need.folder).stat().st_dev, []).append(need)
    said = []
    for on_disk in disks.values():
        folders = " and ".join(dict.fromkeys(str(need.folder) for need in on_disk))
        free = shutil.disk_usage(_existing(on_disk[0].folder)).free
        written = ", ".join(str(need) for need in on_disk if need.size) or "nothing to be written"
        words = f"{written}; {free / GB:.1f} GB are free in {folders}"
        if (total := sum(need.size for need in on_disk)) > free:
            raise DiskSpaceError(
                f"the disk has too little room: {total / GB:.1f} GB are needed, {words}. Make room, lower "
                "--checkpoints_total_limit, name a larger disk with --output_dir or --cache_dir, or train a LoRA "
                "(--lora_rank 16), whose checkpoints are small.")
        said.append(words)
    return ". ".join(said)


def parameters_of(module: torch.nn.Module) -> int:
    """How many weights a network has."""
    return sum(weight.numel() for weight in module.parameters())


def _lora_parameters(unet: UNet2DConditionModel, targets: Sequence[str], rank: int) -> int:
    """How many weights a LoRA has: two matrices, (rank, in) and (out, rank), beside each layer that gets an adapter."""
    layers = (module.weight for name, module in unet.named_modules()
              if name.endswith(tuple(f".{target}" for target in targets)) and hasattr(module, "weight"))
    return sum(rank * (weight.shape[0] + weight[0].numel()) for weight in layers)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that there is: it is made there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
