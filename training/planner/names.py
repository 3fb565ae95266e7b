"""Plans for the words of the world: names.jsonl, from labels.tsv."""

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
from common.settings import check_ranges
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset
from planner.arrange import plan_of
from planner.components import Components
from planner.exclusions import excluded_words, held_out_pair_forms
from planner.labels import Label, read_labels
from planner.planner import NAMES_FILE, PLANNER_WEIGHTS, Planner
from planner.wordnet import WordNet, find_wordnet

MAX_SHARED = 6  # words that may have the same two components: a bicycle is no car
RANK_SCORES = (20.0, 18.0, 17.0, 16.0, 15.0)  # of a label's components, above all that the network says
FIT_WEIGHT = 0.1  # what fits the word is known here, what fits the other counts less than for the network
UNFIT = 25.0  # times FIT_WEIGHT: for room another is taken for the second, but hardly for the first
SCORED_AT_ONCE = 2048  # words, between two looks at a stop signal


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
    """Where WordNet is kept, as train_planner.py does."""
    output: Path = NAMES_FILE
    """The file to write."""

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
    labels = read_labels(wordnet, excluded)
    rows = list(plan_rows(planner, labels, _scores(planner, labels, stop), held_out_pair_forms(config.train_data_dir)))
    write_text(config.output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    forms = Counter(one["form"] for row in rows for one in row["components"])
    return {"words": len(rows), "plans": len(set(map(forms_of, rows))), "components": len(forms),
            "most_used": forms.most_common(5)}


def plan_rows(planner: Planner, labels: Sequence[Label], scores: torch.Tensor,
              forbidden: frozenset[str]) -> Iterator[dict[str, Any]]:
    """A row of the file for each label: its best pair that is no held-out one and that few of the others have.

    scores: what the network says of the words, (N, components), for labels whose pairs are all taken.
    """
    taken: Counter[str] = Counter()
    components = planner.components
    pairs = planner.pair_table(FIT_WEIGHT, penalties={}, unfit=UNFIT)  # MAX_SHARED keeps words apart
    for label, row in zip(tqdm(labels, desc="planning", unit="word"), scores, strict=True):
        for arrangement in pairs.ranked(labelled(components, label, row)):
            plan = plan_of(label.words[0], components, arrangement, [1.0] * len(components.forms), "names")
            pair = "".join(sorted(plan.forms))
            if taken[pair] < MAX_SHARED and pair not in forbidden:
                taken[pair] += 1
                also = list(label.words[1:])
                yield {"word": label.words[0], **({"also": also} if also else {}),
                       "components": [{"form": one.form, "name": one.name, "slot": one.slot}
                                      for one in plan.components]}
                break


def labelled(components: Components, label: Label, scores: torch.Tensor) -> torch.Tensor:
    """Scores (components,) in which those of a label come before all others, in its order."""
    scores = scores.clone()
    for form, score in zip(label.forms, RANK_SCORES, strict=False):
        if (index := components.index(form)) is not None:
            scores[index] = score
    return scores


def forms_of(row: dict[str, Any]) -> str:
    """The two meaning forms of a row, in code point order, joined."""
    return "".join(sorted(one["form"] for one in row["components"]))


def _scores(planner: Planner, labels: Sequence[Label], stop: StopSignals) -> torch.Tensor:
    parts = []
    with tqdm(total=len(labels), desc="encoding words", unit="word") as bar:
        for start in range(0, len(labels), SCORED_AT_ONCE):
            parts.append(planner.scores([label.words[0] for label in labels[start:start + SCORED_AT_ONCE]]))
            bar.update(len(parts[-1]))
            stop.check()
    return torch.cat(parts)
