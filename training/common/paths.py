"""Where the project's own files lie."""

from __future__ import annotations

from pathlib import Path

TRAINING_DIR = Path(__file__).resolve().parents[1]
TINY_DIR = TRAINING_DIR / "tiny"  # the weights of the embedded base
