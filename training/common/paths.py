"""Where the project's own files lie."""

from __future__ import annotations

from pathlib import Path

TRAINING_DIR = Path(__file__).resolve().parents[1]
TINY_DIR = TRAINING_DIR / "tiny"  # the weights of the embedded base


def shown_name(name: str | Path) -> str:
    """A path, or a model's name, as others may see it: as given where it is relative, else its last part alone."""
    return Path(name).name if Path(name).is_absolute() else str(name)
