"""How well the strokes that are found for drawn characters draw them again: intersection over union with their ink.

    python tests/benchmarks/strokes.py                   # 300 words: prompts/plans.txt and 100 of development.txt
    python tests/benchmarks/strokes.py --count 30 --model runs/tiny

Draws one character for each word, by the planner's plan, as generate.py --svg does, into --output. Prints how many of
the characters are met well enough for a file of their strokes, how many kept the outline alone, and how near they came.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training"))

from generation.drawing import draw_to_folder
from generation.request import read_requests
from generation.settings import GenerateConfig
from generation.strokes.finding import KEPT_IOU
from planner.exclusions import PLANS, read_prompts


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    count: int = 300
    """words; there are 300"""
    model: str = "tiny"
    """as generate.py takes it"""
    seed: int = 0
    output: Path = Path("runs/strokes")
    """the folder that the characters are drawn to"""


def words(count: int) -> list[str]:
    """The first words of the two files, each once."""
    listed = read_prompts(PLANS) + read_prompts(PLANS.with_name("development.txt"))
    return list(dict.fromkeys(listed))[:count]


def summary(found: Sequence[dict]) -> str:
    """In words, of what the characters' JSON says as `stroke_paths`."""
    ious = [one["iou"] for one in found]
    files = [one for one in found if one["file"]]
    met = sum(iou >= KEPT_IOU for iou in ious)
    whole = sum(one["added"] + one["absent"] == 0 for one in files)
    return (f"{len(found)} characters: {met} ({met / len(found):.1%}) met with an intersection over union of "
            f"{KEPT_IOU} or more, {statistics.median(ious):.3f} in the median, {min(ious):.3f} the least\n"
            f"{len(files)} have the file of their strokes, {whole} of them without a stroke amiss; "
            f"{len(found) - len(files)} kept the outline alone")


def main(settings: Settings) -> None:
    """Draw, and sum up."""
    config = GenerateConfig(prompts=tuple(words(settings.count)), model=settings.model, seed=settings.seed, svg=True,
                            output=settings.output)
    draw_to_folder(config)
    texts = [(settings.output / f"{request.stem}.json").read_text(encoding="utf8") for request in read_requests(config)]
    print(summary([json.loads(text)["stroke_paths"] for text in texts]))


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Settings, use_underscores=True, description=__doc__))
