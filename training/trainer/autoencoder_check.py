"""Whether the embedded base's autoencoder serves a set, which is said before anything is trained.

It learned from kanji and from line art. What it cannot redraw, no UNet on its latents can draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from common.quiet import known_noise_off
from dataset.images import load_image
from dataset.rows import Row
from trainer.config import TrainConfig

with known_noise_off():
    from diffusers import AutoencoderKL

SAMPLED = 16  # pictures of a set, evenly spaced: a second of a core
# The shipped weights' over 24 held-out kanji of 128 px; of icons with lines of 9 px, drawn hollow, 0.055 and 16 %, of
# lines of 1 px, which are lost, 0.055 and 127 %. So the part of the ink tells them apart, and not the error alone.
KANJI_ERROR, KANJI_FRACTION = 0.018, 0.07
MAX_FRACTION = 0.12  # of the ink; from here on it shows


@torch.no_grad()
def redrawing_error(vae: AutoencoderKL, images: torch.Tensor) -> tuple[float, float]:
    """How far images (N, C, H, W) in [-1, 1] are from what the autoencoder makes of them.

    The mean absolute error, and that as a fraction of their ink, their own mean distance from white.
    """
    redrawn = torch.cat([vae.decode(vae.encode(image[None]).latent_dist.mode()).sample for image in images])
    error, ink = (redrawn.clamp(-1, 1) - images).abs().mean().item(), (1.0 - images).mean().item()
    return error, error / ink if ink else 0.0


def what_to_say(vae: AutoencoderKL, rows: Sequence[Row], config: TrainConfig) -> str | None:
    """The figure and the way out, where the autoencoder redraws a set's pictures much worse than kanji; else None."""
    chosen = [rows[index] for index in np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).round().astype(int)]
    images = [torch.from_numpy(load_image(row, config.resolution, vae.config.in_channels)) for row in chosen]
    error, fraction = redrawing_error(vae.eval(), torch.stack(images))
    if fraction <= MAX_FRACTION:
        return None
    return (f"{config.train_data_dir}: the embedded base's autoencoder, made for kanji, redraws these pictures with a "
            f"mean absolute error of {error:.3f} on [-1, 1], {fraction:.0%} of their ink (kanji: {KANJI_ERROR:g}, "
            f"{KANJI_FRACTION:.0%}). What is drawn will look no better. To train an autoencoder and a UNet on them "
            f"from scratch: python training/train_base.py --train_data_dir {config.train_data_dir} "
            "--output_dir NEW_FOLDER")
