"""The page of examples: every prompt with what was drawn for it and what the recogniser reads in that.

It opens offline from its folder, needs no scripts, and shows the pictures that lie beside it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from common.files import write_text
from generation.request import ImageRequest
from recogniser.judge import Reading

TITLE = "Kanji that do not exist"
LEDE = ("English words in, a new character out. A diffusion model learned real kanji with their English meanings and "
        "drew everything below: real components, put together anew, as if the character could exist.")
_JAPANESE = re.compile("[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
STYLE = """
:root{color-scheme:light dark;--ink:#1c1b19;--soft:#635f58;--ground:#f6f3ec;--card:#fffdf8;--line:#e2dccf;--yes:#2f6b3c;
--no:#a5361f;--serif:"Iowan Old Style","Palatino Linotype",Palatino,"Book Antiqua",Georgia,serif;
--japanese:"Hiragino Mincho ProN","Yu Mincho","Noto Serif CJK JP","Noto Serif JP",serif}
@media(prefers-color-scheme:dark){:root{--ink:#ece7dc;--soft:#a69f92;--ground:#141310;--card:#1e1c18;--line:#36322a;
--yes:#8fce9b;--no:#ff9c86}img{filter:invert(1);mix-blend-mode:screen!important}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:88rem;padding:clamp(1.5rem,5vw,4rem) clamp(1rem,4vw,3rem);overflow-wrap:break-word;
font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground)}
h1,h2,h3{font-family:var(--serif);font-weight:600;line-height:1.15;text-wrap:balance}
h1{font-size:clamp(2.1rem,6vw,3.6rem);margin:0 0 .6em;letter-spacing:-.015em}
h2{font-size:1.7rem;margin:3.2rem 0 1.1rem}h3{font-size:1.3rem;margin:0 0 .7rem}
@media(min-width:64rem){header{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:4rem}}
.lede{font:1.3rem/1.5 var(--serif);max-width:38rem;margin:0 0 1.6rem}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;margin:0 0 1.8rem}
a{color:inherit;text-underline-offset:.2em}a:hover{text-decoration-thickness:2px}
.note{max-width:40rem;color:var(--soft);font-size:.95rem}.note p{margin:0 0 .7em}
table{border-collapse:collapse;margin:1rem 0;color:var(--ink);font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;font-weight:400;padding:.35rem 1.3rem .35rem 0;
border-top:1px solid var(--line)}
thead th{border:0;color:var(--soft);font-size:.85rem}td b{display:block;font-size:1.2rem;line-height:1.3}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(21rem,100%),1fr));gap:1.1rem}
article{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1.1rem;isolation:isolate}
.pair{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,3fr);gap:.9rem}
figure{margin:0}figure img{display:block;width:100%;height:auto;mix-blend-mode:multiply}
.best{border-left:1px solid var(--line);padding-left:.9rem}
.best .mark{color:var(--soft);margin-bottom:.4rem}
figcaption{font-size:.9rem;line-height:1.4;margin-top:.5rem}.best figcaption{font-size:.78rem}
figcaption p{margin:0 0 .25rem}.parts{list-style:none;margin:0 0 .25rem;padding:0}
.parts li+li::before{content:"+ ";color:var(--soft)}
.soft{color:var(--soft)}.yes,.no{white-space:nowrap}.yes{color:var(--yes)}.no{color:var(--no)}
[lang=ja]{font-family:var(--japanese);font-size:1.15em;line-height:1}
footer{margin-top:4rem;padding-top:1.2rem;border-top:1px solid var(--line);font-size:.85rem;color:var(--soft)}
footer p{max-width:54rem;margin:.5em 0}
""".strip()


@dataclass(frozen=True)
class Shown:
    """A picture on the page: what was ordered, which candidate it is (0 is the first), the stem of its file.

    confirmed: whether the second recogniser, which chooses nothing, calls it well-formed.
    """

    request: ImageRequest
    candidate: int
    stem: str
    picture: Image.Image
    reading: Reading
    confirmed: bool


@dataclass(frozen=True)
class Example:
    """A prompt with the one picture drawn for it, and the recogniser's choice among several."""

    words: str
    first: Shown
    best: Shown


@dataclass(frozen=True)
class PageFacts:
    """What the page says of how it was made; model: as in the pictures' JSONs."""

    model: dict[str, str]
    seed: int
    best_of: int
    steps: int
    guidance_scale: float


