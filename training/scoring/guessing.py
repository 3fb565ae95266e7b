"""A guessing test by a dictionary: which of four words is nearest in WordNet to the components read in an image?

Nearness is Lin's similarity of nouns (Lin 1998), with the information content that Seco et al. (2004) take from the
taxonomy alone; of two words, that of their nearest senses. Of real everyday training kanji, their components given, the
right one of four meanings is guessed in 37 %, by chance in 25 %.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from common.statistics import Figure, bootstrap
from planner.wordnet import WordNet
from recogniser.judge import Reading
from scoring.figures import ScoredSample, compared
from scoring.prompt_sets import Prompt
from scoring.report import ComparedFigure

OPTIONS = 4  # words to choose from: the right one and three others of the set


class Taxonomy:
    """How near nouns are to one another in WordNet."""

    def __init__(self, wordnet: WordNet) -> None:
        """Count for each synset how many are a kind of it."""
        self.wordnet = wordnet
        kinds = Counter(above for offset in wordnet.synsets for above in wordnet.ancestors(offset))
        self.content = {offset: 1.0 - math.log(count) / math.log(max(2, len(wordnet.synsets)))
                        for offset, count in kinds.items()}
        self._above: dict[str, dict[str, float]] = {}

    def knows(self, word: str) -> bool:
        """Whether WordNet has the word as a noun."""
        return word.lower() in self.wordnet.senses

    def similarity(self, one: str, other: str) -> float:
        """Lin's similarity of the nearest senses of two words, 0 to 1; 0 where one is not known."""
        first, second = self._contents_above(one.lower()), self._contents_above(other.lower())
        shared = (above for above in first.keys() & second.keys() if self.content[above] > 0.0)
        return max((2.0 * self.content[above] / (first[above] + second[above]) for above in shared), default=0.0)

    def _contents_above(self, word: str) -> dict[str, float]:
        """For all that a sense of the word is a kind of, the least information content of such a sense."""
        if word not in self._above:
            found: dict[str, float] = {}
            for sense in self.wordnet.senses.get(word, ()):
                for above in self.wordnet.ancestors(sense):
                    found[above] = min(found.get(above, math.inf), self.content[sense])
            self._above[word] = found
        return self._above[word]


def guessed(taxonomy: Taxonomy, asked: Sequence[tuple[Prompt, Reading]], seed: int) -> Figure | None:
    """How often the right word is guessed from what was read; None where WordNet knows too few of the words.

    Words that it does not know are left out. Equally near words share the guess, so that an image in which nothing was
    read counts as chance.
    """
    asked = [(prompt, reading) for prompt, reading in asked if taxonomy.knows(prompt.text)]
    prompts = {prompt.text: prompt for prompt, _ in asked}
    if len(prompts) < OPTIONS:
        return None
    options = {text: _options(prompt, list(prompts.values()), seed) for text, prompt in prompts.items()}
    right: dict[str, list[float]] = {}
    for prompt, reading in asked:
        right.setdefault(prompt.text, []).append(_right(taxonomy, options[prompt.text], reading))
    return replace(bootstrap([float(np.mean(of_one)) for of_one in right.values()], seed), n=len(asked))


def guessed_words(taxonomy: Taxonomy, samples: Sequence[ScoredSample], seed: int) -> ComparedFigure | None:
    """How often the word of a sample is guessed, beside shuffled prompts; None where WordNet knows too few of them."""
    def measure(of: Sequence[ScoredSample], seed: int) -> Figure | None:
        return guessed(taxonomy, [(sample.prompt, sample.reading) for sample in of], seed)

    known = [sample for sample in samples if taxonomy.knows(sample.prompt.text)]
    return None if measure(known, seed) is None else compared(known, measure, seed)


def _options(prompt: Prompt, prompts: Sequence[Prompt], seed: int) -> list[str]:
    """The words to choose from, the right one first; no word of the same kanji."""
    others = sorted(one.text for one in prompts
                    if one.text != prompt.text and not set(one.literals) & set(prompt.literals))
    return [prompt.text, *random.Random(f"{seed}:{prompt.text}").sample(others, min(OPTIONS - 1, len(others)))]


def _right(taxonomy: Taxonomy, options: Sequence[str], reading: Reading) -> float:
    """1 where the first option is the nearest, 0 where another is, a fraction where several are."""
    meanings = [known for component in reading.components
                if (known := [one for one in (component.meaning, *component.other_meanings) if taxonomy.knows(one)])]
    near = [sum(max(taxonomy.similarity(word, meaning) for meaning in of_one) for of_one in meanings)
            for word in options]
    return (near[0] == max(near)) / near.count(max(near))


def real_prompts(meanings: Sequence[Sequence[str]], taxonomy: Taxonomy) -> list[Prompt]:
    """For each real kanji its first meaning that is known, as a prompt; one that is not known where there is none."""
    return [Prompt(next(filter(taxonomy.knows, of_one), "")) for of_one in meanings]
