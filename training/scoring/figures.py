"""From pictures that were drawn for prompts, and what a judge read in them, to the figures of a set.

All intervals are 95 %. Where a prompt was drawn with several seeds, prompts are resampled, not pictures, since the
pictures of one prompt resemble each other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from common.statistics import F1, bootstrap, frechet, proportion, wasserstein
from recogniser.judge import Reading
from scoring.prompt_sets import Prompt

SHUFFLES = 5  # of the prompts, for the chance level
USES = (1, 20, 40, 100)  # training characters that show a part: where the bands of `found_by_frequency` begin
BALANCE = ("centre_x", "centre_y", "left_share", "top_share")  # each 0 to 1, of the picture's side or of its ink


@dataclass(frozen=True)
class ScoredSample:
    """A picture with the prompt and seed that it was drawn for, and what the judge, and the second one, read in it."""

    prompt: Prompt
    seed: int
    picture: Image.Image
    reading: Reading
    second: Reading | None = None

    @property
    def forms(self) -> frozenset[str]:
        """The meaning forms of the components found."""
        return frozenset(part.original for part in self.reading.components)


@dataclass(frozen=True)
class Real:
    """Real characters to compare with: what the judges read in them, their balance and the Jouyou's stroke counts.

    held_out, train: readings; second_held_out: the second judge's; held_out_forms: their true meaning forms;
    *_balance: (N, 4) as `balance` gives them; jouyou: stroke counts.
    """

    held_out: Sequence[Reading]
    train: Sequence[Reading]
    second_held_out: Sequence[Reading]
    held_out_forms: Sequence[frozenset[str]]
    held_out_balance: np.ndarray
    train_balance: np.ndarray
    jouyou: Sequence[int]


def score_real(real: Real, seed: int) -> dict[str, Any]:
    """The held-out real characters by the same measures: what a perfect drawer would get, judge's faults and all."""
    found = [frozenset(part.original for part in reading.components) for reading in real.held_out]
    return {
        "well_formed": proportion(sum(reading.is_well_formed for reading in real.held_out), len(real.held_out)),
        "control_well_formed": proportion(sum(reading.is_well_formed for reading in real.second_held_out),
                                     len(real.second_held_out)),
        "meaning": {"f1": F1.of(found, real.held_out_forms).as_json(seed)},
        "strokes": {"jouyou_mean": float(np.mean(real.jouyou)) if real.jouyou else math.nan,
                    "jouyou": _histogram(real.jouyou)},
        "balance": {name: wasserstein(real.held_out_balance[:, axis], real.train_balance[:, axis])
                    for axis, name in enumerate(BALANCE)},
    }


def score_set(drawn: Sequence[ScoredSample], real: Real, seed: int) -> dict[str, Any]:
    """All figures of one set of prompts; which there are depends on what the prompts know of right answers."""
    figures = {
        "prompts": len(_by_prompt(drawn)),
        "pictures": len(drawn),
        "well_formed": share(drawn, lambda one: one.reading.is_well_formed, seed),
        "strokes": _strokes(drawn, real, seed),
        "balance": _balance(drawn, real),
        "novelty": _novelty(drawn, seed),
        "frechet": _frechet(drawn, real, seed),
        "diversity": _diversity(drawn),
    }
    if all(one.second is not None for one in drawn):
        figures["control_well_formed"] = share(drawn, lambda one: one.second.is_well_formed, seed)
    if all(one.prompt.answers for one in drawn):
        figures["meaning"] = _meaning(drawn, seed)
        unseen = [one for one in drawn if not one.prompt.seen_as_part]
        if 1 < len(_by_prompt(unseen)) < figures["prompts"]:
            figures["meaning_never_a_part"] = _meaning(unseen, seed)
    return figures


def share(drawn: Sequence[ScoredSample], holds: Callable[[ScoredSample], bool], seed: int) -> dict[str, float]:
    """The share of pictures for which something holds: Wilson's interval, or a bootstrap over prompts."""
    groups = _by_prompt(drawn)
    if len(groups) == len(drawn):
        return proportion(sum(map(holds, drawn)), len(drawn))
    return {**bootstrap([np.mean([holds(one) for one in group]) for group in groups], seed), "n": len(drawn)}


