"""The same plans composed from KanjiVG's strokes, with no model: the yardstick of a model that draws what is planned.

A report has its plans beside it (plans.jsonl); `dataExtraction/main.py --plans plans.jsonl --output FOLDER` composes
those that can be, and the folder is read here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from dataset.captioned_folder import DatasetError, read_dataset
from dataset.images import open_image
from planner.plan import Plan

COMPOSED_SETS = ("wild_planned", "plans")
PLANS_FILE = "plans.jsonl"


def plans_text(plans: Sequence[Plan]) -> str:
    """Plans as a file of them holds them, a line each."""
    lines = []
    for plan in plans:
        components = [{"form": one.form, "name": one.name, "slot": one.slot} for one in plan.components]
        confidence = round(sum(one.confidence for one in plan.components) / len(components), 4)
        lines.append(json.dumps({"word": plan.words, "components": components, "confidence": confidence},
                                ensure_ascii=False) + "\n")
    return "".join(lines)


def read_composed(folder: Path, plans: Mapping[str, Plan]) -> dict[str, Image.Image]:
    """The images of a folder of composed plans, by word.

    Raises DatasetError where it cannot be read, or where a word has other components in it than these plans give it.
    """
    images = {}
    for row in read_dataset(folder):
        plan = plans.get(row.metadata.get("word"))
        if plan is None:
            continue
        if row.forms != plan.forms:
            raise DatasetError(
                f"--composed_plans {folder}: composed of other plans ({plan.words}: {' + '.join(sorted(row.forms))}, "
                f"now {' + '.join(sorted(plan.forms))}). Compose the report's {PLANS_FILE} again with: python "
                f"dataExtraction/main.py --plans {PLANS_FILE} --output FOLDER")
        images[plan.words] = open_image(row).convert("L")
    if not images:
        raise DatasetError(f"--composed_plans {folder}: no plan of these words is composed in it. Compose the report's "
                           f"{PLANS_FILE} with: python dataExtraction/main.py --plans {PLANS_FILE} --output FOLDER")
    return images
