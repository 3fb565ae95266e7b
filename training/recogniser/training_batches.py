"""The recogniser's training batches: real, composed, synthetic_pairs together and broken glyphs, all distorted.

Every draw of step n is a function of (seed, n). First many are broken; once those are told apart, more are synthetic_pairs
together, which shows each component in slots where no character of the set has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from common.seeds import generator
from dataset.rows import Row
from recogniser.augmentations import BREAKERS, as_sampled, synthetic_pair
from recogniser.labels import MAX_STROKES, NONE, SLOTS, TOGETHER, Vocabulary, slot_classes
from recogniser.network import SIDE

BROKEN_SHARES = {  # of the broken samples; the seven kinds of distortions.py, and glyphs melted in the autoencoder
    "strokes dropped": 0.26, "shuffled": 0.10, "overlaid": 0.14, "mirrored": 0.16, "melted": 0.10, "patchwork": 0.12,
    "scribble": 0.02, "latent_mixed": 0.10,
}  # fmt: skip
FIRST_SHARES = {"real": 0.30, "composed": 0.33, "synthetic_pairs": 0.12}  # of a batch; the rest is broken
LATER_SHARES = {"real": 0.30, "composed": 0.26, "synthetic_pairs": 0.28}
LATER_FROM = 0.63  # of the steps
_ACROSS = (SLOTS.index("left"), SLOTS.index("right"))
_DOWN = (SLOTS.index("top"), SLOTS.index("bottom"))
_INNER = {slot: _DOWN if slot in _ACROSS else _ACROSS for slot in (*_ACROSS, *_DOWN)}
_NESTED = {(slot, inner): SLOTS.index(f"{SLOTS[slot]}/{SLOTS[inner]}") for slot in _INNER for inner in _INNER[slot]}


class Purpose(IntEnum):
    """What a generator is for; apart from those of the trainer's draws."""

    ROWS = 100
    DISTORTIONS = 101
    BREAKING = 102
    CALIBRATION = 103


@dataclass(frozen=True)
class Glyphs:
    """Pictures with their labels, in memory.

    pixels: uint8 (N, 1, SIDE, SIDE), ink (255 is black); slots: int64 (N, slots, TOGETHER), as `slot_classes` gives
    them; strokes: int64 (N,), 0 where unknown; own: int64 (N,), the class of the glyph itself as a component, NONE
    where it is none; real: bool (N,).
    """

    pixels: torch.Tensor
    slots: torch.Tensor
    strokes: torch.Tensor
    own: torch.Tensor
    real: torch.Tensor

    @property
    def characters(self) -> int:
        """How many of them are real."""
        return int(self.real.sum())

    def ink(self, places: torch.Tensor) -> torch.Tensor:
        """Float ink (B, 1, SIDE, SIDE) in [0, 1] of some of them."""
        return self.pixels[places].float() / 255.0


@dataclass(frozen=True)
class Batch:
    """One step's samples. Broken ones have only `well_formed`; synthetic_pairs ones are not judged for being well-formed.

    slots is -1 and strokes 0 where nothing is asked; well_formed is 1, 0 or -1 (not asked); identity is the
    number of a real glyph among the real ones, -1 otherwise.
    """

    ink: torch.Tensor
    slots: torch.Tensor
    strokes: torch.Tensor
    well_formed: torch.Tensor
    identity: torch.Tensor


def read_glyphs(rows: Sequence[Row], vocabulary: Vocabulary) -> Glyphs:
    """Load the rows' pictures at SIDE px, 4 kB each, with their labels."""
    classes = vocabulary.classes()
    pixels = np.empty((len(rows), 1, SIDE, SIDE), dtype=np.uint8)
    for place, row in enumerate(tqdm(rows, desc="reading pictures", unit="picture", leave=False)):
        with Image.open(row.path) as image:
            pixels[place, 0] = 255 - np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
    slots = [slot_classes(row.metadata.get("components") or (), row.metadata.get("literal"), classes) for row in rows]
    return Glyphs(
        pixels=torch.from_numpy(pixels),
        slots=torch.tensor(slots),
        strokes=torch.tensor([min(row.strokes or 0, MAX_STROKES) for row in rows]),
        own=torch.tensor([classes.get(row.metadata.get("literal") or "", NONE) for row in rows]),
        real=torch.tensor([not row.is_composed for row in rows]),
    )


@dataclass(frozen=True)
class Reconstructed:
    """Pictures that have been through the autoencoder, uint8 ink (M, 1, SIDE, SIDE).

    whole: glyphs encoded and decoded; places: int64 (N,), where in `whole` a glyph is, or -1; latent_mixed: two glyphs'
    latents mixed and decoded, which is how an undecided sampler draws.
    """

    whole: torch.Tensor
    places: torch.Tensor
    latent_mixed: torch.Tensor


