"""A report in a few lines, for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary(report: dict[str, Any]) -> str:
    """The report in a few lines, for the screen."""
    judge, real = report["judge"], report["real"]
    lines = [f"recogniser on held-out real kanji: component F1 {judge['component_f1']['value']:.2f}, strokes off by "
             f"{judge['stroke_error']['value']:.2f}, well-formed {judge['well_formed']['value']:.0%}, broken refused "
             f"{judge['broken_refused']['value']:.0%}",
             f"{'set':8}{'pictures':>9}{'well_formed':>9}{'one part':>12}{'all parts':>12}{'F1':>13}{'strokes':>9}"
             f"{'copies':>8}{'Fréchet':>9}{'floor':>7}",
             f"{'real':17}{real['well_formed']['value']:>9.0%}{'':24}{real['meaning']['f1']['value']:>6.2f}{'':7}"
             f"{real['strokes']['jouyou_mean']:>9.1f}"]
    for name, figures in report["sets"].items():
        lines.append(f"{name:8}{figures['pictures']:>9}{figures['well_formed']['value']:>9.0%}{_found(figures, 'meaning')}"
                     f"{figures['strokes']['mean']['value']:>9.1f}{figures['novelty']['copies']['value']:>8.0%}"
                     f"{figures['frechet']['distance']:>9.3f}{figures['frechet']['floor']:>7.3f}")
        if "meaning_never_a_part" in figures:
            lines.append(f"{'  kanji that are no part':26}{_found(figures, 'meaning_never_a_part')}")
        if "exact_match" in figures:
            lines.append(f"{'':8}both of the very components meant, none of the same name: "
                         f"{figures['exact_match']['value']:.0%}")
        if "budget_error" in figures["strokes"]:
            strokes = figures["strokes"]
            lines.append(f"{'':8}strokes off the budget by {strokes['budget_error']['value']:.1f} in the mean "
                         f"(by chance {strokes['budget_error_shuffled_baseline']:.1f})")
    for name, gain in (report.get("best_of") or {}).items():
        if name != "n":
            shares = [gain[which]["well_formed"]["value"] for which in ("plain", "best")]
            lines.append(f"best of {report['best_of']['n']}, {name}: well_formed {shares[0]:.0%} -> {shares[1]:.0%}"
                         + _second_gain(gain))
    lines.append("in brackets: by chance, the same pictures under other prompts of the set")
    return "\n".join(lines)


def _found(figures: dict[str, Any], name: str) -> str:
    """The three figures of meaning beside chance, or as much space."""
    return "".join(beside_chance(figures.get(name) or {}, key, form).rjust(width)
                   for key, width, form in (("one_part", 12, ".0%"), ("all_parts", 12, ".0%"), ("f1", 13, ".2f")))


def beside_chance(meaning: Mapping[str, Any], name: str, form: str) -> str:
    """A figure of a set's meaning as "80% (5%)", the second by chance; nothing where the set has it not."""
    if name not in meaning:
        return ""
    return f"{meaning[name]['value']:{form}} ({meaning[name + '_shuffled_baseline']:{form}})"


def _second_gain(gain: dict[str, Any]) -> str:
    if "control_well_formed" not in gain["plain"]:
        return ""
    return (f"; by the second judge {gain['plain']['control_well_formed']['value']:.0%} -> "
            f"{gain['best']['control_well_formed']['value']:.0%}")