def part_found(drawn: Sequence[ScoredSample], seed: int) -> dict[str, dict[str, float]]:
    """Shares of pictures in which at least one, and all, of the parts of a right answer were found."""
    def hits(one: ScoredSample, wanted: Callable[[frozenset[str], frozenset[str]], bool]) -> bool:
        return any(wanted(answer, one.forms) for answer in one.prompt.answers)

    return {"one": share(drawn, lambda one: hits(one, lambda answer, found: bool(answer & found)), seed),
            "all": share(drawn, lambda one: hits(one, lambda answer, found: answer <= found), seed)}


def exact_match(drawn: Sequence[ScoredSample], seed: int) -> dict[str, float]:
    """Share of pictures with all components of the first answer: of a pair its own two, no homonyms of theirs."""
    return share(drawn, lambda one: one.prompt.answers[0] <= one.forms, seed)


def found_by_frequency(drawn: Sequence[ScoredSample], uses: Mapping[str, int], seed: int) -> list[dict[str, float]]:
    """How often the parts of the first answer were found, by how many training characters show them.

    Of each band of USES that a part falls into: `uses`, where it begins, and the mean over its parts of the share of
    pictures in which they were found. `uses` counts training characters by meaning form.
    """
    found: dict[str, list[bool]] = {}
    for one in drawn:
        for form in one.prompt.answers[0]:
            found.setdefault(form, []).append(form in one.forms)
    bands = []
    for begin, end in zip(USES, (*USES[1:], math.inf), strict=True):
        if shares := [np.mean(hits) for form, hits in sorted(found.items()) if begin <= uses.get(form, 0) < end]:
            bands.append({"uses": begin, **bootstrap(shares, seed), "n": len(shares)})
    return bands


