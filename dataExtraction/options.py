"""The settings of one run, each a flag of the command line."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errors import UserError
from kanjidic import Language

_PLANS_ALONE = "given without --names, --preview and --limit"
_FITS_ALONE = "given without --names, --plans and --preview"


@dataclass(frozen=True)
class Options:
    """Settings of one run. What is not given takes the default shown."""

    output: Path = Path("data/kanji")
    """the dataset folder to make"""
    kanjidic: Path | None = None
    """KANJIDIC2, xml or xml.gz; by default the copy kept in data/sources, else EDRDG's, else Debian's"""
    kanjivg: Path | None = None
    """KanjiVG: a folder of SVG files, or a release's zip or xml.gz; by default the installed package"""
    language: Language = "en"
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
    evenness: float | None = None
    """show components by turns: 0 as often as they are common, 1 each as often as any other; by default half of them
    are sampled by commonness and half evenly, and some 78,000 are all that there are"""
    shapes: int = 1
    """with --evenness: characters of the same two components in the same slots at most, 1 to 24, each in shapes of
    other kanji, unlike those of the others"""
    seed: int = 0
    """of the composed characters"""
    names: Path | None = None
    """add characters for the words of a file of plans to the train split; without a FILE: dataExtraction/names.jsonl"""
    plans: Path | None = None
    """compose the characters of a file of plans, and nothing else, into an --output of their own"""
    workers: int = len(os.sched_getaffinity(0))
    """processes that draw, 1 or more; the dataset does not depend on it"""
    limit: int | None = None
    """only so many kanji, the most used first, 1 or more; for tests and quick trials"""
    preview: Path | None = None
    """draw a contact sheet here and make no dataset"""
    fits: Path | None = None
    """say here which components fit which, and make no dataset: what training/train_planner.py asks for"""
    force: bool = False
    """make the dataset anew, in place of one that was made with other settings"""
    verify: bool = False
    """hold every file of a dataset that is there against its SHA-256, and make it anew if one is damaged"""

    def check(self) -> None:
        """Raises UserError for a value out of its range."""
        for name, fits, wanted in (
            ("size", 16 <= self.size <= 4096, "16 to 4096 px"),
            ("stroke_width", 0.5 <= self.stroke_width <= 12, "0.5 to 12 KanjiVG units"),
            ("compose", 0 <= self.compose <= 1_000_000, "0 to 1,000,000"),
            ("least_common", self.least_common >= 0, "0 or more"),
            ("evenness", self.evenness is None or 0 <= self.evenness <= 1, "0 to 1"),
            ("shapes", 1 <= self.shapes <= 24, "1 to 24"),
            ("shapes", self.shapes == 1 or self.evenness is not None, "given with --evenness"),
            ("workers", self.workers >= 1, "1 or more"),
            ("limit", self.limit is None or self.limit >= 1, "1 or more"),
            ("output", bool(self.output.resolve().name), "a folder that can be made"),
            ("plans", not (self.plans and (self.names or self.preview or self.limit)), _PLANS_ALONE),
            ("fits", not (self.fits and (self.names or self.plans or self.preview)), _FITS_ALONE),
            ("plans", not (self.plans and self.output == Options.output), "given with an --output of its own"),
        ):
            if not fits:
                raise UserError(f"--{name} {getattr(self, name)}: must be {wanted}")

    def manifest_options(self, plans_sha256: str | None = None) -> dict[str, Any]:
        """The options that decide the dataset's bytes, for the manifest.

        `plans_sha256` is that of the file of --plans or --names, where there is one.
        """
        ours = asdict(self)
        if self.plans:
            return {key: ours[key] for key in ("language", "size", "stroke_width")} | {"plans_sha256": plans_sha256}
        decided = {key: ours[key] for key in ("language", "size", "stroke_width", "compose", "seed", "limit")}
        # Not named at their defaults, so that a dataset made before there were these options is still up to date.
        decided |= {"least_common": self.least_common} if self.least_common else {}
        decided |= {"evenness": self.evenness, "shapes": self.shapes} if self.evenness is not None else {}
        return decided | ({"names_sha256": plans_sha256} if self.names else {})
