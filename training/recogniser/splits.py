"""Which characters the recogniser is trained on, which its thresholds are chosen on, and which it is measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset.captioned_folder import DatasetError, read_dataset
from dataset.rows import Row

CALIBRATION_PART = 20  # one in so many real characters of the train split is kept for the thresholds


@dataclass(frozen=True)
class Splits:
    """The rows of the set: all of the train split, its two parts, and the held-out characters."""

    train: Sequence[Row]
    training: Sequence[Row]
    calibration: Sequence[Row]
    held_out: Sequence[Row]


def read_splits(folder: Path) -> Splits:
    """Read the dataset folder and set the calibration characters aside.

    Raises DatasetError, also where no row has components.
    """
    rows, held_out = (read_dataset(folder, split) for split in ("train", "test"))
    if not any(row.metadata.get("components") for row in rows):
        raise DatasetError(f"{folder}: its rows have no components, so there is nothing to recognise. The kanji set "
                           "has them: python dataExtraction/main.py")
    return Splits(rows, [row for row in rows if not is_calibration(row)],
                  [row for row in rows if is_calibration(row)], held_out)


def is_calibration(row: Row) -> bool:
    """Whether a row of the train split is kept for choosing thresholds: real, and by a stable hash of its character."""
    literal = row.metadata.get("literal")
    digest = hashlib.sha256(f"calibration {literal}".encode()).digest()
    return bool(literal) and not row.is_composed and digest[0] * 256 + digest[1] < 65536 // CALIBRATION_PART
