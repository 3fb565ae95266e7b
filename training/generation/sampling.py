"""From encoded prompts to images: the one place where a pipeline is sampled from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from PIL import Image

from common.device import autocast_on_gpu
from common.errors import UserError
from common.quiet import known_noise_off
from dataset.captions import words_alone
from generation.guidance import GUIDED_FRACTION
from generation.settings import SamplingSettings
from models.families import encode_prompts

with known_noise_off():
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline


BATCH_LATENTS = 16 * 16 * 16  # latent positions sampled at once: 16 glyphs of 128 px, or one image of 512 px


def batch_size_for(latent_side: int) -> int:
    """How many images are sampled at once: few enough for a device that is full of training."""
    return max(1, BATCH_LATENTS // latent_side**2)


def use_fast_sampler(pipeline: StableDiffusionPipeline) -> None:
    """Give a pipeline the SDE form of DPM-Solver++ (2M) on the noise schedule that its own scheduler has: 20 steps do.

    The fresh noise of each step lets later steps mend what earlier ones got wrong, which the ODE form cannot.
    """
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, algorithm_type="sde-dpmsolver++", solver_order=2)


def check_steps(pipeline: StableDiffusionPipeline, steps: int) -> None:
    """Raise UserError where a pipeline's sampler would come by one timestep twice, of which only NaN is drawn."""
    most = pipeline.scheduler.config.num_train_timesteps
    if steps <= most:
        pipeline.scheduler.set_timesteps(steps)
        if len(set(pipeline.scheduler.timesteps.tolist())) == steps:
            return
    raise UserError(f"--steps {steps}: more than this model's noise schedule has, of {most}; ask for fewer")


def draw(pipeline: StableDiffusionPipeline, settings: SamplingSettings, prompts: Sequence[str],
         noise_seeds: Sequence[int], arithmetic: Callable[[], AbstractContextManager[object]] | None = None,
         on_step: Callable[[], None] = lambda: None) -> Iterator[list[Image.Image]]:
    """Draw one image for each prompt under these settings, of the model's own size, in batches; see sample.

    The negative prompt is the empty one and, where a prompt names a number of strokes, in every other step its words
    alone, so that the number is heeded too. `arithmetic` is around each batch's sampling, by default bf16 on a GPU;
    `on_step` is called after each of its steps. Raises UserError for more steps than the model's noise schedule has,
    and where an image is not finite.
    """
    arithmetic = arithmetic or partial(autocast_on_gpu, pipeline.device)
    use_fast_sampler(pipeline)
    check_steps(pipeline, settings.steps)
    empty, size = encode_prompts(pipeline, [""], pipeline.device), pipeline.unet.config.sample_size
    for start in range(0, len(prompts), batch_size_for(size)):
        batch = slice(start, start + batch_size_for(size))
        alone = [words_alone(prompt) for prompt in prompts[batch]]
        with arithmetic():
            prompt_embeds = encode_prompts(pipeline, prompts[batch], pipeline.device)
            negatives = [empty] + ([encode_prompts(pipeline, alone, pipeline.device)] if any(alone) else [])
            images = sample(pipeline, prompt_embeds, negatives, noise_seeds[batch], settings.steps,
                            settings.guidance_scale, size * pipeline.vae_scale_factor, on_step,
                            settings.guided_fraction)
        yield images


@torch.no_grad()
def sample(pipeline: StableDiffusionPipeline, prompt_embeds: torch.Tensor,
           negative_prompt_embeds: Sequence[torch.Tensor], seeds: Sequence[int], steps: int, guidance_scale: float,
           resolution: int, on_step: Callable[[], None] = lambda: None,
           guided_fraction: float = GUIDED_FRACTION) -> list[Image.Image]:
    """Sample one image for each row of `prompt_embeds`.

    prompt_embeds: (B, tokens, width), the encoded prompts; negative_prompt_embeds: one or more (B or 1, tokens,
    width), of which guidance takes the next at each step, in turn; seeds: one an image, each its own CPU generator, so
    that neither the batch nor the device changes what is drawn; resolution: px. `on_step` is called after each
    denoising step and may raise to stop. Guidance is applied in the first `guided_fraction` (0 to 1) of the steps
    (arXiv 2404.07724); the others cost half. Raises UserError where an image is not finite.
    """
    guided_steps, dtype = round(guided_fraction * steps), pipeline.unet.dtype
    prompt_embeds = prompt_embeds.to(dtype)
    negatives = [negative.expand_as(prompt_embeds).to(dtype) for negative in negative_prompt_embeds]

    def after_step(running: StableDiffusionPipeline, step: int, _timestep: int, kept: dict) -> dict:
        on_step()
        if running.do_classifier_free_guidance:
            if step + 1 == guided_steps:
                running._guidance_scale = 0.0  # the way that diffusers' documentation names
                kept["prompt_embeds"] = prompt_embeds
            elif len(negatives) > 1:
                kept["prompt_embeds"] = torch.cat([negatives[(step + 1) % len(negatives)], prompt_embeds])
        return kept

    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline(
        prompt_embeds=prompt_embeds, negative_prompt_embeds=negatives[0],
        generator=[torch.Generator().manual_seed(seed) for seed in seeds], num_inference_steps=steps,
        guidance_scale=guidance_scale if guided_steps else 1.0, height=resolution, width=resolution,
        callback_on_step_end=after_step, callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"],
        output_type="latent",
    ).images
    return _decode(pipeline, latents)


def _decode(pipeline: StableDiffusionPipeline, latents: torch.Tensor) -> list[Image.Image]:
    """Latents (B, C, h, w) as images, just as the pipeline itself decodes them, which would save NaN as black."""
    decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    if not decoded.isfinite().all():
        raise UserError("what the model draws is not finite (NaN or infinite): its weights are damaged, or the scale "
                        "of guidance is too much for it. Nothing is made of that")
    return pipeline.image_processor.postprocess(decoded, output_type="pil")
