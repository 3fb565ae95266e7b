"""The planner's network: from the embedding of some words to how well each component fits them.

Three terms are added: the likeness of the words to a component's names; a linear layer that real kanji taught (what
means this is written with that), as the log-odds over how often the component stands anywhere; and a small network that
WordNet and labels taught: what would be said of the words, had their gloss and hypernyms been read or had they a label.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from common.files import appearing, write_text
from planner.components import Components
from planner.text import WIDTH

HIDDEN = 512  # units of the network that WordNet taught
INPUT_SCALE = 4.0  # embeddings are of unit length, their entries small
WEIGHTS, TABLE, METADATA = "planner.safetensors", "components.json", "planner.json"


@dataclass(frozen=True)
class TermWeights:
    """What each term counts, chosen on prompts/development.txt."""

    names: float = 2.0
    kanji: float = 0.3
    prior: float = 0.1
    wordnet: float = 3.0


class PlannerNetwork(nn.Module):
    """`forward` takes embeddings (B, 384) of unit length and returns scores (B, components); higher fits better."""

    def __init__(self, names: Sequence[Sequence[str]], weights: TermWeights) -> None:
        """`names` are those of each component, whose embeddings are set by training or loaded."""
        super().__init__()
        self.weights, count = weights, len(names)
        owner = [index for index, of_one in enumerate(names) for _ in of_one]
        self.register_buffer("owner", torch.tensor(owner), persistent=False)
        self.register_buffer("name_embeddings", torch.zeros(len(owner), WIDTH))
        self.register_buffer("prior", torch.zeros(count))  # log-odds of standing in a kanji
        self.register_buffer("balance", torch.zeros(count))  # taken from components that would stand everywhere
        self.kanji = nn.Linear(WIDTH, count)
        self.hidden, self.wordnet = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, count)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.own_terms(embeddings) + self.weights.wordnet * self.taught(embeddings) - self.balance

    def own_terms(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The likeness to names, what kanji taught, and the prior."""
        return (self.weights.names * self.nearest_names(embeddings)
                + self.weights.kanji * (self.kanji(embeddings) - self.prior) + self.weights.prior * self.prior)

    def nearest_names(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The likeness to the nearest of each component's names, cosines (B, components)."""
        likeness = embeddings @ self.name_embeddings.T
        nearest = likeness.new_full((len(embeddings), len(self.prior)), -1.0)
        return nearest.scatter_reduce(1, self.owner.expand_as(likeness), likeness, "amax")

    def first_name_likeness(self) -> torch.Tensor:
        """How alike the components' first names are, cosines (components, components)."""
        first = torch.tensor([int((self.owner == index).nonzero()[0]) for index in range(len(self.prior))])
        return self.name_embeddings[first] @ self.name_embeddings[first].T

    def taught(self, embeddings: torch.Tensor) -> torch.Tensor:
        """What WordNet taught."""
        return self.wordnet(F.gelu(self.hidden(embeddings * INPUT_SCALE)))


def save_planner(folder: Path, network: PlannerNetwork, components: Components, metadata: dict) -> None:
    """Write weights (fp16), the table of components and metadata as a folder, whole or not at all."""
    with appearing(folder) as building:
        save_file({name: tensor.half().contiguous() for name, tensor in network.state_dict().items()},
                  building / WEIGHTS)
        components.save(building / TABLE)
        content = {"term_weights": vars(network.weights), **metadata}
        write_text(building / METADATA, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def load_planner(folder: Path) -> tuple[PlannerNetwork, Components, dict]:
    """The network (fp32), all named components and metadata. Raises OSError, ValueError, KeyError or RuntimeError."""
    metadata = json.loads((folder / METADATA).read_text(encoding="utf8"))
    components = Components.load(folder / TABLE)
    network = PlannerNetwork(components.only_planned().names, TermWeights(**metadata["term_weights"]))
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()})
    return network.eval(), components, metadata
