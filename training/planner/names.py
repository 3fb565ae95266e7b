"""Plans for the words of the world: names.jsonl, from WordNet's nouns and modern.tsv, their glosses and hypernyms."""

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
from planner.arrange import plan_of
from planner.categories import Categories
from planner.dictionary import TAUGHT_SCALE, NounTexts, dictionary_scores
from planner.exclusions import excluded_words, held_out_pair_forms
from planner.modern import read_modern
from planner.planner import NAMES_FILE, PLANNER_WEIGHTS, Planner
from planner.text import SentenceEncoder
from planner.wordnet import Synset, WordNet, find_wordnet

MAX_OTHER_WORDS = 3  # of a synset, beside its first
MAX_SHARED = 6  # of WordNet's words, and of ours, that may have the same two components: a bicycle is no car
FIT_WEIGHT = 0.05  # a dictionary is surer than the network of what fits the word; what fits the other counts less
UNFIT = 12.0  # what has no room for each other counts as much as for the network
MODERN_WORD_WEIGHT = 0.3  # beside the gloss's 1: the sound of a name that the encoder does not know misleads
MIN_CONFIDENCE = 0.15  # mean of a plan's two, below which a word is left out: nothing is known that would fit it
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
    count: int = setting(20_000, at_least=1)
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
    excluded = excluded_words(config.train_data_dir, held_out, wordnet) | planner.components.meanings.keys()
    forbidden, encoder = held_out_pair_forms(config.train_data_dir), SentenceEncoder()
    everything = wordnet.names_of_things()
    encoded = NounTexts.encode(everything, wordnet, encoder, config.work_dir, stop)
    chosen = wordnet.familiar(everything, excluded, CONSIDERED * config.count)
    common = planned(planner, [everything[number] for number in chosen], encoded.of(chosen), wordnet,
                     forbidden)[:config.count]
    ours = read_modern(wordnet, excluded)
    wordnet = wordnet.with_entries(ours)
    texts = NounTexts.encode(ours, wordnet, encoder, config.work_dir, stop, beside=everything)
    modern = planned(planner, ours, texts, wordnet, forbidden, MODERN_WORD_WEIGHT)
    known = {word.lower() for row in modern for word in (row["word"], *row.get("also", ()))}
    rows = modern + [row for row in common if row["word"].lower() not in known]
    write_text(config.output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    forms = Counter(one["form"] for row in rows for one in row["components"])
    return {"words": len(rows), "modern": len(modern), "plans": len(set(map(forms_of, rows))),
            "components": len(forms), "most_used": forms.most_common(5)}


def planned(planner: Planner, nouns: Sequence[Synset], texts: NounTexts, wordnet: WordNet,
            forbidden: frozenset[str], word_weight: float = 1.0) -> list[dict[str, Any]]:
    """The rows of nouns, by what the dictionary says of them, without those of which it says too little."""
    scores = TAUGHT_SCALE * dictionary_scores(planner.network, planner.components, nouns, texts, wordnet,
                                              Categories.read(wordnet), word_weight) - planner.network.balance
    return [row for row in plan_rows(planner, nouns, wordnet, scores, forbidden)
            if row["confidence"] >= MIN_CONFIDENCE]


def plan_rows(planner: Planner, nouns: Sequence[Synset], wordnet: WordNet, scores: torch.Tensor,
              forbidden: frozenset[str]) -> Iterator[dict[str, Any]]:
    """A row of the file for each noun: its best pair that is no held-out one and that few of the other nouns have."""
    taken: Counter[str] = Counter()
    pairs = planner.pair_table(FIT_WEIGHT, penalties={}, unfit=UNFIT)  # MAX_SHARED keeps words apart
    for noun, row in zip(tqdm(nouns, desc="planning", unit="word"), scores, strict=True):
        for arrangement in pairs.ranked(row):
            plan = plan_of(noun.words[0], planner.components, arrangement, planner.confidences(row), "names")
            pair = "".join(sorted(plan.forms))
            if taken[pair] < MAX_SHARED and pair not in forbidden:
                taken[pair] += 1
                components = [{"form": one.form, "name": one.name, "slot": one.slot} for one in plan.components]
                confidence = round(sum(one.confidence for one in plan.components) / 2, 3)
                also = other_words(noun, wordnet)
                yield {"word": noun.words[0], **({"also": also} if also else {}), "components": components,
                       "confidence": confidence}
                break


def forms_of(row: dict[str, Any]) -> str:
    """The two meaning forms of a row, in code point order, joined."""
    return "".join(sorted(one["form"] for one in row["components"]))


def other_words(noun: Synset, wordnet: WordNet) -> list[str]:
    """The further words of a synset that mean it first and foremost: "Albert Einstein" beside "Einstein"."""
    return [word for word in noun.words[1:1 + MAX_OTHER_WORDS]
            if word.lower() != noun.words[0].lower() and wordnet.senses.get(word.lower(), ("",))[0] == noun.offset]
