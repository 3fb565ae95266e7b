"""What a model is asked for to make a set of its own samples, and what a recogniser's reading makes of an answer."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common.paths import shown_name
from common.quiet import known_noise_off
from common.settings import MAY_DIFFER, as_json, setting
from dataset.rows import Row
from generation.request import ImageRequest
from generation.settings import SamplingSettings
from recogniser.judge import Reading
from scoring.prompt_sets import Prompt, jouyou_strokes, known_prompts, pair_prompts, wild_prompts

with known_noise_off():
    from transformers import PreTrainedTokenizerBase

TWO_WORDS = 0.25  # fraction of the words' prompts that name two
TAGGED = 0.5  # fraction of the prompts that name a number of strokes
STROKE_TOLERANCE = 1  # strokes by which a good sample may miss the number
PLAIN = 2 / 3  # fraction of everyday characters that have no more strokes than a good sample of words that name none
MIN_LETTERS = 3  # of a word
SEEDS_OF_A_RUN = 1000  # a run's seeds of a prompt are small numbers from its --seed times this on
UNLIMITED = 10**9
GOOD, STROKE_COUNT_ERROR, DOUBTFUL, BAD = "good", "stroke-count error", "doubtful", "bad"  # verdicts on a sample


@dataclass(frozen=True, kw_only=True)
class SelfTrainingConfig(SamplingSettings):
    """Settings of a set of the model's own samples."""

    reward_model: Path = field(metadata={"was": "recogniser"})
    """The folder of the recogniser that chooses: weights/ of a run of train_recogniser.py with a seed of its own."""
    train_data_dir: Path = Path("data/kanji")
    """The dataset folder whose meanings are drawn, and whose held-out ones are not."""
    output: Path = setting(Path("data/own"), may_differ=True)
    """The folder to write."""
    words: int = setting(2000, at_least=0)
    """Prompts of words from the text encoder's vocabulary, a quarter of them two words."""
    meanings: int = setting(2000, at_least=0)
    """Prompts that are meanings of everyday training kanji."""
    pairs: int = setting(1000, at_least=0)
    """Prompts that are captions of composed characters: two concepts."""
    samples_per_prompt: int = setting(2, was="drawings", at_least=1)
    """Samples of each prompt, of which some may be good and others not."""
    min_well_formed: float = setting(0.995, was="least_well_formed", at_least=0, below=1)
    """Probability of being well-formed, 0 to 1, from which on a sample is good, but at least the recogniser's own."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        super().__post_init__()
        if not self.words + self.meanings + self.pairs:
            raise ValueError("--words 0, --meanings 0 and --pairs 0: there is nothing to draw")

    def manifest_settings(self) -> dict[str, Any]:
        """The settings that decide what is drawn and kept, without folders of this machine; JSON."""
        return {name: shown_name(value) if isinstance(value, str) else value
                for name, value in as_json(self, without=MAY_DIFFER).items()}


@dataclass(frozen=True)
class SampleRequest:
    """One sample to draw. The prompt's `answers` say which components would be right; without any, all are.

    group: the prompt's number, which its samples share; kind: "words", "meanings" or "pairs"; max_strokes: of a good
    sample of a prompt that names no number.
    """

    prompt: Prompt
    seed: int
    group: int
    kind: str
    max_strokes: int | None = None

    @property
    def image(self) -> ImageRequest:
        """The same as generate.py knows it: its noise, and the command that draws it again."""
        return ImageRequest(self.prompt.text, self.prompt.strokes, self.seed, "")

    def verdict(self, reading: Reading, min_well_formed: float) -> str:
        """What the reading says of a sample.

        GOOD; STROKE_COUNT_ERROR where only the strokes fail; DOUBTFUL where it is hardly good; or BAD.
        """
        found = frozenset(component.original for component in reading.components)
        shown = [answer <= found if self.kind == "pairs" else answer & found for answer in self.prompt.answers]
        asked, strokes = self.prompt.strokes, round(reading.strokes)
        fits = abs(strokes - asked) <= STROKE_TOLERANCE if asked else strokes <= (self.max_strokes or strokes)
        if not reading.is_well_formed or (shown and not any(shown)):
            return BAD
        if reading.well_formed >= min_well_formed:
            return GOOD if fits else STROKE_COUNT_ERROR
        return DOUBTFUL if fits else BAD


def choose_requests(config: SelfTrainingConfig, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row],
                    held_out: Sequence[Row]) -> list[SampleRequest]:
    """What to draw, in the order in which it is drawn, a prompt's samples together: a function of the seed.

    rows, held_out: the train split and the test split of the dataset.
    """
    rng = random.Random(config.seed)
    prompts = _choose_prompts(config, tokenizer, rows, held_out, rng)
    everyday = sorted(jouyou_strokes(rows)) or [8]
    plain = everyday[round(PLAIN * (len(everyday) - 1))]
    used: Counter[str] = Counter()  # a prompt that comes twice has other seeds the second time
    requests = []
    for group, (kind, prompt) in enumerate(prompts):
        strokes = min(rng.choices(everyday, k=2 if kind == "words" else 1))
        asked = replace(prompt, strokes=strokes if rng.random() < TAGGED else None)
        first = config.seed * SEEDS_OF_A_RUN + used[prompt.text]
        used[prompt.text] += config.samples_per_prompt
        requests += [SampleRequest(asked, first + number, group, kind, plain if kind == "words" else None)
                     for number in range(config.samples_per_prompt)]
    return requests


def _choose_prompts(config: SelfTrainingConfig, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row],
                    held_out: Sequence[Row], rng: random.Random) -> list[tuple[str, Prompt]]:
    """The prompts, each with its kind, in random order; none of them is a prompt of the score."""
    scored = {prompt.text.lower() for prompt in pair_prompts(config.train_data_dir, UNLIMITED, 0)}
    scored |= {caption.lower() for row in held_out for caption in row.captions}
    prompts = [("words", prompt) for prompt in _word_prompts(tokenizer, config.words, scored, rng)]
    meanings = [prompt for prompt in known_prompts(rows, UNLIMITED, 0) if prompt.text.lower() not in scored]
    prompts += [("meanings", prompt) for prompt in _cycled(meanings, config.meanings, rng)]
    pairs = [Prompt(caption, (row.forms,)) for row in rows if row.is_composed for caption in row.captions
             if caption.lower() not in scored]
    prompts += [("pairs", prompt) for prompt in _cycled(pairs, config.pairs, rng)]
    rng.shuffle(prompts)
    return prompts


def vocabulary(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The whole words of a tokenizer's vocabulary in the order of their numbers, WordPiece's or CLIP's, lower case."""
    numbers = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in numbers]
    if any(token.endswith("</w>") for token in tokens):
        tokens = [token.removesuffix("</w>") for token in tokens if token.endswith("</w>")]
    return [token for token in tokens if len(token) >= MIN_LETTERS and re.fullmatch("[a-z]+", token)]


def _word_prompts(tokenizer: PreTrainedTokenizerBase, count: int, scored: Collection[str],
                  rng: random.Random) -> Iterator[Prompt]:
    """Prompts of one word or two from the vocabulary, of which none is a prompt of the score or names a modern word."""
    modern = {word for prompt in wild_prompts(None) for word in re.findall("[a-z]+", prompt.text.lower())}
    words = [word for word in vocabulary(tokenizer) if word not in modern]
    for word in _cycled(words, count, rng):
        text = f"{word} {rng.choice(words)}" if rng.random() < TWO_WORDS else word
        if text not in scored:
            yield Prompt(text)


def _cycled(things: Sequence[Any], count: int, rng: random.Random) -> list[Any]:
    """`count` of the things in random order, each as often as any other."""
    chosen: list[Any] = []
    while things and len(chosen) < count:
        chosen += rng.sample(things, min(len(things), count - len(chosen)))
    return chosen
