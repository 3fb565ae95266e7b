"""The planner's training: what real kanji say, what WordNet says, and how confident a plan may be.

1. A linear layer learns from the meanings of real train kanji which components they are written with.
2. With it and with the names of components, every noun of WordNet is scored: by itself, with its gloss, by its
   hypernyms, by each word of its gloss; and categories.tsv says what such things are written with. The sum is what a
   reader of the dictionary would say.
3. A small network learns from the word alone that sum, and with it what labels.tsv says of the words that stand there.
4. Components and pairs that would stand in too many plans are held back, and confidence is set to how often a
   component of that score fits a name of the development set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tqdm import tqdm

from common.schedules import cosine, warm_up
from common.seeds import Purpose, generator
from common.settings import check_ranges, setting
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset
from dataset.rows import dataset_hash
from planner.balance import balance, pair_penalties
from planner.categories import Categories
from planner.components import MIN_CHARACTERS, Components, collect_components, read_fits
from planner.dictionary import NounTexts, dictionary_scores, kept
from planner.exclusions import DEVELOPMENT, excluded_words, read_fitting
from planner.labels import Label, read_labels
from planner.network import PlannerNetwork, TermWeights, save_planner
from planner.planner import Planner
from planner.text import SentenceEncoder
from planner.wordnet import Synset, WordNet, find_wordnet

PAIRS_OF = 12_000  # nouns, the most familiar, whose plans are to be kept apart
UNPLANNED_FRACTION = 0.03  # of familiar nouns: of what is less sure than these, as most gibberish, nothing is planned
INSTANCE_WEIGHT = 2.0  # of particular people and places in the loss: their words say least of them
LABELS_WEIGHT = 0.1  # of the labels' loss beside the dictionary's
LABELS_AT_ONCE = 256  # words beside a batch of 512 nouns
RANK_WEIGHTS = (1.0, 0.8, 0.5, 0.4, 0.3)  # of a label's components, the best first


@dataclass(frozen=True)
class PlannerConfig:
    """Settings of the planner's training."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder that dataExtraction/main.py made, with train/ and test/."""
    output_dir: Path = Path("runs/planner")
    """Embeddings of WordNet's nouns, kept between runs, and weights/."""
    fits: Path = Path("data/fits.jsonl")
    """Which components fit which, as dataExtraction/main.py --fits says."""
    wordnet: Path | None = None
    """WordNet 3.0's dict folder; by default Debian's package of it, unpacked into output_dir."""
    min_characters: int = setting(MIN_CHARACTERS, at_least=1)
    """Rows of the set, composed ones included, that show a component, for it to be planned."""
    seed: int = setting(0, at_least=0)
    """Seed of the first weights and of the order of the samples."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)


def train_planner(config: PlannerConfig, stop: StopSignals) -> dict[str, Any]:
    """Train, measure on the development set and write weights/; returns the metadata.

    Raises DatasetError or WordNetError where a source cannot be had, and Stopped.
    """
    rows, held_out = (read_dataset(config.train_data_dir, split) for split in ("train", "test"))
    wordnet = WordNet.read(find_wordnet(config.wordnet, config.output_dir))
    excluded = excluded_words(config.train_data_dir, held_out, wordnet)
    named = collect_components(rows, held_out, config.min_characters, read_fits(config.fits))
    components = named.only_planned()
    encoder = SentenceEncoder()
    network = PlannerNetwork(components.names, TermWeights())
    with torch.no_grad():
        network.name_embeddings.copy_(encoder([name for names in components.names for name in names]))
    captions = [(caption, row.forms) for row in rows if not row.is_composed for caption in row.captions
                if caption.lower() not in excluded]
    fit_kanji(network, components, encoder, captions, config.seed)
    everything = wordnet.names_of_things()  # encoded whole, so that other exclusions find it encoded
    texts = NounTexts.encode(everything, wordnet, encoder, config.output_dir, stop)
    allowed = [number for number, noun in enumerate(everything)
               if excluded.isdisjoint(word.lower() for word in noun.words)]
    nouns, texts = [everything[number] for number in allowed], texts.of(allowed)
    target = dictionary_scores(network, components, nouns, texts, wordnet, Categories.read(wordnet))
    labels = read_labels(wordnet, excluded)
    embeddings = kept(encoder, config.output_dir, stop)("labels", [word for label in labels for word in label.words])
    fit_words(network, texts, target, nouns, embeddings, labels_target(components, labels), config.seed)
    balance(network, texts.words)
    familiar = texts.words[wordnet.familiar(nouns, components.meanings.keys(), PAIRS_OF)]
    metadata = {"confidence": [1.0, 0.0], "min_confidence": 0.0,
                "pair_penalties": pair_penalties(network, components, familiar), "components": len(components.forms),
                "captions": len(captions), "nouns": len(nouns), "labels": len(labels), "excluded_words": len(excluded),
                "dataset_sha256": dataset_hash(rows)}
    metadata |= measure(network, components, encoder, metadata, familiar)
    save_planner(config.output_dir / "weights", network, named, metadata)
    return metadata


def fit_kanji(network: PlannerNetwork, components: Components, encoder: SentenceEncoder,
              captions: Sequence[tuple[str, frozenset[str]]], seed: int, epochs: int = 40) -> None:
    """Train the linear layer on the meanings of real kanji, by binary cross-entropy, and set the prior."""
    index = {form: number for number, form in enumerate(components.forms)}
    words = sorted({caption for caption, _ in captions})
    place = {word: number for number, word in enumerate(words)}
    inputs = encoder(words)[[place[caption] for caption, _ in captions]]
    targets = torch.zeros((len(captions), len(index)))
    for number, (_, forms) in enumerate(captions):
        targets[number, [index[form] for form in forms if form in index]] = 1.0
    with torch.no_grad():
        network.prior.copy_(torch.logit(targets.mean(0).clamp(1e-5, 0.5)))
        _start(network.kanji, seed, 1.0 / math.sqrt(inputs.shape[1]))
        network.kanji.bias.copy_(network.prior)

    def loss(batch: torch.Tensor) -> torch.Tensor:
        logits = network.kanji(inputs[batch])
        return F.binary_cross_entropy_with_logits(logits, targets[batch], reduction="sum") / len(batch)

    _minimise(loss, network.kanji.parameters(), len(inputs), epochs, seed, 3e-3, 0.03, "real kanji", decays=False)


def labels_target(components: Components, labels: Sequence[Label]) -> torch.Tensor:
    """What the network is to say of each word of each label: distributions over the components, (words, components)."""
    rows = []
    for label in labels:
        row = torch.zeros(len(components.forms))
        for index, weight in components.by_rank(label.forms, RANK_WEIGHTS):
            row[index] = weight
        rows += [row / row.sum().clamp_min(1e-9)] * len(label.words)
    return torch.stack(rows)


def fit_words(network: PlannerNetwork, texts: NounTexts, target: torch.Tensor, nouns: Sequence[Synset],
              labelled: torch.Tensor, labels: torch.Tensor, seed: int, epochs: int = 6) -> None:
    """Train the small network: to say from the word alone what the dictionary says, and with it what labels say.

    The dictionary by mean squared error, labels by cross-entropy of all that the network says. target: of each noun,
    (N, components); labelled: embeddings (words, 384); labels: distributions (words, components).
    """
    inputs = torch.cat([texts.words, texts.more])
    source = torch.cat([torch.arange(len(nouns)), texts.more_index])
    weights = torch.tensor([INSTANCE_WEIGHT if noun.is_instance else 1.0 for noun in nouns])[source]
    rng = generator(seed, 0, Purpose.LABELS)
    with torch.no_grad():
        _start(network.hidden, seed, 1.0 / math.sqrt(inputs.shape[1]))
        network.wordnet.weight.zero_()
        network.wordnet.bias.copy_(target.mean(0))
        own_terms = torch.cat([network.own_terms(batch) for batch in labelled.split(2048)])

    def loss(batch: torch.Tensor) -> torch.Tensor:
        errors = (network.taught(inputs[batch]) - target[source[batch]]) ** 2
        some = torch.randint(len(labelled), (LABELS_AT_ONCE,), generator=rng)
        scores = own_terms[some] + network.weights.wordnet * network.taught(labelled[some])
        return (errors.mean(1) * weights[batch]).mean() + LABELS_WEIGHT * F.cross_entropy(scores, labels[some])

    parameters = [*network.hidden.parameters(), *network.wordnet.parameters()]
    _minimise(loss, parameters, len(inputs), epochs, seed, 2e-3, 0.01, "words", decays=True)


@torch.no_grad()
def measure(network: PlannerNetwork, components: Components, encoder: SentenceEncoder,
            metadata: dict[str, Any], familiar: torch.Tensor) -> dict[str, Any]:
    """How well it plans the development set, and what that makes of scores: confidence, and the least to plan at all.

    familiar: embeddings of familiar nouns, (N, 384). development: the fraction of its names of which
    a planned component fits, the same for shuffled names, and the fraction of plans that are distinct.
    """
    names = read_fitting(DEVELOPMENT)
    scores = network(encoder([words for words, _ in names]))
    planner = Planner(network, components, metadata, {})
    planned, felt = [], []
    for row, (_, fitting) in zip(scores, names, strict=True):
        arrangement = next(planner.pairs.ranked(row))
        both = (arrangement.first, arrangement.second)
        planned.append(frozenset(components.forms[index] for index in both))
        felt += [(row[index].item(), components.forms[index] in fitting) for index in both]
    hits = [bool(forms & fitting) for forms, (_, fitting) in zip(planned, names, strict=True)]
    shuffled = [bool(forms & fitting) for number, forms in enumerate(planned)
                for other, (_, fitting) in enumerate(names) if other != number]
    slope, offset = _logistic(felt)
    surest = torch.sigmoid(slope * network(familiar).amax(1) + offset)
    least = round(surest.quantile(UNPLANNED_FRACTION).item(), 4)
    return {"confidence": [slope, offset], "min_confidence": least, "development": {
        "fitting": sum(hits) / len(hits), "shuffled_baseline": sum(shuffled) / len(shuffled),
        "distinct": len(set(planned)) / len(planned), "names": len(names)}}


def _logistic(pairs: Sequence[tuple[float, bool]], steps: int = 200) -> tuple[float, float]:
    """Slope and offset of the logistic regression of the second on the first, by Newton's method, slightly damped."""
    x = torch.tensor([[score, 1.0] for score, _ in pairs], dtype=torch.float64)
    y = torch.tensor([float(holds) for _, holds in pairs], dtype=torch.float64)
    found = torch.zeros(2, dtype=torch.float64)
    for _ in range(steps):
        probability = torch.sigmoid(x @ found)
        hessian = x.T @ (x * (probability * (1.0 - probability))[:, None]) + 1e-3 * torch.eye(2, dtype=torch.float64)
        found += 0.5 * torch.linalg.solve(hessian, x.T @ (y - probability) - 1e-3 * found)
    return round(found[0].item(), 4), round(found[1].item(), 4)


def _start(layer: torch.nn.Linear, seed: int, bound: float) -> None:
    """First weights of a layer, uniform within `bound`, as a function of the seed."""
    rng = generator(seed, 0, Purpose.ROWS)
    for weight in layer.parameters():
        weight.copy_((2.0 * torch.rand(weight.shape, generator=rng) - 1.0) * bound)


def _minimise(loss: Callable[[torch.Tensor], torch.Tensor], parameters: Any, count: int, epochs: int, seed: int,
              rate: float, weight_decay: float, title: str, decays: bool) -> None:
    """AdamW over `count` samples in batches of 512, each epoch in an order of its own; the rate may fall to zero."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay)
    steps = epochs * math.ceil(count / 512)
    with tqdm(total=steps, desc=title, unit="step") as bar:
        for epoch in range(epochs):
            for batch in torch.randperm(count, generator=generator(seed, epoch, Purpose.CAPTIONS)).split(512):
                if decays:
                    optimizer.param_groups[0]["lr"] = rate * warm_up(bar.n, 50) * cosine(bar.n / steps)
                value = loss(batch)
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
                bar.update()
            bar.set_postfix(loss=f"{value.item():.4f}")
