"""Everything random in a training step, as a function of (seed, step).

No draw comes from a running global state. So an interrupted run resumed equals one never interrupted, the number of
processes does not change what is learned, and there is no random state to save or to lose. All draws are made on the
CPU, whatever the device: the same run on another device sees the same rows, noise and timesteps.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import torch

from captioned_dataset import Row

LATEST_GRADE = 10  # of KANJIDIC2's; 1 to 6 are primary school's
MOST_RARE = 5.0  # times as often as one of usual components, at most, is a composed character of rare ones drawn
LOOKED_AT = (0.3, 0.98)  # shares of the timesteps between which a recogniser looks; there strokes and parts are decided


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


def generator(seed: int, step: int, purpose: Purpose, part: int = 0) -> torch.Generator:
    """A CPU generator for one purpose of one step, or a part of it. All are hashed, so neighbours are unrelated."""
    name = f"{seed}:{step}:{int(purpose)}" + (f":{part}" if part else "")
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass(frozen=True)
class StepDraws:
    """What one optimizer update of `size` samples (all processes and accumulation steps together) is drawn to see.

    rows, caption: int64 (size,), the row and which of its captions, or, beyond these, of its part names; dropped,
    tagged, rejected, looked_at: bool (size,), whether the caption is left out (for guidance), whether it carries the
    stroke count, whether the picture is one to be led away from, whose caption is never left out, and whether a
    recogniser may look at it: at own drawings and at pictures whose components are known, with their captions, at
    timesteps where it matters; strokes: int64 (size,), the number that the caption names, 0 for none; timesteps: int64
    (size,);
    posterior_noise, noise: float32 (size, *latent_shape), standard normal, for the VAE's sample and the diffusion.
    """

    rows: torch.Tensor
    caption: torch.Tensor
    dropped: torch.Tensor
    tagged: torch.Tensor
    rejected: torch.Tensor
    looked_at: torch.Tensor
    strokes: torch.Tensor
    timesteps: torch.Tensor
    posterior_noise: torch.Tensor
    noise: torch.Tensor

    def part(self, part: slice) -> StepDraws:
        """The share of one process and accumulation step."""
        return StepDraws(*(getattr(self, field.name)[part] for field in fields(self)))


class Draws:
    """The draws of a run: `draws[step]` is a pure function of the seed, the step and the settings given here."""

    def __init__(self, rows: Sequence[Row], seed: int, size: int, latent_shape: Sequence[int],
                 timestep_weights: torch.Tensor, dropout: float, tag_share: float, noise_offset: float,
                 weights: torch.Tensor, one_part_share: float = 0.0) -> None:
        """See StepDraws for the fields; `dropout`, `tag_share` and `one_part_share` are probabilities.

        `timestep_weights` (T,) and `weights`, a row each, are not negative: how often each is drawn, in proportion.
        """
        self.seed, self.size, self.latent_shape = seed, size, tuple(latent_shape)
        self.timestep_weights, self.dropout, self.tag_share = timestep_weights, dropout, tag_share
        self.noise_offset, self.weights, self.one_part_share = noise_offset, weights, one_part_share
        self.caption_counts = torch.tensor([len(row.captions) for row in rows])
        self.part_name_counts = torch.tensor([len(row.part_names) for row in rows])
        self.strokes = torch.tensor([row.strokes or 0 for row in rows])
        self.can_tag = torch.tensor([row.strokes is not None for row in rows])
        self.can_be_looked_at = torch.tensor([row.is_own or bool(row.facts.get("components")) for row in rows])
        self.is_rejected = torch.tensor([row.is_rejected for row in rows])
        self._last_order: tuple[int, torch.Tensor] | None = None  # an epoch and its rows, kept for the next step

    def __getitem__(self, step: int) -> StepDraws:
        """Everything that update number `step` (from 0) draws."""
        rows, caption, dropped, tagged = self._captions(step)
        noise = self._normal(step, Purpose.NOISE, self.latent_shape)
        if self.noise_offset:
            flat = (self.latent_shape[0],) + (1,) * (len(self.latent_shape) - 1)
            noise += self.noise_offset * self._normal(step, Purpose.NOISE_OFFSET, flat)
        first, end = (share * len(self.timestep_weights) for share in LOOKED_AT)
        timesteps = torch.multinomial(self.timestep_weights, self.size, replacement=True,
                                      generator=generator(self.seed, step, Purpose.TIMESTEPS))
        return StepDraws(
            rows=rows,
            caption=caption,
            dropped=dropped,
            tagged=tagged,
            rejected=self.is_rejected[rows],
            looked_at=(~dropped & self.can_be_looked_at[rows] & (caption < self.caption_counts[rows])
                       & (timesteps >= first) & (timesteps < end)),
            strokes=self.strokes[rows] * (tagged & ~dropped),
            timesteps=timesteps,
            posterior_noise=self._normal(step, Purpose.POSTERIOR, self.latent_shape),
            noise=noise,
        )

    def wanted(self, steps: int) -> torch.Tensor:
        """Which captions the first `steps` updates draw, bool (rows, most captions, 2), by row, caption and tag.

        A row whose caption is dropped counts as drawn with it: its picture is seen all the same.
        """
        most = int((self.caption_counts + self.part_name_counts).max())
        wanted = torch.zeros((len(self.weights), most, 2), dtype=torch.bool)
        for step in range(steps):
            rows, caption, _, tagged = self._captions(step)
            wanted[rows, caption, tagged.long()] = True
        return wanted

    def _captions(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows, captions, which are dropped and which are tagged."""
        rows = self._rows(step)
        chance = torch.rand((3, self.size), generator=generator(self.seed, step, Purpose.CAPTIONS))
        counts = self.caption_counts[rows]
        caption = torch.minimum((chance[0] * counts).long(), counts - 1)
        dropped = (chance[1] < self.dropout) & ~self.is_rejected[rows]
        tagged = (chance[2] < self.tag_share) & self.can_tag[rows]
        if self.one_part_share:
            chance = torch.rand((2, self.size), generator=generator(self.seed, step, Purpose.PART_NAMES))
            names = self.part_name_counts[rows]
            alone = tagged & (names > 0) & (chance[0] < self.one_part_share)
            caption = torch.where(alone, counts + torch.minimum((chance[1] * names).long(), names - 1), caption)
        return rows, caption, dropped, tagged

    def _rows(self, step: int) -> torch.Tensor:
        """The rows of a step: the next `size` of an endless sequence of epochs."""
        length, places = len(self.weights), torch.arange(step * self.size, (step + 1) * self.size)
        epochs = places // length
        rows = torch.empty_like(places)
        for epoch in epochs.unique().tolist():
            order = self._last_order  # looked at once: another thread may draw at the same time
            if order is None or order[0] != epoch:
                order = self._last_order = epoch, epoch_order(self.weights, self.seed, epoch)
            here = epochs == epoch
            rows[here] = order[1][places[here] % length]
        return rows

    def _normal(self, step: int, purpose: Purpose, shape: Sequence[int]) -> torch.Tensor:
        return torch.randn((self.size, *shape), generator=generator(self.seed, step, purpose))


