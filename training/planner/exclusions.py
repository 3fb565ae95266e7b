"""What no planner may be trained on: the prompts that the score asks, and the names on which settings are chosen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.paths import TRAINING_DIR
from dataset.rows import Row, form_of
from planner.wordnet import WordNet
from planner.words import looked_up

PROMPTS = TRAINING_DIR / "prompts"
WILD, PLANS, DEVELOPMENT = (PROMPTS / f"{name}.txt" for name in ("wild", "plans", "development"))


def excluded_words(train_data_dir: Path, held_out: Sequence[Row], wordnet: WordNet,
                   development: bool = True) -> frozenset[str]:
    """The words, lower case, that stand in nothing that a planner learns from or looks up.

    The score's names and words (wild.txt, plans.txt), also in the singular, with all other words of their synsets,
    every held-out meaning, every held-out pair's prompt; with `development` also the names on which settings are
    chosen, likewise.
    """
    names = [*read_prompts(WILD), *read_prompts(PLANS), *(read_prompts(DEVELOPMENT) if development else [])]
    captions = {caption.lower() for row in held_out for caption in row.captions}
    forms = {form for name in names for form in looked_up(name)}
    return frozenset(wordnet.with_all_words(forms) | captions | _pair_prompts(train_data_dir))


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file of names, without the components that would fit. Raises OSError."""
    return [line.partition("\t")[0].strip() for line in _prompt_lines(path)]


def read_fitting(path: Path) -> list[tuple[str, frozenset[str]]]:
    """The prompts of a file of names, each with the meaning forms of which any would fit. Raises OSError."""
    return [(words.strip(), frozenset(fitting.split()))
            for words, _, fitting in (line.partition("\t") for line in _prompt_lines(path))]


def _prompt_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf8").splitlines() if line.strip() and not line.startswith("#")]


def held_out_pair_forms(folder: Path) -> frozenset[str]:
    """The two meaning forms of each held-out pair of a dataset folder, in code point order, joined."""
    return frozenset("".join(sorted({form_of(one) for one in row["components"]})) for row in _pair_rows(folder))


def _pair_prompts(folder: Path) -> set[str]:
    return {caption.lower() for row in _pair_rows(folder) for caption in [row["text"], *row.get("captions", ())]}


def _pair_rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "heldout_pairs.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines() if line.strip()]
