"""What a model is scored with, and its score: draw the prompts, read the pictures, count."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from common.device import choose_device
from common.settings import require
from dataset.captioned_folder import DatasetError, read_dataset
from dataset.rows import Row, dataset_hash
from generation.settings import SamplingSettings
from models.pipelines import load_model, module_hash
from recogniser.judge import CONTROL, JUDGE, Judge
from scoring.figures import (
    Real,
    ScoredSample,
    balance,
    exact_match,
    found_by_frequency,
    part_found,
    score_real,
    score_set,
    share,
)
from scoring.prompt_sets import (
    SETS,
    Prompt,
    budget_prompts,
    heldout_prompts,
    jouyou_strokes,
    known_prompts,
    pair_prompts,
    wild_prompts,
)

TRAIN_SAMPLE = 1000  # real training characters for the floors
BEST_OF_SETS = ("wild", "pairs")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(SamplingSettings):
    """Settings of an evaluation; the seed also decides which prompts are drawn."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder of dataExtraction/main.py."""
    output: Path = Path("report")
    """The folder for report.json and report.html."""
    known: int = 300
    """Prompts of the set `known`; 0 leaves it out. Two seeds each."""
    heldout: int = 1000
    """Meanings of held-out kanji, at most; there are about 860. One seed each."""
    pairs: int = 300
    """Two-concept prompts. Two seeds each."""
    wild: int = 109
    """Prompts of the modern world. Four seeds each."""
    budget: int = 150
    """Known meanings with a stroke budget. One seed each."""
    best_of: int = 1
    """Also draw this many for prompts of `wild` and `pairs` and score what the judge picks; 1 leaves it out."""
    best_of_prompts: int = 60
    """Prompts of each of the two sets that are drawn so often."""
    quick: bool = False
    """A small evaluation: at most 24 prompts a set."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        super().__post_init__()
        for name, least in {**dict.fromkeys(SETS, 0), "best_of": 1, "best_of_prompts": 1}.items():
            require(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        if not any(getattr(self, name) for name in SETS):
            raise ValueError("every set is left out; there is nothing to score")

    def resolved(self) -> EvaluateConfig:
        """The same settings with the counts that --quick stands for."""
        if not self.quick:
            return self
        return replace(self, **{name: min(getattr(self, name), QUICK_PROMPTS) for name in SETS},
                       best_of_prompts=min(self.best_of_prompts, QUICK_PROMPTS // 2))


QUICK_PROMPTS = 24
SEEDS = {"known": 2, "heldout": 1, "pairs": 2, "wild": 4, "budget": 1}  # pictures a prompt


@dataclass(frozen=True)
class Benchmark:
    """What a model is scored with: the prompts of each set, the judges, and the real characters to compare with.

    uses: how many training characters show a component, by meaning form.
    """

    prompts: dict[str, list[Prompt]]
    judge: Judge
    second: Judge | None
    real: Real
    uses: Mapping[str, int]
    dataset_sha256: str


def evaluate(config: EvaluateConfig) -> tuple[dict[str, Any], dict[str, list[ScoredSample]]]:
    """The report (JSON) and what was drawn, by set.

    Raises ModelError, DatasetError, JudgeError or UserError where the model, the dataset, the recogniser or the device
    cannot be had.
    """
    sampler = Sampler(load_model(config.model, config.revision), choose_device(config.device), config)
    return score(sampler, prepare(config))


def prepare(config: EvaluateConfig) -> Benchmark:
    """What these settings score a model with, whichever it is. Raises DatasetError or JudgeError."""
    judge = Judge.load(JUDGE, config.train_data_dir)
    second = Judge.load(CONTROL, None) if CONTROL.is_dir() else None
    rows, held_out = read_dataset(config.train_data_dir), read_dataset(config.train_data_dir, "test")
    if judge.references is None or held_out[0].path.parent == rows[0].path.parent:
        raise DatasetError(f"{config.train_data_dir}: no kanji set with held-out characters (train/ and test/), which "
                           "a score is held against. Make it with: python dataExtraction/main.py")
    prompts = choose_prompts(config, rows, held_out)
    return Benchmark(prompts, judge, second, _real(judge, second, rows, held_out, config.seed),
                Counter(form for row in rows for form in row.forms), dataset_hash([*rows, *held_out]))


def score(sampler: Sampler, benchmark: Benchmark) -> tuple[dict[str, Any], dict[str, list[ScoredSample]]]:
    """Draw the benchmark's prompts and score what was drawn: the report (JSON) and the pictures, by set."""
    config, judge, second = sampler.config, benchmark.judge, benchmark.second
    count = sum(len(asked) * SEEDS[name] for name, asked in benchmark.prompts.items())
    drawn = {}
    with tqdm(total=count, desc="drawing", unit="picture") as bar:
        for name, asked in benchmark.prompts.items():
            pictures = sampler.draw(name, asked, SEEDS[name], bar)
            drawn[name] = _read(judge, second, pictures)
    report = {
        "model": {"name": config.model, **sampler.provenance},
        "settings": json.loads(json.dumps(asdict(config), default=str)),
        "dataset_sha256": benchmark.dataset_sha256,
        "judge": judge.metadata["held_out"], "judge_sha256": judge.metadata["sha256"],
        "second_judge": None if second is None else second.metadata["held_out"],
        "real": score_real(benchmark.real, config.seed),
        "sets": {name: score_set(pictures, benchmark.real, config.seed) for name, pictures in drawn.items()},
    }
    if "pairs" in drawn:
        report["sets"]["pairs"] |= {"exact_match": exact_match(drawn["pairs"], config.seed),
                                    "found_by_frequency": found_by_frequency(drawn["pairs"], benchmark.uses, config.seed)}
    if config.best_of > 1:
        report["best_of"] = _best_of(config, benchmark.prompts, sampler, judge, second)
    return report, drawn


