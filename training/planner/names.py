"""Plans for the words of the world: names.jsonl, from WordNet's nouns with their glosses and hypernyms."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from common.files import write_text
from common.settings import check_ranges, setting
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset
from planner.arrange import plan_of, ranked_pairs
from planner.exclusions import excluded_words, held_out_pair_forms
from planner.planner import NAMES_FILE, PLANNER_WEIGHTS, Planner
from planner.text import SentenceEncoder
from planner.training import TAUGHT_SCALE, NounTexts, taught_scores
from planner.wordnet import Synset, WordNet, find_wordnet

MAX_SHARED = 4  # words that may have the same two components: a bicycle and a car are not one thing
MIN_CONFIDENCE = 0.25  # mean of a plan's two, below which a word is left out: nothing is known that would fit it
CONSIDERED = 3  # times as many words as are asked for are planned, so that enough are left


@dataclass(frozen=True)
class NamesConfig:
    """Settings of the plans for words."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder, whose held-out meanings and pairs are left out."""
    planner: Path = PLANNER_WEIGHTS
    """The folder of the planner that plans."""
    wordnet: Path | None = None
    """WordNet 3.0's dict folder; by default Debian's package of it, unpacked into work_dir."""
    work_dir: Path = Path("runs/planner")
    """Where embeddings of WordNet's nouns are kept, as train_planner.py does."""
    output: Path = NAMES_FILE
    """The file to write."""
    count: int = setting(12_000, at_least=1)
    """Words, the most frequent in WordNet's tagged texts first, then particular people and places."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)


def write_names(config: NamesConfig, stop: StopSignals) -> dict[str, Any]:
    """Plan the words and write the file, whole or not at all; returns what it holds in figures.

    Raises DatasetError, WordNetError or PlannerError where a source cannot be had, and Stopped.
    """
    planner = Planner.load(config.planner, names=None)
    held_out = read_dataset(config.train_data_dir, "test")
    wordnet = WordNet.read(find_wordnet(config.wordnet, config.work_dir))
    excluded = excluded_words(config.train_data_dir, held_out, wordnet)
    everything = wordnet.names_of_things()
    encoded = NounTexts.encode(everything, wordnet, SentenceEncoder(), config.work_dir, stop)
    chosen = familiar(everything, wordnet, excluded | planner.components.meanings.keys(), CONSIDERED * config.count)
    nouns = [everything[number] for number in chosen]
    scores = taught_scores(planner.network, planner.components, nouns, encoded.of(chosen), wordnet) * TAUGHT_SCALE
    forbidden = held_out_pair_forms(config.train_data_dir)
    rows = [row for row in plan_rows(planner, nouns, scores - planner.network.balance, forbidden)
            if row["confidence"] >= MIN_CONFIDENCE][:config.count]
    write_text(config.output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    forms = Counter(one["form"] for row in rows for one in row["components"])
    return {"words": len(rows), "plans": len({frozenset(one["form"] for one in row["components"]) for row in rows}),
            "components": len(forms), "most_used": forms.most_common(5)}


def familiar(nouns: Sequence[Synset], wordnet: WordNet, excluded: frozenset[str] | set[str],
             count: int) -> list[int]:
    """The indices of at most `count` nouns, the most familiar first, each of its word's commonest sense.

    Left out: excluded words (lower case, any word of the synset), slurs and obscenities. By frequency in WordNet's
    tagged texts; of words that are not in these, particular people and places first.
    """
    found: dict[str, tuple[tuple[int, bool, int], int]] = {}
    for number, noun in enumerate(nouns):
        word = noun.words[0].lower()
        if (wordnet.senses.get(word, ("",))[0] != noun.offset or wordnet.is_offensive(noun)
                or not excluded.isdisjoint(other.lower() for other in noun.words)):
            continue
        found.setdefault(word, ((-wordnet.counts.get(word, 0), not noun.is_instance, number), number))
    return [number for _, number in sorted(found.values())[:count]]


def plan_rows(planner: Planner, nouns: Sequence[Synset], scores: torch.Tensor,
              forbidden: frozenset[str]) -> Iterator[dict[str, Any]]:
    """A row of the file for each noun: its best pair that is no held-out one and that few other words have."""
    taken: Counter[tuple[int, int]] = Counter()
    for noun, row in zip(tqdm(nouns, desc="planning", unit="word"), scores, strict=True):
        for _, arrangement in ranked_pairs(planner.components, row.tolist(), planner.likeness()):
            pair = tuple(sorted((arrangement.first, arrangement.second)))
            plan = plan_of(noun.words[0], planner.components, arrangement, planner.confidences(row), "names")
            if taken[pair] < MAX_SHARED and "".join(sorted(plan.forms)) not in forbidden:
                taken[pair] += 1
                components = [{"form": one.form, "name": one.name, "slot": one.slot} for one in plan.components]
                confidence = round(sum(one.confidence for one in plan.components) / 2, 3)
                yield {"word": noun.words[0], "components": components, "confidence": confidence}
                break