def epoch_order(weights: torch.Tensor, seed: int, epoch: int) -> torch.Tensor:
    """The rows of one epoch, as many as there are rows, in random order: int64 (N,).

    Systematic sampling: a row of weight w (mean 1) comes floor(w) or ceil(w) times, so that with equal weights an epoch
    is a plain permutation and every row is seen once.
    """
    draw = generator(seed, epoch, Purpose.ROWS)
    count = len(weights)
    shuffled = torch.randperm(count, generator=draw)
    edges = torch.cumsum(weights.double()[shuffled], 0)
    edges *= count / edges[-1].item()
    points = torch.arange(count, dtype=torch.float64) + torch.rand((), generator=draw, dtype=torch.float64)
    chosen = shuffled[torch.searchsorted(edges, points).clamp_max(count - 1)]
    return chosen[torch.randperm(count, generator=draw)]


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


def row_weights(rows: Sequence[Row], composed_share: float, common_weight: float,
                part_balance: float = 0.0) -> torch.Tensor:
    """How often each row is drawn, float64 (N,), positive.

    Stroke counts are leant to those of everyday characters: Jouyou kanji have 10.5 strokes in the mean where all kanji
    have 12.3, and a model that sees all evenly draws too many. A common real character weighs `common_weight` times a
    rare one, and four times more in the first school year, twice in the second: their meanings are the plainest words,
    and they are the parts of the others. A `common_weight` of 1 leans to nothing. Composed rows together make up
    `composed_share` of the draws (0 to 1) where there are any; among them a `part_balance` (0 to 1) above 0 draws those
    of rare components more often. A set with neither strokes nor composed rows is drawn evenly.
    """
    weights = torch.ones(len(rows), dtype=torch.float64)
    composed = torch.tensor([row.is_composed for row in rows])
    common = torch.tensor([row.is_common for row in rows]) & ~composed
    if common_weight > 1.0:
        grades = torch.tensor([row.grade or LATEST_GRADE for row in rows])
        weights[common] *= common_weight * (4.0 / grades[common]).clamp_min(1.0)
        everyday = [row.strokes for row, is_common in zip(rows, common.tolist(), strict=True) if is_common]
        weights *= _stroke_lean(rows, [strokes for strokes in everyday if strokes])
    if part_balance > 0.0 and composed.any():
        weights *= _part_lean(rows, part_balance)
    for group, share in ((composed, composed_share), (~composed, 1.0 - composed_share)):
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

    1 for a row that is not composed; between 1 / MOST_RARE and MOST_RARE.
    """
    uses = Counter(form for row in rows if row.is_composed for form in row.forms)
    rarest = torch.tensor([min((uses[form] for form in row.forms), default=0) if row.is_composed else 0
                           for row in rows], dtype=torch.float64)
    known = rarest > 0
    lean = (rarest.clamp_min(1.0) / rarest[known].median()) ** -balance if known.any() else torch.ones_like(rarest)
    return torch.where(known, lean.clamp(1.0 / MOST_RARE, MOST_RARE), 1.0)


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