def choose_prompts(config: EvaluateConfig, rows: Sequence[Row], held_out: Sequence[Row]) -> dict[str, list[Prompt]]:
    """The prompts of each set that is not left out."""
    makers = {
        "known": lambda: known_prompts(rows, config.known, config.seed),
        "heldout": lambda: heldout_prompts(held_out, rows, config.heldout, config.seed),
        "pairs": lambda: pair_prompts(config.train_data_dir, config.pairs, config.seed, rows),
        "wild": lambda: wild_prompts(config.wild),
        "budget": lambda: budget_prompts(rows, config.budget, config.seed),
    }
    return {name: makers[name]() for name in SETS if getattr(config, name)}


class Sampler:
    """The model that is scored."""

    def __init__(self, pipeline: Any, device: torch.device, config: EvaluateConfig) -> None:
        """`pipeline` is a StableDiffusionPipeline."""
        self.provenance = {"unet_sha256": module_hash(pipeline.unet), "vae_sha256": module_hash(pipeline.vae),
                      "parameters": sum(p.numel() for m in (pipeline.unet, pipeline.vae) for p in m.parameters())}
        self.pipeline, self.device, self.config = pipeline.to(device), device, config

    def draw(self, name: str, prompts: Sequence[Prompt], seeds: int,
             bar: tqdm) -> list[tuple[Prompt, int, Image.Image]]:
        """`seeds` pictures of each prompt; the noise depends on the seed, the set and the prompt alone."""
        orders = [(prompt, seed_of(self.config.seed, name, prompt.asked, turn))
                  for prompt in prompts for turn in range(seeds)]
        texts, noises = [prompt.asked for prompt, _ in orders], [noise for _, noise in orders]
        pictures = []
        for batch in self.config.draw(self.pipeline, texts, noises):
            pictures += batch
            bar.update(len(batch))
        return [(prompt, seed, picture) for (prompt, seed), picture in zip(orders, pictures, strict=True)]


def seed_of(seed: int, name: str, text: str, turn: int) -> int:
    """The seed of a picture's noise, 0 to 2^31: a function of the evaluation's seed, set, prompt and turn."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}:{text}:{turn}".encode()).digest()[:4], "little") >> 1


def _read(judge: Judge, second: Judge | None, pictures: Sequence[tuple[Prompt, int, Image.Image]]) -> list[ScoredSample]:
    images = [picture for *_, picture in pictures]
    others = second.read(images) if second else [None] * len(images)
    return [ScoredSample(*one, reading, other)
            for one, reading, other in zip(pictures, judge.read(images), others, strict=True)]


def _real(judge: Judge, second: Judge | None, rows: Sequence[Row], held_out: Sequence[Row], seed: int) -> Real:
    train = [row for row in rows if not row.is_composed]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:TRAIN_SAMPLE]
    kept, trained = _open(held_out), _open([train[place] for place in order])
    return Real(judge.read(kept), judge.read(trained), second.read(kept) if second else [],
                [row.forms for row in held_out], balance(kept), balance(trained), jouyou_strokes(rows))


def _open(rows: Sequence[Row]) -> list[Image.Image]:
    pictures = []
    for row in rows:
        with Image.open(row.path) as image:
            pictures.append(image.convert("L"))
    return pictures


def _best_of(config: EvaluateConfig, prompts: dict[str, list[Prompt]], sampler: Sampler, judge: Judge,
             second: Judge | None) -> dict[str, Any]:
    """N = 1 beside the best of N for prompts of the two sets; the first judge chooses, the second only confirms."""
    gains: dict[str, Any] = {"n": config.best_of}
    for name in (name for name in BEST_OF_SETS if name in prompts):
        asked = prompts[name][:config.best_of_prompts]
        with tqdm(total=len(asked) * config.best_of, desc=f"best of {config.best_of}, {name}", unit="picture") as bar:
            drawn = _read(judge, second, sampler.draw(name, asked, config.best_of, bar))
        groups = [drawn[start:start + config.best_of] for start in range(0, len(drawn), config.best_of)]
        best = [group[judge.best([one.reading for one in group], group[0].prompt.strokes)] for group in groups]
        gains[name] = {"plain": _gain_figures([group[0] for group in groups], config.seed),
                       "best": _gain_figures(best, config.seed)}
    return gains


def _gain_figures(drawn: Sequence[ScoredSample], seed: int) -> dict[str, Any]:
    figures = {"well_formed": share(drawn, lambda one: one.reading.is_well_formed, seed)}
    if all(one.second is not None for one in drawn):
        figures["control_well_formed"] = share(drawn, lambda one: one.second.is_well_formed, seed)
    with_answers = [one for one in drawn if one.prompt.answers]
    if with_answers:
        found = part_found(with_answers, seed)
        figures["one_part"] = found["one"]
        if not any(one.prompt.any_fits for one in with_answers):
            figures["all_parts"] = found["all"]
    return figures
