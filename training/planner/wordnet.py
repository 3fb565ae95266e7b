"""WordNet 3.0's nouns: words of the world with their glosses and hypernyms. Format: its manual page wndb(5WN).

Only training and plan_names.py read it; a planner at work does not need it.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError

DEBIAN_PACKAGE, DEBIAN_FOLDER = "wordnet-base", Path("usr/share/wordnet")
FILES = ("data.noun", "index.noun", "cntlist.rev")
NOUN = 1  # of sense keys
# Lexicographers' files (lexnames(5WN)) whose capitalised first words are Latin names of animals and plants.
LATIN_FILES = frozenset({5, 20})
MAX_WORDS = 3  # of a name
# Usage domains that a word is left out for; what WordNet marks as such, and what a gloss says outright.
OFFENSIVE = ("ethnic slur", "disparagement", "obscenity", "vulgarism", "derogation", "depreciation", "profanity")
OFFENSIVE_GLOSS = re.compile(r"offensive|obscene|vulgar|disparaging|derogatory|ethnic slur|slang terms? for", re.I)


class WordNetError(UserError):
    """WordNet cannot be had or read; the message says why and what to do."""


@dataclass(frozen=True)
class Synset:
    """One sense: its words (the first is the commonest), what defines it, and the offsets of what it is a kind of.

    is_instance: whether it is one particular person, place or thing; domains: offsets of its usage domains; file: the
    lexicographer's file.
    """

    offset: str
    words: tuple[str, ...]
    gloss: str
    hypernyms: tuple[str, ...]
    is_instance: bool
    domains: tuple[str, ...]
    file: int

    @property
    def definition(self) -> str:
        """The gloss without its examples, up to its first semicolon."""
        return re.sub(r'"[^"]*"?', "", self.gloss.split(";")[0]).strip()


class WordNet:
    """The nouns, by offset and by word."""

    def __init__(self, synsets: dict[str, Synset], senses: dict[str, tuple[str, ...]], counts: dict[str, int]) -> None:
        """senses: of each word in lower case, the commonest first; counts: how often a word is seen in tagged text."""
        self.synsets, self.senses, self.counts = synsets, senses, counts

    @classmethod
    def read(cls, folder: Path) -> WordNet:
        """Read a folder with data.noun, index.noun and cntlist.rev. Raises WordNetError."""
        try:
            synsets = {one.offset: one for line in _lines(folder / "data.noun") for one in [_synset(line)]}
            senses = dict(_senses(line) for line in _lines(folder / "index.noun"))
            counts = _counts(folder / "cntlist.rev")
        except (OSError, ValueError, IndexError) as error:
            raise WordNetError(f"{folder}: cannot be read as WordNet's nouns ({error})") from None
        return cls(synsets, senses, counts)

    @functools.cache  # noqa: B019 - a WordNet lives as long as the process
    def ancestors(self, offset: str) -> frozenset[str]:
        """What a synset is a kind of, at any distance, itself included."""
        return frozenset({offset}).union(*(self.ancestors(one) for one in self.synsets[offset].hypernyms))

    def is_kind_of(self, synset: Synset, word: str) -> bool:
        """Whether a synset is a kind of the commonest sense of a word, such as "person"."""
        return self.senses[word][0] in self.ancestors(synset.offset)

    def is_offensive(self, synset: Synset) -> bool:
        """Whether WordNet marks it as a slur or an obscenity, by its usage domain or its gloss."""
        marked = (word for domain in synset.domains if domain in self.synsets for word in self.synsets[domain].words)
        return any(word in OFFENSIVE for word in marked) or bool(OFFENSIVE_GLOSS.search(synset.gloss))

    def names_of_things(self, without: Iterable[str] = ()) -> list[Synset]:
        """The synsets whose first word is a name of at most MAX_WORDS words, in the order of their offsets.

        Latin names and taxonomic groups are left out; so is every synset of which a word is in `without` (lower case).
        """
        excluded = set(without)
        return [one for one in self.synsets.values()
                if len(one.words[0].split()) <= MAX_WORDS and not _is_taxon(one)
                and excluded.isdisjoint(word.lower() for word in one.words)]

    def familiar(self, nouns: Sequence[Synset], excluded: Set[str], count: int) -> list[int]:
        """The indices of at most `count` nouns, the most familiar first, each of its word's commonest sense.

        Left out: excluded words (lower case, any word of the synset), slurs and obscenities. By frequency in WordNet's
        tagged texts; of words that are not in these, particular people and places first.
        """
        found: dict[str, tuple[tuple[int, bool, int], int]] = {}
        for number, noun in enumerate(nouns):
            word = noun.words[0].lower()
            if (self.senses.get(word, ("",))[0] != noun.offset or self.is_offensive(noun)
                    or not excluded.isdisjoint(other.lower() for other in noun.words)):
                continue
            found.setdefault(word, ((-self.counts.get(word, 0), not noun.is_instance, number), number))
        return [number for _, number in sorted(found.values())[:count]]

    def sense(self, noun: str) -> str | None:
        """The offset of a noun that is written with the number of its sense, "king#1"; None where there is none."""
        word, _, number = noun.partition("#")
        senses = self.senses.get(word.lower(), ())
        return senses[int(number) - 1] if number.isdigit() and 1 <= int(number) <= len(senses) else None

    def with_all_words(self, words: Iterable[str]) -> set[str]:
        """The words, lower case, and all other words of their synsets, in whatever sense."""
        found = {word.lower() for word in words}
        synsets = {offset for word in found for offset in self.senses.get(word, ())}
        return found | {word.lower() for offset in synsets for word in self.synsets[offset].words}


def find_wordnet(folder: Path | None, cache: Path) -> Path:
    """A folder of WordNet's files: the one that is named, the one kept in `cache`, or Debian's package, unpacked there.

    Raises WordNetError where there is none.
    """
    if folder is not None:
        return folder
    kept = cache / "wordnet"
    if not all((kept / name).is_file() for name in FILES):
        with tempfile.TemporaryDirectory() as place:
            try:
                subprocess.run(["apt-get", "download", DEBIAN_PACKAGE], cwd=place, check=True, capture_output=True)
                package = next(Path(place).glob("*.deb"))
                subprocess.run(["dpkg-deb", "-x", package, place], check=True, capture_output=True)
                kept.mkdir(parents=True, exist_ok=True)
                for name in FILES:
                    shutil.copy(Path(place) / DEBIAN_FOLDER / name, kept / name)
            except (OSError, StopIteration, subprocess.CalledProcessError) as error:
                raise WordNetError(
                    f"WordNet cannot be had ({error}). Unpack WordNet 3.0 (https://wordnet.princeton.edu) and name its "
                    "dict folder: --wordnet FOLDER") from None
    return kept


def _lines(path: Path) -> list[str]:
    """The lines of a file but for the licence at its head, whose lines begin with a space."""
    return [line for line in path.read_text(encoding="utf8").splitlines() if line and not line.startswith(" ")]


def _synset(line: str) -> Synset:
    head, _, gloss = line.partition("|")
    fields = head.split()
    count = int(fields[3], 16)
    words = tuple(fields[4 + 2 * number].replace("_", " ") for number in range(count))
    at = 4 + 2 * count
    pointers = [fields[at + 1 + 4 * number:at + 5 + 4 * number] for number in range(int(fields[at]))]
    return Synset(
        fields[0], words, gloss.strip(),
        tuple(offset for sign, offset, part, _ in pointers if sign in ("@", "@i") and part == "n"),
        any(sign == "@i" for sign, *_ in pointers),
        tuple(offset for sign, offset, part, _ in pointers if sign == ";u" and part == "n"), int(fields[1]))


def _senses(line: str) -> tuple[str, tuple[str, ...]]:
    fields = line.split()
    count, pointers = int(fields[2]), int(fields[3])
    return fields[0].replace("_", " "), tuple(fields[6 + pointers:6 + pointers + count])


def _counts(path: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in path.read_text(encoding="utf8").splitlines():
        key, _, count = line.split()
        word, _, sense = key.partition("%")
        if sense.startswith(f"{NOUN}:"):
            counts[word.replace("_", " ")] = counts.get(word.replace("_", " "), 0) + int(count)
    return counts


def _is_taxon(synset: Synset) -> bool:
    word = synset.words[0]
    return bool((synset.file in LATIN_FILES and word[0].isupper())
                or re.search(r"\d|^(genus|family|order|class|phylum|division|kingdom) |(idae|aceae|ales)$", word, re.I))
