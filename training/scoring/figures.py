"""From samples, and what a judge read in them, to the figures of a set of prompts.

A component that was found counts with every sense that it can have, under the right prompt as under a shuffled one.
All intervals are 95 %. Where a prompt was sampled with several seeds, prompts are resampled, not samples, since the
samples of one prompt resemble each other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from PIL import Image

from common.statistics import F1, Figure, bootstrap, frechet, mean, proportion, wasserstein
from recogniser.judge import Reading
from scoring.matching import Found, components_in, counted, has_all, hits
from scoring.prompt_sets import Prompt
from scoring.report import (
    Balance,
    ComparedFigure,
    Diversity,
    Frechet,
    FrequencyBand,
    Meaning,
    Novelty,
    RealScore,
    SetScore,
    Strokes,
)

SHUFFLES = 5  # of the prompts, for the shuffled-prompt baseline
MIN_USES = (1, 20, 40, 100)  # training characters that show a component: where the bands of `found_by_frequency` begin
MAX_HISTOGRAM_STROKES = 30  # more are counted as so many


@dataclass(frozen=True)
class ScoredSample:
    """An image with the prompt and seed that it was sampled with, and what the judge and the control judge read."""

    prompt: Prompt
    seed: int
    image: Image.Image
    reading: Reading
    control: Reading | None = None

    @property
    def found(self) -> Found:
        """The components found."""
        return components_in(self.reading)


@dataclass(frozen=True)
class RealKanji:
    """Real characters to compare with: what the judges read in them, their balance and the Jouyou's stroke counts.

    held_out, train: readings; control_held_out: the control judge's, if there is one; held_out_forms: the true meaning
    forms; *_balance: (N, 4) as `ink_balance` gives them; jouyou: stroke counts; held_out_meanings: English ones.
    """

    held_out: Sequence[Reading]
    train: Sequence[Reading]
    control_held_out: Sequence[Reading]
    held_out_forms: Sequence[frozenset[str]]
    held_out_balance: np.ndarray
    train_balance: np.ndarray
    jouyou: Sequence[int]
    held_out_meanings: Sequence[Sequence[str]] = ()


def score_real(real: RealKanji, seed: int) -> RealScore:
    """The held-out real characters by the measures of samples."""
    counts = [counted(components_in(reading), forms)
              for reading, forms in zip(real.held_out, real.held_out_forms, strict=True)]
    return RealScore(
        well_formed=_passed(real.held_out),
        control_well_formed=_passed(real.control_held_out) if real.control_held_out else None,
        f1=F1(np.array(counts, dtype=np.int64).reshape(-1, 3)).figure(seed),
        jouyou_mean=mean(real.jouyou),
        jouyou_strokes=histogram(real.jouyou),
        balance=_distances(real.held_out_balance, real.train_balance))


def score_set(samples: Sequence[ScoredSample], real: RealKanji, seed: int) -> SetScore:
    """The figures of one set of prompts; which there are depends on what the prompts know of right answers."""
    prompts, meaning, unseen_meaning = len(_by_prompt(samples)), None, None
    if all(sample.prompt.answers for sample in samples):
        meaning = score_meaning(samples, seed)
        unseen = [sample for sample in samples if not sample.prompt.seen_as_component]
        if 1 < len(_by_prompt(unseen)) < prompts:
            unseen_meaning = score_meaning(unseen, seed)
    return SetScore(
        prompts=prompts,
        samples=len(samples),
        well_formed=well_formed(samples, seed),
        control_well_formed=control_well_formed(samples, seed),
        strokes=_strokes(samples, real, seed),
        balance=_distances(ink_balance([sample.image for sample in samples]), real.held_out_balance),
        novelty=_novelty(samples, seed),
        frechet=_frechet(samples, real, seed),
        diversity=_diversity(samples, seed),
        meaning=meaning,
        meaning_never_a_component=unseen_meaning)


def score_pairs(score: SetScore, samples: Sequence[ScoredSample], uses: Mapping[str, int], seed: int) -> SetScore:
    """A set's score with what only pairs have; `uses` counts training characters that show a meaning form."""
    return replace(score, exact_match=exact_match(samples, seed),
                   found_by_frequency=found_by_frequency(samples, uses, seed))


def score_meaning(samples: Sequence[ScoredSample], seed: int) -> Meaning:
    """Components found, in any slot, each figure beside its mean over shuffled prompts.

    Where the prompts have only lists of which any component fits, whether one was found is all that can be said.
    """
    one = compared(samples, one_component, seed)
    if any(sample.prompt.any_fits for sample in samples):
        return Meaning(one)
    return Meaning(one, compared(samples, all_components, seed), compared(samples, component_f1, seed))


