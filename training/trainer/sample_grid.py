"""The sample grid: the same prompts with the same seeds throughout a run, so that two grids can be compared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image

from common.image_grid import captioned_grid
from common.quiet import known_noise_off
from generation.sampling import batch_size_for, sample, use_fast_sampler
from models.families import encode_prompts
from trainer.config import TrainConfig

with known_noise_off():
    from accelerate import Accelerator
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel


class SampleGrid:
    """What sampling needs beside the UNet: the encoded prompts, and the VAE, which visits the device to decode."""

    def __init__(self, pipeline: StableDiffusionPipeline, config: TrainConfig, accelerator: Accelerator) -> None:
        """Encode the prompts and take the text encoder off `pipeline`: neither the loop nor the samples need it."""
        self.config, self.accelerator, self.pipeline = config, accelerator, pipeline
        pipeline.text_encoder.to(accelerator.device)
        self.prompt_embeds = encode_prompts(pipeline, [*config.validation_prompts, ""], accelerator.device)
        pipeline.text_encoder, pipeline.tokenizer = None, None
        use_fast_sampler(pipeline)

    def grid(self, unet: UNet2DConditionModel, on_step: Callable[[], None]) -> Image.Image:
        """Draw every prompt, seed 0, 1, 2, ..., few at a time; `on_step` may raise to stop it."""
        config, device = self.config, self.accelerator.device
        self.pipeline.unet = unet
        batch_size = batch_size_for(config.resolution // self.pipeline.vae_scale_factor)
        pictures = []
        self.pipeline.vae.to(device)
        try:
            with torch.random.fork_rng(), self.accelerator.autocast():
                for start in range(0, len(config.validation_prompts), batch_size):
                    embeds = self.prompt_embeds[:-1][start:start + batch_size]
                    pictures += sample(self.pipeline, embeds, [self.prompt_embeds[-1:]],
                                       range(start, start + len(embeds)), config.num_inference_steps,
                                       config.guidance_scale, config.resolution, on_step)
        finally:
            self.pipeline.vae.to("cpu")
        return captioned_grid(pictures, config.validation_prompts)
