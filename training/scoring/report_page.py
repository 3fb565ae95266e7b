"""The report as one page that opens offline: what its template is given, and its two files.

The template, templates/report.html, has all HTML and CSS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from PIL import Image

from common.files import write_text
from common.statistics import Figure
from generation.check import found_components, found_in_words
from generation.output import redraw_command
from generation.settings import SamplingSettings
from planner.plan import Plan
from recogniser.judge import Reading
from scoring.composed import PLANS_FILE, plans_text
from scoring.figures import ScoredSample
from scoring.pages import data_url, render
from scoring.report import Balance, ComparedFigure, JudgeScore, Report, SetScore, ShortScore, as_json_text
from scoring.summary import percent, plain, set_notes, verdict

IMAGE_SIDE, NEAREST_SIDE = 96, 40  # px of an image on the page, and of the nearest real kanji beside it
GREYS = 16  # levels that images keep; what a page of thousands weighs depends on it
FIRST_IMAGES = 6  # of a set, that are shown open, one a prompt: a row of a wide screen
SETS = {  # name: what it is called, and what it is
    "wild_planned": ("The modern world, planned", "The same names, each turned into two components by a planner, whose "
                     "names the model is given."),
    "plans": ("New words, planned", "Words that no model was trained on, neither the one that plans nor the one that "
              "draws."),
    "wild": ("The modern world", "The names as they are. They have no kanji: copies of existing ones are not wanted, "
             "and which components would fit is our opinion."),
    "pairs": ("Two concepts", "Pairs that were never composed in training. Homonyms of a component count as it."),
    "pairs_spelled": ("Two concepts, in components", "The same pairs, each handed over as a plan is: how well plans "
                      "are drawn."),
    "pairs_planned": ("Two concepts, planned", "The same pairs as words, planned as generate.py does: which two "
                      "components they name."),
    "heldout_planned": ("Held-out kanji, planned", "The same meanings, planned; no plan is that of a real kanji."),
    "heldout": ("Held-out kanji", "Meanings of kanji that were never trained on."),
    "known_planned": ("Known kanji, planned", "The same meanings as those of existing kanji, each asked for by its "
                      "components, as generate.py does."),
    "known": ("Known kanji", "Meanings of kanji that were trained on. Copies are wanted here."),
    "budget": ("A number of strokes", "Known meanings with a number of strokes asked for."),
}
BALANCE_LABELS = {"centre_x": "centre of the ink, across", "centre_y": "centre of the ink, down",
                  "left_fraction": "ink in the left half", "top_fraction": "ink in the upper half"}
TICK = 5  # strokes between two numbers below a histogram


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, its 95 % interval, and what stands beside it for comparison."""

    text: str = ""
    interval: str = ""
    beside: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a table: what its figure is, a word on it, and its cells, a column each."""

    label: str
    cells: Sequence[Cell]
    about: str = ""


@dataclass(frozen=True)
class Table:
    """A table: a column's heading for each cell of its lines."""

    columns: Sequence[str]
    lines: Sequence[Line]


@dataclass(frozen=True)
class Shown:
    """An image with what stands below it.

    plan: what was planned and what of it was found, "" without a plan; nearest_image: a data URL, "" where there is
    none; command: what makes the image again.
    """

    image: str
    words: str
    plan: str
    is_well_formed: bool
    reading: str
    nearest: str
    nearest_image: str
    seed: int
    command: str


@dataclass(frozen=True)
class Bars:
    """A histogram of stroke counts beside the Jouyou kanji's: fractions of the highest bar, 0 to 1, by count."""

    own: Sequence[float]
    jouyou: Sequence[float]
    ticks: Sequence[int]


@dataclass(frozen=True)
class Section:
    """A set of prompts on the page: its first images, which are shown, and the others, which are folded away."""

    name: str
    title: str
    about: str
    notes: Sequence[str]
    bars: Bars | None
    first: Sequence[Shown]
    rest: Sequence[Shown]


def write_report(folder: Path, report: Report, samples: dict[str, Sequence[ScoredSample]],
                 settings: SamplingSettings, plans: Sequence[Plan] = ()) -> Path:
    """Write report.json, with what each sample was made of, and report.html; returns its path. Raises OSError.

    settings: those that the samples were made with; plans: what is written as plans.jsonl, if any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    provenance = {name: [sample_provenance(sample, settings) for sample in of_set] for name, of_set in samples.items()}
    write_text(folder / "report.json", as_json_text({**report.to_json(), "samples": provenance}))
    if plans:
        write_text(folder / PLANS_FILE, plans_text(plans))
    write_text(folder / "report.html", page(report, samples, settings))
    return folder / "report.html"


def sample_provenance(sample: ScoredSample, settings: SamplingSettings) -> dict[str, Any]:
    """What report.json says of a sample: what was asked for and planned, and the command that makes it again."""
    plan = sample.prompt.plan
    said = {"words": sample.prompt.text, "strokes": sample.prompt.strokes, "seed": sample.seed,
            "command": command_of(sample, settings)}
    if plan is None:
        return said
    found = [component.form for component in found_components(plan, sample.reading)]
    return {**said, "plan": plan.to_json(), "found": found}


def command_of(sample: ScoredSample, settings: SamplingSettings) -> str:
    """The command that makes the sample again."""
    return redraw_command(sample.prompt.request(sample.seed), settings)


def page(report: Report, samples: dict[str, Sequence[ScoredSample]], settings: SamplingSettings) -> str:
    """The page's HTML; it fetches nothing, from nowhere."""
    return render(
        "report.html", report=report, verdict=verdict(report), figures=figures_table(report),
        best_of=best_of_table(report), composed=composed_table(report), judges=judge_table(report),
        refused={kind: percent(figure) for kind, figure in report.judge.refused_by_kind.items()},
        sections=[section(name, report, samples[name], settings) for name in SETS if name in report.sets])


