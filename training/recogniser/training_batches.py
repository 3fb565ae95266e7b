"""The recogniser's training batches: real, composed, synthetic-pair and broken glyphs, all distorted.

Everything about step n is a function of (seed, n). First many glyphs are broken; once those are told apart, more are
synthetic pairs, which show each component in slots where no character of the set has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from common.seeds import Purpose, generator
from dataset.images import open_image
from dataset.rows import Row
from recogniser.augmentations import BREAKERS, as_sampled, synthetic_pair
from recogniser.labels import MAX_STROKES, NONE, SLOTS, TOGETHER, Vocabulary, slot_classes
from recogniser.network import SIDE

BROKEN_FRACTIONS = {  # of the broken samples: the seven ways of augmentations.py, and latents mixed in the autoencoder
    "strokes dropped": 0.26, "shuffled": 0.10, "overlaid": 0.14, "mirrored": 0.16, "melted": 0.10, "patchwork": 0.12,
    "scribble": 0.02, "latent_mixed": 0.10,
}  # fmt: skip
FIRST_FRACTIONS = {"real": 0.30, "composed": 0.33, "synthetic_pairs": 0.12}  # of a batch; the rest is broken
LATER_FRACTIONS = {"real": 0.30, "composed": 0.26, "synthetic_pairs": 0.28}
LATER_FROM = 0.63  # of the steps
_ACROSS = (SLOTS.index("left"), SLOTS.index("right"))
_DOWN = (SLOTS.index("top"), SLOTS.index("bottom"))
_INNER = {slot: _DOWN if slot in _ACROSS else _ACROSS for slot in (*_ACROSS, *_DOWN)}
_NESTED = {(slot, inner): SLOTS.index(f"{SLOTS[slot]}/{SLOTS[inner]}") for slot in _INNER for inner in _INNER[slot]}


@dataclass(frozen=True)
class Glyphs:
    """Images with their labels, in memory.

    pixels: uint8 (N, 1, SIDE, SIDE), ink (255 is black); slots: int64 (N, slots, TOGETHER), as `slot_classes` gives
    them; strokes: int64 (N,), 0 where unknown; own: int64 (N,), the class of the glyph itself as a component, NONE
    where it is none; real: bool (N,).
    """

    pixels: torch.Tensor
    slots: torch.Tensor
    strokes: torch.Tensor
    own: torch.Tensor
    real: torch.Tensor

    def ink(self, indices: torch.Tensor) -> torch.Tensor:
        """Float ink (B, 1, SIDE, SIDE) in [0, 1] of some of them."""
        return self.pixels[indices].float() / 255.0


@dataclass(frozen=True)
class Batch:
    """One step's samples. Broken ones have only `well_formed`; synthetic pairs have all but that.

    slots is -1 and strokes 0 where nothing is asked; well_formed is 1, 0 or -1 (not asked); identity is the
    number of a real glyph among the real ones, -1 otherwise.
    """

    ink: torch.Tensor
    slots: torch.Tensor
    strokes: torch.Tensor
    well_formed: torch.Tensor
    identity: torch.Tensor


def read_glyphs(rows: Sequence[Row], vocabulary: Vocabulary) -> Glyphs:
    """Load the rows' images at SIDE px, 4 kB each, with their labels."""
    classes = vocabulary.classes()
    pixels = np.empty((len(rows), 1, SIDE, SIDE), dtype=np.uint8)
    for index, row in enumerate(tqdm(rows, desc="reading images", unit="image", leave=False)):
        image = open_image(row).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        pixels[index, 0] = 255 - np.asarray(image)
    slots = [slot_classes(row.metadata.get("components") or (), row.metadata.get("literal"), classes) for row in rows]
    return Glyphs(
        pixels=torch.from_numpy(pixels),
        slots=torch.tensor(slots),
        strokes=torch.tensor([min(row.strokes or 0, MAX_STROKES) for row in rows]),
        own=torch.tensor([classes.get(row.metadata.get("literal") or "", NONE) for row in rows]),
        real=torch.tensor([not row.is_composed for row in rows]),
    )


@dataclass(frozen=True)
class Reconstructions:
    """Glyphs that have been through the autoencoder, uint8 ink (M, 1, SIDE, SIDE).

    whole: glyphs encoded and decoded; indices: int64 (N,), where in `whole` a glyph is, or -1; latent_mixed: two
    glyphs' latents mixed and decoded, which is how an undecided sampler draws.
    """

    whole: torch.Tensor
    indices: torch.Tensor
    latent_mixed: torch.Tensor


