"""Plans for the words of the world: names.jsonl, from labels.tsv."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.files import write_text
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset
from planner.arrange import Arrangement, plan_of
from planner.exclusions import excluded_words, held_out_pair_forms
from planner.labels import Label, read_labels
from planner.planner import NAMES_FILE, PLANNER_WEIGHTS, Planner
from planner.wordnet import WordNet, find_wordnet

MAX_SHARED = 6  # words that may have the same two components: a bicycle is no car


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


def write_names(config: NamesConfig, stop: StopSignals) -> dict[str, Any]:
    """Plan the words and write the file, whole or not at all; returns what it holds in figures.

    Raises DatasetError, WordNetError or PlannerError where a source cannot be had, and Stopped.
    """
    planner = Planner.load(config.planner, names=None)
    held_out = read_dataset(config.train_data_dir, "test")
    wordnet = WordNet.read(find_wordnet(config.wordnet, config.work_dir))
    excluded = excluded_words(config.train_data_dir, held_out, wordnet) | planner.components.meanings.keys()
    rows = []
    for row in plan_rows(planner, read_labels(wordnet, excluded), held_out_pair_forms(config.train_data_dir)):
        stop.check()
        rows.append(row)
    write_text(config.output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    forms = Counter(one["form"] for row in rows for one in row["components"])
    return {"words": len(rows), "plans": len(set(map(forms_of, rows))), "components": len(forms),
            "most_used": forms.most_common(5)}


def plan_rows(planner: Planner, labels: Sequence[Label], forbidden: frozenset[str]) -> Iterator[dict[str, Any]]:
    """A row of the file for each label: its best pair that is no held-out one and that few of the others have."""
    taken: Counter[str] = Counter()
    components = planner.components
    for label in tqdm(labels, desc="planning", unit="word"):
        for arrangement in arrangements(planner, label):
            plan = plan_of(label.words[0], components, arrangement, [1.0] * len(components.forms), "names")
            pair = "".join(sorted(plan.forms))
            if taken[pair] < MAX_SHARED and pair not in forbidden:
                taken[pair] += 1
                also = list(label.words[1:])
                yield {"word": label.words[0], **({"also": also} if also else {}),
                       "components": [{"form": one.form, "name": one.name, "slot": one.slot}
                                      for one in plan.components]}
                break


def arrangements(planner: Planner, label: Label) -> Iterator[Arrangement]:
    """The pairs of a label, the best first; then, needed by one word in a hundred, those that the network adds."""
    yield from planner.fitting_pairs.ranked_of_fitting(label.forms)
    yield from planner.fitting_pairs.ranked_of_fitting(label.forms, planner.scores(label.words[:1])[0])


def forms_of(row: dict[str, Any]) -> str:
    """The two meaning forms of a row, in code point order, joined."""
    return "".join(sorted(one["form"] for one in row["components"]))
