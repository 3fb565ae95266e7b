"""A model's score: sample the benchmark's prompts, have the judges read the images, count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from common.device import choose_device
from common.paths import shown_name
from common.statistics import proportion
from generation.best_of import Candidate, best_candidate
from generation.sampling import draw
from models.component_tokens import component_tokens
from models.pipelines import load_model, module_hash
from planner.plan import Plan
from recogniser.judge import Judge
from scoring.benchmark import Benchmark, prepare
from scoring.composed import COMPOSED_SETS
from scoring.config import PLANNED_SETS, EvaluateConfig
from scoring.figures import ScoredSample, score_pairs, score_real, score_set
from scoring.guessing import guessed, guessed_words, real_prompts
from scoring.plan_figures import score_plans, score_shortly
from scoring.prompt_sets import Prompt
from scoring.report import (
    BestOf,
    BestOfGain,
    ComposedScore,
    JudgeScore,
    ModelProvenance,
    RealScore,
    Report,
    SetScore,
    shown_settings,
)

BEST_OF_SETS = ("wild", "pairs", "pairs_spelled", "pairs_planned", "wild_planned", "plans")
GUESSED_SETS = ("wild", "wild_planned", "heldout", "heldout_planned", "plans")
SEEDS = {  # images a prompt
    "known": 2, "heldout": 1, "pairs": 2, "pairs_spelled": 2, "pairs_planned": 2, "wild": 4, "budget": 1, "plans": 2,
    "wild_planned": 4, "heldout_planned": 1, "known_planned": 1}


class Sampler:
    """The model that is scored."""

    def __init__(self, pipeline: Any, device: torch.device, config: EvaluateConfig) -> None:
        """`pipeline` is a StableDiffusionPipeline."""
        networks = (pipeline.unet, pipeline.vae)
        self.provenance = ModelProvenance(
            shown_name(config.model), *map(module_hash, networks),
            sum(parameter.numel() for network in networks for parameter in network.parameters()))
        self.pipeline, self.device, self.config = pipeline.to(device), device, config

    def sample(self, asked: Sequence[tuple[Prompt, int]], bar: tqdm) -> list[tuple[Prompt, int, Image.Image]]:
        """An image of each prompt with its seed, the one that generate.py makes of that prompt, plan and seed."""
        images, tokens = [], component_tokens(self.pipeline.tokenizer)
        requests = [replace(prompt.request(seed), tokens=tokens) for prompt, seed in asked]
        for batch in draw(self.pipeline, self.config, [request.prompt for request in requests],
                          [request.noise_seed for request in requests]):
            images += batch
            bar.update(len(batch))
        return [(prompt, seed, image) for (prompt, seed), image in zip(asked, images, strict=True)]


def evaluate(config: EvaluateConfig) -> tuple[Report, dict[str, list[ScoredSample]], tuple[Plan, ...]]:
    """The report, the samples by set, and the plans of all words that may be composed.

    Raises ModelError, DatasetError, JudgeError, PlannerError, WordNetError or UserError where the model, the dataset,
    the recogniser, the planner, a named WordNet or the device cannot be had.
    """
    sampler = Sampler(load_model(config.model, config.revision), choose_device(config.device), config)
    benchmark = prepare(config, has_tokens=bool(component_tokens(sampler.pipeline.tokenizer)))
    return *score(sampler, benchmark), benchmark.plans


def score(sampler: Sampler, benchmark: Benchmark) -> tuple[Report, dict[str, list[ScoredSample]]]:
    """Sample the benchmark's prompts and score what came: the report and the samples, by set."""
    samples, config = {}, sampler.config
    real = _score_real(benchmark, config.seed)  # first: what is wrong with the dataset is better known before drawing
    count = sum(len(prompts) * SEEDS[name] for name, prompts in benchmark.prompts.items())
    with tqdm(total=count, desc="sampling", unit="image") as bar:
        for name, prompts in benchmark.prompts.items():
            asked = [(prompt, config.seed + turn) for prompt in prompts for turn in range(SEEDS[name])]
            samples[name] = benchmark.read(sampler.sample(asked, bar))
    report = Report(
        model=sampler.provenance,
        settings=shown_settings(config),
        dataset_sha256=benchmark.dataset_sha256,
        judge=JudgeScore.of(benchmark.judge.metadata),
        control_judge=JudgeScore.of(benchmark.control.metadata) if benchmark.control else None,
        real=real,
        sets={name: _score_set(name, samples[name], benchmark, config.seed) for name in samples},
        best_of=score_best_of(sampler, benchmark) if config.best_of > 1 else None,
        composed=score_composed(samples, benchmark, config.seed),
        left_out=benchmark.left_out)
    return report, samples