class GlyphBatches:
    """`batches[step]` is a pure function of the seed and the step."""

    def __init__(self, glyphs: Glyphs, size: int, seed: int, steps: int, vae_reconstructed: Reconstructed | None = None) -> None:
        """`steps` are those of the whole training; `vae_reconstructed` adds the autoencoder's distortions."""
        self.glyphs, self.size, self.seed, self.steps, self.vae_reconstructed = glyphs, size, seed, steps, vae_reconstructed
        self.real, self.composed = glyphs.real.nonzero()[:, 0], (~glyphs.real).nonzero()[:, 0]
        if not len(self.composed):
            self.composed = self.real
        self.numbers = torch.where(glyphs.real, glyphs.real.cumsum(0) - 1, -1)
        components = (glyphs.real & (glyphs.own != NONE)).nonzero()[:, 0]
        self.components = components if len(components) else self.real

    def __getitem__(self, step: int) -> Batch:
        """The samples of a step, distorted as a sampler distorts."""
        draw = generator(self.seed, step, Purpose.ROWS)
        later = step >= LATER_FROM * self.steps
        shares = LATER_SHARES if later else FIRST_SHARES
        real, composed, synthetic_pairs = (round(self.size * share) for share in shares.values())
        parts = [self._whole(_choose(self.real, real, draw), draw),
                 self._whole(_choose(self.composed, composed, draw), draw),
                 self._synthetic_pairs(synthetic_pairs, draw, later),
                 self._broken(self.size - real - composed - synthetic_pairs, generator(self.seed, step, Purpose.BREAKING))]
        batch = Batch(*(torch.cat([getattr(part, name) for part in parts]) for name in Batch.__dataclass_fields__))
        ink = as_sampled(batch.ink, generator(self.seed, step, Purpose.DISTORTIONS))
        return Batch(ink, batch.slots, batch.strokes, batch.well_formed, batch.identity)

    def _whole(self, places: torch.Tensor, draw: torch.Generator) -> Batch:
        ink = self.glyphs.ink(places)
        if self.vae_reconstructed is not None:
            again = self.vae_reconstructed.places[places]
            use = (torch.rand(len(places), generator=draw) < 0.5) & (again >= 0)
            ink[use] = self.vae_reconstructed.whole[again[use]].float() / 255.0
        return Batch(ink, self.glyphs.slots[places], self.glyphs.strokes[places], torch.ones(len(places)),
                     self.numbers[places])

    def _synthetic_pairs(self, count: int, draw: torch.Generator, components: bool) -> Batch:
        """Two whole characters made narrow or flat; mostly such as are components themselves, if `components`."""
        first, second = _choose(self.real, count, draw), _choose(self.real, count, draw)
        if components:
            use = torch.rand((2, count), generator=draw) < 0.75
            first = torch.where(use[0], _choose(self.components, count, draw), first)
            second = torch.where(use[1], _choose(self.components, count, draw), second)
        across = torch.rand(count, generator=draw) < 0.65
        share = 0.40 + 0.16 * torch.rand(count, generator=draw)
        ink = synthetic_pair(self.glyphs.ink(first), self.glyphs.ink(second), across, share)
        slots = torch.full((count, len(SLOTS), TOGETHER), NONE)
        for number, places in enumerate((first, second)):
            for slot, here in ((_ACROSS[number], across), (_DOWN[number], ~across)):
                self._label(slots, here.nonzero()[:, 0], slot, places[here])
        strokes = self.glyphs.strokes[first] + self.glyphs.strokes[second]
        strokes[strokes > MAX_STROKES] = 0
        return Batch(ink, slots, strokes, torch.full((count,), -1.0), torch.full((count,), -1))

    def _label(self, slots: torch.Tensor, rows: torch.Tensor, slot: int, places: torch.Tensor) -> None:
        """Say of `rows` that the glyphs at `places` stand in a slot.

        One that is a component is that; one of two parts, the other way across, gives the nested slots; of any other
        nothing is asked there.
        """
        own, inside = self.glyphs.own[places], self.glyphs.slots[places]
        inner = _INNER[slot]
        filled = inside[..., 0] != NONE
        of_two = filled[:, list(inner)].all(1) & (filled.sum(1) == 2) & (own == NONE)
        slots[rows, slot] = torch.where(of_two, NONE, torch.where(own == NONE, -1, own))[:, None]
        for part in inner:
            unknown = torch.where((own == NONE)[:, None], -1, NONE)
            slots[rows, _NESTED[slot, part]] = torch.where(of_two[:, None], inside[:, part], unknown)

    def _broken(self, count: int, draw: torch.Generator) -> Batch:
        half = count // 2
        sources = torch.cat([_choose(self.real, count - half, draw), _choose(self.composed, half, draw)])
        ink = self.glyphs.ink(sources[torch.randperm(count, generator=draw)])
        kinds = [kind for kind in BROKEN_SHARES if kind != "latent_mixed" or self.vae_reconstructed is not None]
        weights = torch.tensor([BROKEN_SHARES[kind] for kind in kinds])
        chosen = torch.multinomial(weights, count, replacement=True, generator=draw)
        for number, kind in enumerate(kinds):
            here = chosen == number
            if kind == "latent_mixed" and here.any():
                latent_mixed = self.vae_reconstructed.latent_mixed
                ink[here] = latent_mixed[torch.randint(len(latent_mixed), (int(here.sum()),), generator=draw)] / 255.0
            elif here.sum() == 1 and kind in ("overlaid", "patchwork"):  # these need two
                ink[here] = BREAKERS["shuffled"](ink[here], draw)
            elif here.any():
                ink[here] = BREAKERS[kind](ink[here], draw)
        nothing = torch.full((count,), -1)
        return Batch(ink, torch.full((count, len(SLOTS), TOGETHER), -1), torch.zeros(count, dtype=torch.long),
                     torch.zeros(count), nothing)


def _choose(places: torch.Tensor, count: int, draw: torch.Generator) -> torch.Tensor:
    return places[torch.randint(len(places), (count,), generator=draw)]
