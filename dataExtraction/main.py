"""KANJIDIC2 and KanjiVG -> a dataset of captioned kanji pictures.

    python dataExtraction/main.py                          # data/kanji, 128 px, with 20,000 composed characters
    python dataExtraction/main.py --preview sheet.png      # only a contact sheet, to look at
    python dataExtraction/main.py --size 512 --output data/kanji512

It writes, into --output: README.md (the card, which explains the columns), manifest.json, train/ and test/ (each PNGs
and a metadata.jsonl), and heldout_pairs.jsonl. The same command again does nothing, in under two seconds.
"""

import os
import signal
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import imagefolder
import sources
from errors import UserError

if TYPE_CHECKING:
    from records import Record

_HELD_OUT_PAIRS = 2000  # rows of heldout_pairs.jsonl at most
_PREVIEW_COMPOSED = 300  # composed characters that a preview chooses from: the first of those that the dataset has


@dataclass(frozen=True)
class Options:
    """Settings of one run. What is not given takes the default shown."""

    output: Path = Path("data/kanji")
    """the dataset folder to make"""
    kanjidic: Path | None = None
    """KANJIDIC2, xml or xml.gz; by default the copy kept in data/sources, else EDRDG's, else Debian's"""
    kanjivg: Path | None = None
    """KanjiVG: a folder of SVG files, or a release's zip or xml.gz; by default the installed package"""
    language: Literal["en", "fr", "es", "pt"] = "en"
    """of the captions"""
    size: int = 128
    """side of the pictures, px, 16 to 4096"""
    stroke_width: float = 3.0
    """KanjiVG units, of which the picture's side has 109; 0.5 to 12"""
    compose: int = 20_000
    """composed characters, 0 (none) to 1,000,000"""
    least_common: int = 0
    """compose only of components as common as this: uses in kanji, four times as many for one that itself is a kanji of
    primary school or newspapers, twice for another of everyday use; 3 leaves out those of one or two rare kanji"""
    seed: int = 0
    """of the composed characters"""
    workers: int = len(os.sched_getaffinity(0))
    """processes that draw, 1 or more; the dataset does not depend on it"""
    limit: int | None = None
    """only so many kanji, the most used first, 1 or more; for tests and quick trials"""
    preview: Path | None = None
    """draw a contact sheet here and make no dataset"""
    force: bool = False
    """make the dataset anew, in place of one that was made with other settings"""

    def check(self) -> None:
        """Raise UserError for a value out of its range."""
        for name, fits, wanted in (
            ("size", 16 <= self.size <= 4096, "16 to 4096 px"),
            ("stroke_width", 0.5 <= self.stroke_width <= 12, "0.5 to 12 KanjiVG units"),
            ("compose", 0 <= self.compose <= 1_000_000, "0 to 1,000,000"),
            ("least_common", self.least_common >= 0, "0 or more"),
            ("workers", self.workers >= 1, "1 or more"),
            ("limit", self.limit is None or self.limit >= 1, "1 or more"),
            ("output", bool(self.output.resolve().name), "a folder that can be made"),
        ):
            if not fits:
                raise UserError(f"--{name} {getattr(self, name)}: must be {wanted}")

    def that_decide(self) -> dict[str, Any]:
        """The options that decide the dataset's bytes, for the manifest."""
        ours = asdict(self)
        decided = {key: ours[key] for key in ("language", "size", "stroke_width", "compose", "seed", "limit")}
        # Not named at its default, so that a dataset made before there was this option is still up to date.
        return decided | ({"least_common": self.least_common} if self.least_common else {})


@dataclass
class Gathered:
    """All that is to be drawn, and what is left out."""

    records: list["Record"]
    pairs: list[dict[str, Any]] = field(default_factory=list)  # rows of heldout_pairs.jsonl
    rejected: dict[str, str] = field(default_factory=dict)  # character or file name -> reason


