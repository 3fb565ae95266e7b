"""A model's own samples, sorted by a recogniser into what to learn from and what to be led away from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.device import autocast, choose_device
from common.errors import UserError
from common.files import save_image
from common.locks import locked
from common.quiet import known_noise_off
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset
from generation.output import model_provenance, redraw_command
from generation.sampling import draw
from models.pipelines import load_model
from recogniser.judge import Judge
from scoring.self_training_folder import LOG, begin, finish, read_finished, unfinished
from scoring.self_training_requests import GOOD, SampleRequest, SelfTrainingConfig, choose_requests

with known_noise_off():
    from diffusers import StableDiffusionPipeline


def make_set(config: SelfTrainingConfig, stop: StopSignals) -> dict[str, Any]:
    """Draw what is still to be drawn and write the set; returns its manifest.

    Raises ModelError, DatasetError, JudgeError or UserError where the model, the dataset, the recogniser or the device
    cannot be had, or where the folder holds something else or another run draws for it; nothing is written then.
    """
    reward_model = Judge.load(config.reward_model, dataset=None)
    device = choose_device(config.device)
    pipeline = load_model(config.model, config.revision).to(device)
    manifest = {"settings": config.manifest_settings(), "model": model_provenance(config.model, pipeline),
                "reward_model_sha256": reward_model.metadata["sha256"]}
    if config.output.exists():
        return read_finished(config.output, manifest)
    rows, held_out = read_dataset(config.train_data_dir), read_dataset(config.train_data_dir, "test")
    requests = choose_requests(config, pipeline.tokenizer, rows, held_out)
    if not requests:
        raise UserError(f"{config.train_data_dir} and the text encoder's vocabulary give no word to draw")
    building = unfinished(config.output)
    with locked(building):
        if config.output.exists():  # another run has made it meanwhile
            building.rmdir()
            return read_finished(config.output, manifest)
        lines = begin(building, manifest)
        _draw_rest(pipeline, reward_model, requests, lines, config, stop)
        return finish(building, config.output, manifest, lines)


def _draw_rest(pipeline: StableDiffusionPipeline, reward_model: Judge, requests: Sequence[SampleRequest],
               lines: list[dict[str, Any]], config: SelfTrainingConfig, stop: StopSignals) -> None:
    """Draw the requests that have no line yet, and add their lines to `lines` and to the log."""
    building = unfinished(config.output)
    with (building / LOG).open("a", encoding="utf8") as log, tqdm(
            total=len(requests), initial=len(lines), desc="drawing", unit="image") as bar:
        for drawn in _draw(pipeline, reward_model, requests, len(lines), config, building):
            with stop.deferred():
                log.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in drawn))
                log.flush()
                lines += drawn
            bar.update(len(drawn))
            bar.set_postfix(good=sum(line["verdict"] == GOOD for line in lines))


def summary(manifest: Mapping[str, Any], output: Path) -> str:
    """What a person is told of a set that was made, and how it is trained on."""
    return (f"{output}: of {manifest['samples']} samples {manifest['kept']} were kept and {manifest['negative']} "
            "are negative samples. To train on them:\n"
            f"python training/train_text_to_image.py --preset tiny --extra_data_dir {output} "
            "--output_dir runs/tiny-own")


def _draw(pipeline: StableDiffusionPipeline, reward_model: Judge, requests: Sequence[SampleRequest], done: int,
          config: SelfTrainingConfig, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Draw the requests from number `done` on; for each batch a line of the log a request. Images are saved first."""
    waiting = enumerate(requests[done:], done)
    asked = [request.image for request in requests[done:]]
    for images in draw(pipeline, config, [image.prompt for image in asked], [image.noise_seed for image in asked],
                       lambda: autocast(pipeline.device)):
        batch = list(itertools.islice(waiting, len(images)))
        readings = reward_model.read(images, [request.prompt.text for _, request in batch])
        lines = []
        for image, reading, (number, request) in zip(images, readings, batch, strict=True):
            name = f"{number:06d}.png"
            save_image(image, folder / name)
            lines.append({"kind": request.kind, "group": request.group,
                          "verdict": request.verdict(reading, config.min_well_formed), "file_name": name,
                          "text": request.prompt.text, "asked": request.prompt.asked,
                          "strokes": max(1, round(reading.strokes)), "seed": request.seed,
                          "command": redraw_command(request.image, config)})
        yield lines
