"""The settings of the recogniser's training, and the two kinds of recogniser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.paths import TINY_DIR
from recogniser.network import Shape

KINDS = {
    # name             channels at 1/2, 1/4, 1/8    blocks at each    embedding      block
    "judge":   Shape(widths=(32, 64, 160), depths=(1, 2, 3), embedding=128, block="plain"),      # 2.1 M parameters
    "control": Shape(widths=(24, 56, 144), depths=(0, 2, 4), embedding=96, block="depthwise"),  # 0.8 M
}  # fmt: skip
RENAMED_FLAGS = {"--redrawn": "--vae_reconstructed", "--kind second": "--kind control"}
LEARNED = ("kind", "steps", "batch_size", "learning_rate", "weight_decay", "vae_reconstructed", "seed")


@dataclass(frozen=True)
class RecogniserConfig:
    """Settings of the recogniser's training."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder that dataExtraction/main.py made, with train/ and test/."""
    output_dir: Path = Path("runs/recogniser")
    """Checkpoints, metrics.jsonl and, at the end, weights/. The same command again resumes where it stopped."""
    kind: Literal["judge", "control"] = "judge"
    """The judge, or the smaller control judge, which only confirms."""
    steps: int = 6000
    """Optimizer updates."""
    batch_size: int = 96
    """Glyphs an update, at least 16."""
    learning_rate: float = 3e-3
    """Peak; 200 steps of warm-up, then a cosine to zero."""
    weight_decay: float = 0.03
    """Decoupled weight decay."""
    vae: Path = TINY_DIR / "vae"
    """The autoencoder whose reconstructions are among the distortions; where there is none, they are left out."""
    vae_reconstructed: int = 4000
    """Glyphs that it reconstructs before training; half as many are latent-mixed."""
    checkpointing_steps: int = 500
    """Updates between checkpoints."""
    seed: int = 0
    """All that is random in step n is a function of (seed, n)."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        for name in ("steps", "batch_size", "checkpointing_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least 1")
        if self.batch_size < 16:
            raise ValueError(f"--batch_size {self.batch_size}: must be at least 16, so that all kinds are in it")

    def learned_settings(self) -> dict[str, Any]:
        """The settings that decide what is learned, which a run keeps when it resumes; JSON."""
        return {name: getattr(self, name) for name in LEARNED}
