"""Labels: which components fit which words. The planner learns from them, and names.jsonl is planned by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from planner.wordnet import WordNet
from planner.words import looked_up

LABELS = Path(__file__).parent / "labels.tsv"
MAX_OTHER_WORDS = 3  # of a label, beside its first


@dataclass(frozen=True)
class Label:
    """Words of one meaning, the usual one first, and meaning forms of components that fit them, the best first."""

    words: tuple[str, ...]
    forms: tuple[str, ...]


def read_labels(wordnet: WordNet, excluded: Set[str], path: Path = LABELS) -> list[Label]:
    """The labels of a table, without those of an excluded name.

    A word without a description has WordNet's other words for its commonest sense; one with a description has them
    where that sense is a particular person, place or thing. `excluded`: lower case; a name counts as excluded in the
    singular and without its article as well. Raises OSError, or UserError naming a line that is no label.
    """
    labels = []
    for names, forms, description in _lines(path):
        if not any(_is_excluded(name, excluded) for name in names):
            others = _others(names, wordnet, only_instances=bool(description))
            words = [*names, *(word for word in others if not _is_excluded(word, excluded))]
            labels.append(Label(tuple(dict.fromkeys(words))[:1 + MAX_OTHER_WORDS], tuple(forms)))
    return labels


def read_fitting_forms(path: Path = LABELS) -> dict[str, str]:
    """The meaning forms that fit each word of a table, the best first, by its lower case. Raises as `read_labels`."""
    return {name.lower(): forms for names, forms, _ in _lines(path) for name in names}


def _lines(path: Path) -> Iterator[tuple[list[str], str, str]]:
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield _fields(line, f"{path} line {number}")


def _fields(line: str, place: str) -> tuple[list[str], str, str]:
    fields = [field.strip() for field in line.split("\t")]
    names = [name.strip() for name in fields[0].split("|")]
    forms = fields[1] if len(fields) > 1 else ""
    if len(fields) > 3 or not all([*names, *fields[1:], forms]) or len(set(forms)) < max(2, len(forms)):
        raise UserError(f"{place}: no name, two components or more, each once, and maybe a description, with tabs "
                         "between them")
    return names, forms, "".join(fields[2:])


def _others(names: Sequence[str], wordnet: WordNet, only_instances: bool) -> list[str]:
    """What else WordNet calls what these names mean first, without words that mean something else first."""
    first = dict.fromkeys(senses[0] for name in names if (senses := wordnet.senses.get(name.lower())))
    return [word for offset in first if wordnet.synsets[offset].is_instance or not only_instances
            for word in wordnet.synsets[offset].words if wordnet.senses.get(word.lower(), ("",))[0] == offset]


def _is_excluded(name: str, excluded: Set[str]) -> bool:
    return not excluded.isdisjoint(looked_up(name))
