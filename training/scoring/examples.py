"""The example images and their folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.device import choose_device
from common.errors import UserError
from common.files import save_image
from common.image_grid import GRID, captioned_grid
from common.quiet import known_noise_off
from common.settings import setting
from common.stop_signals import StopSignals
from generation.best_of import best_candidate, draw_candidates, read_candidates
from generation.output import image_provenance, model_provenance, save_sample
from generation.planning import find_planner, plan_requests
from generation.request import ImageRequest, read_requests, read_sections
from generation.settings import GenerateConfig, PlanningSettings
from models.pipelines import load_model
from recogniser.judge import CONTROL, DATASET, JUDGE, Judge
from scoring.examples_folder import PAGE, making, publish
from scoring.examples_page import Example, Shown, write_page

with known_noise_off():
    from diffusers import StableDiffusionPipeline



@dataclass(frozen=True, kw_only=True)
class ExamplesConfig(PlanningSettings):
    """Settings of a page of examples."""

    prompts_file: Path = Path("example_outputs/prompts.txt")
    """A text file with a prompt a line; lines that begin with # are headings."""
    output: Path = Path("example_outputs")
    """The folder to write to."""
    train_data_dir: Path = DATASET
    """The dataset folder, whose real kanji are searched for the nearest one; left out where it is not there."""
    best_of: int = setting(8, at_least=2)
    """Candidates of which the recogniser chooses the image that stands beside the first, at least 2."""
    columns: int = setting(10, at_least=1, at_most=100)
    """Columns of the grid."""


def make(config: ExamplesConfig, signals: StopSignals) -> None:
    """Draw, read, and write the folder.

    Raises UserError for a prompts file without prompts, one that cannot be read or a GPU that is not there, ModelError
    for a model, PlannerError for a planner and JudgeError for a recogniser that cannot be had, BusyError where another
    run makes a page in the folder; the folder is as it was then.
    """
    sections = read_sections(config.prompts_file)
    if not sections:
        raise UserError(f"--prompts_file {config.prompts_file}: there is no prompt in it")
    requests = read_requests(GenerateConfig.like(config, [words for _, prompts in sections for words in prompts]))
    device = choose_device(config.device)
    judge, control = Judge.load(JUDGE, config.train_data_dir), Judge.load(CONTROL, None)
    pipeline = load_model(config.model, config.revision).to(device)
    requests = plan_requests(requests, find_planner(config, pipeline), config)
    with making(config.output, signals) as aside:
        examples = iter(list(draw_examples(pipeline, requests, config, judge, control)))
        headed = [(heading, list(itertools.islice(examples, len(prompts)))) for heading, prompts in sections]
        write_folder(config, signals, aside, headed, model_provenance(config.model, pipeline))


def draw_examples(pipeline: StableDiffusionPipeline, requests: Sequence[ImageRequest], config: ExamplesConfig,
                  judge: Judge, control: Judge) -> Iterator[Example]:
    """For each request the image itself and the judge's choice among several candidates, with their readings."""
    candidates = draw_candidates(pipeline, requests, config, config.best_of)
    for request, drawn in zip(requests, candidates, strict=True):
        read = read_candidates(drawn, judge)
        best = best_candidate(read, judge)
        by_control = control.read([read[0].image, best.image], [read[0].request.drawn_words, best.request.drawn_words])
        yield Example(request.words, Shown(read[0], request.stem, by_control[0]),
                      Shown(best, f"{request.stem}-best-of-{config.best_of}", by_control[1]))


def write_folder(config: ExamplesConfig, signals: StopSignals, aside: Path,
                 sections: Sequence[tuple[str, Sequence[Example]]], model: dict[str, str]) -> None:
    """Write all files aside, then move them into the folder, the page last, and remove what an earlier page had."""
    examples = [example for _, of_section in sections for example in of_section]
    for example in examples:
        for shown, best_of in ((example.first, 1), (example.best, config.best_of)):
            provenance = image_provenance(shown.candidate, config, best_of, model)
            save_sample(shown.candidate.image, aside, shown.stem, {**provenance, "page": PAGE})
    save_image(captioned_grid([example.first.candidate.image for example in examples],
                              [example.words for example in examples], config.columns), aside / GRID)
    write_page(aside / PAGE, sections, config, config.best_of, model)
    publish(aside, {shown.stem for example in examples for shown in (example.first, example.best)}, signals)
