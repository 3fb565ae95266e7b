"""What a model is scored with: the prompts, the judges, the planner, and the real characters to compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from dataset.captioned_folder import DatasetError, read_dataset
from dataset.images import open_image
from dataset.rows import Row, dataset_hash
from generation.drawn_components import DrawnComponents
from planner.plan import Plan
from planner.planner import PLANNER_WEIGHTS, Planner, PlannerError
from planner.wordnet import WordNet, WordNetError, find_wordnet
from recogniser.judge import CONTROL, JUDGE, Judge
from scoring.composed import read_composed
from scoring.config import PLANNED_AGAIN, PLANNED_SETS, SETS, EvaluateConfig
from scoring.figures import RealKanji, ScoredSample, ink_balance
from scoring.guessing import Taxonomy
from scoring.prompt_sets import (
    Prompt,
    budget_prompts,
    heldout_prompts,
    jouyou_strokes,
    known_prompts,
    pair_prompts,
    planned,
    plans_prompts,
    wild_prompts,
)

TRAIN_CHARACTERS = 1000  # real training characters for the floors
WORDNET_CACHE = Path("runs/planner")  # where train_planner.py keeps it too


@dataclass(frozen=True)
class Benchmark:
    """What a model is scored with: the prompts of each set, the judges, and the real characters to compare with.

    uses: how many training characters show a component, by meaning form; taxonomy: what words are guessed by; plans: of
    all words of COMPOSED_SETS, also of those that are not asked for; composed: their images, by word; left_out: what is
    not scored, and why.
    """

    prompts: dict[str, list[Prompt]]
    judge: Judge
    control: Judge | None
    real: RealKanji
    uses: Mapping[str, int]
    dataset_sha256: str
    taxonomy: Taxonomy | None = None
    plans: tuple[Plan, ...] = ()
    composed: Mapping[str, Image.Image] | None = None
    left_out: tuple[str, ...] = ()

    def read(self, sampled: Sequence[tuple[Prompt, int, Image.Image]]) -> list[ScoredSample]:
        """Prompts, seeds and images with what the judges read in them."""
        images = [image for *_, image in sampled]
        controls = self.control.read(images) if self.control else [None] * len(images)
        return [ScoredSample(*one, reading, control)
                for one, reading, control in zip(sampled, self.judge.read(images), controls, strict=True)]


def prepare(config: EvaluateConfig, has_tokens: bool = False) -> Benchmark:
    """What these settings score a model with, whichever it is; `has_tokens`: of components, by which it can be asked.

    Raises DatasetError, JudgeError, PlannerError, or WordNetError where a named WordNet cannot be read.
    """
    judge = Judge.load(JUDGE, config.train_data_dir)
    control = Judge.load(CONTROL, None) if CONTROL.is_dir() else None
    rows, held_out = read_dataset(config.train_data_dir), read_dataset(config.train_data_dir, "test")
    if judge.references is None or held_out[0].path.parent == rows[0].path.parent:
        raise DatasetError(f"{config.train_data_dir}: no kanji set with held-out characters (train/ and test/), which "
                           "a score is held against. Make it with: python dataExtraction/main.py")
    planner, no_planner = load_planner(config)
    drawn = DrawnComponents.of_model(config.model)
    taxonomy, no_wordnet = load_taxonomy(config)
    prompts, no_prompts = without_empty(choose_prompts(config, rows, held_out, planner, drawn, has_tokens),
                                        config.train_data_dir)
    plans = plans_to_compose(planner, drawn)
    composed = None
    if config.composed_plans is not None and planner is not None:
        composed = read_composed(config.composed_plans, {plan.words: plan for plan in plans})
    return Benchmark(prompts, judge, control, read_real(judge, control, rows, held_out, config.seed),
                     Counter(form for row in rows for form in row.forms), dataset_hash([*rows, *held_out]), taxonomy,
                     plans, composed, (*no_prompts, *no_planner, *no_wordnet))


def load_planner(config: EvaluateConfig) -> tuple[Planner | None, tuple[str, ...]]:
    """The planner by its network alone, names.jsonl left out; where there are no weights, that as a sentence.

    Raises PlannerError where the weights are not whole, or where nothing but planned sets is asked for.
    """
    if config.plan == "off":
        return None, ()
    if PLANNER_WEIGHTS.is_dir():
        return Planner.load(PLANNER_WEIGHTS, None), ()
    if not any(getattr(config, name) for name in SETS if name not in PLANNED_SETS):
        raise PlannerError("the planner has no weights, and nothing but planned sets is asked for. Make them with: "
                           "python training/train_planner.py")
    return None, ("Planned sets are left out: the planner has no weights (python training/train_planner.py).",)


def load_taxonomy(config: EvaluateConfig) -> tuple[Taxonomy | None, tuple[str, ...]]:
    """WordNet's nouns; where they cannot be had, that as a sentence. Raises WordNetError for a folder that is named."""
    if not config.guess:
        return None, ()
    try:
        return Taxonomy(WordNet.read(find_wordnet(config.wordnet, WORDNET_CACHE))), ()
    except WordNetError as error:
        if config.wordnet is not None:
            raise
        return None, (f"The guessing test is left out: {error}.",)