def compared(samples: Sequence[ScoredSample], measure: Callable[[Sequence[ScoredSample], int], Figure],
             seed: int) -> ComparedFigure:
    """A figure of samples beside its mean over shuffled prompts."""
    shuffled = [shuffle_prompts(samples, seed + turn) for turn in range(SHUFFLES)]
    baseline = mean([measure(other, seed).value for other in shuffled])
    return ComparedFigure(**asdict(measure(samples, seed)), shuffled_baseline=baseline)


def fraction(samples: Sequence[ScoredSample], holds: Callable[[ScoredSample], bool], seed: int) -> Figure:
    """The fraction of samples for which something holds: Wilson's interval, or a bootstrap over prompts."""
    groups = _by_prompt(samples)
    if len(groups) == len(samples):
        return proportion(sum(map(holds, samples)), len(samples))
    fractions = [np.mean([holds(sample) for sample in group]) for group in groups]
    return replace(bootstrap(fractions, seed), n=len(samples))


def well_formed(samples: Sequence[ScoredSample], seed: int) -> Figure:
    """Fraction of samples that the judge calls well-formed."""
    return fraction(samples, lambda sample: sample.reading.is_well_formed, seed)


def control_well_formed(samples: Sequence[ScoredSample], seed: int) -> Figure | None:
    """Fraction of samples that the control judge calls well-formed; None where it has not read them all."""
    if any(sample.control is None for sample in samples):
        return None
    return fraction(samples, lambda sample: sample.control.is_well_formed, seed)


def one_component(samples: Sequence[ScoredSample], seed: int) -> Figure:
    """Fraction of samples in which at least one component of a right answer was found."""
    return fraction(samples, lambda sample: any(hits(sample.found, answer) for answer in sample.prompt.answers), seed)


def all_components(samples: Sequence[ScoredSample], seed: int) -> Figure:
    """Fraction of samples in which all components of a right answer were found."""
    return fraction(samples, lambda sample: any(has_all(sample.found, answer) for answer in sample.prompt.answers),
                    seed)


def exact_match(samples: Sequence[ScoredSample], seed: int) -> Figure:
    """Fraction of samples with all components of the first answer: of a pair its own two, no homonyms of theirs."""
    return fraction(samples, lambda sample: has_all(sample.found, sample.prompt.answers[0]), seed)


def component_f1(samples: Sequence[ScoredSample], seed: int) -> Figure:
    """Micro F1 against the best of each prompt's right answers, counted by prompt."""
    counts = []
    for group in _by_prompt(samples):
        best = [max((counted(sample.found, answer) for answer in sample.prompt.answers),
                    key=lambda count: 2 * count[0] / max(1, 2 * count[0] + count[1] + count[2])) for sample in group]
        counts.append(np.sum(best, axis=0))
    return F1(np.array(counts, dtype=np.int64).reshape(-1, 3)).figure(seed)


def found_by_frequency(samples: Sequence[ScoredSample], uses: Mapping[str, int],
                       seed: int) -> tuple[FrequencyBand, ...]:
    """How often the components of the first answer were found, by how many training characters show them.

    Only bands that a component falls into; `uses` counts training characters by meaning form.
    """
    found: dict[str, list[bool]] = {}
    for sample in samples:
        for form in sample.prompt.answers[0]:
            found.setdefault(form, []).append(hits(sample.found, {form}) > 0)
    bands = []
    for begin, end in zip(MIN_USES, (*MIN_USES[1:], math.inf), strict=True):
        fractions = [np.mean(hits) for form, hits in sorted(found.items()) if begin <= uses.get(form, 0) < end]
        if fractions:
            bands.append(FrequencyBand(**asdict(bootstrap(fractions, seed)), min_uses=begin))
    return tuple(bands)


