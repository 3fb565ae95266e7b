"""Which model draws, and how: the settings that all commands that draw share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from PIL import Image

from common.quiet import known_noise_off
from dataset.captions import words_alone
from generation.sampling import GUIDANCE_SCALE, GUIDED_FRACTION, batch_size_for, sample, use_fast_sampler
from models.text import encode_prompts

with known_noise_off():
    from diffusers import StableDiffusionPipeline


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Which model draws, and how: what all scripts that draw have in common."""

    model: str = "tiny"
    """`tiny` (the embedded base), a run folder, a pipeline folder, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit, for a hub id."""
    steps: int = 20
    """Denoising steps."""
    guidance_scale: float = GUIDANCE_SCALE
    """Classifier-free guidance; 1 turns it off. 3 is for the embedded base, Stable Diffusion bases want 5 or more."""
    guided_fraction: float = GUIDED_FRACTION
    """Share of the steps that guidance leads, 0 to 1, from the noisiest on."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to draw; `auto` takes a CUDA GPU where there is one."""
    seed: int = 0
    """What the noise of every picture, and all that is chosen by chance, is drawn from."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        self.require_at_least({"steps": 1, "seed": 0})
        if not 0.0 <= self.guided_fraction <= 1.0:
            raise ValueError(f"--guided_fraction {self.guided_fraction}: must be between 0 and 1")

    def draw(self, pipeline: StableDiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int],
             arithmetic: Callable[[], AbstractContextManager[object]] = nullcontext) -> Iterator[list[Image.Image]]:
        """Draw one picture for each prompt under these settings, of the model's own size, in batches; see sampling.

        Guidance leads away from the empty prompt and, where a prompt names a number of strokes, in every other step
        from its words alone, so that the number is heeded too. `arithmetic` is around each batch's drawing.
        """
        use_fast_sampler(pipeline)
        nothing, size = encode_prompts(pipeline, [""], pipeline.device), pipeline.unet.config.sample_size
        for start in range(0, len(prompts), batch_size_for(size)):
            batch = slice(start, start + batch_size_for(size))
            alone = [words_alone(prompt) for prompt in prompts[batch]]
            with arithmetic():
                text = encode_prompts(pipeline, prompts[batch], pipeline.device)
                others = [nothing] + ([encode_prompts(pipeline, alone, pipeline.device)] if any(alone) else [])
                pictures = sample(pipeline, text, others, seeds[batch], self.steps, self.guidance_scale,
                                  size * pipeline.vae_scale_factor, guided_fraction=self.guided_fraction)
            yield pictures

    def require_at_least(self, least: Mapping[str, int]) -> None:
        """Raise ValueError naming the first flag whose value is too small."""
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {value}")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(SamplingSettings):
    """Settings of a drawing."""

    prompts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """English words, a character each."""
    prompts_file: Path | None = None
    """A text file with a prompt a line; empty lines and those that begin with # are left out."""
    output: Path = Path("pictures")
    """The folder to write to; pictures of the same prompt and seed in it are replaced."""
    count: int = 1
    """Pictures for each prompt, with seeds that follow one another."""
    strokes: int | None = None
    """Ask for this many strokes; without it the model is free."""
    best_of: int = 1
    """Candidates for each picture, of which the recogniser chooses one; 1 draws without choosing."""
    explain: bool = False
    """Say under each picture what the recogniser reads in it, also without choosing."""
    svg: bool = False
    """Also write each drawing as vector paths, an SVG beside its PNG."""
    columns: int | None = None
    """Columns of the grid; about square without it."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        super().__post_init__()
        self.require_at_least({"count": 1, "best_of": 1})
        if self.strokes is not None and not 1 <= self.strokes <= 40:
            raise ValueError(f"--strokes {self.strokes}: must be between 1 and 40")
