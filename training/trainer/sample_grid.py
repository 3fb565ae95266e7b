"""The sample grid: the same prompts from the same noise throughout a run, so that two grids can be compared.

A judge may read it, which gives a small score along the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image

from common.image_grid import captioned_grid
from common.quiet import known_noise_off
from dataset.captions import spelled_components, words_alone
from generation.request import noise_seed
from generation.sampling import batch_size_for, sample, use_fast_sampler
from models.families import encode_prompts
from recogniser.judge import Judge
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
        self.judge = Judge.load(dataset=None) if config.score_samples and accelerator.is_main_process else None
        alone = [words_alone(prompt) for prompt in config.validation_prompts]
        pipeline.text_encoder.to(accelerator.device)
        self.prompt_embeds, self.nothing, self.alone = (
            encode_prompts(pipeline, prompts, accelerator.device)
            for prompts in (config.validation_prompts, [""], alone))
        self.names_strokes = any(alone)
        pipeline.text_encoder, pipeline.tokenizer = None, None
        use_fast_sampler(pipeline)

    def grid(self, unet: UNet2DConditionModel, on_step: Callable[[], None]) -> tuple[Image.Image, dict[str, float]]:
        """The images under their prompts, and their score where there is a judge; see `images` and `score`."""
        images, prompts = self.images(unet, on_step), self.config.validation_prompts
        return captioned_grid(images, prompts), {} if self.judge is None else score(images, prompts, self.judge)

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


def score(images: Sequence[Image.Image], prompts: Sequence[str], judge: Judge) -> dict[str, float]:
    """What a judge reads in a grid's images, by name, each a fraction, 0 to 1.

    `score/well_formed`: images; `score/components`: components found of those that prompts spell (`boat 舟, water 水`),
    missing where none does.
    """
    readings = judge.read(images, prompts)
    spelled = [(form, reading) for prompt, reading in zip(prompts, readings, strict=True)
               for _, form in spelled_components(prompt)[1]]
    found = [any(form in component.forms for component in reading.components) for form, reading in spelled]
    return {"score/well_formed": sum(reading.is_well_formed for reading in readings) / len(readings),
            **({"score/components": sum(found) / len(found)} if found else {})}