def ink_balance(images: Sequence[Image.Image]) -> np.ndarray:
    """For each image the centre of its ink (x, y) and the fractions of ink in its left and upper half, (N, 4)."""
    rows = np.full((len(images), 4), 0.5)
    for index, image in enumerate(images):
        ink = 1.0 - np.asarray(image.convert("L"), dtype=np.float64) / 255.0
        ink[ink < 0.2] = 0.0  # paper that is not quite white
        total, (height, width) = ink.sum(), ink.shape
        if total > 0:
            across, down = ink.sum(0) / total, ink.sum(1) / total
            rows[index] = (across @ (np.arange(width) + 0.5) / width, down @ (np.arange(height) + 0.5) / height,
                           across[:width // 2].sum(), down[:height // 2].sum())
    return rows


def shuffle_prompts(samples: Sequence[ScoredSample], seed: int) -> list[ScoredSample]:
    """The same images, those of each prompt under another prompt of the set."""
    groups = _by_prompt(samples)
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    other = dict(zip(order, order[1:] + order[:1], strict=True))  # one cycle: no prompt keeps its images
    return [replace(sample, prompt=groups[other[index]][0].prompt)
            for index, group in enumerate(groups) for sample in group]


def histogram(counts: Sequence[float]) -> tuple[int, ...]:
    """How many have 0, 1, ... MAX_HISTOGRAM_STROKES or more strokes; nothing of nothing."""
    if not len(counts):
        return ()
    strokes = np.clip(np.rint(counts).astype(int), 0, MAX_HISTOGRAM_STROKES)
    return tuple(np.bincount(strokes, minlength=MAX_HISTOGRAM_STROKES + 1).tolist())


def _strokes(samples: Sequence[ScoredSample], real: RealKanji, seed: int) -> Strokes:
    counts = [sample.reading.strokes for sample in samples]
    budgets = [sample.prompt.strokes for sample in samples if sample.prompt.strokes is not None]
    error = None
    if budgets:
        errors = [abs(sample.reading.strokes - sample.prompt.strokes) for sample in samples
                  if sample.prompt.strokes is not None]
        baseline = float(np.mean(np.abs(np.subtract.outer(counts, budgets))))
        error = ComparedFigure(**asdict(bootstrap(errors, seed)), shuffled_baseline=baseline)
    return Strokes(bootstrap(counts, seed), histogram(counts), wasserstein(counts, real.jouyou), error)


def _novelty(samples: Sequence[ScoredSample], seed: int) -> Novelty:
    meant = None
    if any(sample.prompt.literals for sample in samples):
        meant = fraction(samples, lambda sample: sample.reading.nearest in sample.prompt.literals, seed)
    return Novelty(fraction(samples, lambda sample: sample.reading.is_copy, seed),
                   bootstrap([sample.reading.similarity for sample in samples], seed), meant)


def _frechet(samples: Sequence[ScoredSample], real: RealKanji, seed: int) -> Frechet:
    held_out, train = _embeddings(real.held_out), _embeddings(real.train)
    chosen = np.random.default_rng(seed).permutation(len(train))[:len(samples)]
    return Frechet(frechet(_embeddings([sample.reading for sample in samples]), held_out),
                   frechet(train[chosen], held_out), len(chosen))


def _diversity(samples: Sequence[ScoredSample], seed: int) -> Diversity:
    groups = _by_prompt(samples)
    seeds = [float(_distances_to_others([sample.reading for sample in group]).mean())
             for group in groups if len(group) > 1]
    prompts = None
    if len(groups) > 1:
        found = bootstrap(_distances_to_others([group[0].reading for group in groups]), seed)
        # A pair's distance hangs on both its prompts, so the mean over pairs varies twice as much as this mean of means
        # (Hoeffding 1948, U-statistics of degree two).
        prompts = replace(found, low=2.0 * found.low - found.value, high=2.0 * found.high - found.value)
    return Diversity(bootstrap(seeds, seed) if seeds else None, prompts)


def _distances_to_others(readings: Sequence[Reading]) -> np.ndarray:
    """Of each image the mean distance, 1 - cosine, to the others; their mean is that over all pairs."""
    vectors = _embeddings(readings)
    likeness = vectors @ vectors.sum(0) - np.square(vectors).sum(1)
    return 1.0 - likeness / (len(vectors) - 1)


def _distances(one: np.ndarray, other: np.ndarray) -> Balance:
    """How far apart two sets of `ink_balance` rows are, measure by measure."""
    return Balance(*(wasserstein(one[:, axis], other[:, axis]) for axis in range(one.shape[1])))


def _passed(readings: Sequence[Reading]) -> Figure:
    return proportion(sum(reading.is_well_formed for reading in readings), len(readings))


def _embeddings(readings: Sequence[Reading]) -> np.ndarray:
    return torch.stack([reading.embedding for reading in readings]).double().numpy()


def _by_prompt(samples: Sequence[ScoredSample]) -> list[list[ScoredSample]]:
    groups: dict[tuple[str, int | None], list[ScoredSample]] = {}
    for sample in samples:
        groups.setdefault((sample.prompt.text, sample.prompt.strokes), []).append(sample)
    return list(groups.values())
