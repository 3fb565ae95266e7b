"""The recogniser's loss: what each of its answers costs, and how much each of these counts."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recogniser.network import RecogniserOutput
from recogniser.training_batches import Batch

LOSS_WEIGHTS = {"components": 1.0, "strokes": 0.15, "stroke_error": 0.1, "well_formed": 0.5, "identity": 0.15}
STROKE_SIGMA = 0.7  # strokes, of the Gaussian about the true number that the logits are drawn to
IDENTITY_SCALE = 20.0  # logits of "which character is this" are cosines times this


def loss_terms(output: RecogniserOutput, batch: Batch, identities: torch.Tensor) -> dict[str, torch.Tensor]:
    """The terms of the loss; each is a mean over what the batch asks.

    components: cross-entropy over the slots, summed a glyph; strokes: cross-entropy to a narrow Gaussian about the
    number; stroke_error: strokes; well_formed: binary cross-entropy; identity: which real character of the set it is,
    among `identities`, (characters, width).
    """
    counted = batch.strokes > 0
    count = batch.strokes[counted].float()
    asked, known = batch.well_formed >= 0, batch.identity >= 0
    cosines = output.embedding[known] @ F.normalize(identities, dim=-1).T
    return {
        "components": _component_loss(output.components, batch.slots),
        "strokes": _stroke_loss(output.strokes[counted].float(), count),
        "stroke_error": (output.expected_strokes()[counted] - count).abs().mean(),
        "well_formed": F.binary_cross_entropy_with_logits(output.well_formed[asked].float(), batch.well_formed[asked]),
        "identity": F.cross_entropy(IDENTITY_SCALE * cosines, batch.identity[known]),
    }


def _component_loss(logits: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of (B, slots, classes) to the labels (B, slots, TOGETHER); -1 asks nothing."""
    labelled = (slots >= 0).flatten(1).any(1).sum()
    flat = logits.flatten(0, 1)
    total = sum(F.cross_entropy(flat, slots[..., index].flatten(), ignore_index=-1, reduction="sum")
                for index in range(slots.shape[-1]))
    return total / (slots.shape[-1] * labelled)


def _stroke_loss(logits: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of (N, MAX_STROKES + 1) to a Gaussian about the number of strokes, (N,)."""
    bump = torch.exp(-((torch.arange(logits.shape[-1]) - count[:, None]) ** 2) / (2 * STROKE_SIGMA**2))
    return F.cross_entropy(logits, bump / bump.sum(-1, keepdim=True))
