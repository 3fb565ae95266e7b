"""The two halves of the work between sources and folder: gather the records, then draw and write them."""

import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

import imagefolder
from card import write_card
from compose import Composer
from errors import UserError
from kanjidic import read_kanjidic
from kanjivg import read_kanjivg
from records import Record, composed_record, held_out_pair, real_record, usable_kanji
from render import Pen, render_all

HELD_OUT_PAIRS = 2000  # rows of heldout_pairs.jsonl


def _bar_interval() -> float:
    """Seconds between updates of a progress bar: fewer lines where they go into a log."""
    return 0.1 if sys.stderr.isatty() else 5.0


@dataclass
class Gathered:
    """All that is to be drawn, and what is left out."""

    records: list[Record]
    pairs: list[dict[str, Any]] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)  # character or file name -> reason


def gather(kanjidic: Path, kanjivg_files: list[tuple[str, bytes]], options) -> Gathered:
    """Read both sources, pair them, and compose new characters.

    Raises:
        UserError: a source cannot be read, or nothing usable is in them.
    """
    kanji = read_kanjidic(kanjidic, options.language)
    glyphs, broken = read_kanjivg(kanjivg_files)
    usable, rejected = usable_kanji(kanji, glyphs, options.limit)
    if not usable:
        raise UserError("no kanji has both a meaning and a drawing: " + _first_reasons(broken | rejected))
    gathered = Gathered([real_record(kanji[literal], glyphs[literal], kanji, options.language) for literal in usable])
    gathered.rejected = rejected | broken
    if options.compose:
        composer = Composer(glyphs, kanji, usable, options.language)
        with tqdm(total=options.compose, desc="composing", unit="character", mininterval=_bar_interval()) as bar:
            composed = composer.compose(options.compose, options.seed, bar.update)
        gathered.records += map(composed_record, composed)
        pairs = composer.held_out_pairs(HELD_OUT_PAIRS, options.seed, composed)
        gathered.pairs = list(map(held_out_pair, pairs))
    return gathered


def _first_reasons(rejected: dict[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in list(rejected.items())[:3])


def write_dataset(gathered: Gathered, options, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Draw everything and write the dataset folder, whole or not at all. Returns its manifest."""
    pen = Pen(options.size, options.stroke_width)
    with imagefolder.build(options.output) as folder:
        pictures = render_all([record.strokes for record in gathered.records], pen, options.workers)
        bar = tqdm(pictures, total=len(gathered.records), desc="drawing", unit="picture", mininterval=_bar_interval())
        facts, refused = imagefolder.write_pictures(folder, gathered.records, bar)
        rejected = gathered.rejected | refused
        manifest = fingerprint | facts | {"rejected": _by_reason(rejected)}
        imagefolder.write_held_out_pairs(folder, gathered.pairs)
        imagefolder.write_manifest(folder, manifest)
        write_card(folder, manifest, len(gathered.pairs))
    for reason, names in manifest["rejected"].items():
        print(f"left out, {reason}: {len(names)}" + (f" ({', '.join(names)})" if len(names) <= 5 else ""))
    return manifest


def _by_reason(rejected: dict[str, str]) -> dict[str, list[str]]:
    grouped = defaultdict(list)
    for name, reason in sorted(rejected.items()):
        grouped[reason].append(name)
    return dict(sorted(grouped.items()))
