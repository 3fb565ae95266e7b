"""What WordNet says of a noun, as scores of components: its word, gloss, hypernyms, the gloss's words, its category."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from common.device import autocast
from common.files import replacing
from common.stop_signals import StopSignals
from planner.categories import Categories
from planner.components import Components
from planner.network import PlannerNetwork
from planner.text import SentenceEncoder
from planner.wordnet import Synset, WordNet

GLOSS_WEIGHT, HYPERNYM_WEIGHT, GLOSS_WORDS_WEIGHT = 1.0, 0.5, 1.0  # beside the word's own score, 1
CATEGORY_WEIGHT = 1.5  # of 2.5 no more names fit, and more plans are alike
WOMAN_WEIGHT = 1.0  # for 女 where the gloss says that it is a woman
WOMAN = (" woman ", " actress ", " queen ", " she ", " her ", " girl ", " female ", " goddess ", " princess ",
         " heroine ")
TAUGHT_SCALE = 2.5  # the sum, by which the network's target is divided
LIKE = 0.4  # cosine of a gloss's word and a component's name from which on it says something
RARE = 8.0  # logarithm of one over its frequency in glosses, from which on a word counts in full
ENCODED_AT_ONCE = 2048  # texts, between two looks at a stop signal
STOP_WORDS = frozenset(re.findall(r"\w+", """
    a an the of or and in on to for with by that which is are be as from at it its used having who usually
    especially one something someone any not than but his her their has have was were into when where being made
    other others such more most can may some this these those between often very all no also you your they them if
    out up off over under about through during after before only so same each while using use part kind type form
    act state quality person people large small"""))

Encode = Callable[[str, Sequence[str]], torch.Tensor]


@dataclass(frozen=True)
class GlossWords:
    """The words of glosses: embeddings fp32 (V, 384), how rare each is, 0 to 1 (V,), and their indices by gloss."""

    embeddings: torch.Tensor
    rarity: torch.Tensor
    by_gloss: tuple[tuple[int, ...], ...]

    @classmethod
    def encode(cls, definitions: Sequence[str], encode: Encode) -> GlossWords:
        """Encode the words that stand in two definitions or more."""
        texts = [dict.fromkeys(_content_words(definition)) for definition in definitions]
        counts = Counter(word for words in texts for word in words)
        kept = [word for word in dict.fromkeys(word for words in texts for word in words) if counts[word] >= 2]
        index = {word: number for number, word in enumerate(kept)}
        rarity = [min(1.0, math.log(len(texts) / counts[word]) / RARE) for word in kept]
        return cls(encode("words of glosses", kept), torch.tensor(rarity),
                   tuple(tuple(index[word] for word in words if word in index) for words in texts))

    def of(self, indices: Sequence[int]) -> GlossWords:
        """Those of some glosses, in their order."""
        return GlossWords(self.embeddings, self.rarity, tuple(self.by_gloss[index] for index in indices))

    def scores(self, network: PlannerNetwork) -> torch.Tensor:
        """How much the words of each gloss are like the names of each component, fp32 (N, components)."""
        table = torch.cat([network.nearest_names(batch) for batch in self.embeddings.split(2048)])
        table = (table - LIKE).clamp_min(0.0) * self.rarity[:, None]
        words = torch.tensor([index for gloss in self.by_gloss for index in gloss], dtype=torch.long)
        starts = torch.tensor([0, *(len(gloss) for gloss in self.by_gloss)]).cumsum(0)[:-1]
        return F.embedding_bag(words, table, starts, mode="sum")


@dataclass(frozen=True)
class NounTexts:
    """Embeddings of nouns, fp32 (N, 384) each: the word, the word with its gloss, the mean of its hypernyms.

    more, more_index: further words of the synsets, (M, 384), and the noun of each, int64 (M,); gloss_words: the words
    of each gloss.
    """

    words: torch.Tensor
    glosses: torch.Tensor
    hypernyms: torch.Tensor
    more: torch.Tensor
    more_index: torch.Tensor
    gloss_words: GlossWords

    @classmethod
    def encode(cls, nouns: Sequence[Synset], wordnet: WordNet, encoder: SentenceEncoder, folder: Path,
               stop: StopSignals) -> NounTexts:
        """Encode them, or find them in `folder`, where they are kept. Raises Stopped."""
        encode = kept(encoder, folder, stop)
        words = encode("words", [noun.words[0] for noun in nouns])
        glosses = encode("glosses", [f"{noun.words[0]}: {noun.definition}" for noun in nouns])
        above = sorted({wordnet.synsets[offset].words[0] for noun in nouns for offset in noun.hypernyms})
        index, vectors = {word: number for number, word in enumerate(above)}, encode("hypernyms", above)
        hypernyms = torch.stack([
            vectors[[index[wordnet.synsets[offset].words[0]] for offset in noun.hypernyms]].mean(0)
            if noun.hypernyms else glosses[number] for number, noun in enumerate(nouns)])
        more = [(number, word) for number, noun in enumerate(nouns) for word in noun.words[1:4]]
        return cls(words, glosses, F.normalize(hypernyms, dim=-1), encode("further words", [word for _, word in more]),
                   torch.tensor([number for number, _ in more], dtype=torch.long),
                   GlossWords.encode([noun.definition for noun in nouns], encode))

    def of(self, indices: Sequence[int]) -> NounTexts:
        """Those of some nouns, in their order."""
        kept = torch.tensor(indices, dtype=torch.long)
        place = torch.full((len(self.words),), -1).scatter(0, kept, torch.arange(len(kept)))
        still = place[self.more_index] >= 0
        return NounTexts(self.words[kept], self.glosses[kept], self.hypernyms[kept], self.more[still],
                         place[self.more_index][still], self.gloss_words.of(indices))


@torch.no_grad()
def dictionary_scores(network: PlannerNetwork, components: Components, nouns: Sequence[Synset], texts: NounTexts,
                      wordnet: WordNet, categories: Categories) -> torch.Tensor:
    """What the dictionary says of each noun, (N, components), divided by TAUGHT_SCALE."""
    scores = torch.cat([network.own_terms(words) + GLOSS_WEIGHT * network.own_terms(glosses)
                        + HYPERNYM_WEIGHT * network.own_terms(hypernyms)
                        for words, glosses, hypernyms in zip(texts.words.split(2048), texts.glosses.split(2048),
                                                             texts.hypernyms.split(2048), strict=True)])
    scores += GLOSS_WORDS_WEIGHT * texts.gloss_words.scores(network)
    scores += CATEGORY_WEIGHT * categories.scores(nouns, wordnet, components)
    woman = components.index("女")
    if woman is not None:
        scores[:, woman] += WOMAN_WEIGHT * torch.tensor([
            any(word in f" {noun.definition.lower()} " for word in WOMAN) for noun in nouns])
    return scores / TAUGHT_SCALE


def _content_words(text: str) -> list[str]:
    text = re.sub(r"\(.*?\)", "", text).lower()
    return [word for word in re.findall(r"[a-z]{3,}", text) if word not in STOP_WORDS]


def kept(encoder: SentenceEncoder, folder: Path, stop: StopSignals) -> Encode:
    """An encoder that keeps what it encoded in `folder`, under a hash of the texts, and finds it there again."""
    def encode(title: str, texts: Sequence[str]) -> torch.Tensor:
        path = folder / f"embeddings-{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:16]}.safetensors"
        try:
            return load_file(path)["embeddings"].float()
        except (OSError, SafetensorError, KeyError):
            pass
        parts = [encoder([])]
        with tqdm(total=len(texts), desc=f"encoding {title}", unit="text") as bar:
            for start in range(0, len(texts), ENCODED_AT_ONCE):
                with autocast(torch.device("cpu")):  # half of the time; the difference is far below that between words
                    parts.append(encoder(texts[start:start + ENCODED_AT_ONCE]))
                bar.update(len(parts[-1]))
                stop.check()
        found = torch.cat(parts)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file({"embeddings": found.half()}, temporary)
        return found.half().float()

    return encode
