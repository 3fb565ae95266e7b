"""The result of a run: a pipeline folder with its model card, and its way to the hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

import model_card
from bases import load_pipeline
from config import TrainConfig
from quiet import known_noise_off
from sampling import use_fast_sampler

UPLOADED = ("pipeline", "samples", "metrics.jsonl", "config.json")  # of the run folder; command.txt stays here


class PublishError(Exception):
    """The hub cannot be written to; the message says why and what to do. The run's result lies in its folder."""


def save_pipeline(config: TrainConfig, unet: UNet2DConditionModel, facts: dict[str, Any], grid: Path) -> Path:
    """Write `pipeline/` of the run folder: the base with the trained UNet, in safetensors, and its card with the grid.

    The folder appears whole: it is written under a temporary name first. A LoRA is written beside it as
    `lora/pytorch_lora_weights.safetensors` and fused into the pipeline.
    """
    final, building = config.output_dir / "pipeline", config.output_dir / ".tmp-pipeline"
    shutil.rmtree(building, ignore_errors=True)
    pipeline = load_pipeline(config.pretrained_model_name_or_path, config.revision)
    if config.lora_rank is not None:
        _save_lora(unet, config.output_dir / "lora")
    pipeline.unet = _plain_copy(unet, pipeline.unet)
    pipeline.unet.register_to_config(sample_size=config.resolution // pipeline.vae_scale_factor)  # what is drawn then
    use_fast_sampler(pipeline)
    dtype = torch.float16 if config.save_precision == "fp16" else torch.float32
    with known_noise_off():
        pipeline.to("cpu").to(dtype).save_pretrained(building, safe_serialization=True)
    shutil.copy(grid, building / "samples.png")
    (building / "README.md").write_text(model_card.text(config, facts), encoding="utf8")
    shutil.rmtree(final, ignore_errors=True)
    building.rename(final)
    return final


def _plain_copy(trained: UNet2DConditionModel, base: UNet2DConditionModel) -> UNet2DConditionModel:
    """The trained weights in a UNet that has no adapter: a LoRA is fused into the base's own."""
    if not getattr(trained, "peft_config", None):
        base.load_state_dict({name: weight.detach().cpu() for name, weight in trained.state_dict().items()})
        return base
    from peft.utils import get_peft_model_state_dict

    base.load_lora_adapter(get_peft_model_state_dict(trained), prefix=None)
    base.fuse_lora()
    base.unload_lora()
    return base


def _save_lora(unet: UNet2DConditionModel, folder: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers, safe_serialization=True)
