"""Where the project's own files lie."""

from __future__ import annotations

from pathlib import Path

TRAINING_DIR = Path(__file__).resolve().parents[1]
TINY_DIR = TRAINING_DIR / "tiny"  # the weights of the embedded base


def model_dir(name: str) -> Path:
    """The folder of a model by its name: that of `tiny`, or what the name says where it is one of this machine."""
    return TINY_DIR if name == "tiny" else Path(name)


def shown_name(name: str | Path) -> str:
    """A path, or a model's name, as others may see it: as given where it is relative, else its last part alone."""
    return Path(name).name if Path(name).is_absolute() else str(name)
