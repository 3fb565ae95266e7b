"""The planner: English words in, plans for a new character out, the best first.

    planner = Planner.load()
    print(planner.plans("submarine")[0].reason())        # submarine: left 舟 boat + right 水 water
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch

from common.errors import UserError
from common.paths import TRAINING_DIR
from dataset.captions import LAYOUT_NAMES
from planner.arrange import FITTING_FIT_WEIGHT, FITTING_UNFIT, PairTable, best_arrangement, plan_of, strokes_in
from planner.components import Components
from planner.labels import read_fitting_forms
from planner.network import PlannerNetwork, load_planner
from planner.plan import SLOTS_OF_LAYOUT, Plan, PlannedComponent
from planner.text import SentenceEncoder
from planner.words import looked_up

PLANNER_WEIGHTS = TRAINING_DIR / "planner_weights"
NAMES_FILE = TRAINING_DIR.parent / "dataExtraction" / "names.jsonl"
# Of components that are known to fit, in their order: any two but the last two of five are a good plan (GOOD_PLAN).
RANK_CONFIDENCES = (1.0, 1.0, 0.9, 0.8, 0.8)
MAX_GIVEN = 2  # components of a plan of one's own
MAX_OF_KANJI = 2  # of an existing kanji: of 20 known and held-out ones with more, none was drawn with all of them
# What may stand between the names of two components.
JOINTS = frozenset(["and", "&", "of", "the", "a", "an", "with", "in", "on", "under", "over"])
MIN_USES = 5  # real kanji that have a component which is not planned with, for words to be thought to name it
MAX_PARTED = 4  # words of a phrase that is planned by its halves too
HALF_WEIGHT = 0.5  # of what the network says of a half of a phrase, beside what it says of the whole
SUGGESTIONS = 5  # names that are near one that does not exist
SHOWN_LETTERS = 40  # of one that does not exist


class PlannerError(UserError):
    """A planner that cannot be had, or a plan that cannot be made; the message says why and what to do."""


class Planner:
    """What plans; `load` it."""

    def __init__(self, network: PlannerNetwork, named: Components, metadata: Mapping,
                 names: Mapping[str, Plan]) -> None:
        """`metadata` is that of planner.json; `names` the plans of names.jsonl by word, lower case.

        The network plans with the first of the `named` components; any of them can be asked for by name.
        """
        self.network, self.named, self.components = network, named, named.only_planned()
        self.metadata, self.names = metadata, names
        self._encoder: SentenceEncoder | None = None

    @classmethod
    def load(cls, folder: Path = PLANNER_WEIGHTS, names: Path | None = NAMES_FILE) -> Planner:
        """Load a planner's folder and, where it is there, the file of names. Raises PlannerError."""
        try:
            network, named, metadata = load_planner(folder)
            known = {} if names is None or not names.is_file() else read_names(names)
        except FileNotFoundError as error:
            raise PlannerError(f"{error.filename}: not there. The planner's weights come with the project (git "
                               "checkout training/planner_weights), or: python training/train_planner.py. Without a "
                               "planner: --plan off") from None
        except Exception as error:  # whatever a cut or foreign file makes the loaders raise
            raise PlannerError(f"{folder}: no whole planner ({type(error).__name__}: {error}). Make it anew with: "
                               "python training/train_planner.py. Without a planner: --plan off") from error
        return cls(network, named, metadata, known)

    def plans(self, words: str, count: int = 1, novel: bool = False, max_strokes: int | None = None) -> list[Plan]:
        """Up to `count` different plans for the words, the best first; none where nothing can be said of them.

        The meaning of an existing kanji is that kanji's own plan first, unless `novel`. Words that are the names of two
        components, "water horse", are these. Of plans that need more than `max_strokes` the one with the fewest is
        taken where no other is left.
        """
        text = " ".join(words.split())
        if not any(letter.isascii() and letter.isalpha() for letter in text):
            return []
        found = [] if novel else self._of_kanji(text)
        found += self._of_names(words, text, novel) + self._of_components(words, text)
        if len(found) < count or max_strokes is not None:
            found += self._of_network(words, text, count if max_strokes is None else max(count, 24))
        first: dict[frozenset[str], Plan] = {}
        for plan in found:  # the network may name once more what stands before it
            first.setdefault(plan.forms, plan)
        distinct = list(first.values())
        if max_strokes is not None:
            fitting = [plan for plan in distinct if plan.strokes <= max_strokes]
            distinct = fitting or sorted(distinct, key=lambda plan: plan.strokes)[:1]
        return distinct[:count]

    def given(self, names: Sequence[str], words: str = "") -> Plan:
        """A plan of one's own: one or two components by name or by kanji.

        Raises PlannerError naming those that do not exist, with those that are spelled nearly alike.
        """
        indices = self._named(names)
        words = words or " ".join(names)
        if len(indices) == 1:
            index = indices[0]
            alone = PlannedComponent(self.named.forms[index], self.named.names[index][0], "whole")
            return Plan(words, (alone,), strokes_in(self.named, index, "whole"), "given")
        if len(indices) != MAX_GIVEN:
            raise PlannerError(f"--parts: {len(indices)} components, where one or two make a character")
        return self._of_pair(words, *indices)

    def partners(self, words: str, form: str | None, count: int) -> list[str]:
        """The meaning forms that go best with the component `form` for the words, the best first; None: by themselves.

        None of them is the name of `form` once more, or makes an existing kanji with it.
        """
        worth, index = self.scores([words])[0], None if form is None else self.components.index(form)
        if index is not None:
            worth = worth + self.pairs.worth[index]
        values, order = worth.sort(descending=True, stable=True)
        best = zip(values[:count].tolist(), order[:count].tolist(), strict=True)
        return [self.components.forms[one] for value, one in best if value > -math.inf]

    @torch.no_grad()
    def scores(self, words: Sequence[str]) -> torch.Tensor:
        """How well each component fits each of some words, (N, components); higher fits better."""
        if self._encoder is None:
            self._encoder = SentenceEncoder()
        return self.network(self._encoder(words))

    def _of_kanji(self, text: str) -> list[Plan]:
        """The plan of the kanji that means this; none where it has too many components or one that has no name."""
        written, strokes = self.named.kanji.get(self.named.meanings.get(text.lower(), ""), ("", 0))
        forms = written.lstrip("".join(LAYOUT_NAMES))
        if not 1 <= len(forms) <= MAX_OF_KANJI:
            return []
        slots = SLOTS_OF_LAYOUT.get(written[0], ("whole",) * len(forms))
        names = [text.lower()] if len(forms) == 1 else map(self.named.name, forms)
        return [Plan(text, tuple(map(PlannedComponent, forms, names, slots)), strokes, "kanji")]

    def _of_names(self, words: str, text: str, novel: bool) -> list[Plan]:
        """The plan of names.jsonl, with the strokes of its components as far as they are known, and what fits too."""
        known = next((plan for key in looked_up(text) if (plan := self.names.get(key))), None)
        if known is None:
            return []
        indices = [self.named.index(one.form) for one in known.components]
        strokes = known.strokes or sum(strokes_in(self.named, index, one.slot) for one, index in zip(
            known.components, indices, strict=True) if index is not None)
        is_kanji = len(indices) == 1 or self._exists(indices)
        own = [] if novel and is_kanji else [Plan(words, known.components, strokes, "names")]
        return own + self._of_fitting(words, self._fitting.get(known.words.lower(), ""))

    def _of_fitting(self, words: str, forms: str) -> list[Plan]:
        """The plans of two components that are both known to fit, the best first."""
        confidences = [0.0] * len(self.components.forms)
        for index, confidence in self.components.by_rank(forms, RANK_CONFIDENCES):
            confidences[index] = confidence
        return [plan_of(words, self.components, arrangement, confidences, "names")
                for arrangement in self.fitting_pairs.ranked_of_fitting(forms)]

    @cached_property
    def _fitting(self) -> dict[str, str]:
        return read_fitting_forms()

    def _of_components(self, words: str, text: str) -> list[Plan]:
        """The plans of words that name two components one after the other, maybe with JOINTS between."""
        found: dict[frozenset[int], Plan] = {}
        for halves in _parted(_words_of(text.lower())):
            both = tuple(map(self._thought_of, halves))
            if None not in both and both[0] != both[1] and not self._exists(both):
                found.setdefault(frozenset(both), self._of_pair(words, *both))
        return list(found.values())

    def _thought_of(self, text: str) -> int | None:
        """The index of the component that a reader thinks of at these words, in the plural or with an article too.

        It is one that new characters are planned with, the usual kanji of that meaning, or one of that name in several
        kanji: "ice" is 冫, but "wall" is no 屏.
        """
        for name in looked_up(text):
            usual = self._usual(name)
            index = self._index_by_name.get(name, usual)
            if index is not None and (
                    index < self.named.planned or index == usual
                    or (self.named.uses[index] >= MIN_USES and self.named.names[index][0].lower() == name)):
                return index
        return None

    def _usual(self, name: str) -> int | None:
        """The index of the usual kanji of a meaning, lower case, if it is a component or drawn as one: 王 is 玉."""
        kanji = self.named.meanings.get(name, "")
        index, (form, strokes) = self.named.index(kanji), self.named.kanji.get(kanji, ("", 0))
        if index is None and (drawn := self.named.index(form)) is not None:
            index = drawn if strokes in self.named.strokes[drawn].values() else None
        return index

    def _of_pair(self, words: str, one: int, other: int) -> Plan:
        arrangement = best_arrangement(self.named, one, other)
        return plan_of(words, self.named, arrangement, [1.0] * len(self.named.forms), "given")

    def _exists(self, indices: Sequence[int | None]) -> bool:
        return len(indices) == 2 and None not in indices and self.named.exists(*indices)

    def _of_network(self, words: str, text: str, count: int) -> list[Plan]:
        halves = _halves(text)
        whole, *parts = self.scores([text, *itertools.chain(*halves)])
        if max(self.confidences(whole)) < self.metadata["min_confidence"]:
            return []
        if halves:
            parts = (1.0 - HALF_WEIGHT) * whole + HALF_WEIGHT * torch.stack(parts).view(len(halves), 2, -1)
            ranked, confidences = self.pairs.ranked_of_halves(parts), self.confidences(parts.amax(dim=(0, 1)))
        else:
            ranked, confidences = self.pairs.ranked(whole), self.confidences(whole)
        return [plan_of(words, self.components, arrangement, confidences, "network")
                for arrangement in itertools.islice(ranked, count)]

    @cached_property
    def pairs(self) -> PairTable:
        """What two components are worth together beside the network's scores."""
        return PairTable(self.components, self.network.first_name_likeness(), self.metadata.get("pair_penalties", {}))

    @cached_property
    def fitting_pairs(self) -> PairTable:
        """What two components are worth together that are known to fit; how many words have them is no matter."""
        return PairTable(self.components, self.network.first_name_likeness(), {}, FITTING_FIT_WEIGHT, FITTING_UNFIT)

    def confidences(self, scores: torch.Tensor) -> list[float]:
        """How sure each component of scores (components,) is to fit, 0 to 1."""
        slope, offset = self.metadata["confidence"]
        return torch.sigmoid(slope * scores + offset).tolist()

    @cached_property
    def _index_by_name(self) -> dict[str, int]:
        """The index of each component by its kanji and by its names, lower case.

        Of several of a name: one that is planned with and goes by it in captions; the usual kanji of that meaning; any
        other that is planned with; one that goes by it in captions; the one that more characters show.
        """
        known = self.named
        names = [(name.lower(), index, place) for index, of_one in enumerate(known.names)
                 for place, name in enumerate(of_one)]
        order = sorted(names, key=lambda one: (one[1] >= known.planned or one[2] > 0, self._usual(one[0]) != one[1],
                                               one[1] >= known.planned, one[2] > 0))
        return ({name: index for name, index, _ in reversed(order)}
                | {form: index for index, form in enumerate(known.forms)})

    def _named(self, names: Sequence[str]) -> list[int]:
        """The indices of components by kanji or name. Raises PlannerError naming all that do not exist."""
        known, by_name = self.components, self._index_by_name
        wrong = [name for name in names if name.strip().lower() not in by_name]
        if wrong:
            near = [close for name in wrong for close in difflib.get_close_matches(
                name.strip().lower()[:SHOWN_LETTERS], by_name, n=SUGGESTIONS, cutoff=0.5)]
            near = dict.fromkeys(near) or [names[0] for names in known.names[:12]]
            shown = " and no ".join(repr(name.strip()[:SHOWN_LETTERS]) for name in wrong)
            raise PlannerError(f"--parts: there is no component {shown}; there are, for instance: {', '.join(near)}")
        return [by_name[name.strip().lower()] for name in names]


def _halves(text: str) -> list[tuple[str, str]]:
    """The ways to part a phrase in two, without what joins them: "full moon" is "full" and "moon"."""
    words = [word for word in _words_of(text) if word.lower() not in JOINTS]
    return [] if len(words) > MAX_PARTED else _parted(words)


def _words_of(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _parted(words: Sequence[str]) -> list[tuple[str, str]]:
    """The ways to part words in two, without the JOINTS between the two."""
    return [(" ".join(words[:end]), " ".join(itertools.dropwhile(JOINTS.__contains__, words[end:])))
            for end in range(1, len(words))]


def read_names(path: Path) -> dict[str, Plan]:
    """The plans of a file of names, by each of their words in lower case. Raises OSError or ValueError."""
    plans, others = {}, {}
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        try:
            row = json.loads(line)
            components = tuple(PlannedComponent(one["form"], one["name"], one["slot"], row.get("confidence", 1.0))
                               for one in row["components"])
            plan = plans[row["word"].lower()] = Plan(row["word"], components, row.get("strokes", 0), "names")
            others |= {word.lower(): plan for word in row.get("also", ())}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} line {number}: no name with its components ({error!r})") from None
    return others | plans