def write_page(path: Path, sections: Sequence[tuple[str, Sequence[Example]]], facts: PageFacts) -> None:
    """Write the page; it is whole or as it was before. `sections`: a heading, "" for none, and its examples."""
    headed = [(f"section-{number}", heading, examples) for number, (heading, examples) in enumerate(sections, 1)]
    links = "".join(f'<a href="#{name}">{marked(heading)}</a>' for name, heading, _ in headed if heading)
    body = "".join(_section(name, heading, examples, facts) for name, heading, examples in headed)
    write_text(path, f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="description" content="{html.escape(LEDE)}">
<title>{TITLE}</title>
<style>
{STYLE}
</style>
</head>
<body>
<header>
<div>
<h1>{TITLE}</h1>
<p class="lede">{LEDE}</p>
{f"<nav>{links}</nav>" if links else ""}
</div>
{_note([example for _, examples in sections for example in examples], facts)}
</header>
<main>
{body}</main>
{_footer(facts)}
</body>
</html>
""")


def marked(text: str) -> str:
    """Text for the page: escaped, with what is Japanese marked as such."""
    return _JAPANESE.sub(lambda found: f'<span lang="ja">{found[0]}</span>', html.escape(text))


def _note(examples: Sequence[Example], facts: PageFacts) -> str:
    rows = "".join(
        f'<tr><th scope="row">{name}</th>'
        f"<td>{_share([one.reading.is_well_formed for one in shown])}</td>"
        f"<td>{_share([one.confirmed for one in shown])}</td></tr>\n"
        for name, shown in (("large pictures, none chosen", [example.first for example in examples]),
                            (f"small pictures, best of {facts.best_of}", [example.best for example in examples])))
    return f"""<div class="note">
<p>Seed {facts.seed} throughout, and nothing was picked by hand. The large picture is the first that was drawn for its
prompt. The small one is the recogniser’s choice of {facts.best_of}, the large one among them.</p>
<p>The recogniser is a small network that was trained to read components and strokes. What stands under each picture is
its reading, which can be wrong. Some 95 % of real kanji are well-formed to it.</p>
<table>
<thead><tr><th scope="col">called well-formed</th><th scope="col">by the recogniser</th>
<th scope="col">by a second one, which chose nothing</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>"""


def _section(name: str, heading: str, examples: Sequence[Example], facts: PageFacts) -> str:
    title = f'<h2 id="{name}">{marked(heading)}</h2>\n' if heading else ""
    cards = "".join(_card(one, facts) for one in examples)
    return f'<section>\n{title}<div class="cards">\n{cards}</div>\n</section>\n'


def _card(example: Example, facts: PageFacts) -> str:
    same = ", the large one again" if example.best.candidate == 0 else ""
    return f"""<article>
<h3>{marked(example.words)}</h3>
<div class="pair">
{_figure(example.first, "first", f"the character drawn for “{example.words}”", "", f"seed {facts.seed}")}
{_figure(example.best, "best", f"the best of {facts.best_of} drawn for “{example.words}”",
         f'<p class="mark">best of {facts.best_of}, chosen by the recogniser</p>',
         f"seed {facts.seed}, number {example.best.candidate + 1} of {facts.best_of}{same}")}
</div>
</article>
"""


def _figure(shown: Shown, kind: str, alt: str, mark: str, seed: str) -> str:
    reading, (width, height) = shown.reading, shown.picture.size
    parts = "".join(f"<li>{marked(str(part))}</li>" for part in reading.components) or "<li>no component that is known</li>"
    strokes = max(1, round(reading.strokes))
    copy = " (a copy)" if reading.is_copy else ""
    nearest = "" if reading.nearest is None else f"<p>nearest real kanji {marked(reading.nearest)}{copy}</p>"
    formed = ("yes", "well-formed") if reading.is_well_formed else ("no", "not well-formed")
    return (f'<figure class="{kind}"><img src="{quote(shown.stem)}.png" alt="{html.escape(alt)}" width="{width}" '
            f'height="{height}"><figcaption>{mark}<ul class="parts">{parts}</ul>'
            f"<p>{strokes} stroke{'s' * (strokes != 1)}</p>{nearest}"
            f'<p class="{formed[0]}">{formed[1]}</p><p class="soft">{seed}</p></figcaption></figure>')


def _footer(facts: PageFacts) -> str:
    name = facts.model["name"]
    name = Path(name).name if Path(name).is_absolute() else name  # a folder of this machine is nobody else's business
    return f"""<footer>
<p>Model {html.escape(name)}, UNet {facts.model["unet_sha256"][:12]}, {facts.steps} steps, guidance
{facts.guidance_scale:g}. Beside each picture lies a JSON that says how it was made. Made by
training/make_examples.py.</p>
<p>The strokes that the model learned are those of <a href="https://kanjivg.tagaini.net">KanjiVG</a>, copyright © Ulrich
Apel and contributors, <a href="https://creativecommons.org/licenses/by-sa/3.0/">CC BY-SA 3.0</a>. The meanings are
those of <a href="https://www.edrdg.org/wiki/index.php/KANJIDIC_Project">KANJIDIC2</a>, the property of the Electronic
Dictionary Research and Development Group, used in conformance with the Group’s
<a href="https://www.edrdg.org/edrdg/licence.html">licence</a>,
<a href="https://creativecommons.org/licenses/by-sa/4.0/">CC BY-SA 4.0</a>. The pictures are under CC BY-SA 4.0.</p>
</footer>"""


def _share(answers: Sequence[bool]) -> str:
    """As in "<b>54 %</b> (31 of 57)"."""
    return f"<b>{sum(answers) / len(answers):.0%}</b> ({sum(answers)} of {len(answers)})".replace("%", " %")