def main(options: Options) -> None:
    """The steps in their order.

    Raises:
        UserError: whatever the user can put right, said in one message.
    """
    options.check()
    kanjidic_file, kanjidic = sources.find_kanjidic(options.kanjidic)
    kanjivg_files, kanjivg = sources.find_kanjivg(options.kanjivg)
    for source in (kanjidic, kanjivg):
        print(f"{source.name} {source.version} ({source.date}): {source.origin}\n  SHA-256 {source.sha256}")

    if options.preview is not None:
        some = replace(options, compose=min(options.compose, _PREVIEW_COMPOSED))
        preview(gather(kanjidic_file, kanjivg_files, some), options)
        return
    wanted = imagefolder.fingerprint(options.that_decide(), [kanjidic.record(), kanjivg.record()])
    if imagefolder.is_current(options.output, wanted, options.force):
        print(f"{options.output}: up to date")
        return
    gathered = gather(kanjidic_file, kanjivg_files, options)
    manifest = write_dataset(gathered, options, wanted)
    report(manifest, options.output)


def gather(kanjidic_file: Path, kanjivg_files: list[tuple[str, bytes]], options: Options) -> Gathered:
    """Read both sources, pair them, and compose new characters.

    Raises:
        UserError: a source cannot be read, or nothing usable is in them.
    """
    from kanjidic import read_kanjidic
    from kanjivg import read_kanjivg
    from records import real_record, usable_kanji

    kanji = read_kanjidic(kanjidic_file, options.language)
    glyphs, broken = read_kanjivg(kanjivg_files)
    usable, rejected = usable_kanji(kanji, glyphs, options.limit)
    rejected |= broken
    if not usable:
        raise UserError("no kanji has both a meaning and a drawing: " + _some_reasons(rejected))
    gathered = Gathered([real_record(kanji[k], glyphs[k], kanji, options.language) for k in usable], rejected=rejected)
    if options.compose:
        _compose(gathered, glyphs, kanji, usable, options)
    return gathered


def _compose(gathered: Gathered, glyphs: dict, kanji: dict, usable: list[str], options: Options) -> None:
    from compose import Composer
    from records import composed_record, held_out_pair

    composer = Composer(glyphs, kanji, usable, options.language)
    with _bar(desc="composing", unit="character", total=options.compose) as bar:
        composed = composer.compose(options.compose, options.seed, bar.update, options.least_common)
    gathered.records += map(composed_record, composed)
    gathered.pairs += map(held_out_pair, composer.held_out_pairs(_HELD_OUT_PAIRS, options.seed, composed))


def write_dataset(gathered: Gathered, options: Options, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Draw everything and write the dataset folder, whole or not at all. Returns its manifest.

    Raises:
        UserError: the folder cannot be written, or no picture is fit to be in it.
    """
    from card import write_card
    from render import Pen, render_all

    pen = Pen(options.size, options.stroke_width)
    with imagefolder.build(options.output) as folder:
        pictures = render_all([record.strokes for record in gathered.records], pen, options.workers)
        bar = _bar(pictures, desc="drawing", unit="picture", total=len(gathered.records))
        facts, refused = imagefolder.write_pictures(folder, gathered.records, bar)
        if not facts["counts"]["real"]:
            raise UserError("no kanji's picture is fit to be trained on: " + _some_reasons(refused))
        manifest = fingerprint | facts | {"rejected": _by_reason(gathered.rejected | refused)}
        imagefolder.write_held_out_pairs(folder, gathered.pairs)
        imagefolder.write_manifest(folder, manifest)
        write_card(folder, manifest, len(gathered.pairs))
    return manifest


def preview(gathered: Gathered, options: Options) -> None:
    """Draw the contact sheet."""
    from preview import draw_sheet

    shown = draw_sheet(options.preview, gathered.records, options.stroke_width)
    print(f"{options.preview}: {shown} characters with captions")


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


def _some_reasons(rejected: dict[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in list(rejected.items())[:3])


def _bar(*arguments: Any, **settings: Any) -> Any:
    """A progress bar; in a log, where each update is a line, one update in five seconds."""
    from tqdm import tqdm

    return tqdm(*arguments, **settings, mininterval=0.1 if sys.stderr.isatty() else 5.0)


def _stop(number: int, frame: object) -> None:
    """On Ctrl-C and SIGTERM: leave through every `finally`, so that nothing half-written stays."""
    with suppress(OSError):  # not by print: a signal may come in while the progress bar is being written
        os.write(2, b"\nstopped; nothing half-written is left\n")
    raise SystemExit(128 + number)


if __name__ == "__main__":
    import tyro  # here, for the processes that draw import this file too

    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        main(tyro.cli(Options, use_underscores=True, description=__doc__))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        # A signal between a lock's release and what takes it back leaves as the lock's own complaint.
        if not isinstance(error.__context__, SystemExit):
            raise
        sys.exit(error.__context__.code)