def section(name: str, report: Report, samples: Sequence[ScoredSample], settings: SamplingSettings) -> Section:
    """What the page shows of a set; the images shown open are the first ones of its first prompts."""
    title, about = SETS[name]
    first = list({(sample.prompt.text, sample.prompt.strokes): sample for sample in reversed(samples)}.values())
    first = first[::-1][:FIRST_IMAGES]
    rest = [sample for sample in samples if not any(sample is one for one in first)]
    score = report.sets[name]
    return Section(name, title, about, [f"{note[0].upper()}{note[1:]}." for note in set_notes(score)],
                   bars(score.strokes.histogram, report.real.jouyou_strokes),
                   *([shown(sample, settings) for sample in part] for part in (first, rest)))


def shown(sample: ScoredSample, settings: SamplingSettings) -> Shown:
    """What the page shows of a sample."""
    reading = sample.reading
    copy = " (a copy)" if reading.is_copy else ""
    plan = sample.prompt.plan
    planned = "" if plan is None else (
        f"planned: {' + '.join(map(str, plan.components))}, {found_in_words(plan, reading)}")
    return Shown(data_url(sample.image, IMAGE_SIDE, GREYS), sample.prompt.title, planned, reading.is_well_formed,
                 f"{reading.explain()}{copy}", reading.nearest or "", _nearest_image(reading), sample.seed,
                 command_of(sample, settings))


def figures_table(report: Report) -> Table:
    """The figures of all sets: a line a figure, a column a set, real kanji first."""
    names, real = [name for name in SETS if name in report.sets], report.real
    scores = [report.sets[name] for name in names]

    def line(label: str, of_real: Cell, of_sets: Sequence[Cell], about: str = "") -> Line:
        return Line(label, [of_real, *of_sets], about)

    none = Cell()
    lines = [
        line("images", none, [Cell(str(score.samples)) for score in scores]),
        line("well-formed", fraction(real.well_formed), [fraction(score.well_formed) for score in scores]),
        line("well-formed, control judge", fraction(real.control_well_formed),
             [fraction(score.control_well_formed) for score in scores]),
        line("one component found", none, [_meaning(score, "one_component") for score in scores]),
        line("all components found", none, [_meaning(score, "all_components") for score in scores]),
        line("component F1", number(real.f1), [_meaning(score, "f1") for score in scores], "in any slot"),
        line("one planned component found", none, [_plans(score, "one_component") for score in scores]),
        line("all planned components found", none, [_plans(score, "all_components") for score in scores]),
        line("distinct plans", none, [_plans(score, "distinct") for score in scores], "at least 90 % are wanted"),
        line("the commonest component", none, [_plans(score, "commonest") for score in scores],
             "in so many of the plans; at most 10 % are wanted"),
        line("word guessed by WordNet", fraction(real.guessed), [fraction(score.guessed) for score in scores],
             "among four words, from the components found; 25 % by chance"),
        line("strokes", Cell(plain(real.jouyou_mean), beside="Jouyou kanji"),
             [number(score.strokes.mean, 1) for score in scores], "mean"),
        line("stroke-count error", none, [number(score.strokes.stroke_count_error, 1) for score in scores], "mean"),
        line("copies", none, [fraction(score.novelty.copies) for score in scores],
             "as similar to an existing kanji as one is to itself after the autoencoder"),
        line("Fréchet distance", none, [_beside(score.frechet.distance, score.frechet.floor, "floor", 3)
                                        for score in scores],
             "to held-out kanji, in the judge’s embedding; floor: that of as many training kanji"),
        line("distance between prompts", none, [number(score.diversity.between_prompts) for score in scores],
             "of their first images, in the judge’s embedding, 1 - cosine"),
        line("distance between seeds", none, [number(score.diversity.between_seeds) for score in scores],
             "of one prompt"),
        *(_balance_line(field.name, real.balance, scores) for field in fields(Balance)),
    ]
    lines = [one for one in lines if any(cell.text for cell in one.cells)]
    return Table(["real kanji", *(SETS[name][0] for name in names)], lines)


