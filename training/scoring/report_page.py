"""The report as one page that opens offline: tables, plots and every picture with what was read in it."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from common.files import write_text
from recogniser.judge import Reading
from scoring.figures import ScoredSample

PICTURE_SIDE = 96  # px of a picture on the page
GREYS = 16  # levels that it keeps; what a page of thousands weighs depends on it
SET_WORDS = {
    "known": "Meanings of kanji that were trained on. Copies are wanted here.",
    "heldout": "Meanings of kanji that were never trained on.",
    "pairs": "Two concepts that were never composed in training.",
    "wild": "The modern world, which has no kanji. Copies are not wanted; which parts would fit is our opinion.",
    "budget": "Known meanings with a number of strokes asked for.",
}
STYLE = """
:root{color-scheme:light dark;--ink:#1a1a1a;--paper:#fff;--soft:#666;--line:#ddd;--mark:#b3261e;--bar:#4a6fa5}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--paper:#161616;--soft:#a0a0a0;--line:#3a3a3a;--mark:#ff8a80;
--bar:#8fb0e0}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:70rem;margin:2rem auto;
padding:0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1rem 0}
.wide{overflow-x:auto}th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:right}
td{white-space:nowrap}
th:first-child,td:first-child{text-align:left}small,.soft{color:var(--soft)}
.glyphs{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.8rem}
figure{margin:0;padding:.5rem;border:1px solid var(--line);border-radius:.4rem;content-visibility:auto;
contain-intrinsic-size:11rem 15rem}figure.refused{border-color:var(--mark)}
figure img{width:96px;height:96px;background:#fff;border-radius:.2rem}
figure img.near{width:40px;height:40px}figcaption{font-size:.82rem;line-height:1.35}
figcaption b{display:block;font-size:.95rem}.no{color:var(--mark)}summary{cursor:pointer;margin:.6rem 0}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
""".strip()


def write_page(path: Path, report: dict[str, Any], drawn: dict[str, Sequence[ScoredSample]]) -> None:
    """Write the page; it fetches nothing, from nowhere."""
    sections = "".join(_set_section(name, figures, drawn[name], report) for name, figures in report["sets"].items())
    name = html.escape(str(report["model"]["name"]))
    settings = html.escape(json.dumps(report["settings"], ensure_ascii=False))
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Report: {name}</title><style>{STYLE}</style></head><body>
<h1>Does it make sense? {name}</h1>
{_judge_section(report)}
<h2>Figures</h2>{_overview(report)}{_best_of(report)}
{sections}
<p class="soft">Settings: <code>{settings}</code></p>
</body></html>
"""
    write_text(path, page)


def _judge_section(report: dict[str, Any]) -> str:
    judge, second = report["judge"], report["second_judge"]
    second = {key: figure for key, figure in (second or {}).items() if key != "called_a_copy_of_another"}
    columns = [("the judge", judge)] + ([("the second judge", second)] if second else [])
    rows = [
        ("component F1, slot and shape", "component_f1", "plain"),
        ("the same, characters of everyday use", "component_f1_everyday", "plain"),
        ("component F1, shape in any slot", "component_f1_any_slot", "plain"),
        ("stroke count, mean error", "stroke_error", "plain"), ("real ones called well-formed", "well_formed", "share"),
        ("broken ones refused", "broken_refused", "share"),
        ("new characters called a copy of another", "called_a_copy_of_another", "share")]  # the judge alone says that
    head = "".join(f"<th>{title}</th>" for title, _ in columns)
    body = "".join(f"<tr><td>{title}</td>" + "".join(f"<td>{_figure(facts.get(key), kind)}</td>"
                                                     for _, facts in columns) + "</tr>" for title, key, kind in rows)
    kinds = "; ".join(f"{kind} {figure['value']:.0%}" for kind, figure in judge["refused_by_kind"].items())
    return (f"<h2>First, the judge's own figures</h2><p>On {judge['characters']} real kanji that neither the judge nor "
            "the model was trained on. Its thresholds were chosen on other characters, kept out of its training. "
            f"In brackets: 95 % intervals.</p><table><tr><th></th>{head}</tr>{body}</table>"
            f"<p class='soft'>Refused, by how they were broken: {html.escape(kinds)}. The model's figures below are "
            "read by this judge and share its faults; the row “real” shows what real held-out kanji get.</p>")


def _overview(report: dict[str, Any]) -> str:
    head = ("pictures", "well_formed", "well_formed, second judge", "one part found", "all parts found", "component F1",
            "strokes", "copies", "Fréchet distance", "diversity")
    real = report["real"]
    rows = [("real", ["", _figure(real["well_formed"], "share"), _figure(real["control_well_formed"], "share"), "", "",
                      _figure(real["meaning"]["f1"], "plain"), f"{real['strokes']['jouyou_mean']:.1f} <small>Jouyou"
                      "</small>", "", "", ""])]
    for name, figures in report["sets"].items():
        rows.append((name, [
            str(figures["pictures"]), _figure(figures["well_formed"], "share"),
            _figure(figures.get("control_well_formed"), "share"),
            *_meaning_cells(figures.get("meaning") or {}),
            _figure(figures["strokes"]["mean"], "plain"), _figure(figures["novelty"]["copies"], "share"),
            f"{_number(figures['frechet']['distance'], 3)} <small>floor {_number(figures['frechet']['floor'], 3)}"
            "</small>",
            f"{_number(figures['diversity']['between_seeds'])} <small>of "
            f"{_number(figures['diversity']['between_prompts'])}</small>"]))
        if "meaning_never_a_part" in figures:
            unseen = figures["meaning_never_a_part"]
            rows.append((f"{name}, kanji that are no part", ["", "", "", *_meaning_cells(unseen), "", "", "", ""]))
    body = "".join(f"<tr><td>{name}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
                   for name, cells in rows)
    return ("<div class='wide'><table><tr><th></th>" + "".join(f"<th>{word}</th>" for word in head)
            + f"</tr>{body}</table></div><p class='soft'>Chance: the same pictures under other prompts of the set. "
            "Copy: as like an existing kanji as a vae_reconstructed kanji is to its original. Fréchet distance: in the judge's "
            "embedding, to held-out real kanji; its floor is that of as many real training kanji. Diversity: between "
            "seeds of one prompt, of that between prompts.</p>")


def _meaning_cells(meaning: dict[str, Any]) -> list[str]:
    return [_beside_chance(meaning, name, f"{name}_shuffled_baseline", kind)
            for name, kind in (("one_part", "share"), ("all_parts", "share"), ("f1", "plain"))]


def _best_of(report: dict[str, Any]) -> str:
    gains = report.get("best_of")
    if not gains:
        return ""
    rows = []
    for name in (name for name in gains if name != "n"):
        for which, title in (("plain", "N = 1"), ("best", f"best of {gains['n']}")):
            figures = gains[name][which]
            cells = "".join(f"<td>{_figure(figures.get(key), 'share')}</td>"
                            for key in ("well_formed", "control_well_formed", "one_part", "all_parts"))
            rows.append(f"<tr><td>{name}, {title}</td>{cells}</tr>")
    return ("<h3>Best of N</h3><p>The judge chooses, so its own figure is no proof; the second judge never chooses.</p>"
            "<table><tr><th></th><th>well_formed</th><th>well_formed, second judge</th><th>one part found</th>"
            f"<th>all parts found</th></tr>{''.join(rows)}</table>")


def _set_section(name: str, figures: dict[str, Any], drawn: Sequence[ScoredSample], report: dict[str, Any]) -> str:
    strokes = figures["strokes"]
    extra = ""
    if "budget_error" in strokes:
        extra = (f"<p>Strokes off the budget by {_figure(strokes['budget_error'], 'plain')} in the mean; by chance "
                 f"{_number(strokes['budget_error_shuffled_baseline'], 1)}.</p>")
    if "nearest_is_the_kanji_meant" in figures["novelty"]:
        extra += (f"<p>The nearest real kanji is the one meant: "
                  f"{_figure(figures['novelty']['nearest_is_the_kanji_meant'], 'share')}.</p>")
    if "exact_match" in figures:
        extra += ("<p>Any component of the name that was asked for counts. Both of the very components that were "
                  f"meant: {_figure(figures['exact_match'], 'share')}.</p>")
    if "found_by_frequency" in figures:
        bands = figures["found_by_frequency"]
        extra += ("<table><tr><th>training characters that show a part</th>"
                  + "".join(f"<th>{band['uses']} or more</th>" for band in bands) + "</tr><tr><td>found where asked for"
                  "</td>" + "".join(f"<td>{_figure(band, 'share')} <small>{band['n']} parts</small></td>"
                                    for band in bands) + "</tr></table>")
    balance = "".join(
        f"<td>{_number(value, 3)} <small>floor {_number(report['real']['balance'][key], 3)}</small></td>"
        for key, value in figures["balance"].items())
    glyphs = "".join(_glyph(one) for one in drawn)
    return (f"<h2>{name}</h2><p>{SET_WORDS.get(name, '')}</p>{extra}"
            f"{_histogram(strokes['histogram'], report['real']['strokes']['jouyou'])}"
            "<table><tr><th>balance, Wasserstein distance</th><th>centre, across</th><th>centre, down</th>"
            f"<th>left share</th><th>upper share</th></tr><tr><td>to held-out real kanji</td>{balance}</tr></table>"
            f"<details><summary>{len(drawn)} pictures, each with what was read in it</summary>"
            f"<div class='glyphs'>{glyphs}</div></details>")


def _glyph(one: ScoredSample) -> str:
    reading = one.reading
    refused = "" if reading.is_well_formed else " class='refused'"
    near = f"<img class='near' alt='{html.escape(reading.nearest or '')}' title='nearest real kanji' src='" + (
        f"{_inline(_open(reading), 40)}'>") if reading.picture_of_nearest else ""
    formed = "" if reading.is_well_formed else "<span class='no'>not well-formed; </span>"
    copy = " (a copy)" if reading.is_copy else ""
    return (f"<figure{refused}><img alt='' src='{_inline(one.picture)}'> {near}<figcaption>"
            f"<b>{html.escape(one.prompt.asked)}</b>{formed}{html.escape(reading.explain())}{copy} "
            f"<small>seed {one.seed}</small></figcaption></figure>")


def _open(reading: Reading) -> Image.Image:
    with Image.open(reading.picture_of_nearest) as image:
        return image.convert("L")


def _inline(picture: Image.Image, side: int = PICTURE_SIDE) -> str:
    """A small PNG as a data URL."""
    small = picture.convert("L").resize((side, side), Image.Resampling.LANCZOS)
    levels = small.point(lambda value: round(value * (GREYS - 1) / 255)).convert("P")
    levels.putpalette([level * 255 // (GREYS - 1) for level in range(GREYS) for _ in range(3)])
    data = io.BytesIO()
    levels.save(data, format="PNG", bits=4)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _histogram(own: Sequence[int], jouyou: Sequence[int]) -> str:
    """Stroke counts as bars, with the Jouyou kanji's as a line."""
    if not own or not sum(own):
        return ""
    width, height, most = 620, 150, len(own)
    shares = [[count / max(1, sum(counts)) for count in counts] or [0.0] * most for counts in (own, jouyou)]
    top, step = max(max(shares[0]), max(shares[1]), 1e-6), width / most
    bars = "".join(f"<rect x='{place * step + 2:.1f}' y='{height * (1 - value / top):.1f}' width='{step - 4:.1f}' "
                   f"height='{height * value / top:.1f}' fill='var(--bar)'/>" for place, value in enumerate(shares[0]))
    line = " ".join(f"{(place + 0.5) * step:.1f},{height * (1 - value / top):.1f}"
                    for place, value in enumerate(shares[1]))
    marks = "".join(f"<text x='{(place + 0.5) * step:.1f}' y='{height + 14}' text-anchor='middle'>{place}</text>"
                    for place in range(0, most, 5))
    return (f"<svg viewBox='0 0 {width} {height + 34}' width='{width}' style='max-width:100%' role='img' "
            f"aria-label='stroke counts'>{bars}<polyline points='{line}' fill='none' stroke='var(--mark)' "
            f"stroke-width='2'/>{marks}<text x='{width}' y='{height + 30}' text-anchor='end'>strokes: drawn (bars), "
            "Jouyou kanji (line)</text></svg>")


def _beside_chance(figures: dict[str, Any], key: str, chance: str, kind: str) -> str:
    if key not in figures:
        return ""
    shuffled_baseline = f"{figures[chance]:.0%}" if kind == "share" else f"{figures[chance]:.2f}"
    return f"{_figure(figures[key], kind)} <small>chance {shuffled_baseline}</small>"


def _figure(figure: dict[str, float] | None, kind: str) -> str:
    """A figure with its interval; `kind` is "share" (in per cent) or "plain"."""
    if not figure or figure["value"] is None or math.isnan(figure["value"]):
        return ""
    if kind == "share":
        return f"{figure['value']:.0%} <small>[{figure['low']:.0%}, {figure['high']:.0%}]</small>"
    return f"{figure['value']:.2f} <small>[{figure['low']:.2f}, {figure['high']:.2f}]</small>"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"
