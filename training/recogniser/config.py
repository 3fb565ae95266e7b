"""The settings of the recogniser's training, and the two kinds of recogniser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.paths import TINY_DIR
from common.settings import MAY_DIFFER, as_json, check_ranges, setting
from recogniser.network import Shape

KINDS = {
    # name             channels at 1/2, 1/4, 1/8    blocks at each    embedding      block
    "judge":   Shape(widths=(32, 64, 160), depths=(1, 2, 3), embedding=128, block="plain"),      # 2.1 M parameters
    "control": Shape(widths=(24, 56, 144), depths=(0, 2, 4), embedding=96, block="depthwise"),  # 0.8 M
}  # fmt: skip


@dataclass(frozen=True)
class RecogniserConfig:
    """Settings of the recogniser's training."""

    train_data_dir: Path = setting(Path("data/kanji"), may_differ=True)
    """The dataset folder that dataExtraction/main.py made, with train/ and test/."""
    output_dir: Path = setting(Path("runs/recogniser"), may_differ=True)
    """Checkpoints, metrics.jsonl and, at the end, weights/. The same command again resumes where it stopped."""
    kind: Literal["judge", "control"] = "judge"
    """The judge, or the smaller control judge, which only confirms."""
    steps: int = setting(6000, at_least=1)
    """Optimizer updates."""
    batch_size: int = setting(96, at_least=16)
    """Glyphs an update; 16 are needed for all kinds to be among them."""
    learning_rate: float = 3e-3
    """Peak; 200 steps of warm-up, then a cosine to zero."""
    weight_decay: float = 0.03
    """Decoupled weight decay."""
    vae: Path = setting(TINY_DIR / "vae", may_differ=True)
    """The autoencoder whose reconstructions are among the distortions; where there is none, they are left out."""
    vae_reconstructed: int = setting(4000, was="redrawn", at_least=0)
    """Glyphs that it reconstructs before training; half as many are latent-mixed."""
    checkpointing_steps: int = setting(500, at_least=1, may_differ=True)
    """Updates between checkpoints."""
    seed: int = 0
    """All that is random in step n is a function of (seed, n)."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)

    def learned_settings(self) -> dict[str, Any]:
        """The settings that decide what is learned, which a run keeps when it resumes; JSON."""
        return as_json(self, without=MAY_DIFFER)
