"""How a learning rate rises and falls, as functions of the step: there is no scheduler state to save."""

from __future__ import annotations

import math


def warm_up(step: int, steps: int) -> float:
    """The linear rise over the first `steps` updates, above 0 at update 0 and 1 from update `steps` - 1 on."""
    return min(1.0, (step + 1) / max(1, steps))


def cosine(done: float) -> float:
    """Half a cosine's fall from 1 to 0, as `done` goes from 0 to 1 (arXiv 1608.03983, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * done))
