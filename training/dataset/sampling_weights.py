"""How often each row and each timestep is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from dataset.rows import Row

LATEST_GRADE = 10  # of KANJIDIC2's; 1 to 6 are primary school's
MAX_RARITY_WEIGHT = 5.0  # times as often as one of usual components, at most, is a composed character of rare ones drawn


def timestep_weights(count: int, strategy: str, portion: float, multiplier: float, begin: int = 0,
                     end: int = 1000) -> torch.Tensor:
    """How often each of `count` timesteps is drawn, float64 (count,), as diffusers' SDXL script has it.

    `later` favours the noisiest `portion` of them by `multiplier`, `earlier` the cleanest, `range` those from `begin`
    up to, and without, `end`; `none` draws all evenly.
    """
    weights = torch.ones(count, dtype=torch.float64)
    favoured = round(portion * count)
    if strategy == "later":
        weights[count - favoured:] *= multiplier
    elif strategy == "earlier":
        weights[:favoured] *= multiplier
    elif strategy == "range":
        weights[begin:end] *= multiplier
    return weights


def row_weights(rows: Sequence[Row], composed_fraction: float, frequent_kanji_weight: float,
                rare_component_exponent: float = 0.0) -> torch.Tensor:
    """How often each row is drawn, float64 (N,), positive.

    Stroke counts are leant to those of everyday characters: Jouyou kanji have 10.5 strokes in the mean where all kanji
    have 12.3, and a model that sees all evenly draws too many. A common real character weighs `frequent_kanji_weight` times a
    rare one, and four times more in the first school year, twice in the second: their meanings are the plainest words,
    and they are the parts of the others. A `frequent_kanji_weight` of 1 leans to nothing. Composed rows together make up
    `composed_fraction` of the draws (0 to 1) where there are any; among them a `rare_component_exponent` (0 to 1) above 0 draws those
    of rare components more often. A set with neither strokes nor composed rows is drawn evenly.
    """
    weights = torch.ones(len(rows), dtype=torch.float64)
    composed = torch.tensor([row.is_composed for row in rows])
    common = torch.tensor([row.is_frequent for row in rows]) & ~composed
    if frequent_kanji_weight > 1.0:
        grades = torch.tensor([row.grade or LATEST_GRADE for row in rows])
        weights[common] *= frequent_kanji_weight * (4.0 / grades[common]).clamp_min(1.0)
        everyday = [row.strokes for row, is_frequent in zip(rows, common.tolist(), strict=True) if is_frequent]
        weights *= _stroke_lean(rows, [strokes for strokes in everyday if strokes])
    if rare_component_exponent > 0.0 and composed.any():
        weights *= _part_lean(rows, rare_component_exponent)
    for group, share in ((composed, composed_fraction), (~composed, 1.0 - composed_fraction)):
        if composed.any() and not composed.all():
            weights[group] *= share / weights[group].sum()
    return weights.clamp_min(1e-12)


def with_extra(weights: torch.Tensor, count: int, share: float) -> torch.Tensor:
    """`weights` (N,) followed by those of `count` other rows, all the same, which make up `share` of the draws."""
    if not count:
        return weights
    own = weights * ((1.0 - share) / weights.sum())
    return torch.cat([own, torch.full((count,), share / count, dtype=own.dtype)]).clamp_min(1e-12)


def _part_lean(rows: Sequence[Row], balance: float) -> torch.Tensor:
    """For each row, how often its rarest component is seen in composed rows, against the median, to the -balance.

    1 for a row that is not composed; between 1 / MAX_RARITY_WEIGHT and MAX_RARITY_WEIGHT.
    """
    uses = Counter(form for row in rows if row.is_composed for form in row.forms)
    rarest = torch.tensor([min((uses[form] for form in row.forms), default=0) if row.is_composed else 0
                           for row in rows], dtype=torch.float64)
    known = rarest > 0
    lean = (rarest.clamp_min(1.0) / rarest[known].median()) ** -balance if known.any() else torch.ones_like(rarest)
    return torch.where(known, lean.clamp(1.0 / MAX_RARITY_WEIGHT, MAX_RARITY_WEIGHT), 1.0)


def _stroke_lean(rows: Sequence[Row], everyday: Sequence[int]) -> torch.Tensor:
    """For each row, how much more frequent its stroke count is among everyday characters than among all (0.2 to 5)."""
    if not everyday:
        return torch.ones(len(rows), dtype=torch.float64)
    strokes = torch.tensor([row.strokes or 0 for row in rows])
    length = int(strokes.max()) + 1
    wanted = torch.bincount(torch.tensor(everyday), minlength=length).double() + 1.0
    present = torch.bincount(strokes, minlength=length).double() + 1.0
    lean = (wanted / wanted.sum()) / (present / present.sum())
    return torch.where(strokes > 0, lean.clamp(0.2, 5.0)[strokes], 1.0)
