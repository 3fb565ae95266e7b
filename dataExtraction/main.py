"""KANJIDIC2 and KanjiVG -> a dataset of captioned kanji pictures.

    python dataExtraction/main.py                          # data/kanji, 128 px, with 20,000 composed characters
    python dataExtraction/main.py --preview sheet.png      # only a contact sheet, to look at
    python dataExtraction/main.py --size 512 --output data/kanji512

It writes, into --output: README.md (the card, which explains the columns), manifest.json, train/ and test/ (each PNGs
and a metadata.jsonl), and heldout_pairs.jsonl. The same command again does nothing, in under two seconds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import command_line
import imagefolder
import sources
from errors import UserError
from options import Options

if TYPE_CHECKING:
    from contents import Contents

_PREVIEW_COMPOSED = 300  # composed characters that a preview chooses from: the first of those that the dataset has

# Imports within functions: a run with nothing to do is over before numpy is loaded.


def main(options: Options) -> None:
    """The steps in their order. Raises UserError for whatever the user can put right, said in one message."""
    options.check()
    kanjidic_file, kanjidic = sources.find_kanjidic(options.kanjidic)
    kanjivg_files, kanjivg = sources.find_kanjivg(options.kanjivg)
    for source in (kanjidic, kanjivg):
        print(f"{source.name} {source.version} ({source.date}): {source.origin}\n  SHA-256 {source.sha256}")

    if options.preview is not None:
        preview(kanjidic_file, kanjivg_files, options)
        return
    fingerprint = imagefolder.fingerprint(
        options.manifest_options(), [kanjidic.manifest_entry(), kanjivg.manifest_entry()]
    )
    if imagefolder.is_current(options.output, fingerprint, options.force):
        print(f"{options.output}: up to date")
        return
    from contents import read_contents

    contents = read_contents(kanjidic_file, kanjivg_files, options)
    manifest = write_dataset(contents, options, fingerprint)
    report(manifest, options.output)


def preview(kanjidic_file: Path, kanjivg_files: list[tuple[str, bytes]], options: Options) -> None:
    """Draw the contact sheet. Raises UserError where a source cannot be read or the file not be written."""
    from contents import read_contents
    from preview import draw_sheet

    few = replace(options, compose=min(options.compose, _PREVIEW_COMPOSED))
    contents = read_contents(kanjidic_file, kanjivg_files, few)
    shown = draw_sheet(options.preview, contents.rows, options.stroke_width)
    print(f"{options.preview}: {shown} characters with captions")


def write_dataset(contents: Contents, options: Options, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Draw everything and write the dataset folder, whole or not at all; returns its manifest.

    Raises UserError where the folder cannot be written, or no picture is fit to be in it.
    """
    from contents import some_reasons
    from dataset_card import write_card
    from parallel_render import render_all
    from progress import progress_bar
    from render import Pen

    rows, pen = contents.rows, Pen(options.size, options.stroke_width)
    with imagefolder.build(options.output) as folder:
        pictures = render_all([row.strokes for row in rows], pen, options.workers)
        bar = progress_bar(pictures, desc="drawing", unit="picture", total=len(rows))
        counted, refused = imagefolder.write_pictures(folder, rows, bar)
        if not counted["counts"]["real"]:
            raise UserError("no kanji's picture is fit to be trained on: " + some_reasons(refused))
        manifest = fingerprint | counted | {"rejected": _by_reason(contents.rejected | refused)}
        imagefolder.write_held_out_pairs(folder, contents.held_out_pairs)
        imagefolder.write_manifest(folder, manifest)
        write_card(folder, manifest, len(contents.held_out_pairs))
    return manifest


def report(manifest: dict[str, Any], output: Path) -> None:
    """Say what was made and what was left out."""
    for reason, names in manifest["rejected"].items():
        print(f"left out, {reason}: {len(names)}" + (f" ({', '.join(names)})" if len(names) <= 5 else ""))
    counts = manifest["counts"]
    print(f"{output}: {counts['real']} kanji ({counts['test']} held out) and {counts['composed']} composed characters")


def _by_reason(rejected: dict[str, str]) -> dict[str, list[str]]:
    grouped = defaultdict(list)
    for name, reason in sorted(rejected.items()):
        grouped[reason].append(name)
    return dict(sorted(grouped.items()))


if __name__ == "__main__":
    command_line.run(main, __doc__)
