"""KANJIDIC2 and KanjiVG -> a dataset of captioned kanji pictures.

    python dataExtraction/main.py                          # data/kanji, 128 px, with 20,000 composed characters
    python dataExtraction/main.py --preview sheet.png      # only a contact sheet, to look at
    python dataExtraction/main.py --size 512 --output data/kanji512

It writes, into --output: README.md (the card), manifest.json, train/ and test/ (each PNGs and metadata.jsonl), and
heldout_pairs.jsonl. The columns are explained in the card.
"""

import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import tyro

import imagefolder
import sources
from errors import UserError

_SIZES = (16, 4096)  # px


@dataclass(frozen=True)
class Options:
    """Make the dataset: XML in, captioned pictures out."""

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
    """KanjiVG units, of which the picture's side has 109; above 0, to 12"""
    compose: int = 20_000
    """composed characters; 0: none"""
    seed: int = 0
    """of the composed characters"""
    workers: int = os.cpu_count() or 1
    """processes that draw; the result does not depend on it"""
    limit: int | None = None
    """only so many kanji, the most used first; for tests and quick trials"""
    preview: Path | None = None
    """draw a contact sheet here and make no dataset"""
    force: bool = False
    """replace a dataset that was made with other settings"""

    def check(self) -> None:
        """Raise UserError for a value out of its range."""
        for name, fits, wanted in (
            ("size", _SIZES[0] <= self.size <= _SIZES[1], f"{_SIZES[0]} to {_SIZES[1]} px"),
            ("stroke_width", 0 < self.stroke_width <= 12, "above 0, to 12"),
            ("compose", self.compose >= 0, "0 or more"),
            ("workers", self.workers >= 1, "1 or more"),
            ("limit", self.limit is None or self.limit >= 1, "1 or more"),
        ):
            if not fits:
                raise UserError(f"--{name} {getattr(self, name)}: must be {wanted}")

    def that_decide(self) -> dict[str, object]:
        """The options that decide the dataset's bytes, for the manifest."""
        ours = asdict(self)
        return {key: ours[key] for key in ("language", "size", "stroke_width", "compose", "seed", "limit")}


def main(options: Options) -> None:
    """The steps in their order."""
    options.check()
    kanjidic_path, kanjidic_source = sources.find_kanjidic(options.kanjidic)
    kanjivg_files, kanjivg_source = sources.find_kanjivg(options.kanjivg)
    for source in (kanjidic_source, kanjivg_source):
        print(f"{source.name} {source.version} ({source.date}): {source.origin}\n  SHA-256 {source.sha256}")

    wanted = imagefolder.fingerprint(options.that_decide(), [kanjidic_source.record(), kanjivg_source.record()])
    if not options.preview:
        imagefolder.clean_leftovers(options.output)
        if imagefolder.is_current(options.output, wanted, options.force):
            print(f"{options.output}: up to date")
            return

    from pipeline import gather, write_dataset  # heavy imports wait until there is work

    gathered = gather(kanjidic_path, kanjivg_files, options)
    if options.preview:
        from preview import draw_sheet

        shown = draw_sheet(options.preview, gathered.records, options.stroke_width)
        print(f"{options.preview}: {shown} characters with captions")
        return
    manifest = write_dataset(gathered, options, wanted)
    counts = manifest["counts"]
    print(f"{options.output}: {counts['real']} kanji ({counts['test']} held out) and {counts['composed']} composed")


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        main(tyro.cli(Options, use_underscores=True, description=__doc__))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped: nothing half-written was left", file=sys.stderr)
        sys.exit(130)
