"""A recogniser's own figures, on glyphs that it was not trained on, and the thresholds that it judges by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from common.seeds import Purpose, generator
from common.statistics import F1, Figure, bootstrap, proportion, to_json
from dataset.rows import Row
from recogniser.augmentations import BREAKERS, as_sampled, is_symmetric
from recogniser.labels import SLOTS, Vocabulary, true_components
from recogniser.network import Recogniser, RecogniserOutput
from recogniser.training_batches import Glyphs

ACCEPTED = 0.95  # fraction of the real calibration characters that the threshold lets pass as well-formed
COPIES_FOUND = 0.95  # fraction of distorted characters that the threshold calls a copy of their original
JUDGED_BREAKERS = ("strokes dropped", "shuffled", "overlaid", "mirrored")  # the kinds that the goal is set on
BATCH = 128
MAX_THRESHOLD = 1.0 + 1e-5  # a cosine, rounded


@dataclass(frozen=True)
class Thresholds:
    """What is chosen on calibration characters: real ones of the train split that were kept out of training."""

    component: float
    """Probability above which a component is said to stand in a slot; the one of the best F1."""
    well_formed: float
    """Probability above which a glyph is called well-formed; ACCEPTED of the real ones, half distorted, are."""
    copy: float
    """Cosine similarity to a real kanji above which a glyph is called its copy."""

    @classmethod
    def of(cls, stored: Mapping[str, float]) -> Thresholds:
        """From recogniser.json, where older recognisers have `part` for `component`.

        Raises KeyError or TypeError where one is missing, and ValueError where one is no number or out of its range.
        """
        component = stored["component"] if "component" in stored else stored["part"]
        found = cls(component, stored["well_formed"], stored["copy"])
        for name, value in asdict(found).items():
            least = -1 if name == "copy" else 0
            if type(value) not in (int, float) or not least <= value <= MAX_THRESHOLD:
                raise ValueError(f"its threshold {name} is {value!r}, where a number from {least} to 1 must stand")
        return found


@torch.no_grad()
def run_network(network: Recogniser, ink: torch.Tensor) -> RecogniserOutput:
    """What the network sees in ink (N, 1, S, S), in batches."""
    outputs = [network(batch) for batch in ink.split(BATCH)]
    return RecogniserOutput(*(torch.cat([getattr(output, name) for output in outputs])
                              for name in RecogniserOutput.__dataclass_fields__))


def choose_thresholds(network: Recogniser, vocabulary: Vocabulary, glyphs: Glyphs, rows: Sequence[Row]) -> Thresholds:
    """Choose them on the calibration characters; see Thresholds.

    That of well-formedness is chosen on characters as a sampler draws them, at half strength: those are what it is for,
    and clean characters would set it too high. Not even these are quite new to the network, since composed characters
    of the train split show their components.
    """
    ink = glyphs.ink(torch.arange(len(rows)))
    clean = run_network(network, ink)
    component = max((step / 100 for step in range(20, 65, 5)),
                    key=lambda threshold: _component_f1(clean, vocabulary, rows, threshold).value)
    half = run_network(network, as_sampled(ink, generator(0, 2, Purpose.CALIBRATION), strength=0.5))
    full = run_network(network, as_sampled(ink, generator(0, 0, Purpose.CALIBRATION)))
    similarities = (clean.embedding * full.embedding).sum(-1)
    return Thresholds(
        component=component,
        well_formed=torch.sigmoid(half.well_formed).quantile(1.0 - ACCEPTED).item(),
        copy=similarities.quantile(1.0 - COPIES_FOUND).item(),
    )


def figures(network: Recogniser, vocabulary: Vocabulary, thresholds: Thresholds, glyphs: Glyphs, rows: Sequence[Row],
            references: torch.Tensor | None = None, reconstructed: torch.Tensor | None = None,
            seed: int = 0) -> dict[str, Any]:
    """Its figures on real characters that it has not seen, each with a 95 % interval; JSON.

    references: embeddings (N, width) of other real characters, none of `rows`: how often a new character would be
    called a copy of one of them. reconstructed: the characters after the autoencoder, uint8 ink (N, 1, S, S).
    """
    ink = glyphs.ink(torch.arange(len(rows)))
    output = run_network(network, ink)
    sampled = run_network(network, as_sampled(ink, generator(seed, 1, Purpose.CALIBRATION)))
    any_slot = _component_f1(output, vocabulary, rows, thresholds.component, slots=False)
    errors = (output.stroke_count() - glyphs.strokes).abs()
    refused = {kind: _refused(network, thresholds, ink, kind, seed) for kind in BREAKERS}
    judged = [sum(counts) for counts in zip(*(refused[kind] for kind in JUDGED_BREAKERS), strict=True)]
    result = {
        "characters": len(rows),
        "component_f1": _component_f1(output, vocabulary, rows, thresholds.component).figure(seed),
        "component_f1_everyday": _component_f1_everyday(output, vocabulary, rows, thresholds.component).figure(seed),
        "component_f1_as_sampled": _component_f1(sampled, vocabulary, rows, thresholds.component).figure(seed),
        "component_f1_any_slot": any_slot.figure(seed),
        "stroke_error": bootstrap(errors.tolist(), seed),
        "stroke_exact": proportion(int((errors < 0.5).sum()), len(rows)),
        "well_formed": _accepted(output, thresholds),
        "well_formed_as_sampled": _accepted(sampled, thresholds),
        "broken_refused": proportion(*judged),
        "refused_by_kind": {kind: proportion(*counts) for kind, counts in refused.items()},
    }
    if reconstructed is not None:
        decoded = run_network(network, reconstructed.float() / 255.0)
        result["well_formed_vae_reconstructed"] = _accepted(decoded, thresholds)
    if references is not None:
        nearest = (output.embedding @ references.T).amax(-1)
        result["called_a_copy_of_another"] = proportion(int((nearest > thresholds.copy).sum()), len(rows))
    return to_json(result)


def _component_f1(output: RecogniserOutput, vocabulary: Vocabulary, rows: Sequence[Row], threshold: float,
                  slots: bool = True) -> F1:
    """Micro F1 of (slot, element) pairs, or of elements alone; components too deep to be asked for count as missed."""
    found = [frozenset((SLOTS[slot], vocabulary.elements[kind - 1]) for slot, kind, _ in glyph)
             for glyph in output.found(threshold)]
    true = [true_components(row.metadata.get("components") or ()) for row in rows]
    if not slots:
        found, true = ([frozenset(element for _, element in glyph) for glyph in side] for side in (found, true))
    return F1.of(found, true)


def _component_f1_everyday(output: RecogniserOutput, vocabulary: Vocabulary, rows: Sequence[Row],
                           threshold: float) -> F1:
    """The same F1 over the characters of everyday use alone."""
    every = _component_f1(output, vocabulary, rows, threshold)
    return F1(every.counts[[row.is_frequent for row in rows]])


def _accepted(output: RecogniserOutput, thresholds: Thresholds) -> Figure:
    passed = torch.sigmoid(output.well_formed) >= thresholds.well_formed
    return proportion(int(passed.sum()), len(passed))


def _refused(network: Recogniser, thresholds: Thresholds, ink: torch.Tensor, kind: str, seed: int) -> tuple[int, int]:
    """How many of the glyphs, broken in one way, are refused, and of how many."""
    if kind == "mirrored":
        ink = ink[~is_symmetric(ink)]
    if not len(ink):
        return 0, 0
    broken = BREAKERS[kind](ink, generator(seed, sorted(BREAKERS).index(kind), Purpose.GLYPH_BREAKING))
    passed = torch.sigmoid(run_network(network, broken).well_formed) >= thresholds.well_formed
    return int((~passed).sum()), len(ink)
