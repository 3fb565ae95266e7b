"""A report as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.files import write_text
from scoring.figures import ScoredSample
from scoring.report_page import write_page


def write_report(folder: Path, report: dict[str, Any], drawn: dict[str, Sequence[ScoredSample]]) -> Path:
    """Write report.json and report.html into a folder; returns the page's path. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "report.json", as_json_text(report))
    write_page(folder / "report.html", report, drawn)
    return folder / "report.html"


def as_json_text(report: dict[str, Any]) -> str:
    """A report as a JSON file holds it."""
    return json.dumps(_without_nan(report), indent=1, ensure_ascii=False) + "\n"


def _without_nan(value: Any) -> Any:
    """NaN is no JSON: null stands for what cannot be said."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and value != value else value