def balance(pictures: Sequence[Image.Image]) -> np.ndarray:
    """For each picture the centre of its ink (x, y) and the shares of ink in its left and upper half, (N, 4)."""
    rows = np.full((len(pictures), 4), 0.5)
    for place, picture in enumerate(pictures):
        ink = 1.0 - np.asarray(picture.convert("L"), dtype=np.float64) / 255.0
        ink[ink < 0.2] = 0.0  # paper that is not quite white
        total, (height, width) = ink.sum(), ink.shape
        if total > 0:
            across, down = ink.sum(0) / total, ink.sum(1) / total
            rows[place] = (across @ (np.arange(width) + 0.5) / width, down @ (np.arange(height) + 0.5) / height,
                           across[:width // 2].sum(), down[:height // 2].sum())
    return rows


def _meaning(drawn: Sequence[ScoredSample], seed: int) -> dict[str, Any]:
    """Component F1 by meaning form in any slot, and parts found; each beside its mean over shuffled prompts.

    Where the prompts have only lists of which any component fits, whether one was found is all that can be said.
    """
    shuffled = [_shuffled(drawn, seed + turn) for turn in range(SHUFFLES)]
    found = part_found(drawn, seed)
    one_shuffled_baseline = float(np.mean([part_found(other, seed)["one"]["value"] for other in shuffled]))
    if any(one.prompt.any_fits for one in drawn):
        return {"one_part": found["one"], "one_part_shuffled_baseline": one_shuffled_baseline}
    return {
        "f1": _f1(drawn).as_json(seed),
        "f1_shuffled_baseline": float(np.mean([_f1(other).value for other in shuffled])),
        "one_part": found["one"], "all_parts": found["all"],
        "one_part_shuffled_baseline": one_shuffled_baseline,
        "all_parts_shuffled_baseline": float(np.mean([part_found(other, seed)["all"]["value"] for other in shuffled])),
    }


def _f1(drawn: Sequence[ScoredSample]) -> F1:
    """F1 against the best of each prompt's right answers, counted by prompt."""
    counts = []
    for group in _by_prompt(drawn):
        best = [max((_counts(one.forms, answer) for answer in one.prompt.answers),
                    key=lambda count: 2 * count[0] / max(1, 2 * count[0] + count[1] + count[2])) for one in group]
        counts.append(np.sum(best, axis=0))
    return F1(np.array(counts, dtype=np.int64).reshape(-1, 3))


def _counts(found: frozenset[str], true: frozenset[str]) -> tuple[int, int, int]:
    return len(found & true), len(found - true), len(true - found)


def _shuffled(drawn: Sequence[ScoredSample], seed: int) -> list[ScoredSample]:
    """The same pictures, each set of pictures under another prompt of the set."""
    groups = _by_prompt(drawn)
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    other = dict(zip(order, order[1:] + order[:1], strict=True))  # one cycle: no prompt keeps its pictures
    return [ScoredSample(groups[other[place]][0].prompt, one.seed, one.picture, one.reading, one.second)
            for place, group in enumerate(groups) for one in group]


def _strokes(drawn: Sequence[ScoredSample], real: Real, seed: int) -> dict[str, Any]:
    counts = [one.reading.strokes for one in drawn]
    figures = {"mean": bootstrap(counts, seed), "histogram": _histogram(counts),
               "wasserstein_to_jouyou": wasserstein(counts, real.jouyou)}
    asked = [abs(one.reading.strokes - one.prompt.strokes) for one in drawn if one.prompt.strokes is not None]
    if asked:
        figures["budget_error"] = bootstrap(asked, seed)
        budgets = [one.prompt.strokes for one in drawn if one.prompt.strokes is not None]
        figures["budget_error_shuffled_baseline"] = float(np.mean(np.abs(np.subtract.outer(counts, budgets))))
    return figures


def _histogram(counts: Sequence[float], most: int = 30) -> list[int]:
    """How many have 0, 1, ... `most` or more strokes."""
    if not len(counts):
        return []
    return np.bincount(np.clip(np.rint(counts).astype(int), 0, most), minlength=most + 1).tolist()


def _balance(drawn: Sequence[ScoredSample], real: Real) -> dict[str, float]:
    own = balance([one.picture for one in drawn])
    return {name: wasserstein(own[:, axis], real.held_out_balance[:, axis]) for axis, name in enumerate(BALANCE)}


def _novelty(drawn: Sequence[ScoredSample], seed: int) -> dict[str, Any]:
    figures = {"copies": share(drawn, lambda one: one.reading.is_copy, seed),
               "likeness": bootstrap([one.reading.similarity for one in drawn], seed)}
    if any(one.prompt.literals for one in drawn):
        figures["nearest_is_the_kanji_meant"] = share(
            drawn, lambda one: one.reading.nearest in one.prompt.literals, seed)
    return figures


def _frechet(drawn: Sequence[ScoredSample], real: Real, seed: int) -> dict[str, float]:
    """The distance to the held-out real characters, beside that of as many real training characters."""
    held_out, train = _embeddings(real.held_out), _embeddings(real.train)
    picks = np.random.default_rng(seed).permutation(len(train))[:len(drawn)]
    return {"distance": frechet(_embeddings([one.reading for one in drawn]), held_out),
            "floor": frechet(train[picks], held_out), "floor_characters": len(picks)}


def _diversity(drawn: Sequence[ScoredSample]) -> dict[str, float]:
    """Mean distance (1 - cosine) of two pictures of one prompt, beside that of two prompts' first pictures."""
    def spread(group: Sequence[ScoredSample]) -> float:
        vectors = _embeddings([one.reading for one in group])
        count = len(vectors)
        return float(1.0 - (np.square(vectors.sum(0)).sum() - count) / (count * (count - 1)))

    groups = _by_prompt(drawn)
    several = [spread(group) for group in groups if len(group) > 1]
    return {"between_seeds": float(np.mean(several)) if several else math.nan,
            "between_prompts": spread([group[0] for group in groups]) if len(groups) > 1 else math.nan}


def _embeddings(readings: Sequence[Reading]) -> np.ndarray:
    return torch.stack([reading.embedding for reading in readings]).double().numpy()


def _by_prompt(drawn: Sequence[ScoredSample]) -> list[list[ScoredSample]]:
    groups: dict[tuple[str, int | None], list[ScoredSample]] = {}
    for one in drawn:
        groups.setdefault((one.prompt.text, one.prompt.strokes), []).append(one)
    return list(groups.values())
