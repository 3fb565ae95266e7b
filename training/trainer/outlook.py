"""What a run will do, on one screen, before it does anything that takes long; and how long that will take."""

from __future__ import annotations

import torch

from dataset.shard import Shard
from trainer.config import TrainConfig

TIMED_UPDATES = 20  # of this process, after which the rate is one to go by


def outlook(config: TrainConfig, device: torch.device, processes: int, rows: int, samples: int, step: int,
            memory: str, disk: str) -> str:
    """The screen. `samples` are those of an update, `step` the updates done; memory and disk are said in words."""
    shard = Shard.of(config.train_batch_size, config.gradient_accumulation_steps, processes)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    what = "the whole UNet" if config.lora_rank is None else f"a LoRA of rank {config.lora_rank}"
    steps = config.max_train_steps - step
    lines = {
        "device": f"{name}, {'fp32' if config.mixed_precision == 'no' else config.mixed_precision}, "
                  f"{processes} process{'es' * (processes > 1)}",
        "memory": memory,
        "disk": disk,
        "rows": f"{rows:,}, of {config.resolution} px",
        "update": f"{samples} samples: {processes} process{'es' * (processes > 1)} x {shard.accumulation_steps} "
                  f"batch{'es' * (shard.accumulation_steps > 1)} of {shard.batch_size}",
        "steps": f"{steps:,} of {config.max_train_steps:,}, some {steps * samples / rows:.1f} passes over the rows, "
                 f"training {what}",
    }
    return "\n".join(f"{name + ':':<8} {said}" for name, said in lines.items())


def time_left(updates: int, updates_per_second: float) -> str:
    """How long so many updates take, in words, samples and checkpoints aside."""
    return f"about {duration(updates / updates_per_second)} to go, samples and checkpoints aside"


def duration(seconds: float) -> str:
    """A time in the two units that matter: 3 d 4 h, 1 h 40 min, 2 min 5 s, 42 s."""
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    rest, said = round(seconds), []
    for unit, size in units:
        count, rest = divmod(rest, size)
        if count or said:
            said.append(f"{count} {unit}")
    return " ".join(one for one in said[:2] if not one.startswith("0 ")) or "0 s"
