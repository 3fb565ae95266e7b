"""How often each row and each timestep is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from dataset.rows import Row

LATEST_GRADE = 10  # of KANJIDIC2's; 1 to 6 are primary school's
MAX_RARITY_WEIGHT = 5.0  # of a composed row of rare components, where 1 is that of one of usual components
MAX_STROKE_WEIGHT = 5.0  # of a stroke count that is more frequent among frequent kanji than among all


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

    Stroke counts are brought near those of frequent kanji: Jouyou kanji have 10.5 strokes in the mean where all kanji
    have 12.3, and a model that sees all evenly draws too many. A frequent kanji weighs `frequent_kanji_weight` times a
    rare one, and four times more in the first school year, twice in the second: their meanings are the plainest words,
    and they are the components of the others. A `frequent_kanji_weight` of 1 weighs all alike. Composed rows together
    make up `composed_fraction` of the draws (0 to 1) where there are any; among them a `rare_component_exponent` (0 to
    1) above 0 draws those of rare components more often. A set with neither strokes nor composed rows is drawn evenly.
    """
    weights = torch.ones(len(rows), dtype=torch.float64)
    composed = torch.tensor([row.is_composed for row in rows])
    frequent = torch.tensor([row.is_frequent for row in rows]) & ~composed
    if frequent_kanji_weight > 1.0:
        grades = torch.tensor([row.grade or LATEST_GRADE for row in rows])
        weights[frequent] *= frequent_kanji_weight * (4.0 / grades[frequent]).clamp_min(1.0)
        weights *= _stroke_weights(rows, frequent)
    if rare_component_exponent > 0.0 and composed.any():
        weights *= _rarity_weights(rows, rare_component_exponent)
    for group, fraction in ((composed, composed_fraction), (~composed, 1.0 - composed_fraction)):
        if composed.any() and not composed.all():
            weights[group] *= fraction / weights[group].sum()
    return weights.clamp_min(1e-12)


def with_extra(weights: torch.Tensor, count: int, fraction: float) -> torch.Tensor:
    """`weights` (N,) followed by those of `count` other rows, all the same, which make up `fraction` of the draws."""
    if not count:
        return weights
    own = weights * ((1.0 - fraction) / weights.sum())
    return torch.cat([own, torch.full((count,), fraction / count, dtype=own.dtype)]).clamp_min(1e-12)


def _rarity_weights(rows: Sequence[Row], exponent: float) -> torch.Tensor:
    """For each row, how often its rarest component is seen in composed rows, against the median, to the -exponent.

    1 for a row that is not composed; between 1 / MAX_RARITY_WEIGHT and MAX_RARITY_WEIGHT.
    """
    uses = Counter(form for row in rows if row.is_composed for form in row.forms)
    rarest = torch.tensor([min((uses[form] for form in row.forms), default=0) if row.is_composed else 0
                           for row in rows], dtype=torch.float64)
    known = rarest > 0
    if not known.any():
        return torch.ones_like(rarest)
    weights = (rarest.clamp_min(1.0) / rarest[known].median()) ** -exponent
    return torch.where(known, weights.clamp(1.0 / MAX_RARITY_WEIGHT, MAX_RARITY_WEIGHT), 1.0)


def _stroke_weights(rows: Sequence[Row], frequent: torch.Tensor) -> torch.Tensor:
    """For each row, how much more frequent its stroke count is among the `frequent` ones (bool (N,)) than among all.

    1 where it has none, or none of these has one; between 1 / MAX_STROKE_WEIGHT and MAX_STROKE_WEIGHT.
    """
    strokes = torch.tensor([row.strokes or 0 for row in rows])
    if not (strokes[frequent] > 0).any():
        return torch.ones(len(rows), dtype=torch.float64)
    length = int(strokes.max()) + 1
    target = torch.bincount(strokes[frequent & (strokes > 0)], minlength=length).double() + 1.0
    present = torch.bincount(strokes, minlength=length).double() + 1.0
    weights = (target / target.sum()) / (present / present.sum())
    return torch.where(strokes > 0, weights.clamp(1.0 / MAX_STROKE_WEIGHT, MAX_STROKE_WEIGHT)[strokes], 1.0)
