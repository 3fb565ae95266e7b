"""The arms of ablation.py side by side, as a table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from common.statistics import Figure
from scoring.report import RealScore, Report, SetScore
from scoring.summary import compared, percent, plain

SETS = ("pairs", "heldout", "wild")  # what every arm is scored on; `budget` where the arm was taught stroke counts
HEAD = ("arm", "well-formed to judge / control judge: pairs", "held out", "wild", "pairs: one component",
        "both components", "held out: F1", "strokes (Jouyou {jouyou})", "stroke-count error")


def table(reports: Mapping[str, Report]) -> str:
    """The arms' figures, and those of real kanji, as a table in Markdown with a note on how sure they are."""
    real = next(iter(reports.values())).real
    head = [column.format(jouyou=plain(real.jouyou_mean)) for column in HEAD]
    rows = [_arm_cells(f"{number} {name}", report.sets) for number, (name, report) in enumerate(reports.items(), 1)]
    rows.append(["real kanji, held out", "", _well_formed(real), "", "", "", plain(real.f1, 2), "", ""])
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, [width * "-" for width in widths], *rows]
    text = "".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |\n"
                   for line in lines)
    return (f"{text}\nIn brackets: the shuffled-prompt baseline, the same images under other prompts of the set. 95 % "
            f"intervals reach up to {percent(_widest(reports))} to either side of a fraction.\n")


def _arm_cells(name: str, sets: Mapping[str, SetScore]) -> list[str]:
    """An arm's row of the table."""
    pairs, held_out = sets["pairs"].meaning, sets["heldout"].meaning
    samples = sum(sets[key].samples for key in SETS)
    strokes = sum(sets[key].strokes.mean.value * sets[key].samples for key in SETS) / samples
    error = sets["budget"].strokes.stroke_count_error if "budget" in sets else None
    return [name, *(_well_formed(sets[key]) for key in SETS), compared(pairs.one_component),
            compared(pairs.all_components), compared(held_out.f1, 2), plain(strokes), compared(error, 1) or "–"]


def _well_formed(score: SetScore | RealScore) -> str:
    """The fractions that the two judges call well-formed, as in "60 % / 75 %"."""
    figures = [score.well_formed, *([score.control_well_formed] if score.control_well_formed else [])]
    return " / ".join(percent(figure) or "–" for figure in figures)


def _widest(reports: Mapping[str, Report]) -> float:
    """The largest distance between a fraction in the table and an end of its 95 % interval."""
    figures: list[Figure] = []
    for report in reports.values():
        pairs = report.sets["pairs"].meaning
        figures += [*(report.sets[key].well_formed for key in SETS), pairs.one_component, pairs.all_components]
    return max(max(figure.high - figure.value, figure.value - figure.low) for figure in figures)
