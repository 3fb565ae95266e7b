"""Progress bars that do not fill a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(*arguments: Any, **settings: Any) -> tqdm:
    """tqdm's progress bar; in a log, where each update is a line, one update in five seconds."""
    return tqdm(*arguments, **settings, mininterval=0.1 if sys.stderr.isatty() else 5.0)
