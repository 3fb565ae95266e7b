"""The example pictures and their folder."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from common.device import choose_device
from common.errors import UserError
from common.files import save_image
from common.image_grid import captioned_grid
from common.quiet import known_noise_off
from common.stop_signals import StopSignals
from generation.drawing import GRID, draw, facts_of, model_facts, reading_facts, save_drawing
from generation.request import read_requests, read_sections
from generation.settings import GenerateConfig, SamplingSettings
from models.pipelines import load_model
from recogniser.judge import CONTROL, DATASET, JUDGE, Judge
from scoring.examples_page import Example, PageFacts, Shown, write_page

with known_noise_off():
    from diffusers import StableDiffusionPipeline


PAGE = "index.html"


@dataclass(frozen=True, kw_only=True)
class ExamplesConfig(SamplingSettings):
    """Settings of a page of examples."""

    prompts_file: Path = Path("example_outputs/prompts.txt")
    """A text file with a prompt a line; lines that begin with # are headings."""
    output: Path = Path("example_outputs")
    """The folder to write to."""
    train_data_dir: Path = DATASET
    """The dataset folder, whose real kanji are searched for the nearest one; left out where it is not there."""
    best_of: int = 8
    """Candidates of which the recogniser chooses the picture that stands beside the first, at least 2."""
    columns: int = 10
    """Columns of the grid."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        super().__post_init__()
        self.require_at_least({"best_of": 2, "columns": 1})

    def drawing(self, prompts: Sequence[str]) -> GenerateConfig:
        """The settings under which generate.py draws the same pictures, one a prompt."""
        shared = {field.name: getattr(self, field.name) for field in fields(SamplingSettings)}
        return GenerateConfig(prompts=tuple(prompts), output=self.output, **shared)


def make(config: ExamplesConfig, signals: StopSignals) -> None:
    """Draw, read, and write the folder.

    Raises UserError for a prompts file without prompts, one that cannot be read or a GPU that is not there, ModelError
    for a model and JudgeError for a recogniser that cannot be had; the folder is as it was then.
    """
    sections = read_sections(config.prompts_file)
    if not sections:
        raise UserError(f"--prompts_file {config.prompts_file}: there is no prompt in it")
    drawing = config.drawing([words for _, prompts in sections for words in prompts])
    device = choose_device(config.device)
    judge, second = Judge.load(JUDGE, config.train_data_dir), Judge.load(CONTROL, None)
    pipeline = load_model(config.model, config.revision).to(device)
    config.output.mkdir(parents=True, exist_ok=True)
    examples = iter(list(draw_examples(pipeline, drawing, config.best_of, judge, second)))
    headed = [(heading, list(itertools.islice(examples, len(prompts)))) for heading, prompts in sections]
    write_folder(config, signals, headed, model_facts(config.model, pipeline))


def draw_examples(pipeline: StableDiffusionPipeline, drawing: GenerateConfig, best_of: int, judge: Judge,
                  second: Judge) -> Iterator[Example]:
    """For each prompt the picture itself and the judge's choice among `best_of` candidates, with their readings."""
    requests = read_requests(drawing)
    candidates = [request.candidate(number) for request in requests for number in range(best_of)]
    drawn = draw(pipeline, candidates, drawing)
    for request in requests:
        pictures = list(itertools.islice(drawn, best_of))
        readings = judge.read(pictures, [request.words] * best_of)
        chosen = judge.best(readings)
        first, best = (
            Shown(request.candidate(number), number, stem, pictures[number], readings[number], look.is_well_formed)
            for number, stem, look in zip((0, chosen), (request.stem, f"{request.stem}-best-of-{best_of}"),
                                          second.read([pictures[0], pictures[chosen]]), strict=True))
        yield Example(request.words, first, best)


def write_folder(config: ExamplesConfig, signals: StopSignals, sections: Sequence[tuple[str, Sequence[Example]]],
                 model: dict[str, str]) -> None:
    """Write all files aside, then move them to their places, the page last, and remove what an earlier page had."""
    examples = [example for _, of_section in sections for example in of_section]
    drawing = config.drawing(())
    with tempfile.TemporaryDirectory(dir=config.output, prefix=".making-") as folder:
        aside = Path(folder)
        for example in examples:
            for shown, best_of in ((example.first, 1), (example.best, config.best_of)):
                facts = facts_of(shown.request, replace(drawing, best_of=best_of), model, reading_facts(shown.reading))
                save_drawing(shown.picture, aside, shown.stem, {**facts, "page": PAGE})
        save_image(captioned_grid([example.first.picture for example in examples],
                                    [example.words for example in examples], config.columns), aside / GRID)
        write_page(aside / PAGE, sections, PageFacts(model, config.seed, config.best_of, config.steps,
                                                     config.guidance_scale))
        with signals.deferred():
            for path in sorted(aside.iterdir(), key=lambda path: path.name == PAGE):
                path.replace(config.output / path.name)
            remove_old(config.output, {shown.stem for example in examples for shown in (example.first, example.best)})


def remove_old(folder: Path, kept: set[str]) -> None:
    """Remove the pictures of an earlier page, which their JSONs say they are, except those of the stems kept."""
    for path in folder.glob("*.json"):
        try:
            facts = json.loads(path.read_text(encoding="utf8"))
        except (OSError, ValueError):
            continue  # nothing of ours
        if path.stem not in kept and isinstance(facts, dict) and facts.get("page") == PAGE:
            path.with_name(f"{path.stem}.png").unlink(missing_ok=True)
            path.unlink()