def best_of_table(report: Report) -> Table | None:
    """One sample beside the best of several."""
    if report.best_of is None:
        return None
    return _short_table([(f"{SETS[name][0]}: {label}", score) for name, gain in report.best_of.sets.items()
                         for label, score in (("one sample", gain.first), (f"best of {report.best_of.n}", gain.best),
                                              ("the same, read by the control judge", gain.best_by_control)) if score])


def composed_table(report: Report) -> Table | None:
    """The plans composed without a model, beside the model's images of the same words."""
    if not report.composed:
        return None
    rows = []
    for name, score in report.composed.items():
        composed = f"composed from KanjiVG’s strokes ({percent(score.composed)} of the plans can be)"
        rows += [(f"{SETS[name][0]}: {composed}", score.score),
                 (f"{SETS[name][0]}: the model, of the same plans", score.model)]
    return _short_table(rows)


def judge_table(report: Report) -> Table:
    """The judges' own figures, a column a judge."""
    control = report.control_judge
    judges: list[tuple[str, JudgeScore]] = [("judge", report.judge), *([("control judge", control)] if control else [])]
    measures = (("component F1, slot and shape", "component_f1", number),
                ("the same, everyday characters", "component_f1_everyday", number),
                ("component F1, shape in any slot", "component_f1_any_slot", number),
                ("stroke-count error", "stroke_error", number),
                ("real kanji called well-formed", "well_formed", fraction),
                ("broken ones refused", "broken_refused", fraction))
    lines = [Line(label, [cell(getattr(judge, name)) for _, judge in judges]) for label, name, cell in measures]
    copies = [fraction(report.judge.called_a_copy_of_another), *([Cell()] if control else [])]  # the control has none
    return Table([title for title, _ in judges], [*lines, Line("new characters called a copy", copies)])


def fraction(figure: Figure | None) -> Cell:
    """A fraction in per cent with its interval and, where it has one, its baseline."""
    if figure is None or figure.value is None:
        return Cell()
    beside = f"shuffled {percent(figure.shuffled_baseline)}" if isinstance(figure, ComparedFigure) else ""
    return Cell(percent(figure), f"{percent(figure.low)} to {percent(figure.high)}", beside)


def number(figure: Figure | None, digits: int = 2) -> Cell:
    """A number with its interval and, where it has one, its baseline."""
    if figure is None or figure.value is None:
        return Cell()
    beside = f"shuffled {plain(figure.shuffled_baseline, digits)}" if isinstance(figure, ComparedFigure) else ""
    return Cell(plain(figure, digits), f"{plain(figure.low, digits)} to {plain(figure.high, digits)}", beside)


def bars(own: Sequence[int], jouyou: Sequence[int]) -> Bars | None:
    """Two histograms as fractions of their images, scaled so that the highest is 1; None where the first has none."""
    if not sum(own):
        return None
    fractions = [[count / max(1, sum(counts)) for count in counts] for counts in (own, jouyou)]
    top = max(map(max, filter(None, fractions)))
    return Bars(*([value / top for value in values] for values in fractions), range(0, len(own), TICK))


def _short_table(rows: Sequence[tuple[str, ShortScore]]) -> Table:
    """Images other than a set's own: a line for each label and score, and the columns that any of them has."""
    columns = {"well-formed": "well_formed", "well-formed, control judge": "control_well_formed",
               "one component found": "one_component", "all components found": "all_components",
               "one planned component": "planned_component", "all planned components": "planned_components"}
    used = {title: name for title, name in columns.items() if any(getattr(score, name) for _, score in rows)}
    return Table(list(used), [Line(label, [fraction(getattr(score, name)) for name in used.values()])
                              for label, score in rows])


def _plans(score: SetScore, name: str) -> Cell:
    if score.plans is None:
        return Cell()
    cell = fraction(getattr(score.plans, name))
    return replace(cell, beside=score.plans.commonest_component) if name == "commonest" else cell


def _meaning(score: SetScore, name: str) -> Cell:
    figure = getattr(score.meaning, name) if score.meaning else None
    return number(figure) if name == "f1" else fraction(figure)


def _balance_line(name: str, real: Balance, scores: Sequence[SetScore]) -> Line:
    cells = [Cell(plain(getattr(real, name), 3), beside="training kanji"),
             *(Cell(plain(getattr(score.balance, name), 3)) for score in scores)]
    return Line(BALANCE_LABELS[name], cells, "Wasserstein distance to held-out kanji")


def _beside(value: float | None, other: float | None, word: str, digits: int) -> Cell:
    return Cell() if value is None else Cell(plain(value, digits), beside=f"{word} {plain(other, digits)}")


def _nearest_image(reading: Reading) -> str:
    if reading.picture_of_nearest is None:
        return ""
    with Image.open(reading.picture_of_nearest) as image:
        return data_url(image, NEAREST_SIDE, GREYS)
