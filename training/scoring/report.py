"""A report: the score of a model in types, with the JSON that it is kept as.

A figure is None where it cannot be said, or where the prompts of a set know no right answer that it would need.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from common.paths import shown_name
from common.statistics import Figure


@dataclass(frozen=True)
class ComparedFigure(Figure):
    """A figure beside its shuffled-prompt baseline: its mean where the same images stand under other prompts."""

    shuffled_baseline: float | None


@dataclass(frozen=True)
class FrequencyBand(Figure):
    """How often components are found that at least `min_uses` training characters show, up to the next band.

    The mean over n components of the fraction of images in which each was found.
    """

    min_uses: int


@dataclass(frozen=True)
class Meaning:
    """How often the components of a right answer are found: as fractions of images, and as micro F1 over prompts.

    Homonyms of a component, where the prompt's words mean them as well, are right answers too.
    """

    one_component: ComparedFigure
    all_components: ComparedFigure | None = None
    f1: ComparedFigure | None = None


@dataclass(frozen=True)
class Strokes:
    """Stroke counts. histogram: how many images have 0, 1, ... strokes; stroke_count_error: of what was asked for."""

    mean: Figure
    histogram: tuple[int, ...]
    wasserstein_to_jouyou: float | None
    stroke_count_error: ComparedFigure | None = None


@dataclass(frozen=True)
class Balance:
    """First Wasserstein distances to real kanji, 0 to 1: of the ink's centre, and of its fraction left and at the top.

    The centre is measured in sides of the image, the fractions in its ink.
    """

    centre_x: float | None
    centre_y: float | None
    left_fraction: float | None
    top_fraction: float | None


@dataclass(frozen=True)
class Novelty:
    """How near images come to existing kanji. copies: fraction; similarity: cosine to the nearest one.

    nearest_is_meant: how often the nearest one has the meaning that was asked for.
    """

    copies: Figure
    similarity: Figure
    nearest_is_meant: Figure | None = None


@dataclass(frozen=True)
class Frechet:
    """The Fréchet distance to held-out real kanji, and its floor: that of so many real training characters."""

    distance: float | None
    floor: float | None
    floor_characters: int


@dataclass(frozen=True)
class Diversity:
    """Mean distance (1 - cosine) of two images of one prompt, and of the first images of two prompts."""

    between_seeds: Figure | None
    between_prompts: Figure | None


@dataclass(frozen=True)
class PlannedScore:
    """The plans of a planned set's words, and how often their components are found, as fractions of images.

    planned: fraction of the words that have a plan; distinct: of plans, no two of them of the same components;
    commonest: of plans with the component that most of them have, which is commonest_component ("木 tree").
    """

    planned: Figure
    one_component: ComparedFigure
    all_components: ComparedFigure
    distinct: Figure
    commonest: Figure
    commonest_component: str


@dataclass(frozen=True)
class SetScore:
    """All figures of one set of prompts.

    control_well_formed: by the control judge, where there is one; meaning_never_a_component: of those prompts whose
    kanji stand in no training character as a component, where these are some and not all; exact_match: fraction of
    images with all components that were meant and none of their homonyms, of pairs alone; plans: of planned sets;
    guessed: how often WordNet leads from the components found to the word, among four.
    """

    prompts: int
    samples: int
    well_formed: Figure
    control_well_formed: Figure | None
    strokes: Strokes
    balance: Balance
    novelty: Novelty
    frechet: Frechet
    diversity: Diversity
    meaning: Meaning | None = None
    meaning_never_a_component: Meaning | None = None
    exact_match: Figure | None = None
    found_by_frequency: tuple[FrequencyBand, ...] = ()
    plans: PlannedScore | None = None
    guessed: ComparedFigure | None = None


@dataclass(frozen=True)
class RealScore:
    """Held-out real kanji by the same measures: what a perfect model would get, the judge's faults and all.

    jouyou_strokes: how many Jouyou kanji have 0, 1, ... strokes.
    """

    well_formed: Figure
    control_well_formed: Figure | None
    f1: Figure
    jouyou_mean: float | None
    jouyou_strokes: tuple[int, ...]
    balance: Balance
    guessed: Figure | None = None


@dataclass(frozen=True)
class ShortScore:
    """The figures of images other than a set's own: chosen among several, or composed.

    planned_component, planned_components: one and all of those that were planned, where there are plans.
    """

    well_formed: Figure
    control_well_formed: Figure | None = None
    one_component: Figure | None = None
    all_components: Figure | None = None
    planned_component: ComparedFigure | None = None
    planned_components: ComparedFigure | None = None


@dataclass(frozen=True)
class BestOfGain:
    """A set's first images, and the judge's choices among n; these as the control judge reads them, if there is one."""

    first: ShortScore
    best: ShortScore
    best_by_control: ShortScore | None = None


@dataclass(frozen=True)
class BestOf:
    """What choosing among n images gains, by set."""

    n: int
    sets: dict[str, BestOfGain]


@dataclass(frozen=True)
class ComposedScore:
    """A set's plans composed from KanjiVG's strokes, with no model.

    composed: fraction of the plans that can be composed; score: of these; model: of its first images of the same words.
    """

    composed: Figure
    score: ShortScore
    model: ShortScore


@dataclass(frozen=True)
class JudgeScore:
    """A judge's own figures on real kanji that it was not trained on, as its folder has them; sha256: of its weights.

    component_f1: of slot and shape, all and everyday characters, and of shape in any slot; stroke_error: mean absolute;
    well_formed: fraction of real ones that pass; broken_refused: of broken ones that do not, and by how they were
    broken; called_a_copy_of_another: new characters that count as copies.
    """

    sha256: str
    characters: int
    component_f1: Figure | None = None
    component_f1_everyday: Figure | None = None
    component_f1_any_slot: Figure | None = None
    stroke_error: Figure | None = None
    well_formed: Figure | None = None
    broken_refused: Figure | None = None
    called_a_copy_of_another: Figure | None = None
    refused_by_kind: dict[str, Figure] = field(default_factory=dict)

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> JudgeScore:
        """From a judge's metadata; a figure that it lacks is None. Raises KeyError where it has none at all."""
        known = {one.name for one in fields(cls)} & set(metadata["held_out"])
        return _read(cls, {"sha256": metadata["sha256"], **{name: metadata["held_out"][name] for name in known}})


