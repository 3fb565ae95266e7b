"""A report in a few lines, for the screen."""

from __future__ import annotations

from typing import Any


def summary(report: dict[str, Any]) -> str:
    """The report in a few lines, for the screen."""
    judge, real = report["judge"], report["real"]
    lines = [f"recogniser on held-out real kanji: component F1 {judge['component_f1']['value']:.2f}, strokes off by "
             f"{judge['stroke_error']['value']:.2f}, well-formed {judge['well_formed']['value']:.0%}, broken refused "
             f"{judge['broken_refused']['value']:.0%}",
             f"{'':8}{'pictures':>9}{'legible':>9}{'one part':>10}{'all parts':>10}{'F1':>6}{'chance':>8}"
             f"{'strokes':>9}{'copies':>8}{'Fréchet':>9}{'floor':>7}",
             f"{'real':8}{'':9}{real['legible']['value']:>9.0%}{'':20}{real['meaning']['f1']['value']:>6.2f}{'':8}"
             f"{real['strokes']['jouyou_mean']:>9.1f}"]
    for name, figures in report["sets"].items():
        meaning = figures.get("meaning")
        found = (f"{meaning['one_part']['value']:>10.0%}{meaning['all_parts']['value']:>10.0%}"
                 f"{meaning['f1']['value']:>6.2f}{meaning['f1_by_chance']:>8.2f}") if meaning else " " * 34
        lines.append(f"{name:8}{figures['pictures']:>9}{figures['legible']['value']:>9.0%}{found}"
                     f"{figures['strokes']['mean']['value']:>9.1f}{figures['novelty']['copies']['value']:>8.0%}"
                     f"{figures['frechet']['distance']:>9.3f}{figures['frechet']['floor']:>7.3f}")
        if "budget_error" in figures["strokes"]:
            strokes = figures["strokes"]
            lines.append(f"{'':8}strokes off the budget by {strokes['budget_error']['value']:.1f} in the mean "
                         f"(by chance {strokes['budget_error_by_chance']:.1f})")
    for name, gain in (report.get("best_of") or {}).items():
        if name != "n":
            shares = [gain[which]["legible"]["value"] for which in ("plain", "best")]
            lines.append(f"best of {report['best_of']['n']}, {name}: legible {shares[0]:.0%} -> {shares[1]:.0%}"
                         + _second_gain(gain))
    return "\n".join(lines)


def _second_gain(gain: dict[str, Any]) -> str:
    if "second_legible" not in gain["plain"]:
        return ""
    return (f"; by the second judge {gain['plain']['second_legible']['value']:.0%} -> "
            f"{gain['best']['second_legible']['value']:.0%}")
