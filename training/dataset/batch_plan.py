"""Everything random in a training step, as a function of (seed, step).

No draw comes from a running global state. So an interrupted run resumed equals one never interrupted, the number of
processes does not change what is learned, and there is no random state to save or to lose. All draws are made on the
CPU, whatever the device: the same run on another device sees the same rows, noise and timesteps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from common.seeds import Purpose, generator
from dataset.rows import Row

REWARD_TIMESTEPS = (0.3, 0.98)  # shares of the timesteps between which a recogniser looks; there strokes and parts are decided


@dataclass(frozen=True)
class StepPlan:
    """What one optimizer update of `size` samples (all processes and accumulation steps together) is drawn to see.

    rows, caption: int64 (size,), the row and which of its captions, or, beyond these, of its part names; dropped,
    tagged, rejected, reward_mask: bool (size,), whether the caption is left out (for guidance), whether it carries the
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
    reward_mask: torch.Tensor
    strokes: torch.Tensor
    timesteps: torch.Tensor
    posterior_noise: torch.Tensor
    noise: torch.Tensor

    def part(self, part: slice) -> StepPlan:
        """The share of one process and accumulation step."""
        return StepPlan(*(getattr(self, field.name)[part] for field in fields(self)))


class BatchPlan:
    """The draws of a run: `draws[step]` is a pure function of the seed, the step and the settings given here."""

    def __init__(self, rows: Sequence[Row], seed: int, size: int, latent_shape: Sequence[int],
                 timestep_weights: torch.Tensor, dropout: float, tag_share: float, noise_offset: float,
                 weights: torch.Tensor, single_component_fraction: float = 0.0) -> None:
        """See StepPlan for the fields; `dropout`, `tag_share` and `single_component_fraction` are probabilities.

        `timestep_weights` (T,) and `weights`, a row each, are not negative: how often each is drawn, in proportion.
        """
        self.seed, self.size, self.latent_shape = seed, size, tuple(latent_shape)
        self.timestep_weights, self.dropout, self.tag_share = timestep_weights, dropout, tag_share
        self.noise_offset, self.weights, self.single_component_fraction = noise_offset, weights, single_component_fraction
        self.caption_counts = torch.tensor([len(row.captions) for row in rows])
        self.part_name_counts = torch.tensor([len(row.component_names) for row in rows])
        self.strokes = torch.tensor([row.strokes or 0 for row in rows])
        self.can_tag = torch.tensor([row.strokes is not None for row in rows])
        self.has_reward = torch.tensor([row.is_own or bool(row.metadata.get("components")) for row in rows])
        self.is_rejected = torch.tensor([row.is_rejected for row in rows])
        self._last_order: tuple[int, torch.Tensor] | None = None  # an epoch and its rows, kept for the next step

    def __getitem__(self, step: int) -> StepPlan:
        """Everything that update number `step` (from 0) draws."""
        rows, caption, dropped, tagged = self._captions(step)
        noise = self._normal(step, Purpose.NOISE, self.latent_shape)
        if self.noise_offset:
            flat = (self.latent_shape[0],) + (1,) * (len(self.latent_shape) - 1)
            noise += self.noise_offset * self._normal(step, Purpose.NOISE_OFFSET, flat)
        first, end = (share * len(self.timestep_weights) for share in REWARD_TIMESTEPS)
        timesteps = torch.multinomial(self.timestep_weights, self.size, replacement=True,
                                      generator=generator(self.seed, step, Purpose.TIMESTEPS))
        return StepPlan(
            rows=rows,
            caption=caption,
            dropped=dropped,
            tagged=tagged,
            rejected=self.is_rejected[rows],
            reward_mask=(~dropped & self.has_reward[rows] & (caption < self.caption_counts[rows])
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
        if self.single_component_fraction:
            chance = torch.rand((2, self.size), generator=generator(self.seed, step, Purpose.PART_NAMES))
            names = self.part_name_counts[rows]
            alone = tagged & (names > 0) & (chance[0] < self.single_component_fraction)
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
