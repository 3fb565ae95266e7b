"""Everything random in a training step, as a function of (seed, step).

Nothing is drawn from a running global state. So an interrupted run resumed equals one never interrupted, the number of
processes does not change what is learned, and there is no random state to save or to lose. All is drawn on the CPU,
whatever the device: the same run on another device sees the same rows, noise and timesteps, though what it computes of
them has the same bits on a CPU alone, or on a GPU under deterministic algorithms. `BatchPlan[step]` is the plan of one
update of all processes; batches.py deals it out to them. `BatchPlan.noise` draws that of some samples alone, so that
the work of a process does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TypeVar

import torch
from tqdm import tqdm

from common.seeds import Purpose, generator
from dataset.rows import Row

REWARD_TIMESTEPS = (0.3, 0.98)  # fractions of the timesteps between which strokes and components are decided
NOISE_BLOCK = 64  # samples of an update whose noise is drawn together: no process draws that of all, however many are
BLOCK = 2**14  # samples, about, whose captions are looked up together: those of a million steps are known in seconds
Columns = TypeVar("Columns", bound="TensorColumns")


@dataclass(frozen=True)
class PlanSettings:
    """What a plan depends on beside the rows and how often each row and timestep is drawn."""

    seed: int
    size: int
    """Samples of one update: of all processes and accumulation steps together."""
    latent_shape: tuple[int, ...]
    """Channels and sides of one latent."""
    dropout: float = 0.0
    """Probability that a caption is left out, for guidance; a negative sample keeps its own."""
    tag_fraction: float = 0.0
    """Probability that a caption names the stroke count, where it is known."""
    noise_offset: float = 0.0
    """Standard deviation of what is added to whole channels of the noise."""
    single_component_fraction: float = 0.0
    """Probability that a composed row with its stroke count goes by the name of one component alone."""
    component_caption_fraction: float = 0.0
    """Probability that a row that has captions in components goes by one: half of the time by the components alone,
    half by its words too, where it has such a caption."""


class TensorColumns:
    """A frozen dataclass of tensors with one entry for each of the same things; indexing picks of all of them."""

    def __getitem__(self: Columns, indices: torch.Tensor | slice) -> Columns:
        """The same columns of some of the things."""
        return type(self)(*(getattr(self, field.name)[indices] for field in fields(self)))


@dataclass(frozen=True)
class RowTable(TensorColumns):
    """What a plan must know of each of N rows."""

    captions: torch.Tensor
    """int64 (N,): how many captions it has."""
    component_names: torch.Tensor
    """int64 (N,): how many names of components, which are counted on after the captions."""
    component_captions: torch.Tensor
    """int64 (N,): how many captions in components, counted on after the names: by these alone, then with the words."""
    strokes: torch.Tensor
    """int64 (N,): its stroke count, 0 where that is not known."""
    has_strokes: torch.Tensor
    """bool (N,): whether its stroke count is known."""
    has_reward: torch.Tensor
    """bool (N,): whether a reward model may score it: an own sample, or a picture whose components are known."""
    is_negative: torch.Tensor
    """bool (N,): whether it is a negative sample."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> RowTable:
        """The table of a dataset's rows."""
        return cls(
            captions=torch.tensor([len(row.captions) for row in rows]),
            component_names=torch.tensor([len(row.component_names) for row in rows]),
            component_captions=torch.tensor([len(row.component_captions) for row in rows]),
            strokes=torch.tensor([row.strokes or 0 for row in rows]),
            has_strokes=torch.tensor([row.strokes is not None for row in rows]),
            has_reward=torch.tensor([row.is_own_sample or bool(row.metadata.get("components")) for row in rows]),
            is_negative=torch.tensor([row.is_negative for row in rows]),
        )


@dataclass(frozen=True)
class StepPlan(TensorColumns):
    """What an update of `size` samples is to see, without its noise; a part, `plan[slice]`, is of the same form."""

    rows: torch.Tensor
    """int64 (size,): indices of rows."""
    captions: torch.Tensor
    """int64 (size,): index of a row's caption or, beyond these, of its component names, then captions in components."""
    dropped: torch.Tensor
    """bool (size,): whether the caption is left out."""
    tagged: torch.Tensor
    """bool (size,): whether the caption names the stroke count."""
    negative: torch.Tensor
    """bool (size,): whether it is a negative sample."""
    reward_mask: torch.Tensor
    """bool (size,): whether a reward model scores it: by a caption that says all of it, at REWARD_TIMESTEPS."""
    strokes: torch.Tensor
    """int64 (size,): the stroke count that the caption names, 0 where it names none."""
    timesteps: torch.Tensor
    """int64 (size,)."""


