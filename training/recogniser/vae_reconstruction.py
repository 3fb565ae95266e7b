"""Glyphs as the autoencoder draws them: its round trip, and the muddle that a sampler makes between two characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from common.device import autocast
from common.quiet import known_noise_off
from common.seeds import generator
from dataset.images import load_image
from dataset.rows import Row
from recogniser.network import SIDE, decoded_ink
from recogniser.training_batches import Purpose, Reconstructed

with known_noise_off():
    from diffusers import AutoencoderKL

RESOLUTION = 128  # px that the autoencoder of the embedded base works at
BATCH = 16


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, rows: Sequence[Row], whole: int, latent_mixed: int, seed: int) -> Reconstructed:
    """Send `whole` glyphs, half of them real, through the autoencoder, and make `latent_mixed` mixtures of them.

    Of a kind of which there are fewer, all are sent.
    """
    vae = vae.eval().to(memory_format=torch.channels_last)
    draw = generator(seed, 0, Purpose.DISTORTIONS)
    groups = [torch.tensor([place for place, row in enumerate(rows) if row.is_composed == composed], dtype=torch.long)
              for composed in (False, True)]
    chosen = torch.cat([group[torch.randperm(len(group), generator=draw)[:whole // 2]] for group in groups])
    latents, pictures = [], []
    with autocast(torch.device("cpu")):
        for batch in tqdm(chosen.split(BATCH), desc="redrawing glyphs", unit="batch", leave=False):
            glyphs = np.stack([load_image(rows[place].path, RESOLUTION, vae.config.in_channels) for place in batch])
            latents.append(vae.encode(torch.from_numpy(glyphs)).latent_dist.sample(draw).float())
            pictures.append(_to_pixels(vae.decode(latents[-1]).sample))
        latents, mixed = torch.cat(latents), []
        for _ in tqdm(range(0, latent_mixed, BATCH), desc="muddling glyphs", unit="batch", leave=False):
            pair = latents[torch.randint(len(latents), (2, BATCH), generator=draw)]
            mixed.append(_to_pixels(vae.decode(_mix(*pair, draw)).sample))
    places = torch.full((len(rows),), -1)
    places[chosen] = torch.arange(len(chosen))
    nothing = torch.empty((0, 1, SIDE, SIDE), dtype=torch.uint8)
    return Reconstructed(torch.cat(pictures), places, torch.cat([nothing, *mixed])[:latent_mixed])


def _mix(first: torch.Tensor, second: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Two batches of latents, each place with its own share of either: soft in the middle of each blob's edge."""
    field = F.interpolate(torch.randn((len(first), 1, 4, 4), generator=draw), size=first.shape[-2:], mode="bicubic")
    share = torch.sigmoid(2.5 * field + 0.4 * torch.randn((len(first), 1, 1, 1), generator=draw))
    return share * first + (1.0 - share) * second


def _to_pixels(decoded: torch.Tensor) -> torch.Tensor:
    """Decoded pictures (B, C, H, W) in [-1, 1], white paper, as uint8 ink (B, 1, SIDE, SIDE)."""
    return (decoded_ink(decoded) * 255.0).round().to(torch.uint8)