@dataclass(frozen=True)
class ModelProvenance:
    """Which model was scored: its name, the SHA-256 of its two networks, and their number of parameters."""

    name: str
    unet_sha256: str
    vae_sha256: str
    parameters: int


@dataclass(frozen=True)
class Report:
    """The score of a model with what it was scored with.

    settings: as `shown_settings` has them; composed: by set, where composed plans were named; left_out: what was not
    scored, and why, a sentence each.
    """

    model: ModelProvenance
    settings: dict[str, Any]
    dataset_sha256: str
    judge: JudgeScore
    control_judge: JudgeScore | None
    real: RealScore
    sets: dict[str, SetScore]
    best_of: BestOf | None = None
    composed: dict[str, ComposedScore] | None = None
    left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it; keys are the fields' names."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Report:
        """What `to_json` made, read back. Raises KeyError or TypeError where it is something else."""
        return _read(cls, value)


def shown_settings(config: object) -> dict[str, Any]:
    """A settings dataclass as others may see it in JSON: folders of this machine by their last part alone."""
    return {name: _shown(value) for name, value in asdict(config).items()}


def as_json_text(value: Mapping[str, Any]) -> str:
    """JSON as its files hold it."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _shown(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    return shown_name(value) if isinstance(value, str | Path) else value


def _read(kind: Any, value: Any) -> Any:
    """A value of this type from what `asdict` and JSON made of it."""
    inner = get_args(kind)
    if isinstance(kind, UnionType):
        return None if value is None else _read(inner[0], value)
    if get_origin(kind) is tuple:
        return tuple(_read(inner[0], one) for one in value)
    if get_origin(kind) is dict:
        return {name: _read(inner[1], one) for name, one in value.items()}
    if is_dataclass(kind):
        types = get_type_hints(kind)
        return kind(**{name: _read(types[name], one) for name, one in value.items()})
    return value
