"""Prompts to the states that a UNet attends to."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from common.quiet import known_noise_off

with known_noise_off():
    from diffusers import StableDiffusionPipeline


@torch.no_grad()
def encode_prompts(pipeline: StableDiffusionPipeline, prompts: Sequence[str], device: torch.device) -> torch.Tensor:
    """The text encoder's states for prompts, fp32 (N, tokens, width), as the pipeline itself computes them."""
    states, _ = pipeline.encode_prompt(list(prompts), device, 1, do_classifier_free_guidance=False)
    return states.float()