def choose_prompts(config: EvaluateConfig, rows: Sequence[Row], held_out: Sequence[Row],
                   planner: Planner | None, drawn: DrawnComponents | None,
                   has_tokens: bool = False) -> dict[str, list[Prompt]]:
    """The prompts of each set that is not left out; without a planner planned sets are, without tokens spelled ones."""
    makers = {
        "known": lambda: known_prompts(rows, config.known, config.seed),
        "heldout": lambda: heldout_prompts(held_out, rows, config.heldout, config.seed),
        "pairs": lambda: pair_prompts(config.train_data_dir, config.pairs, config.seed, rows),
        "wild": lambda: wild_prompts(config.wild),
        "budget": lambda: budget_prompts(rows, config.budget, config.seed),
        "plans": lambda: plans_prompts(config.plans),
    }
    prompts = {name: makers[name]() for name in SETS if getattr(config, name)}
    if has_tokens and "pairs" in prompts:
        prompts["pairs_spelled"] = pair_prompts(config.train_data_dir, config.pairs, config.seed, rows, spelled=True)
    prompts |= {name: prompts[source] for name, source in PLANNED_AGAIN.items() if source in prompts}
    if planner is None:
        return {name: of_set for name, of_set in prompts.items() if name not in PLANNED_SETS}
    return {name: planned(of_set, planner, drawn) if name in PLANNED_SETS else of_set
            for name, of_set in prompts.items()}


def without_empty(prompts: Mapping[str, list[Prompt]], folder: Path) -> tuple[dict[str, list[Prompt]], tuple[str, ...]]:
    """The sets that have prompts, and those that have none in a sentence, if any: a small dataset gives some nothing.

    Raises DatasetError where none has.
    """
    empty = ", ".join(name for name, of_set in prompts.items() if not of_set)
    if not any(prompts.values()):
        raise DatasetError(f"{folder}: gives no prompt for what is to be scored ({empty}). The whole set does: "
                           "python dataExtraction/main.py")
    said = (f"Left out, since this dataset gives no prompt for them: {empty}.",) if empty else ()
    return {name: of_set for name, of_set in prompts.items() if of_set}, said


def plans_to_compose(planner: Planner | None, drawn: DrawnComponents | None) -> tuple[Plan, ...]:
    """The plans of all words of COMPOSED_SETS that have one which is no kanji already."""
    if planner is None:
        return ()
    words = [*wild_prompts(None), *plans_prompts(None)]
    return tuple(prompt.plan for prompt in planned(words, planner, drawn)
                 if prompt.plan and prompt.plan.source != "kanji")


def read_real(judge: Judge, control: Judge | None, rows: Sequence[Row], held_out: Sequence[Row],
              seed: int) -> RealKanji:
    """The real characters that samples are compared with: all held-out ones, and as many as a floor needs."""
    train = [row for row in rows if not row.is_composed]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:TRAIN_CHARACTERS]
    held_out_images, train_images = _open(held_out), _open([train[index] for index in order])
    return RealKanji(
        held_out=judge.read(held_out_images), train=judge.read(train_images),
        control_held_out=control.read(held_out_images) if control else [],
        held_out_forms=[row.forms for row in held_out], held_out_balance=ink_balance(held_out_images),
        train_balance=ink_balance(train_images), jouyou=jouyou_strokes(rows),
        held_out_meanings=[row.captions for row in held_out])


def _open(rows: Sequence[Row]) -> list[Image.Image]:
    return [open_image(row).convert("L") for row in rows]
