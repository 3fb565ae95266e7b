"""What all visitors of the page share: the models that are loaded, the judge, and the one pen that draws."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from common.device import choose_device
from common.errors import UserError
from common.paths import model_dir, shown_name
from common.quiet import known_noise_off
from generation.best_of import Candidate, best_candidate, draw_candidates, read_candidates
from generation.drawing import say_unknown_words
from generation.output import model_provenance
from generation.planning import find_planner, plan_requests
from generation.request import ImageRequest, read_requests
from generation.sampling import batch_size_for
from generation.settings import GenerateConfig
from generation.vectors import StrokesFile, find_strokes, installed_finder
from models.pipelines import load_model
from page.config import DemoConfig, Wish
from page.plan_row import PlanRow
from planner.planner import Planner
from recogniser.judge import Judge

with known_noise_off():
    from diffusers import StableDiffusionPipeline

RUNS = Path("runs")
MAX_LOADED = 2  # models that are kept in memory: two visitors may go to and fro between two


@dataclass(frozen=True)
class Loaded:
    """A model in memory: what draws, what plans for it (None: nothing, which `note` says), and which it is.

    name: what loads it; stamp: names, sizes and times of its weights, by which it is loaded anew where they are others.
    """

    name: str
    pipeline: StableDiffusionPipeline
    planner: Planner | None
    note: str
    provenance: dict[str, str]
    stamp: tuple


@dataclass(frozen=True)
class Drawn:
    """What was drawn for one of the wish's prompts: the candidates, read, the best of them, and how they were made."""

    candidates: tuple[Candidate, ...]
    best: Candidate
    config: GenerateConfig
    provenance: dict[str, str]
    is_line_art: bool


