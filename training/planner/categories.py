"""What kinds of things are written with: categories.tsv, by WordNet's taxonomy.

Kanji are sorted by radicals as things are sorted by kinds: what is a vehicle has 車, what is a feeling 心. The nearer a
category lies above a noun, the more it counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from planner.components import Components
from planner.wordnet import Synset, WordNet

CATEGORIES = Path(__file__).parent / "categories.tsv"
ORDER_WEIGHTS = (1.0, 0.7, 0.5, 0.4)  # of a category's components, the most fitting first
DECAY = 0.6  # from one category to the next above it


class Categories:
    """The components of each category, by the synset's offset; `read` them."""

    def __init__(self, forms: Mapping[str, Sequence[str]]) -> None:
        """forms: of each synset's offset the meaning forms, the most fitting first."""
        self.forms = forms

    @classmethod
    def read(cls, wordnet: WordNet, path: Path = CATEGORIES) -> Categories:
        """Read a table: a noun with the number of its sense, a tab, meaning forms. Raises OSError or ValueError."""
        forms: dict[str, list[str]] = {}
        for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            noun, _, written = line.partition("\t")
            offset = wordnet.sense(noun)
            if offset is None or not written.split():
                raise ValueError(f"{path} line {number}: {noun!r} is no sense of WordNet's, or has no components")
            forms.setdefault(offset, []).extend(written.split())
        return cls(forms)

    def weights(self, synset: Synset, wordnet: WordNet) -> dict[str, float]:
        """What the categories above a noun, itself included, say of it: meaning forms with weights of at most 1."""
        found: dict[str, float] = {}
        weight, level, seen = 1.0, [synset.offset], {synset.offset}
        while level:
            here = [offset for offset in level if offset in self.forms]
            for offset in here:
                for form, part in zip(self.forms[offset], ORDER_WEIGHTS, strict=False):
                    found[form] = max(found.get(form, 0.0), weight * part)
            weight *= DECAY if here else 1.0
            level = list(dict.fromkeys(above for offset in level for above in wordnet.synsets[offset].hypernyms
                                       if above not in seen))
            seen.update(level)
        return found

    def scores(self, nouns: Sequence[Synset], wordnet: WordNet, components: Components) -> torch.Tensor:
        """The weights of all nouns as a table, fp32 (N, components)."""
        index = {form: number for number, form in enumerate(components.forms)}
        table = torch.zeros((len(nouns), len(index)))
        for row, noun in zip(table, nouns, strict=True):
            for form, weight in self.weights(noun, wordnet).items():
                if form in index:
                    row[index[form]] = weight
        return table
