"""The arms of ablation.py side by side, as a table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scoring.summary import beside_chance

SETS = ("pairs", "heldout", "wild")  # what every arm is scored on; `budget` where the arm was taught stroke counts


def table(reports: Mapping[str, dict[str, Any]]) -> str:
    """The arms' figures, and those of real kanji, as a table in Markdown with a note on how sure they are."""
    real = next(iter(reports.values()))["real"]
    head = ["arm", "well_formed by judge / second: pairs", "held out", "wild", "pairs: one part", "both parts",
            "held out: F1", f"strokes (Jouyou {real['strokes']['jouyou_mean']:.1f})", "off the budget"]
    rows = [_figures(f"{number} {name}", report["sets"]) for number, (name, report) in enumerate(reports.items(), 1)]
    rows.append(["real kanji, held out", "", _legible(real), "", "", "",
                 f"{real['meaning']['f1']['value']:.2f}", "", ""])
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, [width * "-" for width in widths], *rows]
    text = "".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |\n"
                   for line in lines)
    return (f"{text}\nIn brackets: by chance, the same pictures under other prompts of the set. 95 % intervals reach "
            f"up to {_widest(reports):.0%} to either side of a share.\n")


def _figures(name: str, sets: Mapping[str, dict[str, Any]]) -> list[str]:
    """An arm's row of the table."""
    pairs, held_out = sets["pairs"]["meaning"], sets["heldout"]["meaning"]
    pictures = sum(sets[key]["pictures"] for key in SETS)
    strokes = sum(sets[key]["strokes"]["mean"]["value"] * sets[key]["pictures"] for key in SETS) / pictures
    asked = sets.get("budget", {}).get("strokes")
    return [
        name, *(_legible(sets[key]) for key in SETS),
        *(beside_chance(pairs, key, ".0%") for key in ("one_part", "all_parts")),
        beside_chance(held_out, "f1", ".2f"), f"{strokes:.1f}",
        f"{asked['budget_error']['value']:.1f} ({asked['budget_error_shuffled_baseline']:.1f})" if asked else "–"]


def _legible(figures: Mapping[str, Any]) -> str:
    """The shares that the two judges call well-formed, as in "60% / 75%"."""
    shares = [figures[key]["value"] for key in ("well_formed", "control_well_formed") if key in figures]
    return " / ".join("–" if share is None else f"{share:.0%}" for share in shares)


def _widest(reports: Mapping[str, dict[str, Any]]) -> float:
    """The largest distance between a share in the table and an end of its 95 % interval."""
    sets = [report["sets"] for report in reports.values()]
    shares = [one[key]["well_formed"] for one in sets for key in SETS]
    shares += [one["pairs"]["meaning"][key] for one in sets for key in ("one_part", "all_parts")]
    return max(max(share["high"] - share["value"], share["value"] - share["low"]) for share in shares)
