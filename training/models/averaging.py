"""The average of two models of one base."""

from __future__ import annotations

import torch

from common.errors import UserError
from common.quiet import known_noise_off

with known_noise_off():
    from diffusers import StableDiffusionPipeline


@torch.no_grad()
def average(first: StableDiffusionPipeline, second: StableDiffusionPipeline,
            fraction: float) -> StableDiffusionPipeline:
    """The first pipeline with a fraction (0 to 1) of the second's UNet in its own; the two must share all else.

    Raises UserError where they are not of the same base.
    """
    for name in ("vae", "text_encoder"):
        if not _alike(getattr(first, name), getattr(second, name)):
            raise UserError(f"the two models have different weights in {name}, so they are not of the same base")
    own, other = first.unet.state_dict(), second.unet.state_dict()
    if not _same_shapes(own, other):
        raise UserError("the two models have UNets of different shapes, so they are not of the same base")
    first.unet.load_state_dict({name: torch.lerp(weight, other[name], fraction) for name, weight in own.items()})
    return first


def _alike(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two modules have the same weights; a run's were rounded to fp16."""
    own, its = one.state_dict(), other.state_dict()
    return _same_shapes(own, its) and all(torch.allclose(weight.float(), its[name].float(), rtol=1e-2, atol=1e-3)
                                          for name, weight in own.items())


def _same_shapes(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return {name: weight.shape for name, weight in one.items()} == {name: w.shape for name, w in other.items()}
