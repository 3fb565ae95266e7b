"""Whether the embedded base's autoencoder serves a set, which is said before anything is trained.

It learned from kanji and from line art. What it cannot redraw, no UNet on its latents can draw.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from common.quiet import known_noise_off
from dataset.images import load_image
from dataset.rows import Row
from trainer.config import TrainConfig

with known_noise_off():
    from diffusers import AutoencoderKL

SAMPLED = 16  # pictures of a set, evenly spaced: a second of a core
PALER = 0.5  # on [-1, 1]: a quarter of the way from black to white, which shows


@dataclass(frozen=True)
class Redrawing:
    """How far pictures are from what an autoencoder makes of them."""

    error: float
    """Mean absolute error on [-1, 1]."""
    wrong: float
    """That as a fraction of their ink, which is their own mean distance from white; from 0, and may exceed 1."""
    hollow: float
    """Of the pixels of ink, the fraction that lies within a line or shape and comes back paler by PALER; 0 to 1."""


KANJI = Redrawing(0.007, 0.03, 0.0)  # the shipped weights', over 64 held-out kanji of 128 px
# From here on it shows. Lines of 1 px are 32 % wrong, grey shapes 68 %. Icons with lines of 3.5 to 26 px are 1 to 4 %
# wrong and nothing of them is hollow: that is for autoencoders that saw one pen alone, as the one before, which left
# 9 % of icons with lines of 9 px hollow.
MAX_WRONG, MAX_HOLLOW = 0.12, 0.03


@torch.no_grad()
def redrawing(vae: AutoencoderKL, images: torch.Tensor) -> Redrawing:
    """What the autoencoder makes of images (N, C, H, W) in [-1, 1], each by the mode of its posterior.

    Ink is what is darker than mid-grey; a pixel lies within it where its eight neighbours are ink too.
    """
    redrawn = torch.cat([vae.decode(vae.encode(image[None]).latent_dist.mode()).sample for image in images])
    paler = redrawn.clamp(-1, 1) - images
    error, distance = paler.abs().mean().item(), (1.0 - images).mean().item()
    paper = (images >= 0).float()
    within = F.max_pool2d(paper, 3, stride=1, padding=1) == 0
    ink = (1.0 - paper).sum().item()
    return Redrawing(error, error / distance if distance else 0.0,
                     (within & (paler >= PALER)).sum().item() / ink if ink else 0.0)


def what_to_say(vae: AutoencoderKL, rows: Sequence[Row], config: TrainConfig) -> str | None:
    """The figures and the way out, where the autoencoder redraws a set's pictures much worse than kanji; else None."""
    chosen = [rows[index] for index in np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).round().astype(int)]
    images = [torch.from_numpy(load_image(row, config.resolution, vae.config.in_channels)) for row in chosen]
    found = redrawing(vae.eval(), torch.stack(images))
    if found.wrong <= MAX_WRONG and found.hollow <= MAX_HOLLOW:
        return None
    command = shlex.join(["python", "training/train_base.py", "--train_data_dir", str(config.train_data_dir)])
    return (f"{config.train_data_dir}: the embedded base's autoencoder, made for kanji and line art, redraws these "
            f"pictures with a mean absolute error of {found.error:.3f} on [-1, 1], {found.wrong:.0%} of their ink, and "
            f"leaves {found.hollow:.0%} of it hollow (kanji: {KANJI.error:g}, {KANJI.wrong:.0%}, {KANJI.hollow:.0%}). "
            f"What is drawn will look no better. To train an autoencoder and a UNet on them from scratch: {command} "
            "--output_dir NEW_FOLDER")
