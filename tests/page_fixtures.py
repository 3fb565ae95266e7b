"""A studio of demo.py's page over a random base that counts as trained on kanji, with a small planner and judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

import data_fixtures
from generation import drawing, planning
from generation.strokes.document import StrokeTree
from generation.strokes.finding import StrokeFinder
from generation.strokes.kanjivg import Kanji, read_kanji
from generation.strokes.templates import Templates
from page import studio as studio_module
from page.config import DemoConfig
from page.studio import Studio
from planner_fixtures import save_small_planner
from recogniser.judge import Judge
from recogniser_fixtures import save_judge


def save_run(folder: Path, pipeline: Path) -> Path:
    """A run folder whose pipeline is that of another folder and was trained on kanji."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"kanji": True}))
    (folder / "pipeline").symlink_to(pipeline)
    return folder


def few_kanji(folder: Path) -> list[Kanji]:
    """The kanji of a KanjiVG of a few, which is written to a folder."""
    return list(read_kanji(data_fixtures.write_kanjivg(folder, "明時林")))


def image_of(kanji: Kanji) -> Image.Image:
    """A kanji as a model draws it."""
    return Image.fromarray(StrokeTree(kanji.strokes, (kanji.root,)).drawn(128))


@contextmanager
def small_studio(folder: Path, base: Path) -> Iterator[Studio]:
    """A studio that draws with a run of `base` in two steps.

    Page and generate.py share its planner, its judge, and what it finds strokes with: three kanji.
    """
    loaded = Judge.load(save_judge(folder / "judge", sharpness=50.0), None)
    finder = StrokeFinder(Templates(few_kanji(folder / "kanjivg")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "PLANNER_WEIGHTS", save_small_planner(folder / "planner"))
        patch.setattr(planning, "NAMES_FILE", folder / "no-names.jsonl")
        patch.setattr(studio_module, "RUNS", folder / "runs")
        for module in (studio_module, drawing):
            patch.setattr(module.Judge, "load", lambda *_: loaded)
            patch.setattr(module, "installed_finder", lambda: finder)
        run = save_run(folder / "runs" / "small", base)
        yield Studio(DemoConfig(model=str(run), steps=2, device="cpu"))
