"""Which model draws, and how: the settings that all commands that draw share. They load no model's libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from common.settings import check_ranges, setting
from generation.guidance import GUIDANCE_SCALE, GUIDED_FRACTION


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Which model draws, and how: what all commands that draw have in common."""

    model: str = "tiny"
    """`tiny` (the embedded base), a run folder, a pipeline folder, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit, for a hub id."""
    steps: int = setting(20, at_least=1)
    """Denoising steps, no more than the model's noise schedule has; Stable Diffusion's has 1,000."""
    guidance_scale: float = setting(GUIDANCE_SCALE, at_least=1)
    """Classifier-free guidance; 1 turns it off. 3 is for the embedded base, Stable Diffusion bases want 5 or more."""
    guided_fraction: float = setting(GUIDED_FRACTION, was="guided_share", at_least=0, at_most=1)
    """Fraction of the steps with guidance, 0 to 1, from the noisiest on."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", may_differ=True)
    """Where to draw; `auto` takes a CUDA GPU where there is one."""
    seed: int = setting(0, at_least=0, at_most=10**15)
    """What the noise of every image, and all that is chosen at random, comes from."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class PlanningSettings(SamplingSettings):
    """How words become components, for the commands that draw what a user asks for."""

    plan: Literal["auto", "on", "off"] = "auto"
    """Whether a planner turns the words into components, which the model is then asked for: `on`, `off` (the model is
    given the words as they are), or `auto`: on for a model that was trained on kanji."""
    novel: bool = False
    """Plan a new character also for words that are the meaning of an existing kanji."""

    def __post_init__(self) -> None:
        """Refuse what cannot be planned. Raises ValueError naming the flag."""
        super().__post_init__()
        if self.plan == "off" and self.novel:
            raise ValueError("--novel: is for a plan, where --plan off wants none")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(PlanningSettings):
    """Settings of generate.py: which characters are drawn, how many of each, and what is written."""

    prompts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """English words, a character each."""
    prompts_file: Path | None = None
    """A text file with a prompt a line; empty lines and those that begin with # are left out."""
    output: Path = Path("pictures")
    """The folder to write to; images of the same prompt and seed in it are replaced."""
    count: int = setting(1, at_least=1, at_most=10_000)
    """Images of each prompt, 10,000 at most, with seeds that follow one another; good plans take turns."""
    parts: str | None = None
    """A plan of your own: one or two components by name or kanji, with commas: --parts "boat, water"."""
    strokes: int | None = setting(None, at_least=1, at_most=40)
    """Ask for this many strokes, and plan components that need no more; without it the model is free."""
    best_of: int = setting(1, at_least=1, at_most=1_000)
    """Candidates for each image, 1,000 at most, of which the recogniser chooses one; 1 draws without choosing."""
    explain: bool = False
    """Say of each image which planned components the recogniser finds in it, also without choosing."""
    svg: bool = False
    """Also write each image as vector paths, NAME.svg, and as strokes in drawing order, NAME.strokes.svg, where these
    are found; takes about a second an image."""
    columns: int | None = setting(None, at_least=1, at_most=100)
    """Columns of the grid; about square without it."""

    def __post_init__(self) -> None:
        """Refuse what cannot be planned. Raises ValueError naming the flag."""
        super().__post_init__()
        if self.parts is not None and (self.plan == "off" or self.novel):
            raise ValueError("--parts: is a plan already, which goes with neither --plan off nor --novel")

    @classmethod
    def like(cls, settings: SamplingSettings, prompts: Sequence[str]) -> GenerateConfig:
        """The settings under which generate.py draws these prompts as another command with `settings` does."""
        shared = {field.name: getattr(settings, field.name) for field in fields(SamplingSettings)}
        return cls(prompts=tuple(prompts), **shared)