def score_best_of(sampler: Sampler, benchmark: Benchmark) -> BestOf:
    """One sample beside the best of several, for prompts of BEST_OF_SETS; the judge chooses, the control confirms.

    The several are the candidates of `generate.py --best_of`, of which some have the next plans; the one is the first
    of them.
    """
    config, gains = sampler.config, {}
    for name in (name for name in BEST_OF_SETS if name in benchmark.prompts):
        prompts = benchmark.prompts[name][:config.best_of_prompts]
        asked = [_candidate(prompt, config.seed, number) for prompt in prompts for number in range(config.best_of)]
        with tqdm(total=len(asked), desc=f"best of {config.best_of}, {name}", unit="image") as bar:
            samples = benchmark.read(sampler.sample(asked, bar))
        groups = [samples[start:start + config.best_of] for start in range(0, len(samples), config.best_of)]
        best = [_best(group, benchmark.judge) for group in groups]
        confirmed = [replace(sample, reading=sample.control) for sample in best if sample.control is not None]
        gains[name] = BestOfGain(score_shortly([group[0] for group in groups], config.seed),
                                 score_shortly(best, config.seed),
                                 score_shortly(confirmed, config.seed) if confirmed else None)
    return BestOf(config.best_of, gains)


def score_composed(samples: Mapping[str, Sequence[ScoredSample]], benchmark: Benchmark,
                   seed: int) -> dict[str, ComposedScore] | None:
    """The composed plans beside the model's first images of the same words; None where there are none."""
    if benchmark.composed is None:
        return None
    scores = {}
    for name in (name for name in COMPOSED_SETS if name in samples):
        first = {sample.prompt.text: sample for sample in reversed(samples[name]) if sample.prompt.plan}
        own = [sample for word, sample in first.items() if word in benchmark.composed]
        if own:
            read = benchmark.read([(one.prompt, one.seed, benchmark.composed[one.prompt.text]) for one in own])
            scores[name] = ComposedScore(proportion(len(own), len(first)), score_shortly(read, seed),
                                         score_shortly(own, seed))
    return scores


def _candidate(prompt: Prompt, seed: int, number: int) -> tuple[Prompt, int]:
    """The prompt and seed of a candidate of the image of a prompt and seed, which may have another of its plans."""
    request = prompt.request(seed).candidate(number)
    others = tuple(plan for plan in prompt.plans if plan != request.plan)
    return replace(prompt, plans=(request.plan, *others) if request.plan else ()), request.seed


def _best(samples: Sequence[ScoredSample], judge: Judge) -> ScoredSample:
    """The candidate that generate.py would keep."""
    candidates = [Candidate(sample.prompt.request(sample.seed), number, sample.image, sample.reading)
                  for number, sample in enumerate(samples)]
    return samples[best_candidate(candidates, judge).number]


def _score_real(benchmark: Benchmark, seed: int) -> RealScore:
    real, taxonomy = benchmark.real, benchmark.taxonomy
    found = None
    if taxonomy is not None:
        prompts = real_prompts(real.held_out_meanings, taxonomy)
        found = guessed(taxonomy, list(zip(prompts, real.held_out, strict=True)), seed)
    return replace(score_real(real, seed), guessed=found)


def _score_set(name: str, samples: Sequence[ScoredSample], benchmark: Benchmark, seed: int) -> SetScore:
    figures, taxonomy = score_set(samples, benchmark.real, seed), benchmark.taxonomy
    if name in ("pairs", "pairs_spelled", "pairs_planned"):
        figures = score_pairs(figures, samples, benchmark.uses, seed)
    if name in PLANNED_SETS:
        figures = replace(figures, plans=score_plans(samples, seed))
    if taxonomy is not None and name in GUESSED_SETS:
        figures = replace(figures, guessed=guessed_words(taxonomy, samples, seed))
    return figures
