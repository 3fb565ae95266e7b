"""Average the UNets of two models of the same base, such as weights and what they became by training on.

    python training/average_models.py tiny runs/tiny-own --share 0.5 --output runs/tiny-averaged

Between weights and their fine-tuned selves the loss is low, and in the middle the faults of either are often smaller
(WiSE-FT, arXiv 2109.01903). `--share` is the second model's. Writes a pipeline folder, there only when it is whole,
which generate.py, evaluate.py and the trainer take by name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch_environment  # noqa: F401 - before torch

# isort: split

import torch
import tyro

import model_card
import publish
from bases import BaseError
from command_line import UserError, parse
from generate import load_model
from quiet import known_noise_off

with known_noise_off():
    from diffusers import StableDiffusionPipeline


@dataclass(frozen=True, kw_only=True)
class AverageConfig:
    """Settings of an average."""

    models: Annotated[tuple[str, str], tyro.conf.Positional]
    """Two of: `tiny`, run folders, pipeline folders, hub ids."""
    share: float = 0.5
    """The second one's share, 0 to 1."""
    output: Path = Path("runs/averaged")
    """The pipeline folder to write."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"--share {self.share}: must be between 0 and 1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Average and write; returns the exit status."""
    config = parse(AverageConfig, sys.argv[1:] if arguments is None else arguments, __doc__,
                   program="average_models.py")
    try:
        if config.output.exists():
            raise UserError(f"--output {config.output}: is there already; name another or remove it")
        first, second = (load_model(name) for name in config.models)
        publish.write_folder(average(first, second, config.share), torch.float16, config.output,
                             model_card.averaged_text(*config.models, config.share))
    except (BaseError, UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"pipeline: {config.output}")
    return 0


@torch.no_grad()
def average(first: StableDiffusionPipeline, second: StableDiffusionPipeline, share: float) -> StableDiffusionPipeline:
    """The first pipeline with `share` (0 to 1) of the second's UNet in its own; the two must share all else.

    Raises UserError where they are not of the same base.
    """
    for name in ("vae", "text_encoder"):
        if not _alike(getattr(first, name), getattr(second, name)):
            raise UserError(f"the two models have different weights in {name}, so they are not of the same base")
    own, other = first.unet.state_dict(), second.unet.state_dict()
    if not _same_shapes(own, other):
        raise UserError("the two models have UNets of different shapes, so they are not of the same base")
    first.unet.load_state_dict({name: torch.lerp(weight, other[name], share) for name, weight in own.items()})
    return first


def _alike(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two modules have the same weights; a run's were rounded to fp16."""
    own, its = one.state_dict(), other.state_dict()
    return _same_shapes(own, its) and all(torch.allclose(weight.float(), its[name].float(), rtol=1e-2, atol=1e-3)
                                          for name, weight in own.items())


def _same_shapes(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return {name: weight.shape for name, weight in one.items()} == {name: w.shape for name, w in other.items()}


if __name__ == "__main__":
    sys.exit(main())
