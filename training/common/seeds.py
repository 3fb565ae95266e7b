"""Random generators as functions of (seed, step, purpose): no global random state is read or kept."""

from __future__ import annotations

import hashlib
from enum import IntEnum

import torch


class Purpose(IntEnum):
    """What a generator is for. Each purpose has its own stream, so that a new one never disturbs the others."""

    ROWS = 0
    CAPTIONS = 1
    POSTERIOR = 2
    NOISE = 3
    TIMESTEPS = 4
    NOISE_OFFSET = 5
    DISTORTIONS = 6
    PART_NAMES = 7
    COMPONENT_CAPTIONS = 8
    COMPONENT_TOKENS = 9
    LABELS = 10
    GLYPH_ROWS = 100  # the recogniser's
    GLYPH_DISTORTIONS = 101
    GLYPH_BREAKING = 102
    CALIBRATION = 103
    LINE_ART = 200  # the autoencoder's
    HELD_OUT_LINE_ART = 201


def generator(seed: int, step: int, purpose: Purpose, part: int = 0) -> torch.Generator:
    """A CPU generator for one purpose of one step, or a part of it. All are hashed, so neighbours are unrelated."""
    name = f"{seed}:{step}:{int(purpose)}" + (f":{part}" if part else "")
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