class GlyphBatches:
    """`batches[step]` is a pure function of the seed and the step."""

    def __init__(self, glyphs: Glyphs, size: int, seed: int, steps: int,
                 reconstructions: Reconstructions | None = None) -> None:
        """`steps` are those of the whole training; `reconstructions` add the autoencoder's distortions."""
        self.glyphs, self.size, self.seed, self.steps = glyphs, size, seed, steps
        self.reconstructions = reconstructions
        self.real, self.composed = glyphs.real.nonzero()[:, 0], (~glyphs.real).nonzero()[:, 0]
        if not len(self.composed):
            self.composed = self.real
        self.identities = torch.where(glyphs.real, glyphs.real.cumsum(0) - 1, -1)
        components = (glyphs.real & (glyphs.own != NONE)).nonzero()[:, 0]
        self.components = components if len(components) else self.real

    def __getitem__(self, step: int) -> Batch:
        """The samples of a step, distorted as a sampler distorts."""
        rng = generator(self.seed, step, Purpose.GLYPH_ROWS)
        later = step >= LATER_FROM * self.steps
        fractions = LATER_FRACTIONS if later else FIRST_FRACTIONS
        real, composed, pairs = (round(self.size * fraction) for fraction in fractions.values())
        groups = [self._whole(_choose(self.real, real, rng), rng),
                  self._whole(_choose(self.composed, composed, rng), rng),
                  self._synthetic_pairs(pairs, rng, later),
                  self._broken(self.size - real - composed - pairs,
                               generator(self.seed, step, Purpose.GLYPH_BREAKING))]
        batch = Batch(*(torch.cat([getattr(group, name) for group in groups]) for name in Batch.__dataclass_fields__))
        return replace(batch, ink=as_sampled(batch.ink, generator(self.seed, step, Purpose.GLYPH_DISTORTIONS)))

    def _whole(self, indices: torch.Tensor, rng: torch.Generator) -> Batch:
        """Glyphs of the set, half of those that the autoencoder reconstructed as it did."""
        ink = self.glyphs.ink(indices)
        if self.reconstructions is not None:
            again = self.reconstructions.indices[indices]
            use = (torch.rand(len(indices), generator=rng) < 0.5) & (again >= 0)
            ink[use] = self.reconstructions.whole[again[use]].float() / 255.0
        return Batch(ink, self.glyphs.slots[indices], self.glyphs.strokes[indices], torch.ones(len(indices)),
                     self.identities[indices])

    def _synthetic_pairs(self, count: int, rng: torch.Generator, components: bool) -> Batch:
        """Two whole characters made narrow or flat; mostly such as are components themselves, if `components`."""
        first, second = _choose(self.real, count, rng), _choose(self.real, count, rng)
        if components:
            use = torch.rand((2, count), generator=rng) < 0.75
            first = torch.where(use[0], _choose(self.components, count, rng), first)
            second = torch.where(use[1], _choose(self.components, count, rng), second)
        across = torch.rand(count, generator=rng) < 0.65
        fraction = 0.40 + 0.16 * torch.rand(count, generator=rng)
        ink = synthetic_pair(self.glyphs.ink(first), self.glyphs.ink(second), across, fraction)
        slots = torch.full((count, len(SLOTS), TOGETHER), NONE)
        for number, indices in enumerate((first, second)):
            for slot, here in ((_ACROSS[number], across), (_DOWN[number], ~across)):
                self._label(slots, here.nonzero()[:, 0], slot, indices[here])
        strokes = self.glyphs.strokes[first] + self.glyphs.strokes[second]
        strokes[strokes > MAX_STROKES] = 0
        return Batch(ink, slots, strokes, torch.full((count,), -1.0), torch.full((count,), -1))

    def _label(self, slots: torch.Tensor, rows: torch.Tensor, slot: int, indices: torch.Tensor) -> None:
        """Say of `rows` that the glyphs of `indices` stand in a slot.

        One that is a component is that; one of two components, the other way across, gives the nested slots; of any
        other nothing is asked there.
        """
        own, inside = self.glyphs.own[indices], self.glyphs.slots[indices]
        inner = _INNER[slot]
        filled = inside[..., 0] != NONE
        of_two = filled[:, list(inner)].all(1) & (filled.sum(1) == 2) & (own == NONE)
        slots[rows, slot] = torch.where(of_two, NONE, torch.where(own == NONE, -1, own))[:, None]
        for nested in inner:
            unknown = torch.where((own == NONE)[:, None], -1, NONE)
            slots[rows, _NESTED[slot, nested]] = torch.where(of_two[:, None], inside[:, nested], unknown)

    def _broken(self, count: int, rng: torch.Generator) -> Batch:
        """Glyphs broken in one way each."""
        half = count // 2
        sources = torch.cat([_choose(self.real, count - half, rng), _choose(self.composed, half, rng)])
        ink = self.glyphs.ink(sources[torch.randperm(count, generator=rng)])
        kinds = [kind for kind in BROKEN_FRACTIONS if kind != "latent_mixed" or self.reconstructions is not None]
        weights = torch.tensor([BROKEN_FRACTIONS[kind] for kind in kinds])
        chosen = torch.multinomial(weights, count, replacement=True, generator=rng)
        for number, kind in enumerate(kinds):
            here = chosen == number
            if here.any():
                ink[here] = self._broken_as(kind, ink[here], rng)
        nothing = torch.full((count,), -1)
        return Batch(ink, torch.full((count, len(SLOTS), TOGETHER), -1), torch.zeros(count, dtype=torch.long),
                     torch.zeros(count), nothing)

    def _broken_as(self, kind: str, ink: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Some ink (B, 1, SIDE, SIDE), at least one glyph, broken in a way of BROKEN_FRACTIONS."""
        if kind == "latent_mixed":
            mixed = self.reconstructions.latent_mixed
            return mixed[torch.randint(len(mixed), (len(ink),), generator=rng)] / 255.0
        if len(ink) == 1 and kind in ("overlaid", "patchwork"):  # these need two
            kind = "shuffled"
        return BREAKERS[kind](ink, rng)


def _choose(indices: torch.Tensor, count: int, rng: torch.Generator) -> torch.Tensor:
    return indices[torch.randint(len(indices), (count,), generator=rng)]
