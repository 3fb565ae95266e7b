"""What differs between families of models, an adapter each: to add a family is to add one here.

The cache, the loss terms, the optimizers, the train state and the samplers ask the adapter and know no family.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from common.quiet import known_noise_off
from models.hub import ModelError
from models.noise_schedule import NoiseSchedule
from models.tiny import as_saved

with known_noise_off():
    from diffusers import SchedulerMixin, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    from transformers import BertModel

# Up to here a CPU trains faster with attention as two products and a softmax than with torch's fused one, which is made
# for long sequences: the embedded base's step by a quarter. Their matrix grows with the side's fourth power.
PLAIN_ATTENTION_RESOLUTION = 256


class Family(Protocol):
    """What training and sampling need to know of a family of models."""

    lora_targets: Sequence[str]
    """The names that the layers end in to which a LoRA is added."""

    def matches(self, pipeline: StableDiffusionPipeline) -> bool:
        """Whether a pipeline is of this family."""

    def mend(self, pipeline: StableDiffusionPipeline) -> None:
        """Put right what saving and loading changes."""

    def latent_shape(self, pipeline: StableDiffusionPipeline, resolution: int) -> tuple[int, int, int]:
        """Channels and sides of the latents of pictures of `resolution` px. Raises ModelError where there are none."""

    def encode_prompts(self, pipeline: StableDiffusionPipeline, prompts: Sequence[str],
                       device: torch.device) -> torch.Tensor:
        """The states of prompts that the network attends to, fp32 (N, tokens, width), on the device."""

    def noise_schedule(self, scheduler: SchedulerMixin, device: torch.device) -> NoiseSchedule:
        """How latents are noised and what the network should predict. Raises ModelError where that is not trained."""

    def predict(self, network: torch.nn.Module, noisy: torch.Tensor, timesteps: torch.Tensor,
                prompt_embeds: torch.Tensor) -> torch.Tensor:
        """What the network predicts, fp32, of noisy latents (B, C, h, w) at int64 timesteps (B,)."""

    def prepare(self, network: torch.nn.Module, device: torch.device, resolution: int, as_matrices: bool) -> None:
        """Move a network to the device, in training, in the memory layout and with the attention that are fast there.

        `as_matrices`: kernels must lie in memory as matrices do, which Muon needs.
        """

    def is_matrix(self, name: str, weight: torch.Tensor) -> bool:
        """Whether Muon, where it is asked for, trains this weight; AdamW trains the others."""


class StableDiffusion:
    """Stable Diffusion 1.x and 2.x: one text encoder and a UNet2DConditionModel on an AutoencoderKL's latents."""

    lora_targets = ("to_q", "to_k", "to_v", "to_out.0")  # the attention's projections, as diffusers' LoRA script has it
    # First and last layers and the timestep's embedding are AdamW's even under Muon, as Muon's author has it.
    _adamw_layers = ("conv_in.", "conv_out.", "time_embedding.")

    def matches(self, pipeline: StableDiffusionPipeline) -> bool:
        """Every pipeline that load_pipeline takes."""
        return isinstance(pipeline, StableDiffusionPipeline)

    def mend(self, pipeline: StableDiffusionPipeline) -> None:
        """Nothing is to be put right."""

    def latent_shape(self, pipeline: StableDiffusionPipeline, resolution: int) -> tuple[int, int, int]:
        """Channels and sides of a latent. Raises ModelError where base and resolution do not go together."""
        channels, factor = pipeline.vae.config.latent_channels, pipeline.vae_scale_factor
        if resolution % factor:
            raise ModelError(f"--resolution {resolution}: must be a multiple of {factor}, which this base's VAE makes "
                             "one latent of")
        if pipeline.unet.config.in_channels != channels:
            raise ModelError(f"the base's UNet takes {pipeline.unet.config.in_channels} channels and its VAE has "
                             f"{channels}: an inpainting or depth base is not trained here")
        return channels, resolution // factor, resolution // factor

    @torch.no_grad()
    def encode_prompts(self, pipeline: StableDiffusionPipeline, prompts: Sequence[str],
                       device: torch.device) -> torch.Tensor:
        """The text encoder's states, as the pipeline itself computes them."""
        with _prompts_as_they_are(pipeline):
            states, _ = pipeline.encode_prompt(list(prompts), device, 1, do_classifier_free_guidance=False)
        return states.float()

    def noise_schedule(self, scheduler: SchedulerMixin, device: torch.device) -> NoiseSchedule:
        """That of the scheduler. Raises ModelError where it predicts neither epsilon nor v."""
        return NoiseSchedule(scheduler, device)

    def predict(self, network: torch.nn.Module, noisy: torch.Tensor, timesteps: torch.Tensor,
                prompt_embeds: torch.Tensor) -> torch.Tensor:
        """What the UNet, or what wraps it, predicts."""
        return network(noisy, timesteps, prompt_embeds, return_dict=False)[0].float()

    def prepare(self, network: UNet2DConditionModel, device: torch.device, resolution: int, as_matrices: bool) -> None:
        """Convolutions are faster channels-last on a GPU; on a CPU they are a tenth slower so."""
        on_gpu = device.type == "cuda"
        layout = torch.channels_last if on_gpu and not as_matrices else torch.preserve_format
        network.to(device, memory_format=layout).train()
        if not on_gpu and resolution <= PLAIN_ATTENTION_RESOLUTION:
            network.set_attn_processor(AttnProcessor())

    def is_matrix(self, name: str, weight: torch.Tensor) -> bool:
        """Matrices and kernels, but those of the first and last layers and of the timestep's embedding."""
        return weight.ndim >= 2 and not name.startswith(self._adamw_layers)


class Tiny(StableDiffusion):
    """The embedded base: Stable Diffusion's parts in small, with MiniLM as the text encoder."""

    def matches(self, pipeline: StableDiffusionPipeline) -> bool:
        """A pipeline whose text encoder is a BERT."""
        return isinstance(pipeline.text_encoder, BertModel)

    def mend(self, pipeline: StableDiffusionPipeline) -> None:
        """Give MiniLM back what saving it drops, and take the random pooler away."""
        as_saved(pipeline.text_encoder)


FAMILIES: tuple[Family, ...] = (Tiny(), StableDiffusion())  # the first that matches is a pipeline's


def family_of(pipeline: StableDiffusionPipeline) -> Family:
    """The adapter of a whole pipeline, text encoder included. Raises ModelError where there is none."""
    for family in FAMILIES:
        if family.matches(pipeline):
            return family
    raise ModelError(f"a {type(pipeline).__name__}: no family of models/families.py matches it")


@contextmanager
def _prompts_as_they_are(pipeline: StableDiffusionPipeline) -> Iterator[None]:
    """Leave out diffusers' search of prompts for textual inversions of several vectors, where there are none.

    It sorts all added tokens once for each of them in a prompt, which for a thousand components takes ten times as long
    as the text encoder.
    """
    added = pipeline.tokenizer.get_added_vocab()
    if any(f"{token}_1" in added for token in added):
        yield
        return
    pipeline.maybe_convert_prompt = lambda prompt, tokenizer: prompt
    try:
        yield
    finally:
        del pipeline.maybe_convert_prompt


def encode_prompts(pipeline: StableDiffusionPipeline, prompts: Sequence[str], device: torch.device) -> torch.Tensor:
    """The states of prompts that the pipeline's network attends to, fp32 (N, tokens, width), on the device."""
    return family_of(pipeline).encode_prompts(pipeline, prompts, device)
