"""The figures of what was planned: the plans themselves, and how often their components are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from common.statistics import Figure, proportion
from scoring.figures import (
    ScoredSample,
    all_components,
    compared,
    control_well_formed,
    fraction,
    one_component,
    well_formed,
)
from scoring.matching import has_all, hits
from scoring.report import PlannedScore, ShortScore


def score_plans(samples: Sequence[ScoredSample], seed: int) -> PlannedScore | None:
    """What the plans of a planned set's words are, and how often they were found; None where no word has one."""
    words = {sample.prompt.text: sample.prompt for sample in samples}
    plans = [prompt.plan for prompt in words.values() if prompt.plan]
    if not plans:
        return None
    uses = Counter(form for plan in plans for form in plan.forms)
    commonest, count = min(uses.items(), key=lambda use: (-use[1], use[0]))
    name = next(one.name for plan in plans for one in plan.components if one.form == commonest)
    return PlannedScore(
        planned=proportion(len(plans), len(words)),
        one_component=compared(samples, planned_component, seed),
        all_components=compared(samples, planned_components, seed),
        distinct=proportion(len({plan.forms for plan in plans}), len(plans)),
        commonest=proportion(count, len(plans)),
        commonest_component=f"{commonest} {name}")


def score_shortly(samples: Sequence[ScoredSample], seed: int) -> ShortScore:
    """The figures of images other than a set's own: chosen among several, or composed."""
    answered, found_one, found_all = [sample for sample in samples if sample.prompt.answers], None, None
    if answered:
        found_one = one_component(answered, seed)
        if not any(sample.prompt.any_fits for sample in answered):
            found_all = all_components(answered, seed)
    both = (compared(samples, planned_component, seed), compared(samples, planned_components, seed)) if any(
        sample.prompt.plan for sample in samples) else (None, None)
    return ShortScore(well_formed(samples, seed), control_well_formed(samples, seed), found_one, found_all, *both)


def planned_component(samples: Sequence[ScoredSample], seed: int) -> Figure:
    """Fraction of samples in which at least one planned component was found; none is where nothing was planned."""
    return fraction(samples, lambda sample: bool(
        sample.prompt.plan and hits(sample.found, sample.prompt.plan.forms)), seed)


def planned_components(samples: Sequence[ScoredSample], seed: int) -> Figure:
    """Fraction of samples in which all planned components were found."""
    return fraction(samples, lambda sample: bool(
        sample.prompt.plan and has_all(sample.found, sample.prompt.plan.forms)), seed)
