"""The log of a training in phases: what metrics.jsonl of each run says, thinned, as lines of JSON and as curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from common.files import write_text
from trainer.run_folder import logged_metrics

LOG, CURVES = "training_log.jsonl", "training_curves.svg"
POINTS = 100  # of a phase, at most; each is the mean of the lines that it stands for
LOSS = "loss"  # and its terms, "loss/diffusion", ..., which are left out where there is but one
SCORE = "score/"  # of the sample grids, in lines of their own
PANEL_WIDTH, PANEL_HEIGHT, MARGIN, TITLE = 420, 150, 48, 22  # px of the picture


def write_training_log(folder: Path, runs: Mapping[str, Path]) -> None:
    """Write training_log.jsonl and training_curves.svg into a folder.

    runs: the run folder of each phase, in their order; one without metrics is left out. Raises OSError.
    """
    metrics = {name: logged_metrics(run) for name, run in runs.items()}
    phases = {name: thinned(losses) for name, lines in metrics.items() if (losses := [
        line for line in lines if LOSS in line])}
    scores = {name: [line for line in lines if LOSS not in line] for name, lines in metrics.items()}
    write_text(folder / LOG, "".join(json.dumps({"phase": name, **line}) + "\n" for name, lines in phases.items()
                                     for line in sorted([*lines, *scores[name]], key=lambda line: line["step"])))
    write_text(folder / CURVES, curves(phases, scores))


def thinned(lines: Sequence[Mapping[str, Any]], points: int = POINTS) -> list[dict[str, Any]]:
    """At most `points` lines of a run's metrics: the last step and learning rate of each group, means of its losses."""
    size = -(-len(lines) // points)
    groups = [lines[start:start + size] for start in range(0, len(lines), size or 1)]
    return [{"step": group[-1]["step"], **{name: _mean(group, name) for name in group[-1] if name.startswith(LOSS)},
             "learning_rate": group[-1].get("learning_rate")} for group in groups]


def curves(phases: Mapping[str, Sequence[Mapping[str, Any]]], scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """An SVG with a panel for each phase and term of its loss, and for each score: the value over the updates."""
    panels = [_panel(f"{phase}: {term}", [(line["step"], line[term]) for line in shown if line.get(term) is not None])
              for phase, lines in phases.items()
              for shown, terms in ((lines, _terms(lines)), (scores[phase], _scores(scores[phase]))) for term in terms]
    height = PANEL_HEIGHT + MARGIN + TITLE
    shifted = (f'<g transform="translate(0 {number * height})">{panel}</g>\n' for number, panel in enumerate(panels))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PANEL_WIDTH + 2 * MARGIN} {len(panels) * height}" '
            f'width="{PANEL_WIDTH + 2 * MARGIN}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n{"".join(shifted)}</svg>\n')


def _mean(group: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [line[name] for line in group if line.get(name) is not None]
    return round(sum(known) / len(known), 5) if known else None


def _terms(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    terms = [name for name in lines[-1] if name.startswith(f"{LOSS}/")]
    return terms if len(terms) > 1 else [LOSS]


def _scores(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line if name.startswith(SCORE)))


def _panel(title: str, points: Sequence[tuple[int, float]]) -> str:
    """A curve in its frame, its least and greatest values and its last step beside it."""
    low, high, last = min(y for _, y in points), max(y for _, y in points), points[-1][0]
    drawn = " ".join(f"{MARGIN + PANEL_WIDTH * step / last:.1f},"
                     f"{TITLE + PANEL_HEIGHT * (1.0 - (y - low) / ((high - low) or 1.0)):.1f}" for step, y in points)
    bottom, right = TITLE + PANEL_HEIGHT, MARGIN + PANEL_WIDTH
    return (f'<text x="{MARGIN}" y="{TITLE - 7}">{escape(title)}</text>'
            f'<rect x="{MARGIN}" y="{TITLE}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" fill="none" stroke="#bbb"/>'
            f'<polyline points="{drawn}" fill="none" stroke="black"/>'
            f'<text x="{MARGIN - 5}" y="{TITLE + 10}" text-anchor="end">{high:.3g}</text>'
            f'<text x="{MARGIN - 5}" y="{bottom}" text-anchor="end">{low:.3g}</text>'
            f'<text x="{right}" y="{bottom + 15}" text-anchor="end">{last} updates</text>')
