"""What a model is scored with, and its score: sample the prompts, read the images, count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from common.device import choose_device
from common.paths import shown_name
from common.settings import setting
from dataset.captioned_folder import DatasetError, read_dataset
from dataset.rows import Row, dataset_hash
from generation.request import CANDIDATE_SEEDS, noise_seed
from generation.settings import SamplingSettings
from models.pipelines import load_model, module_hash
from recogniser.judge import CONTROL, JUDGE, Judge
from scoring.figures import RealKanji, ScoredSample, ink_balance, score_choice, score_pairs, score_real, score_set
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
from scoring.report import BestOf, BestOfGain, JudgeScore, ModelProvenance, Report, SetScore, shown_settings

TRAIN_CHARACTERS = 1000  # real training characters for the floors
BEST_OF_SETS = ("wild", "pairs")
QUICK_PROMPTS = 24
SEEDS = {"known": 2, "heldout": 1, "pairs": 2, "wild": 4, "budget": 1}  # images a prompt


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(SamplingSettings):
    """Settings of an evaluation; image k of a prompt has `--seed` + k, which also decides what prompts are chosen."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder of dataExtraction/main.py."""
    output: Path = Path("report")
    """The folder for report.json and report.html."""
    known: int = setting(300, at_least=0)
    """Prompts of the set `known`; 0 leaves it out. Two seeds each."""
    heldout: int = setting(1000, at_least=0)
    """Meanings of held-out kanji, at most; there are about 860. One seed each."""
    pairs: int = setting(300, at_least=0)
    """Two-concept prompts. Two seeds each."""
    wild: int = setting(109, at_least=0)
    """Prompts of the modern world. Four seeds each."""
    budget: int = setting(150, at_least=0)
    """Known meanings with a number of strokes. One seed each."""
    best_of: int = setting(1, at_least=1)
    """Also sample this many for prompts of `wild` and `pairs` and score what the judge picks; 1 leaves it out."""
    best_of_prompts: int = setting(60, at_least=1)
    """Prompts of each of the two sets that are sampled so often."""
    quick: bool = False
    """A small evaluation: at most 24 prompts a set."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        super().__post_init__()
        if not any(getattr(self, name) for name in SETS):
            raise ValueError("every set is left out; there is nothing to score")

    def resolved(self) -> EvaluateConfig:
        """The same settings with the counts that --quick stands for."""
        if not self.quick:
            return self
        return replace(self, **{name: min(getattr(self, name), QUICK_PROMPTS) for name in SETS},
                       best_of_prompts=min(self.best_of_prompts, QUICK_PROMPTS // 2))


@dataclass(frozen=True)
class Benchmark:
    """What a model is scored with: the prompts of each set, the judges, and the real characters to compare with.

    uses: how many training characters show a component, by meaning form.
    """

    prompts: dict[str, list[Prompt]]
    judge: Judge
    control: Judge | None
    real: RealKanji
    uses: Mapping[str, int]
    dataset_sha256: str

    def read(self, sampled: Sequence[tuple[Prompt, int, Image.Image]]) -> list[ScoredSample]:
        """Prompts, seeds and images with what the judges read in them."""
        images = [image for *_, image in sampled]
        controls = self.control.read(images) if self.control else [None] * len(images)
        return [ScoredSample(*one, reading, control)
                for one, reading, control in zip(sampled, self.judge.read(images), controls, strict=True)]


class Sampler:
    """The model that is scored."""

    def __init__(self, pipeline: Any, device: torch.device, config: EvaluateConfig) -> None:
        """`pipeline` is a StableDiffusionPipeline."""
        networks = (pipeline.unet, pipeline.vae)
        self.provenance = ModelProvenance(
            shown_name(config.model), *map(module_hash, networks),
            sum(parameter.numel() for network in networks for parameter in network.parameters()))
        self.pipeline, self.device, self.config = pipeline.to(device), device, config

    def sample(self, prompts: Sequence[Prompt], seeds: Sequence[int],
               bar: tqdm) -> list[tuple[Prompt, int, Image.Image]]:
        """An image of each prompt with each of the seeds, the one that generate.py makes of that prompt and seed."""
        requests = [(prompt, seed) for prompt in prompts for seed in seeds]
        images = []
        for batch in self.config.draw(self.pipeline, [prompt.asked for prompt, _ in requests],
                                      [noise_seed(seed, prompt.text) for prompt, seed in requests]):
            images += batch
            bar.update(len(batch))
        return [(prompt, seed, image) for (prompt, seed), image in zip(requests, images, strict=True)]


def evaluate(config: EvaluateConfig) -> tuple[Report, dict[str, list[ScoredSample]]]:
    """The report and the samples, by set.

    Raises ModelError, DatasetError, JudgeError or UserError where the model, the dataset, the recogniser or the device
    cannot be had.
    """
    sampler = Sampler(load_model(config.model, config.revision), choose_device(config.device), config)
    return score(sampler, prepare(config))


def prepare(config: EvaluateConfig) -> Benchmark:
    """What these settings score a model with, whichever it is. Raises DatasetError or JudgeError."""
    judge = Judge.load(JUDGE, config.train_data_dir)
    control = Judge.load(CONTROL, None) if CONTROL.is_dir() else None
    rows, held_out = read_dataset(config.train_data_dir), read_dataset(config.train_data_dir, "test")
    if judge.references is None or held_out[0].path.parent == rows[0].path.parent:
        raise DatasetError(f"{config.train_data_dir}: no kanji set with held-out characters (train/ and test/), which "
                           "a score is held against. Make it with: python dataExtraction/main.py")
    prompts = choose_prompts(config, rows, held_out)
    return Benchmark(prompts, judge, control, read_real(judge, control, rows, held_out, config.seed),
                     Counter(form for row in rows for form in row.forms), dataset_hash([*rows, *held_out]))


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
        train_balance=ink_balance(train_images), jouyou=jouyou_strokes(rows))


def score(sampler: Sampler, benchmark: Benchmark) -> tuple[Report, dict[str, list[ScoredSample]]]:
    """Sample the benchmark's prompts and score what came: the report and the samples, by set."""
    samples, first = {}, sampler.config.seed
    count = sum(len(prompts) * SEEDS[name] for name, prompts in benchmark.prompts.items())
    with tqdm(total=count, desc="sampling", unit="image") as bar:
        for name, prompts in benchmark.prompts.items():
            samples[name] = benchmark.read(sampler.sample(prompts, range(first, first + SEEDS[name]), bar))
    report = Report(
        model=sampler.provenance,
        settings=shown_settings(sampler.config),
        dataset_sha256=benchmark.dataset_sha256,
        judge=JudgeScore.of(benchmark.judge.metadata),
        control_judge=JudgeScore.of(benchmark.control.metadata) if benchmark.control else None,
        real=score_real(benchmark.real, sampler.config.seed),
        sets={name: _score_set(name, samples[name], benchmark, sampler.config.seed) for name in samples},
        best_of=score_best_of(sampler, benchmark) if sampler.config.best_of > 1 else None)
    return report, samples


