"""A report in words and in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from common.statistics import Figure
from scoring.report import BestOfGain, ComparedFigure, Meaning, Report, SetScore

SUBJECTS = {  # of the verdict, the most telling first: it has the first two that were scored
    "wild_planned": "names of the modern world, planned",
    "plans": "words that no model was trained on, planned",
    "wild": "names of the modern world",
    "pairs_planned": "two concepts, planned",
    "pairs": "two concepts",
    "pairs_spelled": "two concepts, spelled in components",
    "heldout_planned": "meanings of held-out kanji, planned",
    "heldout": "meanings of held-out kanji",
    "known_planned": "meanings of kanji that were trained on, planned",
    "known": "meanings of kanji that were trained on",
    "budget": "known meanings with a number of strokes",
}
COLUMNS = ("set", "images", "well-formed", "control", "one component", "all components", "F1", "strokes", "copies",
           "Fréchet", "floor")


def verdict(report: Report) -> list[str]:
    """One or two sentences: of the most telling sets, how many images are well-formed and show what was asked for."""
    names = [name for name in SUBJECTS if name in report.sets][:2]
    return [_sentence(SUBJECTS[name], report.sets[name]) for name in names]


def summary(report: Report) -> str:
    """The report in a few lines, for the screen."""
    judge, real = report.judge, report.real
    rows = [COLUMNS, ("real", "", percent(real.well_formed), percent(real.control_well_formed), "", "",
                      plain(real.f1, 2), plain(real.jouyou_mean), "", "", "")]
    notes = []
    for name, score in report.sets.items():
        rows.append((_shown(name), str(score.samples), percent(score.well_formed), percent(score.control_well_formed),
                     *_found(score.meaning), plain(score.strokes.mean), percent(score.novelty.copies),
                     plain(score.frechet.distance, 3), plain(score.frechet.floor, 3)))
        notes += [f"{_shown(name)}: {note}" for note in set_notes(score)]
    if report.real.guessed:
        notes.append(f"real kanji: the word is guessed in {percent(report.real.guessed)}")
    if report.best_of:
        notes += [f"{_shown(name)}, best of {report.best_of.n}: {_gain(gain)}"
                  for name, gain in report.best_of.sets.items()]
    for name, score in (report.composed or {}).items():
        notes.append(f"{_shown(name)}, composed from KanjiVG's strokes: {percent(score.composed)} of the plans can be; "
                     f"well-formed {percent(score.score.well_formed)}, all planned components "
                     f"{compared(score.score.planned_components)}; the model, of the same plans: well-formed "
                     f"{percent(score.model.well_formed)}, all planned {compared(score.model.planned_components)}")
    return "\n".join([
        *verdict(report), "", *aligned(rows),
        "in brackets: the shuffled-prompt baseline, the same images under other prompts of the set",
        *notes,
        *report.left_out,
        f"the judge on held-out real kanji: component F1 {plain(judge.component_f1, 2)}, strokes missed by "
        f"{plain(judge.stroke_error, 2)}, well-formed {percent(judge.well_formed)}, broken ones refused "
        f"{percent(judge.broken_refused)}"])


def set_notes(score: SetScore) -> list[str]:
    """What is to be said of a set beside its row of the table; each a clause without a full stop."""
    notes = []
    error, meant = score.strokes.stroke_count_error, score.novelty.nearest_is_meant
    if error:
        notes.append(f"the number of strokes asked for is missed by {plain(error)} in the mean, under shuffled prompts "
                     f"by {plain(error.shuffled_baseline)}")
    if meant:
        notes.append(f"the nearest real kanji is one that is meant in {percent(meant)} of the images")
    if score.exact_match:
        notes.append("both components that are meant, and no homonym of them, are found in "
                     f"{percent(score.exact_match)} of the images")
    if score.found_by_frequency:
        first, *others = score.found_by_frequency
        bands = "".join(f", from {band.min_uses} on in {percent(band)}" for band in others)
        notes.append(f"a component that {first.min_uses} or more training characters show is found in {percent(first)} "
                     f"of the images{bands}")
    if score.plans:
        plans = score.plans
        notes.append("planned components (in brackets under shuffled prompts): one is found in "
                     f"{compared(plans.one_component)} of the images, all in {compared(plans.all_components)}; "
                     f"{percent(plans.planned)} of the words have a plan, {percent(plans.distinct)} of the plans are "
                     f"distinct (90 % are wanted), and the commonest component, {plans.commonest_component}, is in "
                     f"{percent(plans.commonest)} (at most 10 % are wanted)")
    if score.guessed:
        notes.append("from the components found WordNet guesses the word, among four of the set, for "
                     f"{compared(score.guessed)} of the images")
    if score.meaning_never_a_component:
        one, every, f1 = _found(score.meaning_never_a_component)
        notes.append("of kanji that training shows nowhere as a component (in brackets under shuffled prompts): one "
                     f"component found {one}, all {every}, F1 {f1}")
    return notes


def percent(value: Figure | float | None) -> str:
    """As in "91 %"; nothing where it cannot be said."""
    value = value.value if isinstance(value, Figure) else value
    return "" if value is None else f"{value:.0%}".replace("%", "\N{NO-BREAK SPACE}%")


def plain(value: Figure | float | None, digits: int = 1) -> str:
    """A number with so many digits after the point; nothing where it cannot be said."""
    value = value.value if isinstance(value, Figure) else value
    return "" if value is None else f"{value:.{digits}f}"


def compared(figure: ComparedFigure | None, digits: int | None = None) -> str:
    """A figure and its shuffled-prompt baseline, as in "80 % (5 %)", or as numbers with so many digits."""
    if figure is None or figure.value is None:
        return ""
    values = (figure.value, figure.shuffled_baseline)
    first, second = map(percent, values) if digits is None else (plain(value, digits) for value in values)
    return f"{first} ({second})"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                  zip(row[1:], widths[1:], strict=True))]).rstrip() for row in rows]


def _sentence(subject: str, score: SetScore) -> str:
    control = f" ({percent(score.control_well_formed)} to the control judge)" if score.control_well_formed else ""
    start = f"Of the images for {subject} {percent(score.well_formed)} are well-formed{control}"
    meaning, error, plans = score.meaning, score.strokes.stroke_count_error, score.plans
    if plans:
        fits = f"{percent(meaning.one_component)} show a component that fits and " if meaning else ""
        return (f"{start}, {'and ' if not fits else ''}{fits}{percent(plans.all_components)} show all components that "
                f"were planned ({percent(plans.all_components.shuffled_baseline)} under shuffled prompts).")
    if meaning:
        figure = meaning.all_components or meaning.one_component
        shown = "all components asked for" if meaning.all_components else "a component that fits"
        baseline = percent(figure.shuffled_baseline)
        return f"{start}, and {percent(figure)} show {shown} ({baseline} under shuffled prompts)."
    if error:
        baseline = plain(error.shuffled_baseline)
        return f"{start}; they miss the number by {plain(error)} in the mean ({baseline} under shuffled prompts)."
    return f"{start}."


def _found(meaning: Meaning | None) -> tuple[str, str, str]:
    """The three figures of meaning, each beside its baseline."""
    if meaning is None:
        return "", "", ""
    return compared(meaning.one_component), compared(meaning.all_components), compared(meaning.f1, 2)


def _gain(gain: BestOfGain) -> str:
    first, best, control = gain.first, gain.best, gain.best_by_control
    told = {"well-formed": "well_formed", "to the control judge": "control_well_formed",
            "one right component found": "one_component", "all right ones": "all_components",
            "all planned components found": "planned_components"}
    by_control = {name: f" ({percent(getattr(control, name))} by the control judge)" for name in told
                  if control is not None and name.endswith(("component", "components"))}
    return ", ".join(f"{label} {percent(getattr(first, name))} -> {percent(getattr(best, name))}"
                     f"{by_control.get(name, '')}" for label, name in told.items() if getattr(first, name) is not None)


def _shown(name: str) -> str:
    """A set's name as in "wild, planned"."""
    return name.replace("_", ", ")
