"""KANJIDIC2 and KanjiVG -> a dataset of captioned kanji pictures.

    python dataExtraction/main.py                          # data/kanji, 128 px, with 20,000 composed characters
    python dataExtraction/main.py --preview sheet.png      # only a contact sheet, to look at
    python dataExtraction/main.py --size 512 --output data/kanji-512
    python dataExtraction/main.py --names                  # with characters for the words of names.jsonl too
    python dataExtraction/main.py --fits data/fits.jsonl   # only which components fit which, for train_planner.py
    python dataExtraction/main.py --plans plans.jsonl --output data/plans    # what a file of plans asks for, alone

It writes, into --output: README.md (the card, which explains the columns), manifest.json, train/ and test/ (each PNGs
and a metadata.jsonl), heldout_pairs.jsonl, and checksums.jsonl of all these; of --plans no test/ and no
heldout_pairs.jsonl. The same command again does nothing, in under two seconds; where files are missing or have other
sizes, and with --verify other bytes, all is made anew. What someone else put there or changed is never replaced.
"""

from __future__ import annotations

from startup import prepare_process

if __name__ == "__main__":
    prepare_process()

# isort: split

from collections import defaultdict
from collections.abc import Iterable
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
    from plans import PlanFile

_PREVIEW_COMPOSED = 300  # composed characters that a preview chooses from: the first of those that the dataset has

# Imports within functions: a run with nothing to do is over before numpy is loaded.


def main(options: Options) -> None:
    """The steps in their order. Raises UserError for whatever the user can put right, said in one message."""
    options.check()
    plans = plans_of(options)
    kanjidic_file, kanjidic = sources.find_kanjidic(options.kanjidic)
    kanjivg_files, kanjivg = sources.find_kanjivg(options.kanjivg)
    for source in (kanjidic, kanjivg):
        print(f"{source.name} {source.version} ({source.date}): {source.origin}\n  SHA-256 {source.sha256}")

    if options.preview is not None:
        preview(kanjidic_file, kanjivg_files, options, plans)
        return
    if options.fits is not None:
        from contents import read_composer
        from fits import write_fits

        count = write_fits(options.fits, read_composer(kanjidic_file, kanjivg_files, options))
        print(f"{options.fits}: {count:,} pairs of components fit")
        return
    decided = options.manifest_options(plans.sha256 if plans else None)
    fingerprint = imagefolder.fingerprint(decided, [kanjidic.manifest_entry(), kanjivg.manifest_entry()])
    if imagefolder.is_current(options.output, fingerprint, options.force, options.verify):
        print(f"{options.output}: up to date")
        return
    from contents import read_contents, read_plan_contents

    read, write = (read_plan_contents, write_plans) if options.plans else (read_contents, write_dataset)
    try:
        manifest = write(read(kanjidic_file, kanjivg_files, options, plans), options, fingerprint)
    except imagefolder.AlreadyMadeError:
        print(f"{options.output}: another run has made it meanwhile")
        return
    report(manifest, options.output)


def plans_of(options: Options) -> PlanFile | None:
    """The file of --plans or --names. Raises UserError where it is none."""
    from plans import read_plans

    if options.plans:
        return read_plans(options.plans, "--plans")
    return read_plans(options.names, "--names") if options.names else None


def preview(
    kanjidic_file: Path, kanjivg_files: list[tuple[str, bytes]], options: Options, names: PlanFile | None
) -> None:
    """Draw the contact sheet. Raises UserError where a source cannot be read or the file not be written."""
    from contents import read_contents
    from preview import draw_sheet

    few = replace(options, compose=min(options.compose, _PREVIEW_COMPOSED))
    contents = read_contents(kanjidic_file, kanjivg_files, few, names)
    shown = draw_sheet(options.preview, contents.rows, options.stroke_width)
    print(f"{options.preview}: {shown} characters with captions")


def write_dataset(contents: Contents, options: Options, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Draw everything and write the dataset folder, whole or not at all; returns its manifest.

    Raises UserError where the folder cannot be written, or no picture is fit to be in it.
    """
    from contents import some_reasons
    from dataset_card import write_card

    kinds = (*imagefolder.KINDS, "named") if options.names else imagefolder.KINDS
    with imagefolder.build(options.output, fingerprint, options.force, options.verify) as folder:
        counted, refused = draw(folder, contents, options, imagefolder.SPLITS, kinds)
        if not counted["counts"]["real"]:
            raise UserError("no kanji's picture is fit to be trained on: " + some_reasons(refused))
        manifest = fingerprint | counted | {"rejected": left_out(contents, refused)}
        imagefolder.write_held_out_pairs(folder, contents.held_out_pairs)
        imagefolder.write_manifest(folder, manifest)
        write_card(folder, manifest, len(contents.held_out_pairs))
    return manifest


def write_plans(contents: Contents, options: Options, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Draw the characters of the plans and write their folder as write_dataset does; returns its manifest."""
    from dataset_card import write_plans_card

    with imagefolder.build(options.output, fingerprint, options.force, options.verify) as folder:
        counted, refused = draw(folder, contents, options, imagefolder.SPLITS[:1], ("named",))
        manifest = fingerprint | counted | {"rejected": left_out(contents, refused)}
        imagefolder.write_manifest(folder, manifest)
        write_plans_card(folder, manifest)
    return manifest


def draw(
    folder: Path, contents: Contents, options: Options, splits: tuple[str, ...], kinds: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Draw all rows into an empty folder: the manifest's figures, and the reason for each picture that is refused."""
    from parallel_render import render_all
    from progress import progress_bar
    from render import Pen

    rows, pen = contents.rows, Pen(options.size, options.stroke_width)
    pictures = render_all([row.strokes for row in rows], pen, options.workers)
    bar = progress_bar(pictures, desc="drawing", unit="picture", total=len(rows))
    counted, refused = imagefolder.write_pictures(folder, rows, bar, splits, kinds)
    if "named" in kinds:
        moved = [word for word in contents.rearranged if word not in refused]
        counted["counts"] |= {"rearranged": len(moved)}
    return counted, refused


def left_out(contents: Contents, refused: dict[str, str]) -> dict[str, list[str]]:
    """All that is in no row, by the reason."""
    return _by_reason([*contents.rejected.items(), *contents.rejected_words.items(), *refused.items()])


def report(manifest: dict[str, Any], output: Path) -> None:
    """Say what was made and what was left out."""
    for reason, names in manifest["rejected"].items():
        print(f"left out, {reason}: {len(names)}" + (f" ({', '.join(names)})" if len(names) <= 5 else ""))
    counts = manifest["counts"]
    made = []
    if "real" in counts:
        made.append(f"{counts['real']} kanji ({counts['test']} held out) and {counts['composed']} composed characters")
    if "named" in counts:
        made.append(f"{counts['named']} characters for words ({counts['rearranged']} in other slots than planned)")
    print(f"{output}: " + ", ".join(made))


def _by_reason(rejected: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped = defaultdict(list)
    for name, reason in sorted(rejected):
        grouped[reason].append(name)
    return dict(sorted(grouped.items()))


if __name__ == "__main__":
    command_line.run(main, __doc__)