def score_best_of(sampler: Sampler, benchmark: Benchmark) -> BestOf:
    """One sample beside the best of several, for prompts of BEST_OF_SETS; the judge chooses, the control confirms.

    The several are the candidates of `generate.py --best_of`; the one is the first of them.
    """
    config, gains = sampler.config, {}
    seeds = range(config.seed, config.seed + config.best_of * CANDIDATE_SEEDS, CANDIDATE_SEEDS)
    for name in (name for name in BEST_OF_SETS if name in benchmark.prompts):
        prompts = benchmark.prompts[name][:config.best_of_prompts]
        with tqdm(total=len(prompts) * config.best_of, desc=f"best of {config.best_of}, {name}", unit="image") as bar:
            samples = benchmark.read(sampler.sample(prompts, seeds, bar))
        groups = [samples[start:start + config.best_of] for start in range(0, len(samples), config.best_of)]
        best = [group[benchmark.judge.best([sample.reading for sample in group], group[0].prompt.strokes)]
                for group in groups]
        gains[name] = BestOfGain(score_choice([group[0] for group in groups], config.seed),
                                 score_choice(best, config.seed))
    return BestOf(config.best_of, gains)


def _score_set(name: str, samples: Sequence[ScoredSample], benchmark: Benchmark, seed: int) -> SetScore:
    figures = score_set(samples, benchmark.real, seed)
    return score_pairs(figures, samples, benchmark.uses, seed) if name == "pairs" else figures


def _open(rows: Sequence[Row]) -> list[Image.Image]:
    images = []
    for row in rows:
        with Image.open(row.path) as image:
            images.append(image.convert("L"))
    return images