class Studio:
    """Models, judge and locks; nothing of any visitor is kept in it."""

    def __init__(self, config: DemoConfig) -> None:
        """Load what is needed for the first picture. Raises UserError where a model or the judge cannot be had."""
        self.config, self.device = config, choose_device(config.device)
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._loading, self._planning, self._drawing = threading.Lock(), threading.Lock(), threading.Lock()
        for folder in config.models:
            if not folder.is_dir():
                raise UserError(f"--models {folder}: no such folder")
        self.judge = Judge.load()
        self.model(self.first)
        reading = ThreadPoolExecutor(1)
        self._finder = reading.submit(installed_finder)  # takes 3 s, while the visitor types
        reading.shutdown(wait=False)

    @property
    def first(self) -> str:
        """The model that is chosen at first, as the page calls it."""
        return shown_name(self.config.model)

    def models(self) -> dict[str, str]:
        """The models that are there now: what the page calls each, and what loads it; no folder above it is told."""
        runs = [str(index.parents[1]) for index in sorted(RUNS.glob("*/pipeline/model_index.json"))]
        found: dict[str, str] = {}
        for name in dict.fromkeys([self.config.model, "tiny", *runs, *map(str, self.config.models)]):
            is_hub_id = name == self.config.model and not Path(name).is_absolute()
            label, same = shown_name(name), 2
            while label in found:
                label, same = f"{shown_name(name)} ({same})", same + 1
            if is_hub_id or model_dir(name).is_dir():
                found[label] = name
        return found

    def model(self, label: str) -> Loaded:
        """A model by what the page calls it, loaded. Raises UserError where it is not there or cannot be used."""
        name = self.models().get(label)
        if name is None:
            raise UserError(f"{label[:60]}: this model is not there any more; choose another")
        with self._loading:
            stamp = _stamp(name)
            if label not in self._loaded or self._loaded[label].stamp != stamp:
                self._loaded.pop(label, None)
                while len(self._loaded) >= MAX_LOADED:
                    self._loaded.popitem(last=False)
                self._loaded[label] = self._load(name, stamp)
            self._loaded.move_to_end(label)
            return self._loaded[label]

    def plan(self, wish: Wish, rows: Sequence[PlanRow] = ()) -> tuple[list[PlanRow], list[str]]:
        """A row for each prompt, and what is to be said of them. Of `rows`, those that visitors made stay."""
        requests, notes = self._requests(wish, self.model(wish.model), rows)
        return [_row(request, rows) for request in requests], notes

    def draw(self, wish: Wish, rows: Sequence[PlanRow] = (),
             on_step: Callable[[int, int], object] = lambda done, of: None) -> tuple[list[PlanRow], list[Drawn],
                                                                                    list[str]]:
        """Draw what is asked for as generate.py draws it: the rows, what was drawn for each, what is to be said.

        `on_step` is told how many denoising steps are done, of how many. Raises UserError.
        """
        loaded = self.model(wish.model)
        requests, notes = self._requests(wish, loaded, rows)
        config, pipeline = wish.config(self.config, loaded.name), loaded.pipeline
        images = len(requests) * wish.candidates
        steps = -(-images // batch_size_for(pipeline.unet.config.sample_size)) * config.steps
        done = 0

        def after_step() -> None:
            nonlocal done
            done += 1
            on_step(done, steps)

        drawn = []
        with self._drawing:
            say_unknown_words(requests, pipeline, notes.append)
            for candidates in draw_candidates(pipeline, requests, config, config.best_of, after_step):
                read = read_candidates(candidates, self.judge)
                drawn.append(Drawn(tuple(read), best_candidate(read, self.judge), config, loaded.provenance,
                                   loaded.planner is not None))
        return [_row(request, rows) for request in requests], drawn, notes

    def strokes(self, drawn: Drawn) -> StrokesFile | None:
        """The strokes of the best; None of a model that was not trained on kanji. Raises NoStrokesError."""
        if not drawn.is_line_art:
            return None
        return find_strokes(drawn.best.image, drawn.best.request, self._finder.result())

    def change(self, row: PlanRow, texts: Sequence[object], label: str, swap: int | None = None) -> PlanRow:
        """A row with what was typed into its boxes and, in the box `swap`, the planner's next best; as it is where
        nothing plans for the model. Raises UserError."""
        planner = self.model(label).planner
        if planner is None:
            return row
        with self._planning:
            row = row.typed(texts, planner)
            return row if swap is None else row.swapped(swap, planner)

    def _requests(self, wish: Wish, loaded: Loaded, rows: Sequence[PlanRow]) -> tuple[list[ImageRequest], list[str]]:
        config, notes = wish.config(self.config, loaded.name), [loaded.note] if loaded.note else []
        own = {row.words: row.plan for row in rows if row.is_own and loaded.planner is not None}
        with self._planning:
            planned = plan_requests(read_requests(config), loaded.planner, config, notes.append)
        return [replace(request, plan=own[request.words], other_plans=()) if request.words in own else request
                for request in planned], notes

    def _load(self, name: str, stamp: tuple) -> Loaded:
        config = Wish(("moon",), name, None, 1, 0, False).config(self.config, name)
        said: list[str] = []
        pipeline = load_model(name, config.revision).to(self.device)
        planner = find_planner(config, pipeline, said.append)
        if planner is not None:
            planner.plans("wind turbine")  # its encoder and its table of pairs, so that the first visitor need not wait
        return Loaded(name, pipeline, planner, said[0].partition(" (--plan")[0] if said else "",
                      model_provenance(name, pipeline), stamp)


def _row(request: ImageRequest, rows: Sequence[PlanRow]) -> PlanRow:
    own = next((row for row in rows if row.is_own and row.words == request.words), None)
    return own or PlanRow.planned(request.words, request.plan)


def _stamp(name: str) -> tuple:
    """Names, sizes and times of the files of a model's folder; of a hub id none."""
    folder = model_dir(name)
    files = sorted(path for ending in ("safetensors", "json") for path in folder.glob(f"**/*.{ending}"))
    return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
