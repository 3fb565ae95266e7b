"""Rows without pictures, and the plans of runs over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch

from dataset.batch_plan import BatchPlan, PlanSettings
from dataset.rows import Row

LATENT_SHAPE = (4, 2, 2)


def rows(count: int = 40, **metadata: object) -> list[Row]:
    """Rows of one to three captions and of 1 to 20 strokes."""
    return [Row(Path(f"{number}.png"), str(number), ("one", "two", "three")[:number % 3 + 1],
                {"strokes": number % 20 + 1, **metadata}) for number in range(count)]


def batch_plan(of: Sequence[Row] | None = None, timestep_weights: torch.Tensor | None = None,
               **changes: object) -> BatchPlan:
    """The plan of updates of 16 samples of rows that weigh the same."""
    of = rows() if of is None else of
    settings = {"seed": 0, "size": 16, "latent_shape": LATENT_SHAPE, "dropout": 0.25, "tag_fraction": 0.5, **changes}
    assert settings.keys() <= {field.name for field in fields(PlanSettings)}
    return BatchPlan(of, PlanSettings(**settings), torch.ones(len(of)),
                     torch.ones(1000) if timestep_weights is None else timestep_weights)