@dataclass(frozen=True)
class StepNoise(TensorColumns):
    """What is drawn for each latent of one update, or of some of its samples."""

    posterior: torch.Tensor
    """fp32 (size, *latent_shape): standard normal, for the sample of the VAE's posterior."""
    noise: torch.Tensor
    """fp32 (size, *latent_shape): what the latents are noised with, standard normal plus the noise offset."""


class BatchPlan:
    """The plan of a run: `plan[step]` is a pure function of what it is made from and the step."""

    def __init__(self, rows: Sequence[Row], settings: PlanSettings, row_weights: torch.Tensor,
                 timestep_weights: torch.Tensor) -> None:
        """`row_weights` (rows,) and `timestep_weights` (T,) are not below 0: how often each is drawn, in proportion."""
        self.table, self.settings = RowTable.of(rows), settings
        self.row_weights, self.timestep_weights = row_weights, timestep_weights
        self._block = lru_cache(maxsize=2)(self._draw_block)  # accumulation steps may share one
        self._epoch_order = lru_cache(maxsize=2)(lambda epoch: epoch_order(row_weights, settings.seed, epoch))

    def __getitem__(self, step: int) -> StepPlan:
        """Everything that update number `step` (from 0) draws, but for its noise."""
        rows = self._rows(step)
        known = self.table[rows]
        captions, dropped, tagged = choose_captions(known, self.settings, caption_noise(self.settings, step))
        timesteps = torch.multinomial(self.timestep_weights, self.settings.size, replacement=True,
                                      generator=generator(self.settings.seed, step, Purpose.TIMESTEPS))
        first, end = (fraction * len(self.timestep_weights) for fraction in REWARD_TIMESTEPS)
        one_alone = (captions >= known.captions) & (captions < known.captions + known.component_names)
        return StepPlan(
            rows=rows,
            captions=captions,
            dropped=dropped,
            tagged=tagged,
            negative=known.is_negative,
            reward_mask=known.has_reward & ~dropped & ~one_alone & (timesteps >= first) & (timesteps < end),
            strokes=known.strokes * (tagged & ~dropped),
            timesteps=timesteps,
        )

    def noise(self, step: int, part: slice | None = None) -> StepNoise:
        """The noise of update number `step`, or of a part of its samples, of which alone it is drawn then.

        It comes in blocks of NOISE_BLOCK samples, each with a generator of its own.
        """
        first, end, _ = (part or slice(None)).indices(self.settings.size)
        blocks = range(first // NOISE_BLOCK, -(-end // NOISE_BLOCK))
        drawn = [self._block(step, block * NOISE_BLOCK) for block in blocks]
        own = slice(first - blocks.start * NOISE_BLOCK, end - blocks.start * NOISE_BLOCK)
        return StepNoise(torch.cat([one.posterior for one in drawn])[own], torch.cat([one.noise for one in drawn])[own])

    def required_captions(self, steps: int) -> torch.Tensor:
        """Which captions the first `steps` updates draw: bool (rows, most captions, 2), by row, caption and tag.

        A row whose caption is dropped counts as drawn with it: its picture is seen all the same.
        """
        possible = possible_captions(self.table, self.settings)
        required = torch.zeros_like(possible)
        together = max(1, BLOCK // self.settings.size)
        for first in tqdm(range(0, steps, together), desc="planning captions", unit="block", delay=2, leave=False):
            if torch.equal(required, possible):
                break  # there is nothing more to be drawn, however many steps follow
            block = range(first, min(first + together, steps))
            rows = self._rows(first, len(block))
            uniform = torch.cat([caption_noise(self.settings, step) for step in block], dim=1)
            captions, _, tagged = choose_captions(self.table[rows], self.settings, uniform)
            required[rows, captions, tagged.long()] = True
        return required

    def _rows(self, step: int, steps: int = 1) -> torch.Tensor:
        """The rows of `steps` steps, int64 (steps size,): the next ones of an endless sequence of epochs."""
        count, size = len(self.row_weights), self.settings.size
        indices = torch.arange(step * size, (step + steps) * size)
        epochs = indices // count
        return torch.cat([self._epoch_order(epoch)[indices[epochs == epoch] % count]
                          for epoch in epochs.unique().tolist()])

    def _draw_block(self, step: int, first: int) -> StepNoise:
        """The noise of the samples from `first` up to the end of their block."""
        noise = self._normal(step, first, Purpose.NOISE)
        if self.settings.noise_offset:
            noise += self.settings.noise_offset * self._normal(step, first, Purpose.NOISE_OFFSET, whole_channels=True)
        return StepNoise(self._normal(step, first, Purpose.POSTERIOR), noise)

    def _normal(self, step: int, first: int, purpose: Purpose, whole_channels: bool = False) -> torch.Tensor:
        """Standard normal, fp32 (block, *latent_shape), or (block, channels, 1, ...) for `whole_channels`."""
        channels, *sides = self.settings.latent_shape
        shape = (channels, *(1 for _ in sides)) if whole_channels else (channels, *sides)
        count = min(NOISE_BLOCK, self.settings.size - first)
        return torch.randn((count, *shape), generator=generator(self.settings.seed, step, purpose, first))


def possible_captions(table: RowTable, settings: PlanSettings) -> torch.Tensor:
    """Which captions any update may draw: bool (rows, most captions, 2), as BatchPlan.required_captions has them."""
    names = table.captions
    spelled = names + table.component_names
    end = spelled + table.component_captions * (settings.component_caption_fraction > 0.0)
    index = torch.arange(int(end.max()))[None]
    is_name = (index >= names[:, None]) & (index < spelled[:, None])
    is_spelled = (index >= spelled[:, None]) & (index < end[:, None])
    in_words = (table.component_captions[:, None] == 0) | (settings.component_caption_fraction < 1.0)
    is_whole = ((index < names[:, None]) & in_words) | is_spelled
    tags = settings.tag_fraction > 0.0
    can_be_tagged, has_names = table.has_strokes[:, None] & tags, table.component_names[:, None] > 0
    plain = is_whole & ~(can_be_tagged & (settings.tag_fraction >= 1.0))
    tagged = is_whole & can_be_tagged & ~(has_names & (settings.single_component_fraction >= 1.0))
    named = is_name & can_be_tagged & (settings.single_component_fraction > 0.0)
    return torch.stack([plain, tagged | named], dim=2)


def caption_noise(settings: PlanSettings, step: int) -> torch.Tensor:
    """What a step's captions are chosen by, uniform in [0, 1): fp32 (6, size), 1 for what the settings leave out."""
    wanted = {Purpose.CAPTIONS: (3, True), Purpose.PART_NAMES: (2, settings.single_component_fraction > 0.0),
              Purpose.COMPONENT_CAPTIONS: (1, settings.component_caption_fraction > 0.0)}
    return torch.cat([
        torch.rand((count, settings.size), generator=generator(settings.seed, step, purpose)) if is_wanted
        else torch.ones(count, settings.size) for purpose, (count, is_wanted) in wanted.items()])


def choose_captions(known: RowTable, settings: PlanSettings, uniform: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Captions of rows, of which `known` is the table, by caption_noise: `captions`, `dropped`, `tagged` of StepPlan.

    The rows may be those of several steps.
    """
    which, drop, tag, alone, which_name, spelled = uniform
    words = _nth(which, known.captions)
    dropped = (drop < settings.dropout) & ~known.is_negative
    tagged = (tag < settings.tag_fraction) & known.has_strokes
    first = known.captions + known.component_names  # the caption by components alone
    with_words = (spelled >= settings.component_caption_fraction / 2) & (known.component_captions > 1)
    spelled = (spelled < settings.component_caption_fraction) & (known.component_captions > 0)
    captions = torch.where(spelled, first + torch.where(with_words, 1 + words, 0), words)
    alone = (alone < settings.single_component_fraction) & tagged & (known.component_names > 0)
    captions = torch.where(alone, known.captions + _nth(which_name, known.component_names), captions)
    return captions, dropped, tagged


def _nth(uniform: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Indices below `counts`, int64, from what is uniform in [0, 1)."""
    return torch.minimum((uniform * counts).long(), counts - 1)


def epoch_order(weights: torch.Tensor, seed: int, epoch: int) -> torch.Tensor:
    """The rows of one epoch, as many as there are rows, in random order: int64 (N,).

    Systematic sampling: a row of weight w (mean 1) comes floor(w) or ceil(w) times, so that with equal weights an epoch
    is a plain permutation and every row is seen once.
    """
    rng = generator(seed, epoch, Purpose.ROWS)
    count = len(weights)
    shuffled = torch.randperm(count, generator=rng)
    edges = torch.cumsum(weights.double()[shuffled], 0)
    edges *= count / edges[-1].item()
    points = torch.arange(count, dtype=torch.float64) + torch.rand((), generator=rng, dtype=torch.float64)
    chosen = shuffled[torch.searchsorted(edges, points).clamp_max(count - 1)]
    return chosen[torch.randperm(count, generator=rng)]
