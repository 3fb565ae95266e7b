"""Names of the modern world, which WordNet (2006) lacks: modern.tsv, its lines as synsets beside WordNet's."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

from planner.wordnet import Synset, WordNet
from planner.words import looked_up

MODERN = Path(__file__).parent / "modern.tsv"
FILE = -1  # the lexicographer's file: none of WordNet's
MAX_KINDS = 2


def read_modern(wordnet: WordNet, excluded: Set[str], path: Path = MODERN) -> list[Synset]:
    """The entries of a dictionary of our own, its kinds as their hypernyms, without those of an excluded name.

    What else WordNet calls the same particular person or place is a name of the entry too. `excluded`: lower case; a
    name counts as excluded in the singular and without its article as well. Raises OSError or ValueError.
    """
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        names, kinds, gloss = _fields(line, f"{path} line {number}")
        hypernyms = [wordnet.sense(kind) for kind in kinds]
        if None in hypernyms:
            raise ValueError(f"{path} line {number}: {kinds[hypernyms.index(None)]!r} is no sense of WordNet's")
        if not any(_is_excluded(name, excluded) for name in names):
            others = [word for word in _of_the_same(names, wordnet) if not _is_excluded(word, excluded)]
            words = tuple(dict.fromkeys([*names, *others]))
            entries.append(Synset(f"modern-{number}", words, gloss, tuple(hypernyms), False, (), FILE))
    return entries


def _is_excluded(name: str, excluded: Set[str]) -> bool:
    return not excluded.isdisjoint(looked_up(name))


def _fields(line: str, place: str) -> tuple[list[str], list[str], str]:
    fields = line.split("\t")
    names, kinds = ([one.strip() for one in field.split("|")] for field in (*fields, "", "")[:2])
    if len(fields) != 3 or not all([*names, *kinds, fields[-1].strip()]) or len(kinds) > MAX_KINDS:
        raise ValueError(f"{place}: no name, one or two kinds and gloss, with tabs between them")
    return names, kinds, fields[2].strip()


def _of_the_same(names: Sequence[str], wordnet: WordNet) -> list[str]:
    """What else WordNet calls the particular things that these names mean first, words that mean other things apart."""
    first = [senses[0] for name in names if (senses := wordnet.senses.get(name.lower()))]
    return [word for offset in first if wordnet.synsets[offset].is_instance for word in wordnet.synsets[offset].words
            if wordnet.senses[word.lower()][0] == offset]
