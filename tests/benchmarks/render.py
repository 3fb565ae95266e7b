"""How fast the dataset's pictures are drawn, against a plain CairoSVG-and-Pillow loop on the same cores.

    python tests/benchmarks/render.py            # all kanji of KanjiVG, 128 px
    python tests/benchmarks/render.py --limit 600

Ours: KanjiVG's files read, parsed, drawn and packed as PNG by all workers, their start included. The loop: one process,
the same files, each file's stroke numbers taken out, drawn by CairoSVG, made grey on white and packed by Pillow. They
take turns within one run, so that other load on the machine meets both; the best of the rounds counts.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "dataExtraction"))

import sources
from kanjivg_reader import GlyphError, is_kanji, literal_of, read_kanjivg
from options import Options
from parallel_render import render_all
from render import Pen

_NUMBERS = re.compile(rb'<g id="kvg:StrokeNumbers.*?</g>\s*(?=</svg>)', re.DOTALL)


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    size: int = Options.size
    """px"""
    workers: int = Options.workers
    """processes of ours"""
    limit: int | None = None
    """only so many glyphs"""
    rounds: int = 2
    """times that each is measured"""


def ours(files: list[tuple[str, bytes]], settings: Settings) -> list[bytes | str]:
    """The PNGs as dataExtraction makes them."""
    glyphs, _ = read_kanjivg(files)
    return list(render_all([glyph.strokes for glyph in glyphs.values()], Pen(settings.size), settings.workers))


def loop(files: list[tuple[str, bytes]], settings: Settings) -> list[bytes]:
    """The PNGs as a plain loop makes them."""
    import cairosvg
    from PIL import Image

    pictures = []
    for _, data in files:
        svg = _NUMBERS.sub(b"", data)
        size = {"output_width": settings.size, "output_height": settings.size}
        drawn = Image.open(io.BytesIO(cairosvg.svg2png(bytestring=svg, background_color="white", **size)))
        packed = io.BytesIO()
        drawn.convert("L").save(packed, "PNG")
        pictures.append(packed.getvalue())
    return pictures


def main(settings: Settings) -> None:
    """Measure both, in turns."""
    files = [file for file in sources.find_kanjivg(None)[0] if _is_kanji_file(file[0])][: settings.limit]
    best = {ours: float("inf"), loop: float("inf")}
    for turn in range(settings.rounds):
        for way in best:
            start, worked = time.perf_counter(), sum(os.times()[:4])
            pictures = way(files, settings)
            seconds, worked = time.perf_counter() - start, sum(os.times()[:4]) - worked
            assert len(pictures) == len(files)
            assert all(isinstance(picture, bytes) for picture in pictures)
            print(f"round {turn + 1}, {way.__name__}: {seconds:.1f} s ({worked:.1f} s of processor time)")
            best[way] = min(best[way], seconds)
    print(
        f"{len(files)} glyphs at {settings.size} px: ours {best[ours]:.1f} s with {settings.workers} workers, "
        f"the loop {best[loop]:.1f} s: ours takes {best[ours] / best[loop]:.2f} of its time"
    )


def _is_kanji_file(name: str) -> bool:
    try:
        return is_kanji(literal_of(name))
    except GlyphError:
        return False


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Settings, use_underscores=True, description=__doc__))
