"""The sample grid: the same prompts from the same noise throughout a run, so that two grids can be compared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image

from common.image_grid import captioned_grid
from common.quiet import known_noise_off
from dataset.captions import words_alone
from generation.request import noise_seed
from generation.sampling import batch_size_for, sample, use_fast_sampler
from models.families import encode_prompts
from trainer.config import TrainConfig

with known_noise_off():
    from accelerate import Accelerator
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

SEED = 0  # of each prompt, as generate.py means it


class SampleGrid:
    """What sampling needs beside the UNet: the encoded prompts, and the VAE, which visits the device to decode."""

    def __init__(self, pipeline: StableDiffusionPipeline, config: TrainConfig, accelerator: Accelerator) -> None:
        """Encode the prompts and take the text encoder off `pipeline`: neither the loop nor the samples need it."""
        self.config, self.accelerator, self.pipeline = config, accelerator, pipeline
        alone = [words_alone(prompt) for prompt in config.validation_prompts]
        pipeline.text_encoder.to(accelerator.device)
        self.prompt_embeds, self.nothing, self.alone = (
            encode_prompts(pipeline, prompts, accelerator.device)
            for prompts in (config.validation_prompts, [""], alone))
        self.names_strokes = any(alone)
        pipeline.text_encoder, pipeline.tokenizer = None, None
        use_fast_sampler(pipeline)

    def grid(self, unet: UNet2DConditionModel, on_step: Callable[[], None]) -> Image.Image:
        """The images under their prompts; see `images`."""
        return captioned_grid(self.images(unet, on_step), self.config.validation_prompts)

    def images(self, unet: UNet2DConditionModel, on_step: Callable[[], None]) -> list[Image.Image]:
        """An image for each prompt, that which generate.py --plan off draws of it; `on_step` may raise to stop."""
        config, images = self.config, []
        self.pipeline.unet = unet
        self.pipeline.vae.to(self.accelerator.device)
        size = batch_size_for(config.resolution // self.pipeline.vae_scale_factor)
        seeds = [noise_seed(SEED, prompt) for prompt in config.validation_prompts]
        try:
            with torch.random.fork_rng(devices=[]), self.accelerator.autocast():
                for batch in (slice(start, start + size) for start in range(0, len(seeds), size)):
                    negatives = [self.nothing, self.alone[batch]] if self.names_strokes else [self.nothing]
                    images += sample(self.pipeline, self.prompt_embeds[batch], negatives, seeds[batch],
                                     config.num_inference_steps, config.guidance_scale, config.resolution, on_step)
        finally:
            self.pipeline.vae.to("cpu")
        return images
