"""The judge: what a drawn character is made of, how well it is formed, and which of several is the best.

    judge = Judge.load()
    readings = judge.read(images, prompts)
    print(readings[0].explain())        # left 亻 person + right 月 moon/meat, 6 strokes; nearest real kanji 明
    best = judge.best(readings, strokes=8)

The control judge (`Judge.load(CONTROL)`), of another seed and architecture, only confirms what the first has chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from common.errors import UserError
from common.files import sha256
from common.paths import TRAINING_DIR
from dataset.rows import SLOT_WORDS
from recogniser.figures import Thresholds, run_network
from recogniser.labels import SLOTS, Vocabulary
from recogniser.nearest_kanji import ReferenceKanji, load_references
from recogniser.network import METADATA, WEIGHTS, Recogniser, RecogniserError, load_recogniser, to_ink
from recogniser.senses import asked_first

JUDGE = TRAINING_DIR / "recogniser_weights" / "judge"
CONTROL = TRAINING_DIR / "recogniser_weights" / "control"
DATASET = Path("data/kanji")  # whose real characters are searched for the nearest one
MAX_MEANINGS = 2  # that are said of a component
STROKE_PENALTY = 0.25  # nats of being well-formed that a stroke of stroke-count error weighs as much as


class JudgeError(UserError):
    """A judge that cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class Component:
    """A component found in a slot: its shape, its meaning form (氵 has 水), its meaning and the confidence, 0 to 1.

    Meaning form and meaning are of the sense that was asked for, or else of the commonest; other_meanings and
    other_originals: of its other senses.
    """

    element: str
    original: str
    meaning: str
    position: str
    confidence: float
    other_meanings: tuple[str, ...] = ()
    other_originals: tuple[str, ...] = ()

    @property
    def forms(self) -> frozenset[str]:
        """The meaning forms of all its senses."""
        return frozenset((self.original, *self.other_originals))

    def __str__(self) -> str:
        """As in "left 亻 person", or "whole 月 moon/meat"."""
        meanings = "/".join([meaning for meaning in (self.meaning, *self.other_meanings) if meaning][:MAX_MEANINGS])
        slot = SLOT_WORDS.get(self.position, self.position.replace("/", " "))
        return " ".join(word for word in (slot, self.element, meanings) if word)


@dataclass(frozen=True)
class Reading:
    """What the judge reads in one image.

    well_formed: probability, 0 to 1; is_well_formed: whether it passes the threshold that some 95 % of real kanji pass;
    strokes: the most likely number; nearest: the nearest existing kanji, None without a dataset; similarity: to it, a
    cosine; is_copy: whether that is so high that it counts as drawn from it; picture_of_nearest: its file.
    """

    well_formed: float
    is_well_formed: bool
    strokes: float
    components: tuple[Component, ...]
    nearest: str | None = None
    similarity: float = math.nan
    is_copy: bool = False
    picture_of_nearest: Path | None = None
    embedding: torch.Tensor = field(default_factory=lambda: torch.empty(0), repr=False, compare=False)

    def explain(self) -> str:
        """In words: "left 亻 person + right 月 moon, 8 strokes; nearest real kanji 朋"."""
        components = " + ".join(map(str, self.components)) or "no component that is known"
        count = max(1, round(self.strokes))
        words = f"{components}, {count} stroke{'s' * (count != 1)}"
        return words if self.nearest is None else f"{words}; nearest real kanji {self.nearest}"


class Judge:
    """A trained recogniser with its thresholds, and the real kanji to compare with."""

    def __init__(self, network: Recogniser, vocabulary: Vocabulary, thresholds: Thresholds,
                 references: ReferenceKanji | None, metadata: dict) -> None:
        """`metadata` is that of recogniser.json; use `load`."""
        self.network, self.vocabulary, self.thresholds = network, vocabulary, thresholds
        self.references, self.metadata = references, metadata

    @classmethod
    def load(cls, folder: Path = JUDGE, dataset: Path | None = DATASET) -> Judge:
        """Load a judge's folder; `dataset` is where the real kanji are, if they are there.

        Raises JudgeError where the folder is missing or not whole.
        """
        try:
            network, vocabulary, metadata = load_recogniser(folder)
            thresholds = Thresholds.of(metadata["thresholds"])
        except RecogniserError as error:
            raise JudgeError(f"the judge cannot be loaded. {error}") from error
        except (KeyError, TypeError):
            raise JudgeError(f"the judge cannot be loaded. {folder}: it has no thresholds") from None
        except ValueError as error:
            raise JudgeError(f"the judge cannot be loaded. {folder / METADATA}: {error}") from None
        metadata = {**metadata, "sha256": sha256(folder / WEIGHTS)}
        references = None if dataset is None else load_references(network, metadata["sha256"], dataset)
        return cls(network, vocabulary, thresholds, references, metadata)

    def read(self, images: Sequence[Image.Image], prompts: Sequence[str] | None = None) -> list[Reading]:
        """Read images of any size and mode, black on white; some milliseconds each.

        prompts: the words that each was drawn for, which decide in which of its senses a component is read; its
        commonest without them.
        """
        if not images:
            return []
        output = run_network(self.network, to_ink(images))
        nearest = self.references.nearest(output.embedding) if self.references else [None] * len(images)
        return [self._reading(*one) for one in zip(
            prompts or [""] * len(images), torch.sigmoid(output.well_formed.float()).tolist(),
            output.stroke_count().tolist(), output.found(self.thresholds.component), nearest, output.embedding,
            strict=True)]

    def best(self, readings: Sequence[Reading], strokes: int | None = None) -> int:
        """The index of the best formed reading and, where a stroke budget is given, of the nearest to it.

        Well-formed ones come before others; among them the log-probability of being well-formed less STROKE_PENALTY
        for each stroke of stroke-count error decides, and the first of equals wins. Raises ValueError without readings.
        """
        if not readings:
            raise ValueError("there is nothing to choose from")
        return max(range(len(readings)), key=lambda index: (*_worth(readings[index], strokes), -index))

    def _reading(self, prompt: str, well_formed: float, strokes: float, found: list[tuple[int, int, float]],
                 nearest: tuple[int, float] | None, embedding: torch.Tensor) -> Reading:
        components = tuple(self._component(prompt, *one) for one in sorted(found, key=lambda one: (one[0], -one[2])))
        compared = {} if nearest is None else {
            "nearest": self.references.literals[nearest[0]], "similarity": nearest[1],
            "is_copy": nearest[1] > self.thresholds.copy, "picture_of_nearest": self.references.pictures[nearest[0]]}
        return Reading(well_formed, well_formed >= self.thresholds.well_formed, strokes, components,
                       embedding=embedding, **compared)

    def _component(self, prompt: str, slot: int, kind: int, confidence: float) -> Component:
        first, *others = asked_first(self.vocabulary.senses[kind - 1], prompt)
        meanings = dict.fromkeys(sense.meaning for sense in others if sense.meaning not in ("", first.meaning))
        return Component(self.vocabulary.elements[kind - 1], first.original, first.meaning, SLOTS[slot], confidence,
                         tuple(meanings), tuple(sense.original for sense in others))


def _worth(reading: Reading, strokes: int | None) -> tuple[bool, float]:
    error = 0.0 if strokes is None else abs(reading.strokes - strokes)
    return reading.is_well_formed, math.log(max(reading.well_formed, 1e-6)) - STROKE_PENALTY * error
