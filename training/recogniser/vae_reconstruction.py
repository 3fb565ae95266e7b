"""Glyphs as the autoencoder draws them: its reconstructions, and what a sampler that wavers makes of two characters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from common.device import autocast
from common.quiet import known_noise_off
from common.seeds import Purpose, generator
from dataset.images import load_image
from dataset.rows import Row
from models.parts import load_whole
from recogniser.network import SIDE, decoded_ink
from recogniser.training_batches import Reconstructions

with known_noise_off():
    from diffusers import AutoencoderKL

RESOLUTION = 128  # px that the autoencoder of the embedded base works at
BATCH = 16


def load_autoencoder(folder: Path) -> AutoencoderKL | None:
    """The autoencoder of a diffusers folder; None where there is none. Raises ModelError where it is not whole."""
    if not (folder / "config.json").is_file():
        return None
    return load_whole(AutoencoderKL, folder)


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, rows: Sequence[Row], whole: int, latent_mixed: int, seed: int) -> Reconstructions:
    """Send `whole` glyphs, half of them real, through the autoencoder, and make `latent_mixed` mixtures of them.

    Of a kind of which there are fewer, all are sent.
    """
    vae = vae.eval().to(memory_format=torch.channels_last)
    rng = generator(seed, 0, Purpose.GLYPH_DISTORTIONS)
    groups = [torch.tensor([index for index, row in enumerate(rows) if row.is_composed == composed], dtype=torch.long)
              for composed in (False, True)]
    chosen = torch.cat([group[torch.randperm(len(group), generator=rng)[:whole // 2]] for group in groups])
    encoded, decoded = [], []
    with autocast(torch.device("cpu")):
        for batch in tqdm(chosen.split(BATCH), desc="reconstructing glyphs", unit="batch", leave=False):
            glyphs = np.stack([load_image(rows[index], RESOLUTION, vae.config.in_channels) for index in batch])
            encoded.append(vae.encode(torch.from_numpy(glyphs)).latent_dist.sample(rng).float())
            decoded.append(_to_pixels(vae.decode(encoded[-1]).sample))
        latents, mixed = torch.cat(encoded), []
        for _ in tqdm(range(0, latent_mixed, BATCH), desc="mixing latents", unit="batch", leave=False):
            pair = latents[torch.randint(len(latents), (2, BATCH), generator=rng)]
            mixed.append(_to_pixels(vae.decode(_mix(*pair, rng)).sample))
    indices = torch.full((len(rows),), -1)
    indices[chosen] = torch.arange(len(chosen))
    nothing = torch.empty((0, 1, SIDE, SIDE), dtype=torch.uint8)
    return Reconstructions(torch.cat(decoded), indices, torch.cat([nothing, *mixed])[:latent_mixed])


def _mix(first: torch.Tensor, second: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Two batches of latents, each position with its own fraction of either: soft at the edge of each blob."""
    field = F.interpolate(torch.randn((len(first), 1, 4, 4), generator=rng), size=first.shape[-2:], mode="bicubic")
    fraction = torch.sigmoid(2.5 * field + 0.4 * torch.randn((len(first), 1, 1, 1), generator=rng))
    return fraction * first + (1.0 - fraction) * second


def _to_pixels(decoded: torch.Tensor) -> torch.Tensor:
    """Decoded samples (B, C, H, W) in [-1, 1], white paper, as uint8 ink (B, 1, SIDE, SIDE)."""
    return (decoded_ink(decoded) * 255.0).round().to(torch.uint8)
