"""A copy of the project for launch_training.sh to run in, with an environment that is this one."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def make_clone(folder: Path) -> Path:
    """Copy what the script needs of the project; the embedded base is left out, and nothing is installed."""
    shutil.copytree(ROOT / "training", folder / "training", ignore=shutil.ignore_patterns("__pycache__", "tiny"))
    for name in ("launch_training.sh", "requirements.txt", "tests/environment.sh", "example_outputs/prompts.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    digest = hashlib.sha256((folder / "requirements.txt").read_bytes()).hexdigest()
    (folder / ".venv/requirements.sha256").write_text(f"{digest}\n")
    return folder
